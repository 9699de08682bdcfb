"""Footprints of any timeframe and row height, as JSON."""

from dataclasses import dataclass

import numpy as np
import polars as pl

from common.errors import BadInput
from common.frames.footprint import footprints_json
from common.market.instrument import Instrument
from common.market.timeframes.timeframe import Timeframe
from common.store.state import SymbolState
from feed.bars.frames import flagged
from feed.bars.page import Page, covered_span, next_page
from feed.bars.recipe import BarRecipe
from feed.bars.source import BarSource, PageRead
from feed.reading.bounds import Bounds, Window
from feed.reading.budget import QueryBudget
from feed.reading.coverage import KnownCoverage

# Rows written at once: some 4 MB of text.
ROWS_AT_ONCE = 1 << 16


@dataclass(frozen=True, slots=True)
class FootprintQuery:
    """`row_ticks`: height of a row of the footprint."""

    timeframe: Timeframe
    window: Window
    row_ticks: int


async def read(source: BarSource, query: FootprintQuery) -> PageRead:
    """`source`: of the query's timeframe."""
    bounds, instrument = Bounds.of(query.window, query.timeframe), source.data.instrument
    read = await source.read(BarRecipe.footprints(query.timeframe, query.row_ticks), bounds)
    writing = Writing(instrument, query.timeframe, bounds, read.cover, read.view.state)
    return await _page(writing, source.data.budget, read.frame, read.more_ms), read.view, read.cover


@dataclass(frozen=True, slots=True)
class Writing:
    """What the bars of an answer are written by."""

    instrument: Instrument
    timeframe: Timeframe
    bounds: Bounds
    cover: KnownCoverage
    state: SymbolState | None

    def json(self, rows: pl.DataFrame) -> tuple[bytes, int]:
        """Return bars with commas between them, and how many these are."""
        bars = footprints_json(flagged(rows, self.timeframe, self.cover, self.state), self.instrument)
        return b",".join(bars), len(bars)


async def _page(writing: Writing, budget: QueryBudget, rows: pl.DataFrame, more_ms: int | None) -> Page:
    """Write bars from the end that is asked for, as many as an answer has room for."""
    bounds, opens = writing.bounds, rows["open_ms"]
    forward, slices = bounds.oldest_first, await budget.run(len(rows), _slices, opens)
    written: list[bytes] = []
    count, room = 0, budget.max_bytes
    for some in slices if forward else slices[::-1]:
        text, bars = await budget.run(some.stop - some.start, writing.json, rows[some])
        room -= len(text) + 1
        if room < 0 and not written:
            raise _too_large(int(opens[some.start]), budget)
        if room < 0:
            more_ms = int(opens[some.start] if forward else opens[some.stop])
            break
        written.append(text)
        count += bars
    told = (await budget.run(len(rows), opens.unique, maintain_order=True)).to_list()
    told = told[:count] if forward else told[len(told) - count :]
    spans = covered_span(told, writing.timeframe, bounds, more_ms)
    return Page(written if forward else written[::-1], *spans, next_page(bounds, more_ms))


def _slices(opens: pl.Series) -> list[slice]:
    """Cut rows where bars end: about ROWS_AT_ONCE of them, or one bar."""
    edges = np.append(np.flatnonzero(np.diff(opens.to_numpy(), prepend=-1)), len(opens))
    at, slices = 0, []
    while at < len(edges) - 1:
        to = max(at + 1, int(np.searchsorted(edges, edges[at] + ROWS_AT_ONCE, "right")) - 1)
        slices.append(slice(int(edges[at]), int(edges[to])))
        at = to
    return slices


def _too_large(open_ms: int, budget: QueryBudget) -> BadInput:
    return BadInput(
        f"the bar that opens at {open_ms} takes more than {budget.max_bytes >> 20} MB, "
        "expected a shorter timeframe or higher rows"
    )
