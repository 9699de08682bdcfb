"""Redis clients, made for two uses that must not be mixed.

redis-py re-sends a command up to ten times by itself, so a commit whose reply is lost would be applied twice, and
its default time-out of 5 s ends every longer blocking read. Both are decided here and nowhere else.
"""

import asyncio
import math
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import hiredis
from redis.asyncio import Redis
from redis.asyncio.connection import AbstractConnection, ConnectionPool
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError, ResponseError

from common.errors import StoreUnavailable

# A commit takes under 1 ms; a store that needs 2 s is as good as gone, and the spare is waiting.
COMMAND_TIMEOUT_S = 2.0
# A piece of 1 MB over a line of 1 Mbit/s takes 8 s.
MOVE_TIMEOUT_S = 30.0
# Finds a silently dead peer under a subscription; PING does not disturb RESP3 push messages.
HEALTH_CHECK_S = 10
# Connections of one client. The store answers one command at a time: more connections only wait there instead of here.
MAX_CONNECTIONS = 16
Argument = str | bytes | int
# How long a command may wait for one of them. A burst of thousands is through by then; a store that hangs is told of.
TURN_TIMEOUT_S = 20.0


def commit_client(url: str) -> Redis:
    """For commands that answer at once: commits, claims, reads. Nothing is ever sent twice.

    A caller that finds all connections in use waits for one, in order.
    """
    return _client(url, COMMAND_TIMEOUT_S, MAX_CONNECTIONS)


def blocking_client(url: str) -> Redis:
    """For XREAD BLOCK and pub/sub. No time-out of its own: the caller's BLOCK or outer loop ends the wait.

    Each reader holds a connection for as long as it reads, so there are as many as readers.
    """
    return _client(url, None, sys.maxsize)


def plain_client(url: str) -> Redis:
    """For a move of the store: much in each command, over a slow line; replies as the server gives them (RESP3)."""
    client = _client(url, MOVE_TIMEOUT_S, MAX_CONNECTIONS)
    client.response_callbacks.clear()
    return client


def _client(url: str, timeout_s: float | None, max_connections: int) -> Redis:
    pool = _WaitingPool.from_url(
        url,
        max_connections=max_connections,
        socket_timeout=timeout_s,
        socket_connect_timeout=COMMAND_TIMEOUT_S,
        health_check_interval=0 if timeout_s else HEALTH_CHECK_S,
        retry=Retry(NoBackoff(), 0),
        protocol=3,
    )
    # Its class depends on the URL's scheme (TCP, TLS or Unix socket), so it is known only now.
    pool.connection_class = _cancellable(pool.connection_class)
    return Redis.from_pool(pool)


class _WaitingPool(ConnectionPool):
    """A pool in which a command waits for its turn.

    redis-py's own raises at its bound, which looks like a store that is away; its BlockingConnectionPool stands on
    asyncio.Condition, which loses a turn that is passed to a task just cancelled (Python 3.11). Both also tell of each
    lending, for metrics that are not kept here, at a tenth of what a command costs.
    """

    def __init__(self, max_connections: int, **options: Any) -> None:
        super().__init__(max_connections=max_connections, **options)
        self._turns = asyncio.Semaphore(max_connections)
        self._lent: set[AbstractConnection] = set()

    async def get_connection(self, *args: Any, **options: Any) -> AbstractConnection:
        await self._await_turn()
        try:
            connection: AbstractConnection = self.get_available_connection()  # type: ignore[no-untyped-call]
        except BaseException:
            self._turns.release()
            raise
        self._lent.add(connection)
        try:
            await self.ensure_connection(connection)
        except BaseException:
            await self.release(connection)
            raise
        return connection

    async def release(self, connection: AbstractConnection) -> None:
        self._in_use_connections.remove(connection)
        try:
            if connection.should_reconnect():  # type: ignore[no-untyped-call]
                await connection.disconnect()
        finally:
            self._available_connections.append(connection)
            self._lent.remove(connection)
            self._turns.release()

    async def _await_turn(self) -> None:
        if not self._turns.locked():
            await self._turns.acquire()
            return
        try:
            async with asyncio.timeout(TURN_TIMEOUT_S):
                await self._turns.acquire()
        except TimeoutError:
            raise RedisConnectionError(f"all {self.max_connections} connections are in use") from None


async def ask(client: Redis, *command: Argument) -> Any:
    """Send one command, once, and return its reply as it comes. Raises what redis-py raises.

    Without what redis-py does around each command, which is a third of what it costs.
    """
    pool: Any = client.connection_pool
    connection = await pool.get_connection()
    try:
        async with asyncio.timeout(COMMAND_TIMEOUT_S):
            await connection.send_packed_command(connection.pack_command(*command))
            return await connection.read_response(timeout=math.inf)
    except ResponseError:
        # It has been read.
        raise
    except BaseException:
        # A reply that was not read must not be taken for that of the next command.
        await connection.disconnect(nowait=True)
        raise
    finally:
        await pool.release(connection)


class _CancellableWrites(AbstractConnection):
    """Ends with the task that waits for it, and says that it is closed as any connection does.

    redis-py writes under `asyncio.wait_for`, and before Python 3.12 that returns, as if nothing had happened, when
    the write ends in the turn of the loop in which its task is cancelled. The task then runs on for ever.

    uvloop, which the feed runs on, refuses to write to a connection that the server has closed by a RuntimeError; for
    redis-py that is no error of the connection, and it passes it on.
    """

    def pack_command(self, *args: Any) -> list[bytes]:
        """In C, as redis-py does where nothing is awaited: here it joins the text once more for each argument."""
        name, *rest = args
        # Of two words, as CONFIG GET.
        words = (name.encode() if isinstance(name, str) else name).split()
        return [hiredis.pack_command((*words, *rest))]

    async def send_packed_command(self, command: Any, check_health: bool = True) -> None:
        limit_s, self.socket_timeout = self.socket_timeout, None
        try:
            async with asyncio.timeout(limit_s):
                await super().send_packed_command(command, check_health)
        except RuntimeError as error:
            raise RedisConnectionError(str(error)) from error
        finally:
            self.socket_timeout = limit_s


def _cancellable(connection_class: type[AbstractConnection]) -> type[AbstractConnection]:
    return type(f"Cancellable{connection_class.__name__}", (_CancellableWrites, connection_class), {})


@contextmanager
def translated(doing: str) -> Iterator[None]:
    """Turn whatever the client raises into StoreUnavailable: the outcome is unknown, and must not be guessed."""
    try:
        yield
    except (RedisError, OSError) as error:
        raise StoreUnavailable(f"{doing} failed: {error or type(error).__name__}") from error
