"""Bars as frames: windows, flags and filling, for the forms and timeframes that no tail serves."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from common.frames.resample import fill_flat
from common.market.timeframes.timeframe import Timeframe
from common.market.trade import MAX_TS_MS
from common.series import CANDLES
from common.store.reads import Range, SymbolState, View
from common.store.registry import Market
from feed.bars.by_trade import BarRecipe, read_traded
from feed.bars.days import read_days
from feed.bars.minutes import BarKind, Closed, cut, fit, read_closed, with_open
from feed.bars.page import More
from feed.reading.bounds import ATTEMPTS, FOREVER_MS, Bounds, Window
from feed.reading.coverage import EMPTY, KnownCoverage
from feed.reading.history import History
from feed.reading.tape import Tapes
from feed.reading.trade_archive import TradeHistory, retry_when_overtaken


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


async def of_minutes(reader: History, market: Market, timeframe: Timeframe, window: Window, *, flat: bool) -> Bars:
    kind, bounds = BarKind.candles(timeframe), Bounds.of(window, timeframe)
    closed, lender = await _with_lender(reader, kind, timeframe, bounds, flat)
    state, more_ms = closed.view.state, closed.more_ms
    frame = await reader.budget.run(len(closed.bars), with_open, closed, kind, bounds)
    if flat:
        lent = pl.concat([lender, frame])
        frame = await reader.budget.run(bounds.limit, filled, lent, timeframe, bounds.reached(more_ms), state)
        more_ms = more_ms if len(frame) < bounds.limit else None
    cover = cover_of(market, closed.view, kept_by_days=timeframe.of_days)
    return _bars(frame, closed.view, cover, timeframe, bounds, more_ms)


async def of_trades(
    tapes: Tapes,
    past: TradeHistory,
    reader: History,
    market: Market,
    timeframe: Timeframe,
    window: Window,
    *,
    flat: bool,
) -> Bars:
    async def read() -> Bars:
        taped, bounds = await tapes.read(reader), Bounds.of(window, timeframe)
        making = BarRecipe.candles(timeframe, taped.sources)
        found = await read_traded(past, taped, making, bounds)
        frame, more_ms = found.bars, found.more_ms
        if flat:
            before = Bounds(0, bounds.start_ms, 1, oldest_first=False)
            lender = (await read_traded(past, taped, making, before)).bars
            frame = cut(filled(pl.concat([lender, frame]), timeframe, bounds, taped.view.state), bounds)
            more_ms = more_ms if len(frame) < bounds.limit else None
        cover = found.kept.cover(taped.view, market.instrument)
        return _bars(frame, taped.view, cover, timeframe, bounds, more_ms)

    return await retry_when_overtaken(read)


def _bars(
    frame: pl.DataFrame,
    view: View,
    cover: KnownCoverage,
    timeframe: Timeframe,
    bounds: Bounds,
    more_ms: int | None = None,
) -> Bars:
    from_ms, to_ms = covered_span(frame["open_ms"], timeframe, bounds, more_ms)
    flags = flagged(frame, timeframe, cover, view.state)
    return Bars(flags, view, cover, from_ms, to_ms, next_page(bounds, more_ms))


def cover_of(market: Market, view: View, *, kept_by_days: bool = False) -> KnownCoverage:
    """What the minutes of a symbol cover; `kept_by_days`: what its daily candles do, which outlive their minutes."""
    state, ids = view.state, market.instrument.ids
    if state is None:
        return EMPTY
    return (
        KnownCoverage.of(state, ids)
        if kept_by_days
        else KnownCoverage.of(state, ids, state.candle_floor_ms).lacking(view.lost(CANDLES))
    )


def flagged(frame: pl.DataFrame, timeframe: Timeframe, cover: KnownCoverage, state: SymbolState | None) -> pl.DataFrame:
    """Add `is_final` and `partial`. A bar is final once the watermark has reached its end."""
    growing_ms = timeframe.open_of(max(state.watermark_ms, 0)) if state else 0
    flags = np.zeros(len(frame), np.bool_)
    flags[sorted(cover.partial_among(frame["open_ms"].to_numpy(), timeframe))] = True
    return frame.with_columns(pl.Series("partial", flags), is_final=pl.col("open_ms") < growing_ms)


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


def covered_span(
    opens: Sequence[int] | pl.Series, timeframe: Timeframe, bounds: Bounds, more_ms: int | None = None
) -> tuple[int, int]:
    """The time an answer with these bars speaks of: the bounds, as far as the limit, or `more_ms`, did not cut them."""
    if more_ms is not None:
        return (bounds.start_ms, more_ms) if bounds.oldest_first else (more_ms, bounds.end_ms)
    if len(opens) < bounds.limit:
        return bounds.start_ms, bounds.end_ms
    return (bounds.start_ms, timeframe.next_open(opens[-1])) if bounds.oldest_first else (opens[0], bounds.end_ms)


def next_page(bounds: Bounds, more_ms: int | None) -> More | None:
    return None if more_ms is None else {"start" if bounds.oldest_first else "end": more_ms}


async def _with_lender(
    reader: History, kind: BarKind, timeframe: Timeframe, bounds: Bounds, flat: bool
) -> tuple[Closed, pl.DataFrame]:
    """Read bars and, to fill from the start on, the minute before them that lends its close."""
    for _ in range(ATTEMPTS):
        days = await read_days(reader, timeframe, bounds) if timeframe.of_days else None
        closed = days or await read_closed(reader, kind, timeframe, bounds)
        start_ms = bounds.reached(closed.more_ms).start_ms
        if not flat or start_ms == 0:
            break
        part = await reader.read(kind.minutes, Range(0, start_ms, newest=1), 1)
        if fit([closed.view, part.view], kind):
            return closed, kind.merge(pl.concat(part.frames).tail(1))
    return closed, kind.minutes.decode([])


def _step(timeframe: Timeframe, open_ms: int, spans: int) -> int:
    """Return the open so many spans later or earlier, within the times there are."""
    if timeframe.fixed_ms is not None:
        return min(max(open_ms + spans * timeframe.fixed_ms, 0), FOREVER_MS)
    for _ in range(abs(spans)):
        if not 0 < open_ms < MAX_TS_MS:
            break
        open_ms = timeframe.open_of(timeframe.next_open(open_ms)) if spans > 0 else timeframe.open_before(open_ms)
    return open_ms
