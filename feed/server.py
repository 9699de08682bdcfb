"""What listens: uvicorn, with bounds on what one connection may cost before the application sees anything of it."""

import asyncio
import socket
from typing import Any, cast

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from common.watchdog import watched
from feed.stream import ABORT, MOST_BYTES

# Address and headers of one request; uvicorn itself takes any number.
MOST_HEAD_BYTES = 32 << 10
# A connection that has not sent a whole head by then is closed.
HEAD_TIMEOUT_S = 10.0
# Written to a socket but not yet sent. Beyond that a send waits, and news for that client is merged meanwhile.
WRITE_LIMIT_BYTES = 16 << 10
# A message beyond stream.MOST_BYTES is answered with an error; one beyond this ends the connection (1009).
MOST_FRAME_BYTES = 16 * MOST_BYTES
PING_S = 20.0
# Open connections get that long to end. uvicorn counts in whole seconds.
SHUTDOWN_S = 1


class BoundedHttp(HttpToolsProtocol):
    """Refuses a request whose head does not end, be it in bytes or in time."""

    _head_bytes = 0
    _head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(cast(asyncio.Transport, transport))
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._head_ended()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._head_bytes += len(data)
        super().data_received(data)
        if self._head_timer and self._head_bytes > MOST_HEAD_BYTES and not self.transport.is_closing():
            self.send_400_response("The request's head is too large.")

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._await_head()

    def on_headers_complete(self) -> None:
        self._head_ended()
        if len(self.url) + sum(len(name) + len(value) for name, value in self.headers) > MOST_HEAD_BYTES:
            # The parser reports it as an invalid request, which is answered with 400.
            raise ValueError(f"head of more than {MOST_HEAD_BYTES} bytes")
        super().on_headers_complete()

    def _await_head(self) -> None:
        if self._head_timer is None:
            self._head_timer = self.loop.call_later(HEAD_TIMEOUT_S, self._too_slow)

    def _head_ended(self) -> None:
        self._head_bytes = 0
        if self._head_timer:
            self._head_timer.cancel()
            self._head_timer = None

    def _too_slow(self) -> None:
        self._head_timer = None
        self.transport.close()


class BoundedWebSocket(WebSocketsSansIOProtocol):
    """Tells early that a client does not read, and lets the application cut it off."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        cast(asyncio.Transport, transport).set_write_buffer_limits(high=WRITE_LIMIT_BYTES)
        super().connection_made(transport)

    def handle_connect(self, event: Any) -> None:
        super().handle_connect(event)
        if hasattr(self, "scope"):
            # The task that serves the scope has been made, but has not begun.
            extensions = cast(dict[str, Any], self.scope["extensions"])
            extensions[ABORT] = self.transport.abort


class WatchedServer(uvicorn.Server):
    """Ends the process should its loop hang: nobody is answered by then, not even `/healthz`."""

    lease_ttl_ms = 0

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        async with watched(self.lease_ttl_ms):
            await super().serve(sockets)


def make_watched_server(app: ASGIApp, host: str, port: int, lease_ttl_ms: int) -> uvicorn.Server:
    """For a process that has nothing else to do."""
    server = WatchedServer(make_server(app, host, port).config)
    server.lease_ttl_ms = lease_ttl_ms
    return server


def make_server(app: ASGIApp, host: str, port: int) -> uvicorn.Server:
    config = uvicorn.Config(
        app,
        host=host,
        port=port,
        http=BoundedHttp,
        ws=BoundedWebSocket,
        loop="uvloop",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        # Whom to believe is decided in feed.access.
        proxy_headers=False,
        ws_max_size=MOST_FRAME_BYTES,
        ws_ping_interval=PING_S,
        ws_ping_timeout=PING_S,
        # Our messages are small and many; compressing them costs more time than it saves.
        ws_per_message_deflate=False,
        timeout_graceful_shutdown=SHUTDOWN_S,
        backlog=socket.SOMAXCONN,
    )
    return uvicorn.Server(config)
