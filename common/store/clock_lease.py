"""The lease of the clock: of several clock processes one ticks.

It guards no data. Two that tick at once enqueue the same job ids, and the queue takes each once.
"""

from typing import Any

from redis.asyncio import Redis

from common.store import scripts
from common.store.client import translated
from common.store.keys import CLOCK


class ClockLease:
    """One process's view of it. `token`: unique to the process, its name first."""

    def __init__(self, client: Redis, token: str, ttl_ms: int) -> None:
        self._hold = scripts.hold.of(client)
        self._token = token
        self._ttl_ms = ttl_ms

    async def hold(self) -> bool:
        """Take or keep it for another `ttl_ms`; False while another process has it."""
        return await self._ask(self._ttl_ms)

    async def release(self) -> None:
        """Give it up, if it is ours."""
        await self._ask(0)

    async def _ask(self, ttl_ms: int) -> bool:
        with translated("lease of the clock"):
            (word,) = await self._hold(right=CLOCK, token=self._token, ttl_ms=ttl_ms)
        return bool(word == b"OK")


async def clock_holder(client: Redis) -> str:
    """The process that ticks, for people; "" if none does."""
    with translated("read of the clock's lease"):
        token: Any = await client.get(CLOCK)
    return (token or b"").decode().partition(" ")[0]
