"""All WebSocket connections: lets them in, hears them out, and sends them what they listen to."""

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote, urlsplit

from websockets.frames import Frame, Opcode
from websockets.http11 import Request

from common.clock import Clock
from infra.exchange import control
from infra.exchange.connection import POLICY, ExchangeConnection
from infra.exchange.faults import FaultLog, Refuse, Stall
from infra.exchange.limits import Limiter, LimitWindow
from infra.exchange.listeners import Listeners
from infra.exchange.ranges import Ranges
from infra.exchange.rules import Rules
from infra.exchange.stats import Stats
from infra.exchange.stream_faults import StreamFaults
from infra.exchange.streams import Message, Stream, text_frame
from infra.exchange.wire import MICROSECOND

# Records of ended connections.
KEPT_ENDED = 1_000


@dataclass(slots=True)
class Member:
    """A connection that was let in, as control messages see it."""

    hub: "ExchangeHub"
    connection: ExchangeConnection
    messages: LimitWindow

    @property
    def combined(self) -> bool:
        return self.connection.combined

    @combined.setter
    def combined(self, value: bool) -> None:
        self.connection.combined = value

    def names(self) -> list[str]:
        return list(self.connection.streams)

    def subscribe(self, names: list[str]) -> bool:
        return self.hub.subscribe(self.connection, names)

    def unsubscribe(self, names: list[str]) -> None:
        self.hub.listeners.remove(self.connection, names)


