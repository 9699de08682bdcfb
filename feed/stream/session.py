"""`WS /v1/stream`: what a client may say, and what it is answered. docs/protocol.md has the messages.

Nothing a client sends closes the connection but a flood or a frame beyond what the server takes in at all.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, TypeVar

import orjson
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from common.errors import BadInput, FleetError
from common.store.registry import Market
from feed.access import ROLE, Access
from feed.services import Services, services_of
from feed.stream.channels.table import channel_of
from feed.stream.client import Client, OpenRequest
from feed.stream.rate import Rate
from feed.stream.requests import ACTIONS, AUTH, SYMBOL
from feed.stream.topic import CANDLES, Part
from feed.wire.errors import ErrorAnswer, failure_of
from feed.wire.messages import Reply, RequestId
from feed.wire.parameter_types import MAX_SHOWN, shown
from feed.wire.params import NOTHING, Parameters, read_message

log = logging.getLogger(__name__)

T = TypeVar("T")

# In: bytes of a message, subscriptions of a client, messages a second, and how many may come at once.
MAX_BYTES = 64 << 10
MAX_SUBSCRIPTIONS = 500
RATE_PER_S = 10.0
BURST = 60
# Messages refused for their rate, one after the other, before the connection is closed.
MAX_REFUSALS = 200
POLICY_VIOLATION = 1008

# Who has shown no token by then is closed.
AUTH_TIMEOUT_S = 5.0

# Where the server leaves the way to cut a connection (feed.web.server).
ABORT = "feed.abort"
# And the way to wait until a client has read nearly all that was sent.
DRAINED = "feed.drained"

_TOO_LARGE = ErrorAnswer(413, "too_large", f"the message is too large, expected at most {MAX_BYTES >> 10} kB")
_NOT_TEXT = ErrorAnswer(400, "bad_input", "the message is binary, expected JSON in a text frame")
_NOT_JSON = ErrorAnswer(400, "bad_input", 'the message is not a JSON object such as {"action":"ping"}')
_NO_TOKEN = ErrorAnswer(
    401, "unauthorized", 'a token is missing or unknown, expected {"action":"auth","token"} as the first message'
)
_TOO_FAST = ErrorAnswer(429, "rate_limited", f"more than {RATE_PER_S:.0f} messages a second, this one was ignored")


async def stream(websocket: WebSocket) -> None:
    services = services_of(websocket)
    await websocket.accept()
    if websocket.scope[ROLE] is None and not await introduced(websocket, services.access):
        return
    abort = websocket.scope["extensions"].get(ABORT, lambda: None)
    client = Client(websocket.send_text, websocket.send_bytes, services.hub, services.metrics)
    services.metrics.clients.inc()
    sender = asyncio.create_task(_send(client, abort))
    is_flood = False
    try:
        is_flood = await Conversation(websocket, client, services).run()
    except WebSocketDisconnect:
        pass
    finally:
        services.metrics.clients.dec()
        client.leave()
        sender.cancel()
        await asyncio.gather(sender, return_exceptions=True)
    if is_flood:
        # Now that nothing else is sent any more.
        services.metrics.cut.labels("flood").inc()
        with suppress(WebSocketDisconnect):
            await websocket.close(POLICY_VIOLATION)


async def _send(client: Client, abort: Callable[[], None]) -> None:
    try:
        await client.run()
    except WebSocketDisconnect:
        # The receiving side sees the end of the connection, too, and cleans up.
        pass
    except Exception:
        log.exception("sending failed")
        abort()


async def introduced(websocket: WebSocket, access: Access) -> bool:
    """Let a client that showed no token at the handshake show it now; False if it does not, and the connection ends."""
    try:
        async with asyncio.timeout(AUTH_TIMEOUT_S):
            message = await websocket.receive()
            if message["type"] == "websocket.disconnect":
                return False
            request = _parsed(message.get("text"))
            request_id = _id(request)
            if _is_known(request, access):
                await websocket.send_text(Reply("authenticated", request_id).text)
                return True
            await websocket.send_text(Reply.error(_NO_TOKEN, request_id).text)
    except (TimeoutError, WebSocketDisconnect):
        pass
    with suppress(WebSocketDisconnect, RuntimeError):
        await websocket.close(POLICY_VIOLATION)
    return False


def _is_known(request: dict[str, Any], access: Access) -> bool:
    token = request.get("token")
    return request.get("action") == "auth" and isinstance(token, str) and access.role_of(token) is not None


def _parsed(text: object) -> dict[str, Any]:
    """What a first message says; nothing if it is no object."""
    if not isinstance(text, str) or len(text) > MAX_BYTES:
        return {}
    try:
        found = orjson.loads(text)
    except orjson.JSONDecodeError:
        return {}
    return found if isinstance(found, dict) else {}


def _id(request: dict[str, Any]) -> RequestId:
    request_id = request.get("id")
    return request_id if isinstance(request_id, str | int) else None


@dataclass(slots=True)
class Conversation:
    websocket: WebSocket
    client: Client
    services: Services
    rate: Rate = field(default_factory=lambda: Rate(RATE_PER_S, BURST))
    refused: int = 0

    async def run(self) -> bool:
        """Answer until the connection ends. Return whether it is to be closed: for a flood."""
        while True:
            message = await self.websocket.receive()
            if message["type"] == "websocket.disconnect":
                return False
            if self.rate.take():
                self.refused = 0
                await self._hear(message)
            elif self.refused >= MAX_REFUSALS:
                return True
            else:
                self.refused += 1
                self._fail(_TOO_FAST)
            # Who asks and does not read is asked no more: what comes waits until the replies are under way.
            await self.client.replied()

    async def _hear(self, message: Mapping[str, Any]) -> None:
        text = message.get("text")
        if text is None:
            self._fail(_NOT_TEXT)
        elif len(text.encode()) > MAX_BYTES:
            self._fail(_TOO_LARGE)
        else:
            await self._answer(text)

    async def _answer(self, text: str) -> None:
        try:
            request = orjson.loads(text)
        except orjson.JSONDecodeError:
            request = None
        if not isinstance(request, dict):
            self._fail(_NOT_JSON)
            return
        request_id = request.pop("id", None)
        request_id = request_id if isinstance(request_id, str | int) else None
        try:
            await self._act(request, request_id)
        except FleetError as error:
            self._fail(failure_of(error), request_id)

    async def _act(self, request: dict[str, Any], request_id: RequestId) -> None:
        match request.pop("action", None):
            case "ping":
                self._read(request, NOTHING)
                self.client.reply(Reply("pong", request_id))
            case "list":
                self._read(request, NOTHING)
                self.client.reply(Reply("list", request_id, {"subscriptions": self._list()}))
            case "subscribe":
                await self._subscribe(request, request_id)
            case "focus":
                await self._subscribe(request, request_id, is_focus=True)
            case "auth":
                self._authenticate(request, request_id)
            case "unsubscribe":
                self._unsubscribe(request, request_id)
            case other:
                raise BadInput(f"action is {shown(other)}, expected {', '.join(ACTIONS)}")

    async def _subscribe(self, request: dict[str, Any], request_id: RequestId, *, is_focus: bool = False) -> None:
        """`is_focus`: in place of all that the client has; what can't be subscribed to leaves it what it has."""
        channel = channel_of(request.pop("channel", CANDLES))
        # What a channel takes may be told in the symbol's own price.
        market = await self._market_of(request) if channel.needs_instrument else None
        limit_max = self.services.settings.query_limit_max
        asked = channel.subscribe(request, limit_max, market.instrument if market else None)
        market = market or await self.services.queries.market(asked.symbol)
        held = self.client.subscriptions
        if not is_focus and len(held) >= MAX_SUBSCRIPTIONS and (asked.symbol, asked.topic) not in held:
            raise BadInput(f"this would be more than {MAX_SUBSCRIPTIONS} subscriptions of one connection")
        begin = self.client.focus if is_focus else self.client.subscribe
        begin(market, asked.topic, asked.limit, OpenRequest(asked.cursor, request_id))

    async def _market_of(self, request: Mapping[str, Any]) -> Market:
        return await self.services.queries.market(SYMBOL.type.text_of(SYMBOL.name, request.get(SYMBOL.name)))

    def _authenticate(self, request: dict[str, Any], request_id: RequestId) -> None:
        """Of one that may ask already: a client need not know whether a feed wants tokens."""
        self._read(request, AUTH)
        self.client.reply(Reply("authenticated", request_id))

    def _unsubscribe(self, request: dict[str, Any], request_id: RequestId) -> None:
        channel = channel_of(request.pop("channel", CANDLES))
        name = channel.unsubscribe(request, self.services.settings.query_limit_max)
        if not self.client.unsubscribe(name.symbol, name.topic):
            raise BadInput(f"there is no subscription of {name.symbol[:MAX_SHOWN]!r} {name.topic}")
        self.client.reply(Reply("unsubscribed", request_id, name.topic.told(name.symbol)))

    def _read(self, request: dict[str, Any], parameters: Parameters[T]) -> T:
        return read_message(request, parameters, self.services.settings.query_limit_max)

    def _list(self) -> list[dict[str, Part]]:
        return [topic.told(symbol) for symbol, topic in self.client.subscriptions]

    def _fail(self, failure: ErrorAnswer, request_id: RequestId = None) -> None:
        self.client.reply(Reply.error(failure, request_id))


routes = [WebSocketRoute("/v1/stream", stream)]
