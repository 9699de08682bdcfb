"""The history of a symbol's book, as minutes that are opened: kept while they are asked for."""

from collections.abc import Sequence
from dataclasses import dataclass

from redis.asyncio import Redis

from common.byte_lru import ByteLru
from common.errors import BadInput
from common.frames.depth_minute import DepthMinute
from common.market.depth.chunk import unpack_head
from common.market.scale import Scale, Scales
from common.store.depth import DepthReader
from feed.reading.budget import MAX_ROWS, QueryBudget

# An hour of a busy book takes some 40 MB.
MAX_BYTES = 64 << 20


@dataclass(frozen=True, slots=True)
class _Opened:
    """`chunk`: what was opened; another one of the same minute has more of it."""

    chunk: bytes
    minute: DepthMinute

    @property
    def nbytes(self) -> int:
        return len(self.chunk) + self.minute.nbytes


class DepthMinutes:
    """Those of a process, by symbol, scale and open."""

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        self._found: ByteLru[tuple[str, Scale, int], _Opened] = ByteLru(max_bytes, lambda opened: opened.nbytes)

    async def newest(self, client: Redis, symbol: str, scale: Scale) -> DepthMinute | None:
        chunk = await DepthReader(client, symbol).newest()
        return self._open([chunk], symbol, scale)[0] if chunk else None

    async def read(
        self, client: Redis, symbol: str, scale: Scale, from_ms: int, to_ms: int, budget: QueryBudget
    ) -> list[DepthMinute]:
        """The minutes that share a time with `[from_ms, to_ms)`, ascending."""
        chunks = await DepthReader(client, symbol).chunks(from_ms, to_ms)
        runs = sum(head.bids + head.asks for head in map(unpack_head, chunks))
        if runs > MAX_ROWS:
            raise BadInput(f"that is {runs} changes of the book, expected at most {MAX_ROWS}: a shorter time")
        return await budget.run(runs, self._open, chunks, symbol, scale)

    def _open(self, chunks: Sequence[bytes], symbol: str, scale: Scale) -> list[DepthMinute]:
        return [self._opened(chunk, symbol, scale) for chunk in chunks]

    def _opened(self, chunk: bytes, symbol: str, scale: Scale) -> DepthMinute:
        key = symbol, scale, unpack_head(chunk).open_ms
        known = self._found.get(key)
        if known is None or known.chunk != chunk:
            known = _Opened(chunk, DepthMinute.of(chunk, Scales.unchanged(scale)))
            self._found.put(key, known)
        return known.minute
