"""Faults on command: what can be injected, and the record of what it did.

A fault on messages or requests waits until there is one to spoil, so a test may inject first and connect later.
"""

from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar, Literal, get_args, get_type_hints

from common.errors import BadInput
from infra.exchange.ranges import Ranges
from infra.exchange.streams import Kind

# Injections kept in the log; the oldest go first.
KEPT = 10_000

Form = Literal["truncated", "mutated", "binary", "huge", "bad_utf8", "nested", "empty", "bad_frame"]
Body = Literal["json", "html", "empty"]
# What REST still has of a gap: the trades; only the klines; neither.
Rest = Literal["trades", "klines", "nothing"]


# Faults of messages. `stream`: the kind of stream; `connection`: its number, None is all of them.


@dataclass(frozen=True, slots=True)
class Drop:
    """Leave out the next `count` messages, silently."""

    kind: ClassVar[str] = "drop"
    symbol: str
    count: int = 1
    stream: Kind = "trade"
    connection: int | None = None


@dataclass(frozen=True, slots=True)
class Duplicate:
    """Send each of the next `count` messages twice."""

    kind: ClassVar[str] = "duplicate"
    symbol: str
    count: int = 1
    stream: Kind = "trade"
    connection: int | None = None


@dataclass(frozen=True, slots=True)
class Reorder:
    """Hold back each of the next `count` messages until `distance` later ones have been sent."""

    kind: ClassVar[str] = "reorder"
    symbol: str
    count: int = 1
    distance: int = 1
    stream: Kind = "trade"
    connection: int | None = None


@dataclass(frozen=True, slots=True)
class Garbage:
    """Send something that is no message before each of the next `count` ones; with `replace`, in its place.

    No form can be mistaken for a good message: a client that takes a trade from one is wrong. `size_bytes`: of huge.
    """

    kind: ClassVar[str] = "garbage"
    symbol: str
    form: Form = "mutated"
    count: int = 1
    replace: bool = False
    size_bytes: int = 2 << 20
    stream: Kind = "trade"
    connection: int | None = None


# Faults of connections. `connection` None: all that are open.


@dataclass(frozen=True, slots=True)
class Stall:
    """Be silent for `ms` (wall clock), pings and answers included; then send what was held back, or with `lose` not."""

    kind: ClassVar[str] = "stall"
    ms: int
    lose: bool = False
    connection: int | None = None


@dataclass(frozen=True, slots=True)
class Reset:
    """Close at once with a TCP reset; what was on its way is lost."""

    kind: ClassVar[str] = "reset"
    connection: int | None = None


@dataclass(frozen=True, slots=True)
class SocketCut:
    """Close as after 24 hours."""

    kind: ClassVar[str] = "cut"
    connection: int | None = None


@dataclass(frozen=True, slots=True)
class Shutdown:
    """Send the serverShutdown notice, and close `after_ms` (wall clock) later."""

    kind: ClassVar[str] = "shutdown"
    after_ms: int = 10_000
    connection: int | None = None


@dataclass(frozen=True, slots=True)
class Refuse:
    """Refuse the next `count` WebSocket handshakes."""

    kind: ClassVar[str] = "refuse"
    count: int = 1
    status: int = 503


# Faults of a market.


@dataclass(frozen=True, slots=True)
class StreamGap:
    """The next `count` trades, or a few more to the end of a taker order, are on no stream."""

    kind: ClassVar[str] = "gap"
    symbol: str
    count: int = 10
    rest: Rest = "trades"


@dataclass(frozen=True, slots=True)
class Halt:
    """Nothing happens for `ms` of market time; nothing is missing either. `announce`: exchangeInfo says HALT."""

    kind: ClassVar[str] = "halt"
    symbol: str
    ms: int
    announce: bool = False


@dataclass(frozen=True, slots=True)
class Retick:
    """From now on prices have `price_decimals`, more than before; all there was has as many. Of no recording."""

    kind: ClassVar[str] = "retick"
    symbol: str
    price_decimals: int


# Faults of REST. `path`: of one route, such as `aggTrades`; empty is all of them.


@dataclass(frozen=True, slots=True)
class Throttle:
    """Answer 429 until Retry-After has passed."""

    kind: ClassVar[str] = "throttle"
    retry_after_s: int = 1
    path: str = ""


@dataclass(frozen=True, slots=True)
class Ban:
    """Answer 418 until Retry-After has passed."""

    kind: ClassVar[str] = "ban"
    retry_after_s: int = 1
    path: str = ""


@dataclass(frozen=True, slots=True)
class ServerError:
    """Answer the next `count` requests with a 5xx, as the venue or a proxy before it would."""

    kind: ClassVar[str] = "server_error"
    status: int = 503
    count: int = 1
    path: str = ""
    body: Body = "json"


