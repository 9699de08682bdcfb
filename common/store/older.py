"""Coverage but for its newest span, as readers keep it: it changes rarely, and may be 2 MB.

Under one token a symbol's commits follow each other, and `reshaped_seq` names the last one after which more of coverage
had changed than the end of its newest span. So with both as they were, all other spans are as they were.
"""

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field

# What all that are kept may take, as they are stored.
MAX_BYTES = 64 << 20
# Of one that has none.
_OVERHEAD_BYTES = 200


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class OlderSpans:
    """Packed chunks of spans (common.market.builder.spans), by number. Readers keep what they make of each."""

    chunks: Mapping[int, bytes] = field(default_factory=dict)

    @property
    def size(self) -> int:
        return _OVERHEAD_BYTES + sum(map(len, self.chunks.values()))


# Where coverage is stored whole.
NO_OLDER = OlderSpans()
# Before they have been read.
UNKNOWN_OLDER = OlderSpans()


class OlderCache:
    """Of a process, by symbol; the least used go first."""

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        self._kept: OrderedDict[str, tuple[str, int, OlderSpans]] = OrderedDict()
        self._max_bytes = max_bytes
        self.bytes = 0

    def has(self, symbol: str) -> bool:
        return symbol in self._kept

    def get(self, symbol: str, token: str, reshaped_seq: int) -> OlderSpans | None:
        """Return what is kept, if it is of this commit; else None."""
        kept = self._kept.get(symbol)
        if kept is None or kept[:2] != (token, reshaped_seq):
            return None
        self._kept.move_to_end(symbol)
        return kept[2]

    def keep(self, symbol: str, token: str, reshaped_seq: int, older: OlderSpans) -> None:
        before = self._kept.pop(symbol, None)
        self.bytes += older.size - (before[2].size if before else 0)
        self._kept[symbol] = token, reshaped_seq, older
        while self.bytes > self._max_bytes and len(self._kept) > 1:
            self.bytes -= self._kept.popitem(last=False)[1][2].size
