"""Scripts of many symbols: calls of one moment go to the store in one round trip, and on disk in one write.

Fifty idle symbols of a process give fifty signs of life a second, all in the same moment (workers.symbol.term). Each by
itself is a command, a reply and an fsync.
"""

import asyncio
from collections.abc import Sequence
from typing import Any, NamedTuple

from redis.asyncio import Redis
from redis.exceptions import NoScriptError, ResponseError

from common.errors import StoreUnavailable
from common.store.bulk import BulkExchange
from common.store.client import Argument
from common.store.script import Alone, Compiled

# A call waits that long for others of its moment.
GATHER_S = 0.002


class _Call(NamedTuple):
    script: Compiled
    keys: Sequence[str]
    arguments: Sequence[Argument]
    reply: "asyncio.Future[list[Any]]"


class Together:
    """A Runner of scripts. Each call has its own outcome, and none is sent twice. `doing`: what for, in errors."""

    def __init__(self, client: Redis, doing: str) -> None:
        self._alone = Alone(client)
        self._exchange = BulkExchange(client, doing)
        self._calls: list[_Call] = []
        # Else a task that nothing refers to may be collected before it has ended.
        self._sending: set[asyncio.Task[None]] = set()

    async def run(self, script: Compiled, keys: Sequence[str], arguments: Sequence[Argument]) -> list[Any]:
        loop = asyncio.get_running_loop()
        call = _Call(script, keys, arguments, loop.create_future())
        self._calls.append(call)
        if len(self._calls) == 1:
            loop.call_later(GATHER_S, self._start)
        return await call.reply

    def _start(self) -> None:
        calls, self._calls = self._calls, []
        task = asyncio.create_task(self._send(calls))
        self._sending.add(task)
        task.add_done_callback(self._sending.discard)

    async def _send(self, calls: list[_Call]) -> None:
        try:
            replies = await self._exchange.send(
                ("EVALSHA", call.script.digest, len(call.keys), *call.keys, *call.arguments) for call in calls
            )
        except Exception as error:
            for call in calls:
                _fail(call, error)
            return
        for call, reply in zip(calls, replies, strict=True):
            if isinstance(reply, NoScriptError):
                # Not run: the store has lost its scripts. Sent by itself it brings the text along.
                await self._send_alone(call)
            elif isinstance(reply, ResponseError):
                _fail(call, reply)
            elif not call.reply.done():
                call.reply.set_result(reply)

    async def _send_alone(self, call: _Call) -> None:
        try:
            reply = await self._alone.run(call.script, call.keys, call.arguments)
        except Exception as error:
            _fail(call, error)
        else:
            if not call.reply.done():
                call.reply.set_result(reply)


def _fail(call: _Call, error: Exception) -> None:
    """Who waits no more is not told. Each gets an error of its own: tracebacks are added to it."""
    if not call.reply.done():
        call.reply.set_exception(StoreUnavailable(str(error)) if isinstance(error, StoreUnavailable) else error)