@dataclass(frozen=True, slots=True)
class Slow:
    """Answer the next `count` requests `ms` later."""

    kind: ClassVar[str] = "slow"
    ms: int
    count: int = 1
    path: str = ""


@dataclass(frozen=True, slots=True)
class Skew:
    """From now on the venue's clock is off by `ms`: serverTime and the event time E; a trade's own time T is not."""

    kind: ClassVar[str] = "skew"
    ms: int


MessageFault = Drop | Duplicate | Reorder | Garbage
ConnectionFault = Stall | Reset | SocketCut | Shutdown
RestFault = Throttle | Ban | ServerError | Slow
Fault = MessageFault | ConnectionFault | Refuse | StreamGap | Halt | Retick | RestFault | Skew

KINDS: dict[str, type[Fault]] = {fault.kind: fault for fault in get_args(Fault)}


@dataclass(slots=True)
class Injection:
    """A fault and what it did. `left`: how often it will still act; it is over when `done` (set it to call it off).

    `trades`: ids that were left out, repeated, moved, hidden or lost by it, per symbol; of a reset or cut connection
    the last id it was sent. `requests`: how many it answered or slowed down. `until_ms`: wall clock; of a halt, market.
    """

    number: int
    fault: Fault
    market_ms: int
    wall_ms: int
    left: int = 0
    until_ms: int = 0
    done: bool = False
    requests: int = 0
    connections: list[int] = field(default_factory=list)
    trades: dict[str, Ranges] = field(default_factory=dict)

    def touched(self, symbol: str, first_id: int, last_id: int) -> None:
        if first_id:
            self.trades.setdefault(symbol, Ranges()).add(first_id, last_id)

    def used(self) -> None:
        """It acted once more."""
        self.left -= 1
        self.done = self.left <= 0

    def as_dict(self) -> dict[str, Any]:
        return {
            "number": self.number,
            "kind": self.fault.kind,
            "parameters": {each.name: getattr(self.fault, each.name) for each in fields(self.fault)},
            "market_ms": self.market_ms,
            "wall_ms": self.wall_ms,
            "until_ms": self.until_ms,
            "left": self.left,
            "done": self.done,
            "requests": self.requests,
            "connections": self.connections,
            "trades": {symbol: list(ids) for symbol, ids in self.trades.items()},
        }


class FaultLog:
    """All injections, oldest first, and those that may still act."""

    def __init__(self) -> None:
        self._log: deque[Injection] = deque(maxlen=KEPT)
        self._active: list[Injection] = []
        self._count = 0

    def __iter__(self) -> Iterator[Injection]:
        return iter(self._log)

    def __len__(self) -> int:
        return len(self._log)

    def add(self, fault: Fault, market_ms: int, wall_ms: int) -> Injection:
        if len(self.active()) >= KEPT:
            raise BadInput(f"{KEPT} faults wait for something to spoil already: no more")
        self._count += 1
        injection = Injection(self._count, fault, market_ms, wall_ms, left=getattr(fault, "count", 0))
        self._log.append(injection)
        self._active.append(injection)
        return injection

    def active(self) -> list[Injection]:
        """Those not done, oldest first."""
        if any(injection.done for injection in self._active):
            self._active = [injection for injection in self._active if not injection.done]
        return self._active


def fault_of(data: Mapping[str, Any]) -> Fault:
    """Read `{"kind": "drop", "symbol": "BTCUSDT", "count": 3}`, or raise BadInput."""
    parameters = dict(data)
    kind = KINDS.get(str(parameters.pop("kind", "")))
    if kind is None:
        raise BadInput(f"kind {data.get('kind')!r} is no fault, expected one of {', '.join(KINDS)}")
    hints = get_type_hints(kind)
    for name, value in parameters.items():
        if name not in hints or name == "kind":
            known = ", ".join(each.name for each in fields(kind))
            raise BadInput(f"{name[:40]!r} is no parameter of {kind.kind}, expected {known or 'none'}")
        _check(name, value, hints[name], negative=kind is Skew)
    try:
        return kind(**parameters)
    except TypeError as error:
        raise BadInput(f"{kind.kind} lacks a parameter: {error}") from None


def _check(name: str, value: object, hint: Any, *, negative: bool) -> None:
    choices = get_args(hint)
    if hint is bool or hint is str:
        fits = isinstance(value, hint)
    elif choices and all(isinstance(choice, str) for choice in choices):
        fits = value in choices
    else:
        whole = isinstance(value, int) and not isinstance(value, bool) and (negative or value >= 0)
        fits = whole or (value is None and type(None) in choices)
    if not fits:
        expected = ", ".join(map(str, choices)) if choices else getattr(hint, "__name__", str(hint))
        raise BadInput(f"{name} is {value!r}, expected {expected}")
