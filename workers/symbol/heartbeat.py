"""Signs of life of one who holds a symbol: without them another takes it over."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TypeVar

from common.clock import Clock
from workers.symbol.store import Store

# Signs of life per lease: two may be lost before anybody takes the symbol over.
BEATS_PER_LEASE = 4

T = TypeVar("T")


@dataclass(slots=True)
class Heartbeat:
    """Those of a term, and with them its health where that has changed. A commit is one, too."""

    store: Store
    token: str
    clock: Clock
    lease_ttl_ms: int
    # When, of the monotonic clock, all idle symbols of the process beat, together.
    phase_ms: int
    # Our own monotonic time of the last one.
    at_ms: int = field(init=False)
    health: dict[str, str] = field(default_factory=dict)
    _told: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.at_ms = self.clock.monotonic_ms()

    @property
    def news(self) -> dict[str, str]:
        """Health as it is to be told; empty if it has been."""
        return {} if self.health == self._told else self.health

    def due_ms(self) -> int:
        """Until the first moment of the process's beats that comes after the last sign of life."""
        step_ms = max(1, self.lease_ttl_ms // BEATS_PER_LEASE)
        since_ms = (self.at_ms - self.phase_ms) % step_ms
        return self.at_ms + step_ms - since_ms - self.clock.monotonic_ms()

    async def beat(self, seq: int) -> None:
        await self.store.beat(self.token, seq, self.news)
        self.given()

    def given(self) -> None:
        """A sign of life has been given, with the news."""
        self.at_ms = self.clock.monotonic_ms()
        self._told = self.health


async def beating(task: "asyncio.Task[T]", beat: Callable[[], Awaitable[object]], every_s: float) -> T:
    """Wait for the task, with signs of life while it lasts."""
    while not (await asyncio.wait({task}, timeout=every_s))[0]:
        await beat()
    return task.result()
