"""What order flow is worked out of: candles, their rows, what their levels add up to, and minutes after them.

All as of one commit, for the same bars.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import polars as pl

from common.errors import BadInput
from common.frames.orderflow.level_sums import LEVEL_SUMS
from common.frames.orderflow.running import NO_ANCHOR, anchors_of
from common.frames.orderflow.states import LaterCandles
from common.frames.schema import LEVELS
from common.market.orderflow.anchors import Anchor
from common.market.orderflow.rows import FOOTPRINT_ROWS, RANGES, Align, height_for
from common.market.timeframes.timeframe import Timeframe
from common.market.trade import MAX_TICKS
from common.retry import retry_when_overtaken
from common.store.reads import View
from feed.bars.frames import flagged
from feed.bars.recipe import BarRecipe
from feed.bars.source import BarRows, BarSource, BarsTogether
from feed.reading.bounds import Bounds, Window, grid_at
from feed.reading.coverage import KnownCoverage

ATTEMPTS = 8
# Bars before the first one: as many as there are.
MAX_LEAD = 1 << 40


@dataclass(frozen=True, slots=True)
class RowGrid:
    """`height_ticks`: None where it is to be worked out of the bars."""

    height_ticks: int | None
    align: Align


@dataclass(frozen=True, slots=True)
class FlowWanted:
    """What is needed of the bars: their rows, what their levels add up to, what minutes came after.

    `anchor`: all bars since it are needed, too. None: none before them.
    """

    window: Window
    grid: RowGrid
    rows: bool = True
    sums: bool = False
    later: bool = False
    anchor: Anchor | None = None


@dataclass(frozen=True, slots=True, eq=False)
class FlowLead:
    """Candles, and their LEVEL_SUMS."""

    bars: pl.DataFrame
    sums: pl.DataFrame


@dataclass(frozen=True, slots=True, eq=False)
class FlowBars:
    """`bars`: candles with `is_final`, `partial`; `levels`: their rows, `row_ticks` high; `sums`: LEVEL_SUMS of them.

    `later`: candles that tell what became of prices; `lead`: bars from the first one's anchor to it. `more_ms`: as of a
    page.
    """

    bars: pl.DataFrame
    levels: pl.DataFrame
    sums: pl.DataFrame
    row_ticks: int
    later: LaterCandles | None
    lead: FlowLead
    bounds: Bounds
    view: View
    cover: KnownCoverage
    more_ms: int | None


async def read_flow(source: BarSource, wanted: FlowWanted) -> FlowBars:
    """Read at most as many bars as asked for, fewer where a request may read no more."""
    symbol = source.data.instrument.symbol
    return await retry_when_overtaken(partial(_read, source, wanted), symbol, attempts=ATTEMPTS)


async def _read(source: BarSource, wanted: FlowWanted) -> FlowBars:
    timeframe, together = source.grid.timeframe, source.together()
    bounds = Bounds.of(wanted.window, timeframe)
    candles = await together.read(BarRecipe.flow(timeframe), bounds)
    bars = flagged(candles.frame, timeframe, candles.cover, candles.view.state)
    same, found = bounds_of(bars, timeframe, bounds), [candles]
    sums, levels, row_ticks = LEVEL_SUMS.to_frame(), LEVELS.to_frame(), wanted.grid.height_ticks
    if same and (wanted.sums or (wanted.rows and row_ticks is None)):
        found.append(await together.read(BarRecipe.level_sums(timeframe), same))
        sums = found[-1].frame
    row_ticks = row_ticks or auto_height(bars, sums)
    if same and wanted.rows:
        found.append(await together.read(BarRecipe.footprints(timeframe, row_ticks, wanted.grid.align), same))
        levels = found[-1].frame
    more_ms = reached(found, oldest_first=bounds.oldest_first)
    cut = partial(within, bounds.reached(more_ms))
    bars = cut(bars)
    later = await later_candles(source, together, bars, bounds.end_ms) if wanted.later else None
    lead = await read_lead(source, together, wanted, bars)
    return FlowBars(bars, cut(levels), cut(sums), row_ticks, later, lead, bounds, candles.view, candles.cover, more_ms)


async def read_lead(source: BarSource, together: BarsTogether, wanted: FlowWanted, bars: pl.DataFrame) -> FlowLead:
    """Read all bars from the first one's anchor to it."""
    timeframe = source.grid.timeframe
    candles, level_sums = BarRecipe.flow(timeframe), BarRecipe.level_sums(timeframe)
    lead = FlowLead(bars[:0].drop("is_final", "partial"), LEVEL_SUMS.to_frame())
    if wanted.anchor is None or bars.is_empty():
        return lead
    first_ms = int(bars["open_ms"][0])
    since_ms = int(anchors_of(bars["open_ms"].to_numpy()[:1], wanted.anchor, timeframe.sessions)[0])
    start_ms = first_ms if since_ms == NO_ANCHOR else grid_at(timeframe, since_ms)
    if start_ms >= first_ms:
        return lead
    before = Bounds(start_ms, first_ms, MAX_LEAD, oldest_first=False)
    reads = [await together.read(recipe, before) for recipe in ([candles, level_sums] if wanted.sums else [candles])]
    if any(read.more_ms is not None for read in reads):
        raise BadInput(
            f"the anchor at {since_ms} lies further back than one request may read, expected a later anchor, "
            "a longer timeframe or fewer fields"
        )
    return FlowLead(reads[0].frame, reads[1].frame) if wanted.sums else replace(lead, bars=reads[0].frame)


