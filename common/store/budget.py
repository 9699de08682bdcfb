"""A venue's rate limits as one budget of the whole fleet, taken atomically by weight."""

from collections.abc import Sequence
from itertools import chain
from typing import Any, NamedTuple

import orjson
from redis.asyncio import Redis

from common.store.client import translated
from common.store.keys import budget_key
from common.store.script import Script

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
    """How often a venue has refused, by what was asked for; the last refusal; how long nobody asks now."""

    times: dict[str, int]
    last: dict[str, Any]
    left_ms: int


class BudgetStore:
    """The budget of one venue and key (an address, an account). `limits` hold side by side."""

    def __init__(self, client: Redis, name: str, limits: Sequence[Limit]) -> None:
        self._keys = [budget_key(name)]
        self._limits = limits
        self._client = client
        self._spend = Script(client, "spend")
        self._cooldown = Script(client, "cooldown")
        self._witness = Script(client, "witness")

    async def spend(self, weight: int) -> int:
        """Take `weight` and return 0, or take nothing and return how many ms to wait before asking again."""
        limits = chain.from_iterable((limit.weight, limit.window_ms, limit.bucket_ms) for limit in self._limits)
        with translated(f"spending from {self._keys[0]}"):
            _, wait_ms = await self._spend(self._keys, weight, *limits)
        return int(wait_ms)

    async def cool_down(self, span_ms: int, endpoint: str, what: dict[str, object]) -> int:
        """Let nobody ask for `span_ms`; return how long it is in all, for another cooldown may last longer."""
        with translated(f"cooldown of {self._keys[0]}"):
            _, left_ms = await self._cooldown(self._keys, span_ms, orjson.dumps(what), endpoint)
        return int(left_ms)

    async def witness(self, window_ms: int, used: int) -> None:
        """The venue counts `used` in a window of ours: raise our count to it."""
        bucket_ms = Limit(0, window_ms).bucket_ms
        with translated(f"count of {self._keys[0]}"):
            await self._witness(self._keys, window_ms, bucket_ms, used)

    async def cooldown_ms(self) -> int:
        """How much longer nobody may ask; 0 while everybody may."""
        with translated(f"read of {self._keys[0]}"):
            until_ms = await self._client.hget(self._keys[0], "cooldown_until_ms")
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
