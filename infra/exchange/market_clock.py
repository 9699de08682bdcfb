"""A clock that shows market time: what runs by it lives as fast as the market."""

import asyncio
from dataclasses import dataclass

from infra.exchange.exchange import Exchange


@dataclass(frozen=True, slots=True)
class MarketClock:
    """A common.clock.Clock. It ticks when the exchange advances."""

    exchange: Exchange

    def now_ms(self) -> int:
        return self.exchange.now_ms

    def monotonic_ms(self) -> int:
        return self.exchange.now_ms

    def boot_ms(self) -> int:
        return self.exchange.now_ms

    async def sleep_ms(self, ms: int) -> None:
        if ms <= 0:
            return await asyncio.sleep(0)
        woken = asyncio.Event()
        self.exchange.call_at(self.exchange.now_ms + ms, woken.set)
        await woken.wait()
