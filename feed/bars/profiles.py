"""Profiles: the levels of a period, of several, or of any span of minutes, as one bar with many rows.

A period is a bar of its timeframe, as every other bar is cut.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

import numpy as np
import polars as pl

from common.errors import BadInput
from common.frames.footprint import regroup
from common.frames.orderflow.developing import rows_so_far, size_so_far
from common.frames.orderflow.states import LaterCandles
from common.frames.orderflow.tpo import BRACKET_MINUTES
from common.frames.resample import resample
from common.market.orderflow.rows import height_for
from common.market.timeframes.timeframe import DAY_MS, MINUTE_MS, Timeframe, minute_of
from common.market.trade import MAX_TICKS, MAX_TS_MS
from common.retry import retry_when_overtaken
from common.store.reads import View
from feed.bars.flow import ATTEMPTS, MAX_LEAD, bounds_of, finest_candles, step_of
from feed.bars.frames import flagged
from feed.bars.recipe import BarRecipe
from feed.bars.source import BarRows, BarSource, BarsTogether
from feed.reading.bounds import Bounds, Span, Window
from feed.reading.coverage import KnownCoverage

PocState = Literal["developing", "naked", "touched", "unknown"]

# Longer than all time there is: one bar of whatever is read.
AGES = Timeframe(2 * MAX_TS_MS // DAY_MS, "d")
# Rows of a period so far, of all its bars together.
MAX_ROWS_SO_FAR = 1_000_000
# Of time at a price: half an hour each, and rows of one session, empty ones included.
TPO_BRACKET = Timeframe(BRACKET_MINUTES, "m")
MAX_TIME_ROWS = 10_000


@dataclass(frozen=True, slots=True)
class ProfilesWanted:
    """`span`: one profile of it; None: one of each period of the window, or of all together where `is_composite`.

    `row_ticks`: None: as high as makes at most `max_rows`. `developing`: bars after each of which the profile so far is
    wanted, too; `naked`: what became of prices since.
    """

    window: Window
    span: Span | None
    is_composite: bool
    row_ticks: int | None
    max_rows: int
    developing: Timeframe | None
    naked: bool


@dataclass(frozen=True, slots=True, eq=False)
class Profiles:
    """`bars`: candles with `is_final`, `partial`, one a profile, named by where its span starts; `levels`: their rows.

    `so_far`: rows at the end of each bar of each profile. `later`: candles to now. None where not wanted.
    """

    bars: pl.DataFrame
    spans: Sequence[Span]
    levels: pl.DataFrame
    row_ticks: int
    so_far: pl.DataFrame | None
    later: LaterCandles | None
    view: View
    cover: KnownCoverage

    def poc_state(self, at: int, bottom: int, top: int) -> tuple[PocState, int | None]:
        """What became of a price of a profile since its span ended, and when."""
        assert self.later
        if not self.bars["is_final"][at]:
            return "developing", None
        opens = np.array([self.bars["open_ms"][at]])
        (state,) = self.later.states(opens, np.array([bottom]), np.array([top]), from_above=True)
        now_ms = self.view.state.watermark_ms + 1 if self.view.state else 0
        lost_ms = self.cover.first_missing(self.spans[at][1], now_ms if state.touched_ms is None else state.touched_ms)
        if lost_ms is not None:
            return "unknown", lost_ms
        return ("naked", None) if state.touched_ms is None else ("touched", state.touched_ms)


async def read(source: BarSource, wanted: ProfilesWanted) -> Profiles:
    """`source`: of the periods; of a span, of minutes."""
    symbol = source.data.instrument.symbol
    return await retry_when_overtaken(partial(_read, source, wanted), symbol, attempts=ATTEMPTS)


async def _read(source: BarSource, wanted: ProfilesWanted) -> Profiles:
    together, timeframe = source.together(), AGES if wanted.span else source.grid.timeframe
    bounds = Bounds(*wanted.span, 1, oldest_first=False) if wanted.span else Bounds.of(wanted.window, timeframe)
    candles = await together.read(BarRecipe.candles(timeframe), bounds)
    return await of_candles(together, candles, timeframe, bounds, wanted)


async def of_candles(
    together: BarsTogether, candles: BarRows, timeframe: Timeframe, bounds: Bounds, wanted: ProfilesWanted
) -> Profiles:
    """Profiles of candles that were read `together`, of these bounds. Raises Overtaken."""
    _whole(candles)
    same = bounds if wanted.span else bounds_of(candles.frame, timeframe, bounds) or replace(bounds, limit=1)
    row_ticks = wanted.row_ticks or await _height(together, candles.frame, timeframe, same, wanted.max_rows)
    levels = _whole(await together.read(BarRecipe.footprints(timeframe, row_ticks, "floor"), same)).frame
    bars, spans = _bar_of_span(candles, wanted.span) if wanted.span else _bars_of_periods(candles, timeframe)
    if len(bars) and (wanted.span or wanted.is_composite):
        bars, levels = _united(bars, row_ticks, levels)
        spans = [(spans[0][0], spans[-1][1])]
    so_far = await _so_far(together, wanted.developing, row_ticks, same, bars) if wanted.developing else None
    later = await _later(together, candles.view, bars, timeframe) if wanted.naked else None
    return Profiles(bars, spans, levels, row_ticks, so_far, later, candles.view, candles.cover)


def _whole(read: BarRows) -> BarRows:
    if read.more_ms is not None:
        raise BadInput("that is more than one request may read, expected fewer periods or a shorter span")
    return read


async def _height(
    together: BarsTogether, bars: pl.DataFrame, timeframe: Timeframe, bounds: Bounds, max_rows: int
) -> int:
    """One for all profiles of an answer: the highest needs it."""
    sums = _whole(await together.read(BarRecipe.level_sums(timeframe), bounds)).frame
    ranges = (bars["high_ticks"] - bars["low_ticks"]).to_list()
    return min(height_for(max(ranges, default=0) + 1, max_rows, step_of(sums)), MAX_TICKS - 1)


def _bars_of_periods(candles: BarRows, timeframe: Timeframe) -> tuple[pl.DataFrame, list[Span]]:
    bars = flagged(candles.frame, timeframe, candles.cover, candles.view.state)
    return bars, [(open_ms, timeframe.next_open(open_ms)) for open_ms in bars["open_ms"].to_list()]


def _bar_of_span(candles: BarRows, span: Span) -> tuple[pl.DataFrame, list[Span]]:
    state, partial_ = candles.view.state, candles.cover.partial(*span)
    flags = {"partial": pl.lit(partial_), "is_final": pl.lit(state is not None and state.watermark_ms >= span[1])}
    return candles.frame.with_columns(pl.lit(span[0], pl.Int64).alias("open_ms"), **flags), [span]


def _united(bars: pl.DataFrame, row_ticks: int, levels: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """All bars as one, and their rows: both named by the first one's open."""
    first = pl.lit(int(bars["open_ms"][0]), pl.Int64).alias("open_ms")
    flags = {"partial": pl.lit(bool(bars["partial"].any())), "is_final": pl.lit(bool(bars["is_final"].all()))}
    one = resample(bars.drop("partial", "is_final"), AGES).with_columns(first, **flags)
    return one, regroup(levels, AGES, row_ticks, "floor").with_columns(first)


