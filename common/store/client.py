"""Redis clients, made for two uses that must not be mixed.

redis-py re-sends a command up to ten times by itself, so a commit whose reply is lost would be applied twice, and
its default time-out of 5 s ends every longer blocking read. Both are decided here and nowhere else.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from common.errors import StoreUnavailable

# A commit takes under 1 ms; a store that needs 2 s is as good as gone, and the spare is waiting.
COMMAND_TIMEOUT_S = 2.0
# Finds a silently dead peer under a subscription; PING does not disturb RESP3 push messages.
HEALTH_CHECK_S = 10


def commit_client(url: str) -> Redis:
    """For commands that answer at once: commits, claims, reads. Nothing is ever sent twice."""
    return _client(url, COMMAND_TIMEOUT_S)


def blocking_client(url: str) -> Redis:
    """For XREAD BLOCK and pub/sub. No time-out of its own: the caller's BLOCK or outer loop ends the wait."""
    return _client(url, None)


def _client(url: str, timeout_s: float | None) -> Redis:
    return Redis.from_url(
        url,
        socket_timeout=timeout_s,
        socket_connect_timeout=COMMAND_TIMEOUT_S,
        health_check_interval=0 if timeout_s else HEALTH_CHECK_S,
        retry=Retry(NoBackoff(), 0),
        protocol=3,
    )


@contextmanager
def translated(doing: str) -> Iterator[None]:
    """Turn whatever the client raises into StoreUnavailable: the outcome is unknown, and nobody may guess it."""
    try:
        yield
    except (RedisError, OSError) as error:
        raise StoreUnavailable(f"{doing} failed: {error or type(error).__name__}") from error
