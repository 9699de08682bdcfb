"""Bars that are not made of whole minutes, straight from trades: those of the tape and, before it, the archived ones.

The cut between the two is where a bar opens: the first of which the tape has all trades. A bar before it may come in
parts, which are merged as minutes are.
"""

from contextlib import aclosing, suppress
from dataclasses import dataclass, field, replace
from functools import partial

import polars as pl

from common.errors import ArchiveDamaged, ArchiveUnavailable, Overtaken
from common.market.timeframes.timeframe import Timeframe
from common.retry import retry_when_overtaken
from common.store.reads import View
from feed.bars.changes import BarChanges, Cursor, touched_since
from feed.bars.closed import candles_of, cut, joined
from feed.bars.data import SymbolData
from feed.bars.frames import read_page
from feed.bars.live import RECENT_BARS, At, BarGrid, TradeLive
from feed.bars.recipe import BarRecipe
from feed.bars.source import BarRows, PageRead
from feed.reading.bounds import ATTEMPTS, Bounds, Span, Window, grid_at, united
from feed.reading.coverage import KnownCoverage
from feed.reading.tape import EVERYTHING, TapeView
from feed.reading.trade_archive import TradeHistory, TradeRetention

# Of what has changed, in trades that are archived: each is read apart. Beyond that a fresh snapshot is due.
MAX_ARCHIVED_SPANS = 64


@dataclass(frozen=True, slots=True)
class TradeSource:
    data: SymbolData
    grid: BarGrid

    async def read(self, recipe: BarRecipe, bounds: Bounds, *, lend: bool = False) -> BarRows:
        symbol, attempt = self.data.instrument.symbol, partial(self._read, recipe, bounds, lend=lend)
        return await retry_when_overtaken(attempt, symbol, attempts=ATTEMPTS)

    def together(self) -> "TapeTogether":
        return TapeTogether(self.data, self.grid.timeframe)

    async def page(self, window: Window) -> PageRead:
        return await read_page(self, window)

    async def live(self) -> tuple[TradeLive, View]:
        taped = await self.data.tape()
        return await self._live(taped), taped.view

    async def changes(self, cursor: Cursor, known: KnownCoverage | None = None) -> BarChanges | None:
        taped = await self.data.tape(cursor.seq)
        touched = touched_since(self.grid, taped.view, cursor, known)
        if touched is None:
            return None
        live = await self._live(taped)
        spans = united(touched.spans(self.grid.timeframe))
        if not spans:
            return BarChanges(live, [])
        try:
            bars = await self._changed(taped, spans)
        except (ArchiveUnavailable, ArchiveDamaged, Overtaken):
            return None
        if bars is None:
            return None
        return BarChanges(live, [self.grid.update(bar, live.at, touched.was_ms) for bar in candles_of(bars)])

    async def _read(self, recipe: BarRecipe, bounds: Bounds, *, lend: bool) -> BarRows:
        together = self.together()
        found = await together.read(recipe, bounds)
        if not lend:
            return found
        before = Bounds(0, bounds.reached(found.more_ms).start_ms, 1, oldest_first=False)
        return replace(found, lender=(await together.read(recipe, before)).frame)

    async def _changed(self, taped: TapeView, spans: list[Span]) -> pl.DataFrame | None:
        """Read the bars that open in these spans; None if that is too much of the archive, or not there as it was."""
        archive, recipe = self.data.trade_archive, BarRecipe.candles(self.grid.timeframe)
        cut_ms = archive.first_whole(taped, recipe.timeframe) or 0
        older = [span for span in spans if span[0] < cut_ms]
        if len(older) > MAX_ARCHIVED_SPANS:
            return None
        parts: list[pl.DataFrame] = []
        for from_ms, to_ms in older:
            found = await read_bars(archive, taped, recipe, replace(EVERYTHING, start_ms=from_ms, end_ms=to_ms))
            if found.more_ms is not None or found.retention.faults:
                return None
            parts.append(found.bars)
        newer = spans[len(older) :]
        if newer:
            bars = taped.bars(recipe.timeframe, replace(EVERYTHING, start_ms=newer[0][0], end_ms=newer[-1][1]))
            inside = pl.any_horizontal(pl.col("open_ms").is_between(*span, closed="left") for span in newer)
            parts.append(bars.filter(inside))
        return pl.concat(parts)

    async def _live(self, taped: TapeView) -> TradeLive:
        """The newest bars of which the tape has all trades; only the growing one may be of the archive, too."""
        archive, state, timeframe = self.data.trade_archive, taped.view.state, self.grid.timeframe
        growing_ms = timeframe.open_of(max(state.watermark_ms, 0)) if state else 0
        first_ms, retention = timeframe.open_of(max(taped.from_ms, 0)), TradeRetention(taped.from_ms)
        cut_ms = archive.first_whole(taped, timeframe)
        if cut_ms is not None:
            first_ms = min(cut_ms, growing_ms)
        bounds = replace(EVERYTHING, start_ms=first_ms, limit=RECENT_BARS + 1)
        bars = taped.bars(timeframe, bounds)
        if cut_ms is not None:
            # Where the archive does not answer, the growing bar is partial.
            with suppress(ArchiveUnavailable, ArchiveDamaged):
                found = await read_bars(archive, taped, BarRecipe.candles(timeframe), bounds)
                bars, retention = found.bars, found.retention
        recent = candles_of(bars.tail(RECENT_BARS))
        from_ms = recent[0].open_ms if len(bars) > len(recent) else first_ms
        at = At.of(state, self.data.instrument.ids, retention.from_ms + 1, retention.lacks)
        return TradeLive(self.grid, at, {bar.open_ms: bar for bar in recent}, from_ms, taped.sources)