def bounds_of(bars: pl.DataFrame, timeframe: Timeframe, bounds: Bounds) -> Bounds | None:
    """Bounds of just these bars; None of none."""
    if bars.is_empty():
        return None
    first_ms, last_ms = int(bars["open_ms"][0]), int(bars["open_ms"][-1])
    return Bounds(first_ms, timeframe.next_open(last_ms), len(bars), bounds.oldest_first)


def reached(reads: list[BarRows], *, oldest_first: bool) -> int | None:
    """Where all of them have been read to."""
    ends = [read.more_ms for read in reads if read.more_ms is not None]
    choose: Callable[[list[int]], int] = min if oldest_first else max
    return choose(ends) if ends else None


def within(bounds: Bounds, frame: pl.DataFrame) -> pl.DataFrame:
    if frame.is_empty():
        return frame
    start, end = np.searchsorted(frame["open_ms"].to_numpy(), (bounds.start_ms, bounds.end_ms)).tolist()
    return frame if end - start == len(frame) else frame.slice(start, end - start)


def step_of(sums: pl.DataFrame) -> int:
    """What all prices are multiples of."""
    return int(np.gcd.reduce(sums["step_ticks"].to_numpy())) if len(sums) else 1


def auto_height(bars: pl.DataFrame, sums: pl.DataFrame) -> int:
    """A height with which bars such as the last closed ones have at most as many rows as are read at a glance."""
    step = step_of(sums)
    if bars.is_empty():
        return step
    ranges, is_final = (bars["high_ticks"] - bars["low_ticks"]).to_numpy() + 1, bars["is_final"].to_numpy()
    ranges = np.sort((ranges[is_final] if is_final.any() else ranges)[-RANGES:])
    # Of an even number of them the lower of the two in the middle, which is a whole number.
    return min(height_for(int(ranges[(len(ranges) - 1) // 2]), FOOTPRINT_ROWS, step), MAX_TICKS - 1)


async def later_candles(source: BarSource, together: BarsTogether, bars: pl.DataFrame, until_ms: int) -> LaterCandles:
    """The shortest candles there are, from the first of these bars to the last, or to where that is cut."""
    timeframe, finest = source.grid.timeframe, together.finest
    if bars.is_empty() or timeframe == finest:
        return LaterCandles.of(bars, timeframe)
    end_ms = min(until_ms, timeframe.next_open(int(bars["open_ms"][-1])))
    return LaterCandles.of(await finest_candles(together, int(bars["open_ms"][0]), end_ms), timeframe)


async def finest_candles(together: BarsTogether, start_ms: int, end_ms: int) -> pl.DataFrame:
    """The shortest candles there are, that open within."""
    finest = together.finest
    span = Bounds(start_ms, end_ms, 1 + (end_ms - start_ms) // finest.longest_ms, oldest_first=False)
    read = await together.read(BarRecipe.candles(finest), span)
    if read.more_ms is not None:
        raise BadInput("what became of prices takes more minutes than a request may read, expected a smaller limit")
    return read.frame
