"""Who may ask: the layers between the guard and the routes, for HTTP and for the handshake of a stream alike.

    Hosts    what the request is addressed to must be a name of ours: a page of another site whose own name leads to
             our address (DNS rebinding) would be of our origin to its browser. Behind trusted proxies the name and the
             client's address are those that the proxy tells.
    (CORS)   starlette's: pages of listed origins may read answers.
    Tokens   a token with the role that is asked for, where there are any. A browser can't send one with a handshake:
             a stream may also begin with it (feed.stream.session).

Paths that a platform looks at to see whether the process lives are open: they tell nothing.
"""

from collections.abc import MutableMapping
from typing import Any
from urllib.parse import urlsplit

from starlette.types import ASGIApp, Receive, Scope, Send

from common.access import Role, host_name, matches
from feed.access import ROLE, Access
from feed.wire.errors import FORBIDDEN_ORIGIN, FORBIDDEN_ROLE, UNAUTHORIZED, UNKNOWN_HOST, ErrorAnswer

OPEN_PATHS = frozenset(("/healthz", "/readyz"))
_KINDS = ("http", "websocket")
_FORWARDED_HOST, _FORWARDED_FOR = b"x-forwarded-host", b"x-forwarded-for"


class Hosts:
    """Refuses what is addressed to others. Behind trusted proxies it puts into the scope what they tell."""

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self._app = app
        self._access = access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] in _KINDS:
            self._believe_proxies(scope)
            if scope["path"] not in OPEN_PATHS and not matches(host_name(_header(scope, b"host")), self._access.hosts):
                await refuse(UNKNOWN_HOST, scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _believe_proxies(self, scope: Scope) -> None:
        address, port = scope.get("client") or ("", 0)
        if not self._access.is_trusted(address):
            return
        if hops := forwarded_for(scope):
            scope["client"] = (self._access.client_of(address, hops), port)
        if host := _header(scope, _FORWARDED_HOST).rpartition(",")[2].strip():
            headers = [pair for pair in scope["headers"] if pair[0] != b"host"]
            scope["headers"] = [*headers, (b"host", host.encode("latin-1"))]


class Tokens:
    """Refuses who may not read, and for a stream pages of other sites."""

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self._app = app
        self._access = access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        failure = self._failure(scope) if scope["type"] in _KINDS else None
        if failure:
            await refuse(failure, scope, receive, send)
        else:
            await self._app(scope, receive, send)

    def _failure(self, scope: Scope) -> ErrorAnswer | None:
        is_stream = scope["type"] == "websocket"
        if is_stream and not is_own_or_listed(scope, self._access.origins):
            return FORBIDDEN_ORIGIN
        if not self._access.tokens or scope["path"] in OPEN_PATHS:
            scope[ROLE] = Role.READ
            return None
        token = _bearer(scope)
        scope[ROLE] = None if token is None else self._access.role_of(token)
        if scope[ROLE] is None:
            return None if is_stream and token is None else UNAUTHORIZED
        return None if scope[ROLE] >= Role.READ else FORBIDDEN_ROLE


def is_own_or_listed(scope: MutableMapping[str, Any], origins: frozenset[str]) -> bool:
    """A browser says where the page comes from: only our own pages, and those listed. Programs say nothing."""
    origin = _header(scope, b"origin")
    if not origin or origin in origins:
        return True
    try:
        return urlsplit(origin).netloc.lower() == _header(scope, b"host").lower()
    except ValueError:
        return False


def forwarded_for(scope: MutableMapping[str, Any]) -> str:
    """The addresses that proxies tell of, the nearest last."""
    return _header(scope, _FORWARDED_FOR)


async def refuse(failure: ErrorAnswer, scope: Scope, receive: Receive, send: Send) -> None:
    """The same answer to a request and to a handshake."""
    await failure.response()(scope, receive, send)


def _header(scope: MutableMapping[str, Any], name: bytes) -> str:
    """Its values with commas between: each proxy may have added a line of its own."""
    return ",".join(value.decode("latin-1") for found, value in scope["headers"] if found == name)


def _bearer(scope: MutableMapping[str, Any]) -> str | None:
    """The token; "" for credentials of another kind, None without any."""
    credentials = _header(scope, b"authorization")
    if not credentials:
        return None
    scheme, _, token = credentials.partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""
