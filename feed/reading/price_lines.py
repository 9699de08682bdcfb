"""A day of prices as a line, for many symbols at once: kept for some minutes, as what people glance at."""

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple

import numpy as np
from redis.asyncio import Redis

from common.errors import FleetError
from common.frames.text import decimals_json
from common.market.candle import Candle
from common.market.coding import candle_blocks, codec
from common.market.coding.packed import Ints
from common.market.instrument import Instrument
from common.market.scale import Scales
from common.market.timeframes.periods import DAY
from common.market.timeframes.timeframe import DAY_MS
from common.store.day_closes import DayCloses, Steps, read_closes
from feed.reading.workers import QueryThreads

log = logging.getLogger(__name__)

POINTS = 48
STEP_MS = DAY_MS // POINTS
KEPT_S = 300.0


class PriceLine(NamedTuple):
    """In ticks, None where none is known. `first`: the price before the first step, else the oldest one after it.

    `last`: at the end of the last step. `json`: all points but the last, each with a comma behind it: the price at the
    end of each step, null before there was one.
    """

    first: int | None
    last: int | None
    json: bytes

    def ending(self, text: str) -> bytes:
        """As JSON, with another end."""
        return b"[%s%s]" % (self.json, text.encode())


class LineRequest(NamedTuple):
    """`scales`: in which scale sealed blocks are read. `growing`: the open minute, which is in no series yet."""

    instrument: Instrument
    scales: Scales | None
    growing: Candle | None = None


class _Kept(NamedTuple):
    until_s: float
    from_ms: int
    instrument: Instrument
    line: PriceLine | None

    def is_good(self, instrument: Instrument, steps: Steps, now_s: float) -> bool:
        return now_s < self.until_s and self.from_ms == steps.from_ms and self.instrument == instrument


def steps_at(now_ms: int) -> Steps:
    """Of the day that ends with the step under way."""
    end_ms = now_ms // STEP_MS * STEP_MS + STEP_MS
    return Steps(end_ms - DAY_MS, STEP_MS, POINTS)


@dataclass(slots=True)
class PriceLines:
    client: Redis
    workers: QueryThreads
    monotonic_s: Callable[[], float] = time.monotonic
    _kept: dict[str, _Kept] = field(default_factory=dict)

    async def read(self, requests: Sequence[LineRequest], steps: Steps) -> dict[str, PriceLine | None]:
        """By symbol; None where it can't be read. Those that were read before are as of then."""
        now_s, wanted = self.monotonic_s(), {each.instrument.symbol: each for each in requests}
        good = {symbol: kept for symbol, kept in self._kept.items() if symbol in wanted}
        good = {s: kept for s, kept in good.items() if kept.is_good(wanted[s].instrument, steps, now_s)}
        lacking = [request for symbol, request in wanted.items() if symbol not in good]
        lines = await self._lines(lacking, steps) if lacking else []
        for request, line in zip(lacking, lines, strict=True):
            until_s = now_s + (KEPT_S if line else 0)
            good[request.instrument.symbol] = _Kept(until_s, steps.from_ms, request.instrument, line)
        self._kept = good
        return {symbol: kept.line for symbol, kept in good.items()}

    async def _lines(self, requests: Sequence[LineRequest], steps: Steps) -> list[PriceLine | None]:
        symbols = [each.instrument.symbol for each in requests]
        found = await read_closes(self.client, symbols, steps)
        return await self.workers.run(partial(_made, requests, found, steps), patient=False)


def _made(
    requests: Sequence[LineRequest], found: Sequence[DayCloses | FleetError], steps: Steps
) -> list[PriceLine | None]:
    lines = [_Line(request, steps) for request in requests]
    for line, closes in zip(lines, found, strict=True):
        line.take(closes)
    for scales in {line.request.scales for line in lines}:
        _put_sealed([line for line in lines if line.request.scales == scales], scales)
    return [line.made() for line in lines]


def _put_sealed(lines: Sequence["_Line"], scales: Scales | None) -> None:
    """The blocks of all of them are decoded at once, and one by one where one of them can't be."""
    blocks = [block for line in lines for block in line.blocks]
    try:
        minutes = iter(candle_blocks.closes(blocks, scales))
    except Exception as error:
        if len(lines) == 1:
            lines[0].fail(error)
            return
        for line in lines:
            _put_sealed([line], scales)
        return
    for line in lines:
        for _ in line.blocks:
            line.put(*next(minutes))


@dataclass(slots=True)
class _Line:
    """One that is being made. `opens`, `closes`: of the newest minute before the first step, and of each step; -1 where
    there is none. None once it has failed."""

    request: LineRequest
    steps: Steps
    blocks: Sequence[bytes] = ()
    opens: Ints | None = None
    closes: Ints | None = None

    def take(self, found: DayCloses | FleetError) -> None:
        if isinstance(found, FleetError):
            self.fail(found)
            return
        self.blocks = found.blocks
        self.opens, self.closes = (np.frombuffer(column, "<i8").copy() for column in (found.opens, found.closes))
        day = _over(self.request.instrument, found.daily, self.steps)
        if day and day.open_ms > self.opens[0]:
            self.opens[0], self.closes[0] = day.open_ms, day.close_ticks
        if growing := self.request.growing:
            self.put(np.array([growing.open_ms]), np.array([growing.close_ticks]))

    def fail(self, error: Exception) -> None:
        """The others have theirs."""
        known = isinstance(error, FleetError)
        what = {"symbol": self.request.instrument.symbol, "error": str(error)}
        log.warning("line not read", extra=what, exc_info=None if known else error)
        self.blocks, self.opens, self.closes = (), None, None

    def put(self, opens: Ints, closes: Ints) -> None:
        """Minutes of a sealed day. One that is open all the same was written later."""
        assert self.opens is not None and self.closes is not None
        steps = self.steps
        ends = np.searchsorted(opens, np.arange(steps.from_ms, steps.end_ms + 1, steps.step_ms))
        newest = np.maximum(ends - 1, 0)
        is_newer = (np.diff(ends, prepend=0) > 0) & (opens[newest] > self.opens)
        self.opens[is_newer], self.closes[is_newer] = opens[newest][is_newer], closes[newest][is_newer]

    def made(self) -> PriceLine | None:
        if self.opens is None or self.closes is None:
            return None
        known = np.flatnonzero(self.opens >= 0)
        if not len(known):
            return PriceLine(None, None, b"null," * (POINTS - 1))
        # Of a step without a minute, the last place that has one.
        places = np.maximum.accumulate(np.where(self.opens >= 0, np.arange(len(self.opens)), 0))
        lacking = max(int(known[0]) - 1, 0)
        points = self.closes[places][1:]
        decimals = self.request.instrument.price_decimals
        json = b"null," * lacking + decimals_json(points[lacking:-1], decimals)[1:-1]
        json += b"" if lacking == POINTS - 1 else b","
        return PriceLine(int(self.closes[known[0]]), int(points[-1]), json)


def _over(instrument: Instrument, packed: bytes | None, steps: Steps) -> Candle | None:
    """A daily candle whose day ended before the first step."""
    candle = codec.unpack_candle(packed) if packed else None
    is_over = candle and instrument.anchored(DAY).next_open(candle.open_ms) <= steps.from_ms
    return candle if is_over else None
