"""Live trades that wait to be read by the term."""

import asyncio
from collections import deque
from dataclasses import dataclass, field, replace

from common.market.builder.gaps import DISCONNECT, ID_JUMP, START, THROTTLE
from common.market.builder.spans import IdSpan
from common.market.trade import Trades
from workers.sources.base import Batch
from workers.venues.shared import live

# Trades that wait to be read before the socket waits.
MAX_WAITING = 200_000
# The lag follows a rise by one part in so many a frame, and a fall at once.
LAG_EVENTS = 64


@dataclass(slots=True)
class LiveTrades:
    """`arrived` is set with each batch."""

    arrived: asyncio.Event = field(default_factory=asyncio.Event)
    # How far the venue's trades are behind our clock.
    lag_ms: int | None = None
    # Why the next hole at the newest end is there.
    cause: str = START
    _batches: deque[Batch] = field(default_factory=deque)
    _count: int = 0
    _room: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def is_empty(self) -> bool:
        return not self._batches

    def put(self, trades: Trades) -> None:
        self._append(Batch(trades, "", cause=self.cause))
        self.cause = ID_JUMP

    def put_none(self, trade_id: int, ts_ms: int) -> None:
        """An id under which the venue says there is no trade."""
        self._append(Batch(Trades(), "", cause=self.cause, covered=[IdSpan(trade_id, trade_id, ts_ms, ts_ms)]))
        self.cause = ID_JUMP

    def _append(self, batch: Batch) -> None:
        self._batches.append(batch)
        self._count += len(batch.trades)
        self.arrived.set()

    def take(self, limit: int) -> Batch:
        """What waits, up to `limit`, of one cause."""
        if not self._batches:
            return Batch(Trades(), "")
        parts = [self._batches.popleft()]
        count = len(parts[0].trades)
        while self._batches and count < limit and self._batches[0].cause == parts[0].cause:
            parts.append(self._batches.popleft())
            count += len(parts[-1].trades)
        self._count -= count
        self._room.set()
        return joined(parts)

    async def room(self) -> None:
        """Wait while too many wait."""
        while self._count > MAX_WAITING:
            await self._taken()

    async def until_empty(self) -> None:
        while self._batches:
            await self._taken()

    async def _taken(self) -> None:
        self._room.clear()
        await self._room.wait()

    def lags(self, lag_ms: int) -> None:
        if self.lag_ms is None or lag_ms < self.lag_ms:
            self.lag_ms = lag_ms
        else:
            self.lag_ms += (lag_ms - self.lag_ms) // LAG_EVENTS

    def disconnected(self, cause: str) -> None:
        if self.cause != START:
            self.cause = THROTTLE if cause == live.THROTTLED else DISCONNECT


def joined(parts: list[Batch]) -> Batch:
    """One batch of several of one cause: their trades in order, and all else."""
    if len(parts) == 1:
        return parts[0]
    trades = Trades()
    for part in parts:
        trades.ts_ms += part.trades.ts_ms
        trades.ids += part.trades.ids
        trades.price_ticks += part.trades.price_ticks
        trades.size_lots += part.trades.size_lots
    trades.sides = b"".join(part.trades.sides for part in parts)
    return replace(
        parts[0],
        trades=trades,
        covered=[span for part in parts for span in part.covered],
        candles=[candle for part in parts for candle in part.candles],
        given_up=[hole for part in parts for hole in part.given_up],
    )