@dataclass(slots=True)
class TapeTogether:
    """Bars of one tape, and of what is archived before it."""

    data: SymbolData
    finest: Timeframe
    _taped: TapeView | None = field(default=None, init=False)

    async def read(self, recipe: BarRecipe, bounds: Bounds) -> BarRows:
        taped = self._taped = self._taped or await self.data.tape()
        found = await read_bars(self.data.trade_archive, taped, recipe, bounds)
        cover = found.retention.cover(taped.view, self.data.instrument)
        return BarRows(found.bars, taped.view, cover, found.more_ms)


@dataclass(frozen=True, slots=True)
class TradeBars:
    """Bars of the bounds, ascending, as of the tape's view, and of which time all trades are kept.

    `more_ms`: where to go on, an end or, oldest first, a start: before the limit was reached, as much had been read as
    a request may. None: that is all.
    """

    bars: pl.DataFrame
    retention: TradeRetention
    more_ms: int | None = None


async def read_bars(archive: TradeHistory, taped: TapeView, recipe: BarRecipe, bounds: Bounds) -> TradeBars:
    """Read at most `bounds.limit` bars. Raises Overtaken."""
    cut_ms = archive.first_whole(taped, recipe.timeframe)
    if cut_ms is None:
        return TradeBars(_of_tape(taped, recipe, bounds), TradeRetention(taped.from_ms))
    retention = archive.retention(taped.view, taped.from_ms)
    until_ms = min(bounds.end_ms, cut_ms)
    newer = _of_tape(taped, recipe, replace(bounds, start_ms=max(bounds.start_ms, until_ms)))
    if bounds.start_ms >= until_ms or (not bounds.oldest_first and newer["open_ms"].n_unique() >= bounds.limit):
        return TradeBars(newer, retention)
    parts, more_ms, retention = await _of_archive(
        archive, taped, recipe, replace(bounds, end_ms=until_ms), newer, retention
    )
    bars = joined(recipe, parts)
    if more_ms is not None:
        whole = pl.col("open_ms") < more_ms if bounds.oldest_first else pl.col("open_ms") >= more_ms
        bars = bars.filter(whole)
    wanted = cut(bars, bounds)
    return TradeBars(wanted, retention, recipe.more_of(wanted, bounds, more_ms))


def _of_tape(taped: TapeView, recipe: BarRecipe, bounds: Bounds) -> pl.DataFrame:
    bars = recipe.of_trades(taped.trades_of(recipe.timeframe, bounds), taped.sources)
    inside = pl.col("open_ms").is_between(bounds.start_ms, bounds.end_ms, closed="left")
    return cut(bars.filter(inside), bounds)


async def _of_archive(
    archive: TradeHistory,
    taped: TapeView,
    recipe: BarRecipe,
    bounds: Bounds,
    newer: pl.DataFrame,
    retention: TradeRetention,
) -> tuple[list[pl.DataFrame], int | None, TradeRetention]:
    """Put older bars before `newer` until they are more than the limit: of the last one a part may lack.

    Or until a request's share has been read, and a bar is whole: then also where that one begins, or ends. And
    `retention`, less what could not be read.
    """
    timeframe, forward = recipe.timeframe, bounds.oldest_first
    parts = [] if forward else [newer]
    async with aclosing(archive.pieces(taped, bounds.start_ms, bounds.end_ms, oldest_first=forward)) as pieces:
        async for piece in pieces:
            made = await archive.budget.run(len(piece.trades), recipe.of_trades, piece.trades, taped.sources)
            retention = retention.without(piece)
            parts = [*parts, made] if forward else [made, *parts]
            # Neighbours share one at most.
            if sum(part["open_ms"].n_unique() for part in parts) - len(parts) >= bounds.limit:
                return parts, None, retention
            whole_ms = timeframe.open_of(piece.to_ms) if forward else grid_at(timeframe, piece.from_ms)
            if piece.spent and bounds.start_ms < whole_ms < bounds.end_ms:
                return parts, whole_ms, retention
    return ([*parts, newer] if forward else parts), None, retention
