"""A client that does not read."""

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from websockets.asyncio.client import ClientConnection

from tests.kit.served import Served, hear, say
from tests.kit.writer import INSTRUMENT

# Small, so that a client that does not read shows after some kilobytes. The kernel's usual buffers hide it for long.
BUFFER_BYTES = 4_096


@asynccontextmanager
async def stalled(feed: Served, **asked: Any) -> AsyncIterator[ClientConnection]:
    """A client that has subscribed and then does not read. `asked`: None: without it."""
    raw = socket.socket()
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER_BYTES)
    raw.connect(("127.0.0.1", feed.port))
    async with feed.connect(sock=raw, max_queue=1) as connection:
        given = {"symbol": INSTRUMENT.symbol, "limit": 1} | asked
        await say(connection, action="subscribe", **{name: value for name, value in given.items() if value is not None})
        await hear(connection, "snapshot")
        connection.transport.pause_reading()
        yield connection
        connection.transport.abort()