class ExchangeHub:
    """`delivered`: by symbol, the trade ids that went out on at least one `@trade` stream."""

    def __init__(self, rules: Rules, limiter: Limiter, stats: Stats, log: FaultLog, clock: Clock) -> None:
        self.rules = rules
        self.limiter = limiter
        self.stats = stats
        self.log = log
        self.clock = clock
        self.faults = StreamFaults(log)
        self.listeners = Listeners()
        self.delivered: dict[str, Ranges] = {}
        self.ended: deque[dict[str, Any]] = deque(maxlen=KEPT_ENDED)
        self._members: dict[int, Member] = {}
        self._dirty: set[ExchangeConnection] = set()
        self._count = 0

    @property
    def open(self) -> list[ExchangeConnection]:
        """Connections that were let in and have not ended, the oldest first."""
        return [member.connection for member in self._members.values()]

    def connection(self, registry: set[Any]) -> ExchangeConnection:
        """Make one for a client at the door; `registry` is uvicorn's."""
        self._count += 1
        return ExchangeConnection(self, self._count, registry)

    def subscribe(self, connection: ExchangeConnection, names: Iterable[str]) -> bool:
        """False: that would be more streams than a connection may have; then nothing is changed."""
        new = [name for name in dict.fromkeys(names) if name not in connection.streams]
        if len(connection.streams) + len(new) > self.rules.max_streams:
            self.stats.violate("streams", connection.ip, connection.path, self.clock.now_ms())
            return False
        self.listeners.add(connection, new)
        return True

    def close(self, connection: ExchangeConnection, code: int, reason: str, cause: str) -> None:
        """Begin to close; nothing more is sent."""
        self._forget(connection)
        connection.close(code, reason, cause, self.clock.now_ms())

    def reset(self, connection: ExchangeConnection, cause: str) -> None:
        """End it now: what was told up to here has been sent, and from here on nothing is."""
        connection.flush()
        self._forget(connection)
        connection.reset(cause)

    # Audience of the publishers.

    def wants(self, stream: str) -> bool:
        return stream in self.listeners

    def streams_of(self, symbol: str) -> list[Stream]:
        return self.listeners.streams_of(symbol)

    def publish(self, message: Message) -> None:
        listeners = self.listeners.of(message.stream)
        if not listeners:
            return
        injection = self.faults.acting(message)
        if injection is None:
            self._send(message, listeners)
            return
        number = getattr(injection.fault, "connection", None)
        hit = {each for each in listeners if number in (None, each.number)}
        if hit != listeners:
            self._send(message, listeners - hit)
        if hit:
            injection.connections = sorted({*injection.connections, *(each.number for each in hit)})
            for outgoing in self.faults.spoil(injection, message):
                if isinstance(outgoing, Message):
                    self._send(outgoing, hit)
                else:
                    self._write(outgoing.frame, hit)

    def flush(self) -> None:
        """Write to all sockets what has gathered."""
        dirty, self._dirty = self._dirty, set()
        for connection in dirty:
            connection.flush()

    # Owner of the connections.

    def arrived(self, connection: ExchangeConnection, request: Request) -> int:
        status = self._admit(connection, request)
        self.stats.connect(status)
        if status == 101:
            connection.opened_ms = connection.last_ping_ms = self.clock.now_ms()
            window = LimitWindow(self.rules.message_limit, self.rules.message_window_ms)
            self._members[connection.number] = Member(self, connection, window)
        return status

    def received(self, connection: ExchangeConnection, frame: Frame) -> None:
        member = self._members.get(connection.number)
        if member is None or not connection.is_open:
            return
        if not member.messages.take(1, self.clock.now_ms()):
            self.stats.violate("messages", connection.ip, connection.path, self.clock.now_ms())
            self.close(connection, POLICY, "Too many requests", "messages")
        elif frame.opcode is Opcode.PONG:
            if bytes(frame.data) == connection.ping_payload:
                connection.unanswered_since_ms = 0
        elif frame.opcode is Opcode.TEXT:
            connection.send(text_frame(control.answer(member, bytes(frame.data)).decode()))
            connection.flush()

    def unsent(self, connection: ExchangeConnection, size_bytes: int) -> None:
        if size_bytes > self.rules.max_unsent_bytes:
            self.reset(connection, "slow")

    def gone(self, connection: ExchangeConnection) -> None:
        self._forget(connection)
        if self._members.pop(connection.number, None):
            self.ended.append(connection.describe() | {"closed_ms": self.clock.now_ms()})
            self.stats.ended(connection.cause or "lost")

    def _admit(self, connection: ExchangeConnection, request: Request) -> int:
        """The venue's answer to a handshake."""
        connection.path = request.path
        for injection in self.log.active():
            if isinstance(injection.fault, Refuse):
                injection.used()
                injection.connections.append(connection.number)
                return injection.fault.status
        if not self.limiter.connect(connection.ip, self.clock.now_ms()):
            self.stats.violate("connections", connection.ip, request.path, self.clock.now_ms())
            return 429
        return self._admit_to(connection, request.path)

    def _admit_to(self, connection: ExchangeConnection, path: str) -> int:
        url = urlsplit(path)
        # Not parse_qs: it takes the plus of `@kline_1d@+08:00` for a space.
        query = {name: unquote(value) for name, _, value in (part.partition("=") for part in url.query.split("&"))}
        if url.path == "/stream":
            names, connection.combined = query.get("streams", "").split("/"), True
        elif url.path == "/ws" or url.path.startswith("/ws/"):
            names = unquote(url.path).removeprefix("/ws").split("/")
        else:
            return 404
        if query.get("timeUnit", "").upper() == "MICROSECOND":
            connection.unit = MICROSECOND
        return 101 if self.subscribe(connection, filter(None, names)) else 400

    def _send(self, message: Message, listeners: set[ExchangeConnection]) -> None:
        self._write(message.frame, listeners)
        if message.kind == "trade":
            self._note_trade(message.symbol, message.first_id, listeners)

    def _write(self, frame: Callable[[bool, int], bytes], listeners: set[ExchangeConnection]) -> None:
        for connection in listeners:
            connection.send(frame(connection.combined, connection.unit))
        self._dirty |= listeners

    def _note_trade(self, symbol: str, trade_id: int, listeners: set[ExchangeConnection]) -> None:
        heard = False
        for connection in listeners:
            if connection.loses:
                self._note_lost(connection, symbol, trade_id)
            else:
                first_id, _ = connection.trade_ids.get(symbol, (trade_id, trade_id))
                connection.trade_ids[symbol] = (first_id, trade_id)
                heard = True
        if heard:
            self.delivered.setdefault(symbol, Ranges()).add(trade_id, trade_id)

    def _note_lost(self, connection: ExchangeConnection, symbol: str, trade_id: int) -> None:
        for injection in self.log.active():
            if isinstance(injection.fault, Stall) and connection.number in injection.connections:
                injection.touched(symbol, trade_id, trade_id)

    def _forget(self, connection: ExchangeConnection) -> None:
        self._dirty.discard(connection)
        self.listeners.remove(connection, list(connection.streams))
