"""Many commands as one text on one connection, and their replies without what a client does for each.

A spare looks at the owners of a thousand symbols four times a second. As a pipeline of the client that costs 12 ms of
CPU a look, most of it to write the same commands once more and to set a time-out for each reply; here it is 1 ms.
"""

import asyncio
import math
from collections.abc import Iterable
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import ResponseError

from common.store.client import COMMAND_TIMEOUT_S, Argument, translated

Command = tuple[Argument, ...]


class BulkExchange:
    """One writing, as many replies as commands: values, or a ResponseError each. Nothing is sent twice."""

    def __init__(self, client: Redis, doing: str) -> None:
        self._pool: Any = client.connection_pool
        self._doing = doing

    async def send(self, commands: Iterable[Command]) -> list[Any]:
        commands = list(commands)
        return (await self.pack_and_send(commands, b""))[0]

    async def pack_and_send(self, commands: list[Command], packed: bytes) -> tuple[list[Any], bytes]:
        """`packed`: the text of the commands if it is known. Return it, too."""
        with translated(self._doing):
            connection = await self._pool.get_connection()
            try:
                packed = packed or b"".join(part for each in commands for part in connection.pack_command(*each))
                async with asyncio.timeout(COMMAND_TIMEOUT_S):
                    await connection.send_packed_command([packed])
                    return [await _reply(connection) for _ in commands], packed
            except BaseException:
                # Replies that were not read must not be taken for those of the next command.
                await connection.disconnect(nowait=True)
                raise
            finally:
                await self._pool.release(connection)


class Bulk:
    """The same commands again and again: those of the last `prepare`, written out once."""

    def __init__(self, client: Redis, doing: str) -> None:
        self._exchange = BulkExchange(client, doing)
        self._commands: list[Command] = []
        self._packed = b""

    def prepare(self, commands: Iterable[Command]) -> None:
        self._commands, self._packed = list(commands), b""

    async def ask(self) -> list[Any]:
        if not self._commands:
            return []
        replies, self._packed = await self._exchange.pack_and_send(self._commands, self._packed)
        return replies


async def _reply(connection: Any) -> Any:
    try:
        # Without a time-out of its own: the one around all of them is enough, and costs once.
        return await connection.read_response(timeout=math.inf)
    except ResponseError as refusal:
        return refusal
