"""Behind trusted proxies an address has as many requests and streams under way as it may have connections elsewhere."""

from starlette.types import ASGIApp, Receive, Scope, Send

from feed.access import Access
from feed.web.connections import Connections
from feed.web.doors import forwarded_for, refuse

_KINDS = ("http", "websocket")


class ProxiedPlaces:
    def __init__(self, app: ASGIApp, access: Access, connections: Connections) -> None:
        self._app = app
        self._access = access
        self._connections = connections

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        peer = (scope.get("client") or ("", 0))[0] if scope["type"] in _KINDS else ""
        address = self._access.client_of(peer, forwarded_for(scope)) if self._access.is_trusted(peer) else peer
        if address == peer:
            # Counted since it connected.
            await self._app(scope, receive, send)
            return
        refusal = self._connections.enter_address(address)
        if refusal:
            await refuse(refusal, scope, receive, send)
            return
        try:
            await self._app(scope, receive, send)
        finally:
            self._connections.leave_address(address)
