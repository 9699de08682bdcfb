"""Bars of days, weeks and months: out of stored daily candles, and out of minutes where those are not up to date.

A stored day is what the roll-up jobs made of its minutes. A day that has been written since (`dirty`), and the one that
is still growing, are made of their minutes here, by the same merge; so an answer is right whether the jobs run or not.
"""

import polars as pl

from common.errors import StoreUnavailable
from common.frames import decode
from common.frames.resample import resample
from common.market.timeframes.periods import DAY, periods
from common.market.timeframes.timeframe import DAY_MS, Timeframe
from common.series import CANDLES
from common.store.reads import Range, View, touches
from feed.bars.minutes import Closed, cut, united
from feed.reading.bounds import Bounds, Span
from feed.reading.history import ATTEMPTS, History

# With more days than that to be made of their minutes, the minutes are read in parts, as for any other timeframe.
MAX_DIRTY_MS = 14 * DAY_MS
NOTHING = Range(0, 0)
_DAYS_OF = {"d": 1, "w": 7, "M": 31}


async def read_days(
    reader: History, timeframe: Timeframe, bounds: Bounds, since_seq: int | None = None
) -> Closed | None:
    """Read bars of a timeframe of days. None if too many days have yet to be rolled up: the minutes are to be read."""
    most = bounds.limit * timeframe.n * _DAYS_OF[timeframe.unit]
    stored = Range.some(bounds.start_ms, bounds.end_ms, most, oldest_first=bounds.oldest_first)
    # First only which days are dirty: it is cheap, and all the rest is then read at once.
    view = await reader.view(days=NOTHING)
    for _ in range(ATTEMPTS):
        spans = _to_be_made(view, timeframe, bounds)
        if sum(end - start for start, end in spans) > MAX_DIRTY_MS:
            return None
        view = await reader.view([Range(*span) for span in spans], days=stored, since_seq=since_seq)
        if set(_to_be_made(view, timeframe, bounds)) <= set(spans):
            bars = _bars(view, spans, timeframe)
            ended = len(view.days) < most and len(bars) <= bounds.limit
            return Closed(
                view,
                cut(bars, bounds),
                to_end=ended or not bounds.oldest_first,
                from_start=ended or bounds.oldest_first,
            )
    raise StoreUnavailable(f"{reader.keys.symbol} changed under every attempt to read it")


def _to_be_made(view: View, timeframe: Timeframe, bounds: Bounds) -> list[Span]:
    """The trading days that no stored candle speaks for, as far as they lie within the bounds."""
    if view.state is None:
        return []
    watermark_ms, floor_ms = max(view.state.watermark_ms, 0), view.state.candle_floor_ms
    # Of a day before the floor, or one whose minutes are lost, nothing is left but what was made of it.
    touched = [(day_ms, day_ms + DAY_MS) for day_ms in view.dirty if day_ms >= floor_ms]
    touched.append((watermark_ms, watermark_ms + 1))
    touched += [(max(first, floor_ms), min(last + DAY_MS, watermark_ms)) for first, last in _otherwise(view, timeframe)]
    days = (day for span in touched for day in periods(DAY.anchored(timeframe.sessions), *span))
    whole = (day for day in days if not touches(view.lost(CANDLES), day.open_ms, day.end_ms))
    spans = ((max(day.open_ms, bounds.start_ms), min(day.end_ms, bounds.end_ms)) for day in whole)
    return united(span for span in spans if span[0] < span[1])


def _otherwise(view: View, timeframe: Timeframe) -> list[Span]:
    """Days that were stored before what is known of the calendar now, and have not been marked since."""
    sessions = timeframe.sessions
    return view.adopted.lacking(sessions.calendar, sessions.exceptions) if sessions else []


def _bars(view: View, spans: list[Span], timeframe: Timeframe) -> pl.DataFrame:
    days = decode.candles(view.days)
    for start_ms, end_ms in spans:
        days = days.filter(~pl.col("open_ms").is_between(start_ms, end_ms, closed="left"))
    minutes = decode.candles([member for members in view.minutes for member in members])
    return resample(pl.concat([days, resample(minutes, DAY.anchored(timeframe.sessions))]), timeframe)
