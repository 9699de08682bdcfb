"""The Budget of workers.venues.shared.budget, shared by the whole fleet through Redis."""

import logging
import random
from collections.abc import Mapping
from dataclasses import dataclass

from common.clock import Clock
from common.store.budget import BudgetStore
from workers.venues.shared.base import Throttled
from workers.venues.shared.budget import CONNECT

log = logging.getLogger(__name__)

# What a venue that gave no Retry-After is spared, and a ban without one: Binance's shortest is two minutes.
COOLDOWN_MS, BAN_MS = 10_000, 120_000
# So that a fleet that waited together does not come back together.
JITTER_SHARE = 0.1
# A wait longer than this is no wait but a ban: the caller is told, and shows what it has.
PATIENCE_MS = 90_000


@dataclass(slots=True)
class FleetBudget:
    """`connects` bounds the opening of sockets.

    `headers`: the `window_ms` of each header that says what has been used, by its lower-case name.
    """

    venue: str
    requests: BudgetStore
    connects: BudgetStore
    clock: Clock
    headers: Mapping[str, int]
    # Our monotonic time until which the venue is known to refuse.
    _refused_until_ms: int = 0
    # The same of the wall clock, for people.
    _told_until_ms: int = 0

    @property
    def is_throttled(self) -> bool:
        return self.clock.monotonic_ms() < self._refused_until_ms

    @property
    def throttled_until_ms(self) -> int | None:
        return self._told_until_ms if self.is_throttled else None

    async def is_half_free(self) -> bool:
        """Whether a request that can wait may be sent: half of the venue's budget is for those that can't."""
        return not self.is_throttled and await self.requests.is_half_free()

    async def spend(self, endpoint: str, weight: int) -> None:
        store = self._store(endpoint)
        while wait_ms := await store.spend(weight):
            # It may be another process that was refused.
            self._note(await store.cooldown_ms())
            if wait_ms > PATIENCE_MS:
                raise Throttled(f"{self.venue} is not to be asked for {wait_ms} ms", wait_ms, banned=True)
            await self.clock.sleep_ms(self._jittered(wait_ms))

    async def used(self, headers: Mapping[str, str]) -> None:
        for name, window_ms in self.headers.items():
            text = headers.get(name, "")
            if text.isdigit():
                await self.requests.witness(window_ms, int(text))

    async def throttled(self, error: Throttled) -> None:
        min_ms = BAN_MS if error.banned else COOLDOWN_MS
        span_ms = self._jittered(error.retry_after_ms or min_ms)
        what = {
            "venue": self.venue,
            "endpoint": error.endpoint,
            "market": error.market,
            "error": str(error),
            "retry_after_ms": error.retry_after_ms,
            "cooldown_ms": span_ms,
        }
        left_ms = await self._store(error.endpoint).cool_down(span_ms, error.endpoint, what)
        self._note(left_ms)
        log.warning("throttled", extra=what | {"left_ms": left_ms})

    def _store(self, endpoint: str) -> BudgetStore:
        return self.connects if endpoint == CONNECT else self.requests

    def _note(self, left_ms: int) -> None:
        until_ms = self.clock.monotonic_ms() + left_ms
        if until_ms > self._refused_until_ms:
            self._refused_until_ms, self._told_until_ms = until_ms, self.clock.now_ms() + left_ms

    @staticmethod
    def _jittered(ms: int) -> int:
        return ms + int(random.uniform(0, JITTER_SHARE * ms)) + 1
