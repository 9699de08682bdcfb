"""The outermost layer of every HTTP request: what is measured, what is always sent, and what is never sent."""

import asyncio
import time
from collections.abc import Collection

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from feed.metrics import Metrics
from feed.wire.errors import STOPPING, failure_of

Header = tuple[bytes, bytes]

SECURITY_HEADERS: list[Header] = [
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
]
# Where a route says nothing else: nothing is shown of an answer, and it is of one moment, so that a cache would show it
# at another.
DEFAULT_HEADERS: list[Header] = [
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'; base-uri 'none'"),
    (b"cache-control", b"no-store"),
]
# No route wants a body.
MAX_BODY_BYTES = 64 << 10


class Guard:
    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began_s = time.perf_counter()
        status = 0

        async def guarded_send(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = _with_ours(message["headers"], time.perf_counter() - began_s)
            await send(message)

        try:
            if _body_bytes(scope) > MAX_BODY_BYTES:
                raise HTTPException(413)
            await self._app(scope, receive, guarded_send)
        except Exception as error:
            failure = failure_of(error)
            if status == 0:
                await failure.response()(scope, receive, guarded_send)
        except asyncio.CancelledError:
            # Only the server does that, to what is still under way when its time to stop is over.
            if status == 0:
                await STOPPING.response()(scope, receive, guarded_send)
        finally:
            # By the route's pattern: a label per symbol, or per path that a client makes up, would never end.
            route = getattr(scope.get("route"), "path", "none")
            self._metrics.answered(route, status, time.perf_counter() - began_s)


def _with_ours(headers: Collection[Header], took_s: float) -> list[Header]:
    given = {name for name, _ in headers}
    timing = (b"server-timing", b"answer;dur=%.1f" % (took_s * 1_000))
    return [*headers, *SECURITY_HEADERS, timing, *(each for each in DEFAULT_HEADERS if each[0] not in given)]


def _body_bytes(scope: Scope) -> int:
    """As announced. A body of unannounced length is not read at all."""
    lengths = [value for name, value in scope["headers"] if name == b"content-length"]
    return max((int(value) for value in lengths if value.isdigit()), default=0)
