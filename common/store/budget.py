"""A venue's rate limits as one budget of the whole fleet, taken atomically by weight."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import orjson
from redis.asyncio import Redis

from common.store import scripts
from common.store.client import translated
from common.store.keys import budget_key

# Buckets a window is counted in: the oldest one counts whole, so that much of the limit may lie idle.
_BUCKETS = 60
_TIMES = "throttles:"


class Limit(NamedTuple):
    """At most `weight` in any `window_ms`."""

    weight: int
    window_ms: int

    @property
    def bucket_ms(self) -> int:
        return max(1, self.window_ms // _BUCKETS)


class Throttles(NamedTuple):
    """How often a venue has refused, by what was asked for; the last refusal; how long it is not asked now."""

    times: dict[str, int]
    last: dict[str, Any]
    left_ms: int


class BudgetStore:
    """The budget of one venue and key (an address, an account). `limits` hold side by side."""

    def __init__(self, client: Redis, name: str, limits: Sequence[Limit]) -> None:
        self._key = budget_key(name)
        self._limits = limits
        self._client = client
        self._spend = scripts.spend.of(client)
        self._cooldown = scripts.cooldown.of(client)
        self._witness = scripts.witness.of(client)

    async def spend(self, weight: int) -> int:
        """Take `weight` and return 0, or take nothing and return how many ms to wait before asking again."""
        limits = ((limit.weight, limit.window_ms, limit.bucket_ms) for limit in self._limits)
        with translated(f"spending from {self._key}"):
            _, wait_ms = await self._spend(budget=self._key, weight=weight, limits=limits)
        return int(wait_ms)

    async def is_half_free(self) -> bool:
        """Whether at most half of each limit is spent, and the venue may be asked at all."""
        limits = ((limit.weight // 2, limit.window_ms, limit.bucket_ms) for limit in self._limits)
        with translated(f"look at {self._key}"):
            _, wait_ms = await self._spend(budget=self._key, weight=0, limits=limits)
        return int(wait_ms) == 0

    async def cool_down(self, span_ms: int, endpoint: str, what: dict[str, object]) -> int:
        """Let no process ask for `span_ms`; return how long it is in all, for another cooldown may last longer."""
        with translated(f"cooldown of {self._key}"):
            _, left_ms = await self._cooldown(
                budget=self._key, span_ms=span_ms, throttle=orjson.dumps(what), endpoint=endpoint
            )
        return int(left_ms)

    async def witness(self, window_ms: int, used: int) -> None:
        """The venue counts `used` in a window of ours: raise our count to it."""
        bucket_ms = Limit(0, window_ms).bucket_ms
        with translated(f"count of {self._key}"):
            await self._witness(budget=self._key, window_ms=window_ms, bucket_ms=bucket_ms, used=used)

    async def cooldown_ms(self) -> int:
        """How much longer no process may ask; 0 while all may."""
        with translated(f"read of {self._key}"):
            until_ms = await self._client.hget(self._key, "cooldown_until_ms")
            seconds, micros = await self._client.time()
        return max(0, int(until_ms or 0) - int(seconds) * 1_000 - int(micros) // 1_000)


async def read_throttles(client: Redis, name: str) -> Throttles:
    """What the venue has refused so far."""
    key = budget_key(name)
    with translated(f"read of {key}"):
        found: Any = await client.hgetall(key)
        seconds, micros = await client.time()
    now_ms = int(seconds) * 1_000 + int(micros) // 1_000
    fields = {field.decode(): value for field, value in found.items()}
    return Throttles(
        {field.removeprefix(_TIMES): int(value) for field, value in fields.items() if field.startswith(_TIMES)},
        orjson.loads(fields.get("throttle", b"{}")),
        max(0, int(fields.get("cooldown_until_ms", 0)) - now_ms),
    )
