"""Bars as they are published, the same JSON as of the minutes, and the newest one under the long names of its key."""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from common.market import units
from common.market.timeframes.timeframe import DAY_MS, MINUTE_MS, Timeframe
from common.store.publishing import Latest
from feed.wire.answers import BarsAnswer, written_bar
from feed.wire.messages import BarMessage, Snapshot, StreamMessage
from feed.wire.row_bars import single_bars

# Of one message: an outage of minutes is many bars of a second.
MAX_BARS = 500
# How long the newest value lives: twice its bar, within these.
MIN_TTL_MS, MAX_TTL_MS = 2 * MINUTE_MS, 2 * DAY_MS
# A second has so many decimals of ms.
MS_DECIMALS = 3

_LONG_NAMES = {"o": "open", "h": "high", "l": "low", "c": "close", "v": "volume"}


@dataclass(frozen=True, slots=True)
class ToldBars:
    """Bars as JSON, oldest first: those that had been final before, and all others."""

    amended: Sequence[bytes] = ()
    others: Sequence[bytes] = ()

    @classmethod
    def of(cls, messages: Sequence[StreamMessage], is_untold: Callable[[int], bool] | None = None) -> "ToldBars":
        """Those of an opening, or of what followed it. `is_untold`: which opens of a snapshot are to be told."""
        news = sorted((each for each in messages if isinstance(each, BarMessage)), key=lambda each: each.update.open_ms)
        amended, others = ([_written(each) for each in news if each.update.amended == is_so] for is_so in (True, False))
        snapshots = [each.answer for each in messages if isinstance(each, Snapshot)]
        shown = (bar for answer in snapshots for bar in _bars_of(answer))
        return cls(amended, [*(bar for bar in shown if is_untold is None or is_untold(_open_of(bar))), *others])

    def messages(self, symbol: str, timeframe: str, seq: int, token: str) -> Iterator[bytes]:
        """As subscribers are told them: of the commit they are true of."""
        head = f'"symbol":"{symbol}","seq":{seq},"token":"{token}","timeframe":"{timeframe}"'.encode()
        for kind, bars in ((b"amend", self.amended), (b"candle", self.others)):
            for some in _batches(bars):
                yield b'{"type":"%s",%s,"bars":[%s]}' % (kind, head, b",".join(some))

    def newest(self) -> dict[str, Any] | None:
        """The bar that opens last, its numbers as text."""
        last = [_parsed(bars[-1]) for bars in (self.amended, self.others) if bars]
        return max(last, key=lambda bar: int(bar["t"]), default=None)


def latest_bar(bar: dict[str, Any], timeframe: Timeframe, seq: int, token: str) -> Latest:
    """The newest bar as its key has it: names, and a time in seconds, of the multi-timeframe API."""
    told: dict[str, object] = {"ts": orjson.Fragment(units.render(int(bar["t"]), MS_DECIMALS))}
    told |= {name: orjson.Fragment(bar[short]) for short, name in _LONG_NAMES.items()}
    told |= {"timeframe": timeframe.text, "is_complete": bar["isFinal"], "rev": int(bar["rev"])}
    told |= {"partial": True} if bar.get("partial") else {}
    told |= {"seq": seq, "token": token}
    return Latest(f"ohlcv:{timeframe.text}", orjson.dumps(told), seq, token, ttl_ms(timeframe))


def ttl_ms(timeframe: Timeframe) -> int:
    return min(max(2 * timeframe.longest_ms, MIN_TTL_MS), MAX_TTL_MS)


def _written(message: BarMessage) -> bytes:
    return written_bar(message.update.bar, message.instrument).encode()


def _bars_of(answer: object) -> list[bytes]:
    """Those of a snapshot, one by one."""
    assert isinstance(answer, BarsAnswer)
    return single_bars([run for run in answer.page.runs if run])


def _open_of(bar: bytes) -> int:
    return int(_parsed(bar)["t"])


def _batches(bars: Sequence[bytes]) -> Iterator[Sequence[bytes]]:
    return (bars[at : at + MAX_BARS] for at in range(0, len(bars), MAX_BARS))


def _parsed(bar: bytes) -> dict[str, Any]:
    """Numbers stay the text of the exact decimal."""
    found: dict[str, Any] = json.loads(bar, parse_float=str, parse_int=str)
    return found
