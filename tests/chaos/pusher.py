"""Pushes trades into an inbox, through a proxy that swallows replies, until it knows that each of them is there."""

import asyncio
import time
from collections import Counter, deque
from dataclasses import dataclass, field
from random import Random
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import RedisError

from common.market.instrument import Instrument
from common.market.timeframes.timeframe import DAY_MS
from common.market.trade import SIDE_NAMES, Trade
from common.store.keys import SymbolKeys
from tests.kit.store.proxy import Proxy

# Before it begins to push live, there are so many trades of the days before; of these every third comes late.
HISTORY, HISTORY_DAYS = 900, 2
# What it pushes once more when the store has gone back in time: more than a dozen commits.
REMEMBERED = 1_500
REST_S = 0.02


@dataclass(slots=True)
class Pusher:
    """`pushed` is the truth: what was pushed, by id. `happened` counts what it met, and what it did on purpose."""

    client: Redis
    proxy: Proxy
    instrument: Instrument
    random: Random
    pushed: dict[int, Trade] = field(default_factory=dict)
    happened: Counter[str] = field(default_factory=Counter)
    _late: list[Trade] = field(default_factory=list)
    _underway: dict[int, Trade] = field(default_factory=dict)
    _recent: deque[Trade] = field(default_factory=lambda: deque(maxlen=REMEMBERED))
    _price_ticks: int = 10_000
    _next_id: int = 1

    async def history(self) -> None:
        """Days that are over, with holes to be filled later."""
        now_ms = _now_ms()
        times = sorted(now_ms - 60_000 - self.random.randrange(HISTORY_DAYS * DAY_MS) for _ in range(HISTORY))
        for ts_ms in times:
            trade = self._new(ts_ms)
            # The newest hole is closed by who comes after it.
            if trade.id % 3 == 0:
                self._late.append(trade)
            else:
                await self.push(trade)
        self.random.shuffle(self._late)

    async def run(self) -> None:
        """Push until cancelled."""
        while True:
            for _ in range(self.random.randint(1, 5)):
                await self._step()
            await asyncio.sleep(REST_S)

    async def finish(self) -> None:
        """Push what is late, and what was on its way when it was cancelled."""
        for trade in (*self._late, *self._underway.values()):
            await self.push(trade)

    async def again(self) -> None:
        """The store may have forgotten: what was pushed lately is pushed once more."""
        self.happened["after a rewind"] += 1
        for trade in list(self._recent):
            await self.push(trade)

    async def push(self, trade: Trade) -> None:
        """Whatever becomes of the reply."""
        self.pushed[trade.id] = self._underway[trade.id] = trade
        while not await self._sent(trade):
            self.happened["unknown"] += 1
            await asyncio.sleep(self.random.uniform(0.01, 0.1))
        self._underway.pop(trade.id, None)
        self._recent.append(trade)

    async def push_late(self) -> None:
        if self._late:
            self.happened["late"] += 1
            await self.push(self._late.pop(self.random.randrange(len(self._late))))

    async def _step(self) -> None:
        chance = self.random.random()
        if chance < 0.03:
            self.proxy.swallow = 1
        if chance > 0.95:
            await self.push_late()
        elif chance > 0.92:
            self.happened["twice"] += 1
            await self.push(self.random.choice(list(self.pushed.values())))
        elif chance > 0.90:
            self._late.append(self._new(_now_ms()))
        else:
            await self.push(self._new(_now_ms()))

    def _new(self, ts_ms: int) -> Trade:
        self._price_ticks = max(1, self._price_ticks + self.random.randint(-3, 3))
        trade = Trade(ts_ms, self._next_id, self._price_ticks, self.random.randrange(1, 500), self.random.randrange(3))
        self._next_id += 1
        return trade

    async def _sent(self, trade: Trade) -> bool:
        """False: it may be there or not."""
        price, size = self.instrument.price_text(trade.price_ticks), self.instrument.size_text(trade.size_lots)
        what: Any = {"price": price, "size": size, "side": SIDE_NAMES[trade.side], "id": trade.id}
        try:
            await self.client.xadd(SymbolKeys(self.instrument.symbol).inbox, {"ts_ms": trade.ts_ms, **what})
        except (RedisError, OSError, TimeoutError):
            return False
        return True


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
