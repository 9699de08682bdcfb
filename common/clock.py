"""Time, as something handed in: the core takes it as an argument, tests move it by hand."""

import asyncio
import time
from typing import Protocol


class Clock(Protocol):
    """Only the shell owns one."""

    def now_ms(self) -> int:
        """Wall clock, ms UTC. May jump."""

    def monotonic_ms(self) -> int:
        """Never goes back; only differences mean anything."""

    async def sleep_ms(self, ms: int) -> None: ...


class SystemClock:
    """The machine's."""

    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000

    def monotonic_ms(self) -> int:
        return time.monotonic_ns() // 1_000_000

    async def sleep_ms(self, ms: int) -> None:
        await asyncio.sleep(ms / 1_000)


async def wait_at_most(event: asyncio.Event, clock: Clock, ms: int) -> None:
    """Wait for the event, but for no longer than `ms` of the clock."""
    happened, over = asyncio.ensure_future(event.wait()), asyncio.ensure_future(clock.sleep_ms(ms))
    try:
        await asyncio.wait({happened, over}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        happened.cancel()
        over.cancel()
