"""Bars of days, weeks and months: out of stored daily candles, and out of minutes where those are not up to date.

A stored day is what the roll-up jobs made of its minutes. A day that has been written since (`dirty`), and the one that
is still growing, are made of their minutes here, by the same merge; so an answer is right whether the jobs run or not.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import polars as pl

from common.frames import decode
from common.frames.resample import resample
from common.market.coding import codec
from common.market.timeframes.periods import DAY, periods
from common.market.timeframes.timeframe import DAY_MS, MINUTE_MS, Timeframe
from common.retry import always_changing
from common.series import CANDLES
from common.store.archived import touches
from common.store.parts import DailyCandles, Entries, Minutes, Range
from common.store.reads import View
from feed.bars.changes import ROUNDS, BarChanges, Cursor, Touched, touched_since
from feed.bars.closed import Closed, candles_of, cut, grow
from feed.bars.data import SymbolData
from feed.bars.frames import read_page
from feed.bars.live import At, BarGrid, Live, MinuteLive, Update
from feed.bars.minutes import MinuteSource, read_with_open, tail_page
from feed.bars.recipe import BarRecipe
from feed.bars.source import BarRows, PageRead
from feed.bars.together import ClosedTogether
from feed.reading.bounds import FOREVER_MS, Bounds, Span, Window, united
from feed.reading.coverage import EMPTY, KnownCoverage
from feed.reading.history import ATTEMPTS, History

# With more days than that to be made of their minutes, the minutes are read in parts, as for any other timeframe.
MAX_DIRTY_MS = 14 * DAY_MS
# Bars that are looked through for those that changed.
MAX_DAYS = 4_000
NOTHING = Range(0, 0)
_DAYS_OF = {"d": 1, "w": 7, "M": 31}


@dataclass(frozen=True, slots=True)
class DaySource:
    """Where too many days have yet to be rolled up, and for footprints, `minutes` answers."""

    minutes: MinuteSource
    # Whether the newest bars are kept as JSON: not of weeks and months, whose minutes may be gone in part.
    has_tail: bool

    @property
    def data(self) -> SymbolData:
        return self.minutes.data

    @property
    def grid(self) -> BarGrid:
        return self.minutes.grid

    async def closed(self, recipe: BarRecipe, bounds: Bounds, *, keeps_pieces: bool = False) -> Closed:
        """Without pieces: days are not made of any."""
        days = await read_days(self.data.history, recipe.timeframe, bounds)
        return days or await self.minutes.closed(recipe, bounds)

    def cover(self, _: BarRecipe, view: View) -> KnownCoverage:
        """What the daily candles cover, which outlive their minutes."""
        return KnownCoverage.of(view.state, self.data.instrument.ids) if view.state else EMPTY

    async def read(self, recipe: BarRecipe, bounds: Bounds, *, lend: bool = False) -> BarRows:
        return await read_with_open(self if recipe.has_days else self.minutes, recipe, bounds, lend=lend)

    def together(self) -> ClosedTogether:
        return ClosedTogether(self.data, self.minutes, self, self.grid.timeframe)

    async def page(self, window: Window) -> PageRead:
        return await tail_page(self, window) if self.has_tail else await read_page(self, window)

    async def live(self) -> tuple[Live, View]:
        newest = await self._days(Bounds(0, FOREVER_MS, 1, oldest_first=False))
        return (self._live(newest), newest.view) if newest else await self.minutes.live()

    async def changes(self, cursor: Cursor, known: KnownCoverage | None = None) -> BarChanges | None:
        return await self.changes_of_days(cursor, known) or await self.minutes.changes(cursor, known)

    async def changes_of_days(self, cursor: Cursor, known: KnownCoverage | None) -> BarChanges | None:
        """The same, and None as well where the minutes are to be read, or more bars than are looked through."""
        # First the newest bar; then, if one is touched, all bars that open from that one on.
        bounds = Bounds(0, FOREVER_MS, 1, oldest_first=False)
        for _ in range(ROUNDS):
            closed = await self._days(bounds, cursor.seq)
            touched = touched_since(self.grid, closed.view, cursor, known, MINUTE_MS) if closed else None
            if closed is None or touched is None:
                return None
            live, spans = self._live(closed), united(touched.spans(self.grid.timeframe))
            if not spans:
                return BarChanges(live, [])
            if bounds.oldest_first and not closed.to_end:
                return None
            if bounds.oldest_first and bounds.start_ms <= spans[0][0]:
                return BarChanges(live, list(_updates(live, touched, closed, spans)))
            bounds = Bounds(spans[0][0], FOREVER_MS, MAX_DAYS, oldest_first=True)
        return None

    async def _days(self, bounds: Bounds, since_seq: int | None = None) -> Closed | None:
        return await read_days(self.data.history, self.grid.timeframe, bounds, since_seq)

    def _live(self, closed: Closed) -> MinuteLive:
        state, timeframe = closed.view.state, self.grid.timeframe
        at = At.of(state, self.data.instrument.ids, -1)
        growing_ms = timeframe.open_of(max(at.watermark_ms, 0))
        bars = [bar for bar in candles_of(closed.bars.tail(1)) if bar.open_ms == growing_ms]
        base = bars[0] if bars else None
        if state and state.candle:
            grow(bars, codec.unpack_candle(state.candle), timeframe)
        return MinuteLive(self.grid, at, base, bars[-1] if bars else None)


def _updates(live: MinuteLive, touched: Touched, closed: Closed, spans: list[Span]) -> Iterator[Update]:
    for bar in candles_of(closed.bars):
        if any(start <= bar.open_ms < end for start, end in spans) and bar.open_ms < touched.growing_ms:
            yield live.grid.update(bar, live.at, touched.was_ms)
    if live.growing and touched.grew(live.grid.timeframe):
        yield live.grid.update(live.growing, live.at, touched.was_ms)


async def read_days(
    history: History, timeframe: Timeframe, bounds: Bounds, since_seq: int | None = None
) -> Closed | None:
    """Read bars of a timeframe of days. None if too many days have yet to be rolled up: the minutes are to be read."""
    limit = bounds.limit * timeframe.n * _DAYS_OF[timeframe.unit]
    stored = Range.some(bounds.start_ms, bounds.end_ms, limit, oldest_first=bounds.oldest_first)
    # First only which days are dirty: it is cheap, and all the rest is then read at once.
    view = await history.view(DailyCandles(NOTHING))
    for _ in range(ATTEMPTS):
        spans = _to_be_made(view, timeframe, bounds)
        if sum(end - start for start, end in spans) > MAX_DIRTY_MS:
            return None
        minutes = Minutes(*(Range(*span) for span in spans))
        view = await history.view(minutes, DailyCandles(stored), *Entries.since(since_seq))
        if set(_to_be_made(view, timeframe, bounds)) <= set(spans):
            bars = _bars(view, spans, timeframe)
            ended = len(view.days.candles) < limit and len(bars) <= bounds.limit
            return Closed(
                view,
                cut(bars, bounds),
                to_end=ended or not bounds.oldest_first,
                from_start=ended or bounds.oldest_first,
            )
    raise always_changing(history.symbol)


def _to_be_made(view: View, timeframe: Timeframe, bounds: Bounds) -> list[Span]:
    """The trading days that no stored candle speaks for, as far as they lie within the bounds."""
    if view.state is None:
        return []
    watermark_ms, floor_ms = max(view.state.watermark_ms, 0), view.state.candle_floor_ms
    # Of a day before the floor, or one whose minutes are lost, nothing is left but what was made of it.
    touched = [(day_ms, day_ms + DAY_MS) for day_ms in view.days.dirty if day_ms >= floor_ms]
    touched.append((watermark_ms, watermark_ms + 1))
    touched += [(max(first, floor_ms), min(last + DAY_MS, watermark_ms)) for first, last in _otherwise(view, timeframe)]
    days = (day for span in touched for day in periods(DAY.anchored(timeframe.sessions), *span))
    whole = (day for day in days if not touches(view.lost(CANDLES), day.open_ms, day.end_ms))
    spans = ((max(day.open_ms, bounds.start_ms), min(day.end_ms, bounds.end_ms)) for day in whole)
    return united(span for span in spans if span[0] < span[1])


def _otherwise(view: View, timeframe: Timeframe) -> list[Span]:
    """Days that were stored before what is known of the calendar now, and have not been marked since."""
    sessions = timeframe.sessions
    return view.days.adopted.lacking(sessions.calendar, sessions.exceptions) if sessions else []


def _bars(view: View, spans: list[Span], timeframe: Timeframe) -> pl.DataFrame:
    days = decode.candles(view.days.candles)
    for start_ms, end_ms in spans:
        days = days.filter(~pl.col("open_ms").is_between(start_ms, end_ms, closed="left"))
    minutes = decode.candles([member for members in view.minutes for member in members])
    return resample(pl.concat([days, resample(minutes, DAY.anchored(timeframe.sessions))]), timeframe)
