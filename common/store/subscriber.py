"""Pub/sub over one connection, for ever: what is lost while it is down must be read elsewhere.

redis-py's own listen() ends in an error after some seconds of outage, and what it missed until then is not told.
"""

import asyncio
import logging
import random
from collections.abc import Callable
from typing import Any

from redis.asyncio import Redis
from redis.asyncio.client import PubSub
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError

log = logging.getLogger(__name__)

# Backoff with full jitter: up to 0.05 s, 0.1 s, ... at most 2 s, so that many feeds do not come back as one.
MIN_BACKOFF_S, MAX_BACKOFF_S = 0.05, 2.0
# A connection is pinged after 10 s of silence (common.store.client); one that stays silent twice as long is dead.
SILENCE_S = 10.0
MAX_SILENCES = 3


class Subscriber:
    """Listens on the channels added, and comes back on all of them after an outage.

    `on_message(channel, data)` is called in the order of publication; `on_subscribed(channel)` each time a
    subscription has begun, before its first message: what was published before is not coming.
    """

    def __init__(
        self,
        client: Redis,
        on_message: Callable[[str, bytes], None],
        on_subscribed: Callable[[str], None],
        on_outage: Callable[[], None] = lambda: None,
    ) -> None:
        self._client = client
        self._on_message = on_message
        self._on_subscribed = on_subscribed
        self._on_outage = on_outage
        self._wanted: set[str] = set()
        self._dropped: set[str] = set()
        self._changed = asyncio.Event()

    @property
    def channels(self) -> frozenset[str]:
        return frozenset(self._wanted)

    def add(self, channel: str) -> None:
        self._wanted.add(channel)
        self._changed.set()

    def drop(self, channel: str) -> None:
        """A channel that is added again gets a new subscription, and `on_subscribed` for it."""
        self._wanted.discard(channel)
        self._dropped.add(channel)
        self._changed.set()

    async def run(self) -> None:
        """Run until cancelled."""
        failures = 0
        while True:
            began_s = asyncio.get_running_loop().time()
            try:
                await self._connected()
            except* Exception as errors:
                # Also one that is no outage, be it of the library or of who is told: to listen is never over.
                self._on_outage()
                lived_s = asyncio.get_running_loop().time() - began_s
                failures = 0 if lived_s > MAX_BACKOFF_S else failures + 1
                known = errors.subgroup((RedisError, OSError)) is not None
                what = {"error": str(errors.exceptions[0]), "failures": failures}
                log.warning("subscription lost", extra=what, exc_info=not known)
            await asyncio.sleep(random.uniform(0, min(MIN_BACKOFF_S * 2**failures, MAX_BACKOFF_S)))

    async def _connected(self) -> None:
        async with self._client.pubsub(push_handler_func=_as_it_is) as pubsub, asyncio.TaskGroup() as group:
            await pubsub.connect()
            group.create_task(self._ask(pubsub))
            await self._listen(pubsub)

    async def _ask(self, pubsub: PubSub) -> None:
        """Keep the server's idea of our channels equal to ours."""
        asked: set[str] = set()
        while True:
            self._changed.clear()
            old, new = asked & self._dropped, self._wanted - (asked - self._dropped)
            self._dropped.clear()
            asked = asked - old | new
            if old:
                await pubsub.unsubscribe(*old)
            if new:
                await pubsub.subscribe(*new)
            await self._changed.wait()

    async def _listen(self, pubsub: PubSub) -> None:
        now_s = asyncio.get_running_loop().time
        silences = 0
        while silences < MAX_SILENCES:
            asked_s = now_s()
            response: Any = await pubsub.parse_response(block=False, timeout=SILENCE_S)
            if response is None:
                # Either the answer to a ping, which comes at once, or nothing at all.
                silences = silences + 1 if now_s() - asked_s >= SILENCE_S / 2 else 0
                continue
            silences = 0
            kind, channel, data = response
            if kind == b"message":
                self._on_message(channel.decode(), data)
            elif kind == b"subscribe":
                self._on_subscribed(channel.decode())
        raise RedisConnectionError(f"no sign of life for {MAX_SILENCES * SILENCE_S:.0f} s")


async def _as_it_is(response: Any) -> Any:
    """The client's own handler writes every message out as text, for a log that is not read."""
    return response
