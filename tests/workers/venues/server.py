"""A tiny exchange on loopback: one port that answers HTTP and feeds sockets, as the test says."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

Params = dict[str, str]
# What a route answers: a status, headers and a body, which may be anything that JSON can write, or text.
Answer = tuple[int, dict[str, str], Any]
Route = Callable[[Params], Answer]
# What is done with each socket: the number of it counts from 1.
Feeder = Callable[[ServerConnection, int], Coroutine[Any, Any, None]]


class Exchange:
    """`routes` by path; `asked` are the requests so far, `said` what clients sent, `paths` the sockets' paths."""

    def __init__(self) -> None:
        self.routes: dict[str, Route] = {}
        self.feeder: Feeder = _silent
        self.refusals: list[Answer] = []
        self.asked: list[tuple[str, Params]] = []
        self.said: list[Any] = []
        self.paths: list[str] = []
        self.sockets: list[ServerConnection] = []
        self.port = 0

    @property
    def rest_url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def socket_url(self) -> str:
        return f"ws://127.0.0.1:{self.port}"

    def answer(self, path: str, body: Any) -> None:
        self.routes[path] = lambda _: (200, {}, body)

    def open_sockets(self) -> int:
        return sum(socket.close_code is None for socket in self.sockets)

    def respond(self, connection: ServerConnection, request: Request) -> Response | None:
        if "Upgrade" not in request.headers:
            url = urlsplit(request.path)
            params = dict(parse_qsl(url.query))
            self.asked.append((url.path, params))
            return _response(*self.routes.get(url.path, _missing)(params))
        self.paths.append(request.path)
        return _response(*self.refusals.pop(0)) if self.refusals else None

    async def feed(self, socket: ServerConnection) -> None:
        self.sockets.append(socket)
        listener = asyncio.create_task(self._listen(socket))
        try:
            await self.feeder(socket, len(self.sockets))
            await socket.wait_closed()
        except ConnectionClosed:
            """The client is gone."""
        finally:
            listener.cancel()
            await asyncio.gather(listener, return_exceptions=True)

    async def _listen(self, socket: ServerConnection) -> None:
        async for message in socket:
            self.said.append(json.loads(message))


@asynccontextmanager
async def exchange() -> AsyncIterator[Exchange]:
    it = Exchange()
    async with serve(
        it.feed, "127.0.0.1", 0, process_request=it.respond, close_timeout=1, ping_interval=None
    ) as server:
        it.port = _port(server)
        yield it


def _port(server: Server) -> int:
    port: int = next(iter(server.sockets)).getsockname()[1]
    return port


def _response(status: int, headers: dict[str, str], body: Any) -> Response:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    more = {"Content-Length": str(len(content)), "Content-Type": "application/json", "Connection": "close"}
    return Response(status, HTTPStatus(status).phrase, Headers(more | headers), content)


def _missing(_: Params) -> Answer:
    return 404, {}, {"code": -1, "msg": "no such route"}


async def _silent(socket: ServerConnection, number: int) -> None:
    """Open, and nothing more."""
