"""The exchange on a socket: one loopback port for REST, streams and the admin surface."""

import asyncio
import contextlib
import errno
import secrets
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, cast

import uvicorn

from common.errors import OperatorError
from infra.exchange.app import app
from infra.exchange.connection import ExchangeConnection
from infra.exchange.exchange import Exchange

HOST = "127.0.0.1"
# How often market time moves and connections are looked after.
PACE_S = 0.01
# The share of a turn spent on a market that is too fast; then sockets get theirs.
MAX_TURN_S = 0.05
# Then clients that do not answer a close frame, and answers under way, have had their time.
STOP_WITHIN_S = 2.0
# Market time moves in pieces, so that a turn can end.
PIECE_MS = 1_000


@dataclass(frozen=True, slots=True)
class Address:
    """`rest` goes before `/api/v3`, `ws` before `/ws` and `/stream`, `admin` is where `/stats` and the rest are."""

    port: int
    token: str

    @property
    def rest(self) -> str:
        return f"http://{HOST}:{self.port}"

    @property
    def ws(self) -> str:
        return f"ws://{HOST}:{self.port}"

    @property
    def admin(self) -> str:
        return f"{self.rest}/_admin"


@asynccontextmanager
async def serving(exchange: Exchange, port: int = 0, token: str | None = None) -> AsyncIterator[Address]:
    """Serve for as long as the block runs. Port 0 is any free one."""
    token = token or secrets.token_urlsafe(16)
    with _listen(port) as listener:
        server = _server(exchange, token)
        await server.startup(sockets=[listener])
        try:
            async with _paced(exchange):
                yield Address(listener.getsockname()[1], token)
        finally:
            exchange.keeper.notify_shutdown(exchange.hub.open, exchange.told_ms)
            exchange.keeper.close_all()
            await _stop(server)


@asynccontextmanager
async def _paced(exchange: Exchange) -> AsyncIterator[None]:
    """Market time runs for as long as the block does; if it can't go on, the block ends with the reason."""
    block = asyncio.current_task()
    assert block is not None
    pace = asyncio.create_task(_pace(exchange))
    pace.add_done_callback(lambda ended: None if ended.cancelled() else block.cancel())
    try:
        yield
    except asyncio.CancelledError:
        if pace.done() and not pace.cancelled():
            block.uncancel()
            await pace
        raise
    finally:
        pace.cancel()
        await asyncio.gather(pace, return_exceptions=True)


def _listen(port: int) -> socket.socket:
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((HOST, port))
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise OperatorError(f"port {port} on {HOST} is taken: stop what listens there, or choose another") from None
        raise OperatorError(f"the exchange can't listen on {HOST} port {port}: {error.strerror}") from None
    return listener


def _server(exchange: Exchange, token: str) -> uvicorn.Server:
    """Of uvicorn's server only the start is used: its main loop is about signals, which are the caller's."""

    def connection(config: uvicorn.Config, server_state: Any, app_state: dict[str, Any]) -> ExchangeConnection:
        return exchange.hub.connection(server_state.connections)

    config = uvicorn.Config(
        app(exchange, token),
        http="httptools",
        # uvicorn calls it like the classes it knows; ours needs the exchange as well.
        ws=cast(type[asyncio.Protocol], connection),
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
    )
    config.load()
    server = uvicorn.Server(config)
    server.lifespan = config.lifespan_class(config)
    return server


async def _stop(server: uvicorn.Server) -> None:
    """End what is connected, in order if it can be; uvicorn's own way takes a tenth of a second at least."""
    for listening in server.servers:
        listening.close()
    for connection in list(server.server_state.connections):
        connection.shutdown()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(STOP_WITHIN_S):
            # uvicorn's sets have no event to wait for.
            while server.server_state.connections or server.server_state.tasks:  # noqa: ASYNC110
                await asyncio.sleep(PACE_S / 2)
    for connection in list(server.server_state.connections):
        if isinstance(connection, ExchangeConnection):
            connection.end()
    for task in list(server.server_state.tasks):
        task.cancel()


async def _pace(exchange: Exchange) -> None:
    """Move market time along the wall clock's, and look after the connections."""
    last_ms = exchange.clock.monotonic_ms()
    owed_ms = 0.0
    while True:
        exchange.keeper.keep_house(exchange.clock.now_ms())
        now_ms = exchange.clock.monotonic_ms()
        owed_ms = owed_ms + (now_ms - last_ms) * exchange.speed if exchange.speed else 0.0
        last_ms = now_ms
        turn = asyncio.get_running_loop().time()
        while owed_ms >= 1 and asyncio.get_running_loop().time() - turn < MAX_TURN_S:
            piece_ms = min(int(owed_ms), PIECE_MS)
            exchange.advance(piece_ms)
            owed_ms -= piece_ms
        await asyncio.sleep(0 if owed_ms >= 1 else PACE_S)