async def _so_far(
    together: BarsTogether, timeframe: Timeframe, row_ticks: int, bounds: Bounds, profiles: pl.DataFrame
) -> pl.DataFrame:
    """Rows of the profiles at the end of each bar of them."""
    inside = Bounds(bounds.start_ms, bounds.end_ms, MAX_LEAD, oldest_first=False)
    levels = _whole(await together.read(BarRecipe.footprints(timeframe, row_ticks, "floor"), inside)).frame
    opens = profiles["open_ms"].to_numpy()
    periods = np.maximum(np.searchsorted(opens, levels["open_ms"].to_numpy(), "right") - 1, 0)
    if len(levels) and size_so_far(levels, periods) > MAX_ROWS_SO_FAR:
        raise BadInput("that many rows so far are too many, expected higher rows, longer bars or fewer periods")
    return rows_so_far(levels, periods)


async def _later(together: BarsTogether, view: View, bars: pl.DataFrame, timeframe: Timeframe) -> LaterCandles:
    """From the first profile to now; told apart by the periods they are in."""
    if bars.is_empty() or view.state is None:
        return LaterCandles.of(bars, timeframe)
    now_ms = minute_of(max(view.state.watermark_ms, 0)) + MINUTE_MS
    return LaterCandles.of(await finest_candles(together, int(bars["open_ms"][0]), now_ms), timeframe)


@dataclass(frozen=True, slots=True, eq=False)
class BracketTimes:
    """`bars`: candles of sessions; `brackets`: candles of brackets of them."""

    bars: pl.DataFrame
    spans: Sequence[Span]
    brackets: pl.DataFrame
    row_ticks: int
    view: View
    cover: KnownCoverage


async def read_times(source: BarSource, wanted: ProfilesWanted, bracket: Timeframe) -> BracketTimes:
    """Sessions, and the brackets they are cut into. `source`: of sessions."""
    symbol = source.data.instrument.symbol
    return await retry_when_overtaken(partial(_read_times, source, wanted, bracket), symbol, attempts=ATTEMPTS)


async def _read_times(source: BarSource, wanted: ProfilesWanted, bracket: Timeframe) -> BracketTimes:
    together, timeframe = source.together(), source.grid.timeframe
    bounds = Bounds.of(wanted.window, timeframe)
    candles = _whole(await together.read(BarRecipe.candles(timeframe), bounds))
    bars, spans = _bars_of_periods(candles, timeframe)
    inside = Bounds(spans[0][0], spans[-1][1], MAX_LEAD, oldest_first=False) if spans else replace(bounds, limit=1)
    brackets = _whole(await together.read(BarRecipe.candles(bracket), inside)).frame
    row_ticks = wanted.row_ticks
    if row_ticks is None:
        same = bounds_of(bars, timeframe, bounds) or replace(bounds, limit=1)
        row_ticks = await _height(together, bars, timeframe, same, wanted.max_rows)
    ranges = (bars["high_ticks"] - bars["low_ticks"]).to_list()
    if max(ranges, default=0) // row_ticks >= MAX_TIME_ROWS:
        raise BadInput(f"a session has more than {MAX_TIME_ROWS} rows, expected higher ones")
    return BracketTimes(bars, spans, brackets, row_ticks, candles.view, candles.cover)
