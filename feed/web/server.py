"""What listens: uvicorn, with bounds on what one connection may cost before the application sees anything of it."""

import socket
from functools import partial
from typing import Any, cast

import uvicorn
from starlette.applications import Starlette

from common.watchdog import watched
from feed.web.bounded_http import BoundedHttp
from feed.web.bounded_socket import MAX_FRAME_BYTES, BoundedWebSocket
from feed.web.connections import Connections
from feed.web.unread import look_at_all

PING_S = 20.0
# Open connections get that long to end. uvicorn counts in whole seconds.
SHUTDOWN_S = 1
# Of uvicorn's ticks, ten a second.
TICKS_PER_LOOK = 10


class Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        crowd: Connections = cast(Starlette, config.app).state.connections
        crowd.unsent_bytes = self._unsent_bytes

    def _unsent_bytes(self) -> int:
        connections = cast(set[BoundedHttp | BoundedWebSocket], self.server_state.connections)
        return sum(connection.waiting_bytes for connection in connections)

    async def on_tick(self, counter: int) -> bool:
        if counter % TICKS_PER_LOOK == 0:
            look_at_all(cast(set[BoundedHttp | BoundedWebSocket], self.server_state.connections))
        return await super().on_tick(counter)


class WatchedServer(Server):
    """Ends the process should its loop hang: no request is answered by then, not even `/healthz`."""

    lease_ttl_ms = 0

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        async with watched(self.lease_ttl_ms):
            await super().serve(sockets)


def make_watched_server(app: Starlette, host: str, port: int, lease_ttl_ms: int) -> Server:
    """For a process that has nothing else to do."""
    server = WatchedServer(make_server(app, host, port).config)
    server.lease_ttl_ms = lease_ttl_ms
    return server


def make_server(app: Starlette, host: str, port: int) -> Server:
    crowd: Connections = app.state.connections
    made: Any = partial(BoundedHttp, crowd), partial(BoundedWebSocket, crowd)
    config = uvicorn.Config(
        app,
        host=host,
        port=port,
        http=made[0],
        ws=made[1],
        loop="uvloop",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        # Whom to believe is decided in feed.access.
        proxy_headers=False,
        ws_max_size=MAX_FRAME_BYTES,
        ws_ping_interval=PING_S,
        ws_ping_timeout=PING_S,
        # Our messages are small and many; compressing them costs more time than it saves.
        ws_per_message_deflate=False,
        timeout_graceful_shutdown=SHUTDOWN_S,
        backlog=socket.SOMAXCONN,
    )
    return Server(config)
