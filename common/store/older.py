"""Coverage but for its newest span, as readers keep it: it changes rarely, and may be 2 MB.

Under one token a symbol's commits follow each other, and `reshaped_seq` names the last one after which more of coverage
had changed than the end of its newest span. So with both as they were, all other spans are as they were.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from common.byte_lru import ByteLru

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
    """Those of a process, by symbol, each of one commit."""

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        # Token, reshaped_seq, and the spans as of then.
        self._found: ByteLru[str, tuple[str, int, OlderSpans]] = ByteLru(max_bytes, _size_of, min_count=1)

    def has(self, symbol: str) -> bool:
        return symbol in self._found

    def get(self, symbol: str, token: str, reshaped_seq: int) -> OlderSpans | None:
        """Return the spans of a symbol as of this commit; None if there are none, or others."""
        found = self._found.get(symbol)
        return found[2] if found and found[:2] == (token, reshaped_seq) else None

    def keep(self, symbol: str, token: str, reshaped_seq: int, older: OlderSpans) -> None:
        self._found.put(symbol, (token, reshaped_seq, older))


def _size_of(found: tuple[str, int, OlderSpans]) -> int:
    return found[2].size
