"""The order book of a simulated market: makers and large orders around its price, kept and recorded like a venue's.

The trades lead: each makes the book agree with it, so a trade prints at a price that was the best of the other side,
and one that moves the price far sweeps the levels between. With each term another book is begun.
"""

import asyncio
import random
from dataclasses import dataclass, field

from common.clock import Clock
from common.market.instrument import Instrument
from common.market.scale import Scales
from common.market.simulation.book import ASK, BID, BookLog
from common.market.simulation.makers import Makers
from common.market.simulation.walls import Walls
from common.market.trade import BUY, Trades
from workers.sources.base import Applied
from workers.sources.venue.book import BookKeeper, BookStores
from workers.venues.coinbase.book_rule import CoinbaseRule
from workers.venues.shared.base import DepthEvent

# A change so often, of about so many levels.
CHANGE_MS, MOVES = 100, 20
# Levels of a side: what one answer shows of a book, mostly.
LEVELS = 400
# Changes whose order is known: more than one event has.
_KEPT = 4_096


@dataclass(slots=True)
class SimulatedBook:
    """`keeper` writes it. Everything follows from the seed, the trades and the times at which it is looked at."""

    keeper: BookKeeper
    symbol: str
    makers: Makers
    walls: Walls
    log: BookLog = field(default_factory=lambda: BookLog(_KEPT))
    _task: "asyncio.Task[None] | None" = None
    _position: int = 0
    _due_ms: int = 0

    @classmethod
    def of(
        cls, instrument: Instrument, seed: int, stores: BookStores, clock: Clock, applied: Applied
    ) -> "SimulatedBook":
        scales = applied.scales or Scales.unchanged(instrument.scale)
        rule, symbol = CoinbaseRule(), instrument.symbol
        keeper = BookKeeper(rule, stores, _no_snapshot, _never, clock, applied.token, symbol, scales)
        chance = random.Random(f"{seed}:{symbol}:book")
        makers = Makers(instrument.size_decimals, chance, LEVELS)
        return cls(keeper, symbol, makers, Walls(chance, makers.usual_lots))

    def open(self) -> None:
        self.keeper.connected()
        self._task = asyncio.create_task(self.keeper.run(), name=f"book {self.symbol}")

    async def close(self) -> None:
        if self._task:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def follow(self, trades: Trades, price_ticks: int, now_ms: int) -> None:
        """What has traded since it was last looked at, and what the makers did meanwhile."""
        if self._task and self._task.done():
            self._task.result()
        if not self.log.last_id:
            self.makers.open(self.log, price_ticks, 1)
        self._meet(trades)
        # A clock that was set back is no reason to wait until it is where it was.
        if 0 < self._due_ms - now_ms <= CHANGE_MS or not self.keeper.is_ready:
            return
        self._due_ms = now_ms + CHANGE_MS
        self._move(price_ticks)
        self.keeper.take(self._event(now_ms))

    def _meet(self, trades: Trades) -> None:
        for side, price, size in zip(trades.sides, trades.price_ticks, trades.size_lots, strict=True):
            self.makers.meet(self.log, side == BUY, price, size)

    def _move(self, price_ticks: int) -> None:
        for _ in range(MOVES):
            self.makers.move(self.log, price_ticks)
        self.walls.step(self.log, price_ticks)
        self.makers.fill_up(self.log, price_ticks)

    def _event(self, now_ms: int) -> DepthEvent:
        bids, asks = self.log.changes_since(self._position)
        is_whole = self.keeper.needs_snapshot or self.log.position - self._position > _KEPT
        if is_whole:
            bids, asks = (list(self.log.sides[side].lots.items()) for side in (BID, ASK))
        self._position = self.log.position
        return DepthEvent(self.symbol, now_ms, -1, -1, -1, bids, asks, snapshot=is_whole)


def _no_snapshot() -> "asyncio.Future[DepthEvent]":
    raise AssertionError("a simulated book is told as a whole, it is not asked for")


async def _never() -> bool:
    return False
