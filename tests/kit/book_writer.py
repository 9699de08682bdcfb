"""A book that moves at random, told and kept as a worker does."""

import random
from dataclasses import dataclass, field

from common.market.depth.chunk import DepthChunk, pack_chunk
from common.market.depth.history import BookHistory
from common.market.depth.runs import DepthLimits
from common.market.scale import Scales
from common.store.book import BookSnapshot, BookStore
from common.store.depth import DepthReader, DepthStore
from tests.kit.writer import INSTRUMENT, START_MS, Writer
from workers.venues.coinbase.book_rule import CoinbaseRule
from workers.venues.shared.base import DepthEvent

S = INSTRUMENT.symbol


def new_history() -> BookHistory:
    return BookHistory.new(CoinbaseRule(), DepthLimits())


@dataclass
class BookWriter:
    """`flush` stores its history; else it is told only, and not each change of it."""

    writer: Writer
    rng: random.Random
    history: BookHistory = field(default_factory=new_history)
    ts_ms: int = START_MS
    middle: int = 10_000
    closed: list[DepthChunk] = field(default_factory=list)

    async def begin(self) -> None:
        bids, asks = ([(self.middle + step * at, 5 + at) for at in range(1, 60)] for step in (-1, 1))
        self._feed(DepthEvent(S, self.ts_ms, -1, -1, -1, bids, asks, snapshot=True))
        await self.put()

    async def move(self) -> None:
        """Some levels change, now and then the price does; not every change is told."""
        self.ts_ms += self.rng.choice((0, 1, 40, 100, 100, 700, 3_000, 61_000 if self.rng.random() < 0.2 else 100))
        self.middle += self.rng.choice((0, 0, 0, 1, -1, 25 if self.rng.random() < 0.2 else 0))
        book = self.history.sync.book
        bids, asks = (
            [(self._price(step), self.rng.randint(0, 9)) for _ in range(self.rng.randint(0, 4))] for step in (-1, 1)
        )
        best_bids, best_asks = book.depth(1_000)
        bids += [(price, 0) for price, _ in best_bids if price >= self.middle]
        asks += [(price, 0) for price, _ in best_asks if price <= self.middle]
        self._feed(DepthEvent(S, self.ts_ms, -1, -1, -1, bids, asks))
        if self.rng.random() < 0.8:
            await self.put()
        if self.rng.random() < 0.2:
            await self.flush()

    async def take_over(self) -> None:
        """Another worker goes on with what was stored, and a new snapshot."""
        await self.flush()
        await self.writer.claim()
        stored = await DepthReader(self.writer.client, S).newest()
        assert stored
        self.history = BookHistory.restore(CoinbaseRule(), DepthLimits(), stored, Scales.unchanged(INSTRUMENT.scale))
        self.ts_ms += 1_000
        await self.begin()

    async def put(self) -> None:
        bids, asks = self.history.sync.book.depth(1_000)
        book = BookSnapshot(self.ts_ms, -1, bids, asks, live=True)
        await BookStore(self.writer.client, S, INSTRUMENT.scale).put(self.writer.token, book)

    async def flush(self) -> None:
        """With all that was told: the history knows of no book before the next event."""
        self.ts_ms += 1
        self._feed(DepthEvent(S, self.ts_ms, -1, -1, -1, [], []))
        current = self.history.recorder.current()
        chunks, self.closed = [*self.closed, *([current] if current else [])], []
        packed = {chunk.open_ms: pack_chunk(chunk, INSTRUMENT.scale) for chunk in chunks}
        if packed:
            await DepthStore(self.writer.client, S, 60).put(self.writer.token, packed)

    def _feed(self, event: DepthEvent) -> None:
        self.closed += self.history.step(event, self.ts_ms)

    def _price(self, step: int) -> int:
        return self.middle + step * self.rng.randint(1, 40)
