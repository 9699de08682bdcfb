"""Bars of whole minutes: any that are asked for out of the stored minutes, and the newest of them kept as JSON."""

from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from common.market.coding.bar_json import run_of
from common.market.instrument import Instrument
from common.market.timeframes.timeframe import MINUTE_MS
from common.series import CANDLES
from common.store.reads import View
from feed.bars.changes import ROUNDS, BarChanges, Cursor, Touched, touched_since
from feed.bars.closed import Closed, merged, read_closed, with_lender, with_open
from feed.bars.data import SymbolData
from feed.bars.frames import cover_of_minutes, read_page
from feed.bars.live import At, BarGrid, MinuteLive, Update
from feed.bars.page import Page, covered_span
from feed.bars.recipe import BarRecipe
from feed.bars.source import BarRows, BarSource, PageRead
from feed.bars.tail import Tail, TailReading
from feed.bars.together import ClosedReads, ClosedTogether
from feed.reading.bounds import Bounds, Span, Window, united
from feed.reading.coverage import KnownCoverage

# Of what has changed. Beyond that a fresh snapshot is the shorter answer.
MAX_SPANS = 1_000
MAX_MINUTES = 200_000


class ClosedSource(BarSource, ClosedReads, Protocol):
    """One whose bars are closed ones, and the open minute."""


async def read_with_open(source: ClosedSource, recipe: BarRecipe, bounds: Bounds, *, lend: bool) -> BarRows:
    """As BarSource.read."""
    read = partial(source.closed, recipe, bounds)
    closed, lender = await with_lender(source.data.history, recipe, bounds, read) if lend else (await read(), None)
    frame = await source.data.budget.run(len(closed.bars), with_open, closed, recipe, bounds)
    more_ms = recipe.more_of(frame, bounds, closed.more_ms)
    return BarRows(frame, closed.view, source.cover(recipe, closed.view), more_ms, lender)


async def tail_page(source: ClosedSource, window: Window) -> PageRead:
    """Cut a page out of the tail where that reaches; else it is read again."""
    data, timeframe = source.data, source.grid.timeframe
    bounds, recipe = Bounds.of(window, timeframe), BarRecipe.candles(timeframe)
    older = partial(source.closed, recipe)
    reading = await data.tails.read_bars(data.history, data.instrument, timeframe, bounds, older, data.form)
    if reading is None:
        return await read_page(source, window)
    cover = source.cover(recipe, reading.view)
    return _cut_of(reading.tail, bounds, cover, data.instrument), reading.view, cover


@dataclass(frozen=True, slots=True)
class MinuteSource:
    data: SymbolData
    grid: BarGrid

    async def closed(self, recipe: BarRecipe, bounds: Bounds, *, keeps_pieces: bool = False) -> Closed:
        return await read_closed(self.data.history, recipe, bounds, keeps_pieces=keeps_pieces)

    def cover(self, recipe: BarRecipe, view: View) -> KnownCoverage:
        return cover_of_minutes(self.data.instrument, view, recipe.minutes.series)

    async def read(self, recipe: BarRecipe, bounds: Bounds, *, lend: bool = False) -> BarRows:
        return await read_with_open(self, recipe, bounds, lend=lend)

    def together(self) -> ClosedTogether:
        return ClosedTogether(self.data, self, self, self.grid.timeframe)

    async def page(self, window: Window) -> PageRead:
        return await tail_page(self, window)

    async def live(self) -> tuple[MinuteLive, View]:
        reading = await self._tail()
        return self._live(reading), reading.view

    async def changes(self, cursor: Cursor, known: KnownCoverage | None = None) -> BarChanges | None:
        spans: list[Span] = []
        for _ in range(ROUNDS):
            reading = await self._tail(spans, cursor.seq)
            touched = touched_since(self.grid, reading.view, cursor, known, MINUTE_MS)
            if touched is None:
                return None
            needed = united(touched.closed_spans(self.grid.timeframe))
            if len(needed) > MAX_SPANS or sum(to - start for start, to in needed) > MAX_MINUTES * MINUTE_MS:
                return None
            # What was touched by a commit that came between the two reads is read in the next round.
            if set(needed) <= set(spans):
                live = self._live(reading)
                return BarChanges(live, list(_updates(live, touched, reading)))
            spans = needed
        return None

    async def _tail(self, spans: list[Span] | None = None, since_seq: int | None = None) -> TailReading:
        data = self.data
        return await data.tails.read(data.history, data.instrument, self.grid.timeframe, spans or [], since_seq)

    def _live(self, reading: TailReading) -> MinuteLive:
        state, tail = reading.view.state, reading.tail
        floor_ms = state.candle_floor_ms if state else -1
        at = At.of(state, self.data.instrument.ids, floor_ms, reading.view.lost(CANDLES))
        return MinuteLive(self.grid, at, tail.base if tail else None, tail.growing if tail else None)


def _updates(live: MinuteLive, touched: Touched, reading: TailReading) -> Iterator[Update]:
    grid, at = live.grid, live.at
    for members in reading.extra:
        for bar in merged(members, grid.timeframe):
            yield grid.update(bar, at, touched.was_ms)
    if live.growing and touched.grew(grid.timeframe):
        yield grid.update(live.growing, at, touched.was_ms)


def _cut_of(tail: Tail | None, bounds: Bounds, cover: KnownCoverage, instrument: Instrument) -> Page:
    """Cut the bars of a window out of a tail that has them."""
    if tail is None:
        return Page([], bounds.start_ms, bounds.end_ms)
    first, end = bisect_left(tail.opens, bounds.start_ms), bisect_left(tail.opens, bounds.end_ms)
    growing = tail.growing
    if growing and not bounds.start_ms <= growing.open_ms < bounds.end_ms:
        growing = None
    if bounds.oldest_first:
        end = min(end, first + bounds.limit)
        growing = growing if end - first < bounds.limit else None
    else:
        first = max(first, end + (growing is not None) - bounds.limit)
    opens, pieces = tail.opens[first:end], tail.pieces[first:end]
    if growing:
        opens.append(growing.open_ms)
        pieces.append(tail.growing_piece(instrument))
    run = run_of(pieces, cover.partial_among(opens, tail.timeframe))
    return Page([run] if run else [], *covered_span(opens, tail.timeframe, bounds))
