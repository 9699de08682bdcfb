"""A real feed in this process: uvicorn on a loopback port, in the test's event loop."""

import asyncio
import socket
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx2
import orjson
import pytest
from starlette.applications import Starlette
from websockets.asyncio.client import ClientConnection, connect

from common.settings import Settings
from feed.app import create_app
from feed.services import Services
from feed.web.server import make_server
from tests.kit.waiting import wait_until_async


@dataclass(slots=True)
class Served:
    port: int
    app: Starlette
    http: httpx2.AsyncClient

    @property
    def services(self) -> Services:
        services: Services = self.app.state.services
        return services

    async def get(self, path: str, **params: Any) -> httpx2.Response:
        return await self.http.get(path, params=params)

    async def json(self, path: str, **params: Any) -> dict[str, Any]:
        response = await self.get(path, **params)
        assert response.status_code == 200, response.text
        found: dict[str, Any] = response.json()
        return found

    def connect(self, **options: Any) -> connect:
        # A client that leaves with unread messages does not see the answer to its close, and gives up waiting for it.
        return connect(f"ws://127.0.0.1:{self.port}/v1/stream", max_size=None, close_timeout=0.2, **options)


@asynccontextmanager
async def served(
    redis_url: str, allowed_origins: Collection[str] = (), send_buffer_bytes: int | None = None, **settings: Any
) -> AsyncIterator[Served]:
    app = create_app(Settings(redis_url=redis_url, allowed_origins=",".join(allowed_origins), **settings))
    listening = socket.create_server(("127.0.0.1", 0))
    # asyncio asks for it only on sockets it made itself; without it each small answer waits 40 ms for an ACK.
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if send_buffer_bytes:
        # Accepted connections inherit it.
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, send_buffer_bytes)
    server = make_server(app, "127.0.0.1", 0)
    task = asyncio.create_task(server.serve([listening]))
    await wait_until_async(lambda: server.started or task.done())
    port = listening.getsockname()[1]
    try:
        async with httpx2.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=10) as http:
            yield Served(port, app, http)
    finally:
        server.should_exit = True
        await task
        listening.close()


@pytest.fixture
async def feed(redis_url: str) -> AsyncIterator[Served]:
    async with served(redis_url) as found:
        yield found


async def say(connection: ClientConnection, **message: Any) -> None:
    await connection.send(orjson.dumps(message).decode())


async def hear(connection: ClientConnection, kind: str | None = None, timeout_s: float = 5.0) -> dict[str, Any]:
    """Return the next message, or the next one of a kind."""
    async with asyncio.timeout(timeout_s):
        while True:
            message: dict[str, Any] = orjson.loads(await connection.recv())
            if kind in (None, message["type"]):
                return message
