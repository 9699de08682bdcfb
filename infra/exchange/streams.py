"""Stream names, and messages on them."""

import re
from collections.abc import Callable
from typing import Literal, NamedTuple

from websockets.frames import Frame, Opcode

from infra.exchange.klines import INTERVALS

Kind = Literal["trade", "aggTrade", "depth", "partial", "bookTicker", "kline"]

SHUTDOWN = "!serverShutdown"
# The only time zone the streams know besides UTC.
_EAST_8_MS = 8 * 60 * 60 * 1_000

_NAME = re.compile(
    r"(?P<symbol>[a-z0-9]{1,20})@(?:"
    r"(?P<plain>trade|aggTrade|bookTicker)"
    r"|kline_(?P<interval>[0-9]{1,2}[smhdwM])(?P<east>@\+08:00)?"
    r"|depth(?P<levels>5|10|20)?(?P<fast>@100ms)?"
    r")",
    re.ASCII,
)


class Stream(NamedTuple):
    """A stream as its name states it. `every_ms`: how often it speaks at most, 0 is at once."""

    name: str
    symbol: str
    kind: Kind
    every_ms: int = 0
    levels: int = 0
    interval: str = ""
    offset_ms: int = 0


def parse(name: str) -> Stream | None:
    """None: no stream of ours. The venue accepts any name, and then nothing comes."""
    match = _NAME.fullmatch(name)
    if not match:
        return None
    symbol = match["symbol"].upper()
    if match["plain"]:
        kinds: dict[str, Kind] = {"trade": "trade", "aggTrade": "aggTrade", "bookTicker": "bookTicker"}
        return Stream(name, symbol, kinds[match["plain"]])
    if match["interval"]:
        if match["interval"] not in INTERVALS:
            return None
        every_ms = 1_000 if match["interval"] == "1s" else 2_000
        offset_ms = _EAST_8_MS if match["east"] else 0
        return Stream(name, symbol, "kline", every_ms, interval=match["interval"], offset_ms=offset_ms)
    every_ms = 100 if match["fast"] else 1_000
    if match["levels"]:
        return Stream(name, symbol, "partial", every_ms, levels=int(match["levels"]))
    return Stream(name, symbol, "depth", every_ms)


class Message:
    """One message, written once for each form in which it is wanted.

    `first_id..last_id`: the trades in it, for those that are of trades.
    """

    __slots__ = ("_build", "_frames", "first_id", "kind", "last_id", "stream", "symbol")

    def __init__(
        self, stream: str, kind: Kind, symbol: str, build: Callable[[int], str], first_id: int = 0, last_id: int = 0
    ) -> None:
        self.stream = stream
        self.kind = kind
        self.symbol = symbol
        self.first_id = first_id
        self.last_id = last_id
        self._build = build
        self._frames: dict[tuple[bool, int], bytes] = {}

    def text(self, combined: bool, unit: int) -> str:
        data = self._build(unit)
        return combine(self.stream, data) if combined else data

    def frame(self, combined: bool, unit: int) -> bytes:
        key = (combined, unit)
        frame = self._frames.get(key)
        if frame is None:
            frame = self._frames[key] = text_frame(self.text(combined, unit))
        return frame


def combine(stream: str, data: str) -> str:
    return f'{{"stream":"{stream}","data":{data}}}'


def text_frame(text: str) -> bytes:
    return Frame(Opcode.TEXT, text.encode()).serialize(mask=False)
