"""A simulated market: trades with heavy-tailed sizes and bursts. Marked simulated wherever it appears.

How it trades is told in common.market.simulation.pace. It is as good as real for load, charts and tests of the path,
and worth nothing as a model of any market.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from common.clock import Clock
from common.errors import BadInput
from common.market.candle import SIMULATED
from common.market.instrument import Instrument
from common.market.simulation import pace
from common.market.trade import BUY, SELL, Trades
from common.market.walk import Walk
from common.store.registry import Market
from workers.sources.base import Applied, Batch

HOUR_MS = 60 * 60 * 1_000
# What a fresh market has behind it, so that a first chart is not blank: where no past was made for it in bulk.
HISTORY_MS = 6 * HOUR_MS
# The most that a restart makes up for.
MAX_AWAY_MS = 2 * HOUR_MS
# A look at the clock every so often: what a venue's socket would push.
TICK_MS = 50


class Follower(Protocol):
    """An order book that follows the market: workers.sources.simulated_book."""

    def open(self) -> None: ...

    def follow(self, trades: Trades, price_ticks: int, now_ms: int) -> None: ...

    async def close(self) -> None: ...


@dataclass(slots=True)
class Simulator:
    """`ids` are contiguous. `_walk` is None until opened. `book_of` makes its order book, of a term."""

    instrument: Instrument
    clock: Clock
    seed: int
    start_price_ticks: int
    name: str = "simulator"
    sources: int = SIMULATED
    book_of: Callable[[Applied], Follower] | None = None
    _book: Follower | None = None
    _walk: Walk | None = None
    _position: str = ""
    _random: random.Random = field(default_factory=random.Random)
    _bursting_until_ms: float = 0
    _quiet_until_ms: float = 0
    _volatility: float = 1.0

    @classmethod
    def of(cls, market: Market, clock: Clock) -> "Simulator":
        price = str(market.source.get("price", "100"))
        return cls(market.instrument, clock, int(market.source.get("seed", 1)), market.instrument.price_ticks(price))

    async def open(self, position: str, applied: Applied) -> None:
        earliest_ms = float(self.clock.now_ms() - (MAX_AWAY_MS if position else HISTORY_MS))
        try:
            walk = Walk.at(position) if position else Walk(1, self.start_price_ticks, earliest_ms)
        except (ValueError, TypeError) as error:
            raise BadInput(f"position {position[:60]!r} of {self.instrument.symbol} is not a simulator's") from error
        walk.ts_ms = max(walk.ts_ms, earliest_ms)
        self._walk, self._position = walk, position
        self._random = random.Random(f"{self.seed}:{walk.next_id}")
        self._quiet_until_ms = self._bursting_until_ms = 0
        if self.book_of:
            self._book = self.book_of(applied)
            self._book.open()

    async def read(self, limit: int, wait_ms: int) -> Batch:
        assert self._walk is not None, "read before open"
        until_ms = self.clock.now_ms()
        if until_ms - self._walk.ts_ms < TICK_MS:
            await self.clock.sleep_ms(min(wait_ms, TICK_MS))
            until_ms = self.clock.now_ms()
        trades = self._trades(self._walk, limit, until_ms)
        backlog = len(trades) == limit
        if trades:
            # Not where no trade came: each new position is a commit, and there are 20 looks a second.
            self._position = self._walk.position
        # Not what is made up for: the book is of now.
        if self._book and not backlog:
            self._book.follow(trades, self._walk.price_ticks, until_ms)
        return Batch(trades, self._position, complete_ms=0 if backlog else until_ms, backlog=backlog)

    async def committed(self, position: str) -> None:
        """Nothing is kept behind."""

    async def close(self) -> None:
        self._walk = None
        if self._book:
            await self._book.close()
            self._book = None

    def _trades(self, walk: Walk, limit: int, until_ms: int) -> Trades:
        trades = Trades()
        sides = bytearray()
        while len(trades) < limit:
            at_ms = walk.ts_ms + self._random.expovariate(self._rate(walk.ts_ms)) * 1_000
            if at_ms > until_ms:
                # Without a trade time passes all the same; an exponential wait may be drawn again from here.
                walk.ts_ms = max(walk.ts_ms, float(until_ms))
                break
            walk.ts_ms = at_ms
            side = self._move(walk)
            trades.ts_ms.append(int(at_ms))
            trades.ids.append(walk.next_id)
            trades.price_ticks.append(walk.price_ticks)
            trades.size_lots.append(self._size())
            sides.append(side)
            walk.next_id += 1
        trades.sides = bytes(sides)
        return trades

    def _rate(self, ts_ms: float) -> float:
        """Trades per second now; switches between quiet and burst."""
        if ts_ms < self._bursting_until_ms:
            return pace.BURST_RATE
        if ts_ms >= self._quiet_until_ms:
            self._bursting_until_ms = ts_ms + self._random.expovariate(1 / pace.BURST_S) * 1_000
            self._quiet_until_ms = self._bursting_until_ms + self._random.expovariate(1 / pace.QUIET_S) * 1_000
            volatility = self._volatility * self._random.lognormvariate(0, pace.VOLATILITY_SIGMA)
            self._volatility = min(pace.MAX_VOLATILITY, max(pace.MIN_VOLATILITY, volatility))
        return pace.QUIET_RATE

    def _move(self, walk: Walk) -> int:
        """Move the price by some ticks and return the side that did it."""
        usual_ticks = max(walk.price_ticks * pace.STEP, 1)
        step = round(self._random.gauss(0, 1) * self._volatility * usual_ticks)
        walk.price_ticks = max(1, walk.price_ticks + step)
        return BUY if step > 0 or (step == 0 and self._random.random() < 0.5) else SELL

    def _size(self) -> int:
        """In lots."""
        unit = 10 ** max(0, self.instrument.size_decimals - pace.SIZE_DECIMALS)
        size = self._random.lognormvariate(pace.SIZE_MU, pace.SIZE_SIGMA)
        if self._random.random() < pace.TAIL_SHARE:
            size *= self._random.paretovariate(pace.TAIL_ALPHA)
        return max(1, int(min(size, pace.MAX_SIZE) * unit))
