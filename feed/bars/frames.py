"""Bars as frames: windows, flags and filling, for the forms and timeframes that no tail serves."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import polars as pl

from common.frames.resample import fill_flat
from common.market.instrument import Instrument
from common.market.timeframes.timeframe import Timeframe
from common.market.trade import MAX_TS_MS
from common.series import CANDLES, MinuteSeries
from common.store.reads import View
from common.store.registry import Market
from common.store.state import SymbolState
from feed.bars.data import SymbolData
from feed.bars.page import More, Page, covered_span, next_page
from feed.bars.recipe import BarRecipe
from feed.bars.source import BarRows, BarSource, PageRead
from feed.reading.bounds import FOREVER_MS, Bounds, Window
from feed.reading.coverage import EMPTY, KnownCoverage

WriteBars = Callable[[pl.DataFrame, Instrument], list[bytes]]


@dataclass(frozen=True, slots=True)
class Bars:
    """Bars with `is_final` and `partial`, the view and coverage they are true of, and the time they speak of.

    `more`: as of a Page.
    """

    frame: pl.DataFrame
    view: View
    cover: KnownCoverage
    from_ms: int
    to_ms: int
    more: More | None = None


async def read_frame(source: BarSource, window: Window, *, flat: bool = False, keyed: bool = False) -> Bars:
    """Read candles as a frame. `flat`: with spans without trades filled in; `keyed`: with their order keys."""
    timeframe = source.grid.timeframe
    bounds = Bounds.of(window, timeframe)
    recipe = BarRecipe.keyed(timeframe) if keyed else BarRecipe.candles(timeframe)
    read = await source.read(recipe, bounds, lend=flat)
    frame, more_ms = read.frame, read.more_ms
    if flat:
        lent = frame if read.lender is None else pl.concat([read.lender, frame])
        reached, state = bounds.reached(more_ms), read.view.state
        frame = await source.data.budget.run(bounds.limit, filled, lent, timeframe, reached, state)
        more_ms = more_ms if len(frame) < bounds.limit else None
    return bars_of(replace(read, frame=frame, more_ms=more_ms), timeframe, bounds)


def bars_of(read: BarRows, timeframe: Timeframe, bounds: Bounds) -> Bars:
    """What was read of the bounds, with flags."""
    from_ms, to_ms = covered_span(read.frame["open_ms"], timeframe, bounds, read.more_ms)
    flags = flagged(read.frame, timeframe, read.cover, read.view.state)
    return Bars(flags, read.view, read.cover, from_ms, to_ms, next_page(bounds, read.more_ms))


async def read_page(source: BarSource, window: Window) -> PageRead:
    """Read candles again, as JSON."""
    read = await read_frame(source, window)
    return await page_of(source.data, read), read.view, read.cover


async def page_of(data: SymbolData, read: Bars, write: WriteBars | None = None) -> Page:
    """`write`: in another form than that of the data."""
    run = await data.budget.run(len(read.frame), _written, read.frame, data, write or data.form.bars)
    return Page([run] if run else [], read.from_ms, read.to_ms, read.more)


def _written(bars: pl.DataFrame, data: SymbolData, write: WriteBars) -> bytes:
    return b",".join(write(bars, data.instrument))


def cover_of(market: Market, view: View) -> KnownCoverage:
    """What the minutes of a symbol cover."""
    return cover_of_minutes(market.instrument, view, CANDLES)


def cover_of_minutes(instrument: Instrument, view: View, series: MinuteSeries) -> KnownCoverage:
    """What one series of its minutes does."""
    if view.state is None:
        return EMPTY
    return KnownCoverage.of(view.state, instrument.ids, view.state.floor_ms(series)).lacking(view.lost(series))


def flagged(frame: pl.DataFrame, timeframe: Timeframe, cover: KnownCoverage, state: SymbolState | None) -> pl.DataFrame:
    """Add `is_final` and `partial`. A bar is final once the watermark has reached its end."""
    growing_ms = timeframe.open_of(max(state.watermark_ms, 0)) if state else 0
    # In one piece from here on. Beside the columns, and not by expressions: these take as long as to write the bars.
    frame = frame.rechunk()
    opens = frame["open_ms"].to_numpy()
    flags = {"partial": cover.partial_flags(opens, timeframe), "is_final": opens < growing_ms}
    return frame.hstack([pl.Series(name, each) for name, each in flags.items()])


def filled(bars: pl.DataFrame, timeframe: Timeframe, bounds: Bounds, state: SymbolState | None) -> pl.DataFrame:
    """Fill spans without trades, up to the watermark's. As many as the limit allows, not as there are: a gap of a
    year has millions of milliseconds."""
    if bars.is_empty() or state is None:
        return bars
    growing_ms = timeframe.open_of(max(state.watermark_ms, 0))
    begun = growing_ms <= max(state.watermark_ms, 0)
    end_ms = min(bounds.end_ms, timeframe.next_open(growing_ms) if begun else growing_ms)
    start_ms = max(bounds.start_ms, bars["open_ms"][0])
    if bounds.oldest_first:
        end_ms = min(end_ms, _step(timeframe, start_ms, bounds.limit))
    else:
        start_ms = max(start_ms, _step(timeframe, end_ms, -bounds.limit))
    return fill_flat(bars, timeframe, start_ms, end_ms)


def _step(timeframe: Timeframe, open_ms: int, spans: int) -> int:
    """Return the open so many spans later or earlier, within the times there are."""
    if timeframe.fixed_ms is not None:
        return min(max(open_ms + spans * timeframe.fixed_ms, 0), FOREVER_MS)
    for _ in range(abs(spans)):
        if not 0 < open_ms < MAX_TS_MS:
            break
        open_ms = timeframe.open_of(timeframe.next_open(open_ms)) if spans > 0 else timeframe.open_before(open_ms)
    return open_ms
