"""Footprints of any timeframe and row height, as JSON: rows alone, or with what is said of bars and rows."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from common.errors import BadInput
from common.frames.footprint import footprints_json
from common.frames.orderflow.footprint_json import WITH_STATES, FlowFootprints, FootprintField
from common.frames.orderflow.statistics import RowRules, RowStatistics, bar_table
from common.market.coding.packed import Ints
from common.market.orderflow.rows import Align, lowest_offset
from common.market.timeframes.timeframe import Timeframe
from feed.bars.flow import FlowWanted, RowGrid, read_flow
from feed.bars.frames import flagged
from feed.bars.page import Page, covered_span, next_page
from feed.bars.recipe import BarRecipe
from feed.bars.source import BarSource, PageRead
from feed.reading.bounds import Bounds, Window
from feed.reading.budget import QueryBudget

# Rows written at once: some 4 MB of text.
ROWS_AT_ONCE = 1 << 16


@dataclass(frozen=True, slots=True)
class FootprintQuery:
    """`row_ticks`: height of a row of the footprint; `align`: None where it was not asked for, which is nearest."""

    timeframe: Timeframe
    window: Window
    row_ticks: int
    align: Align | None = None


@dataclass(frozen=True, slots=True)
class FootprintStatsQuery:
    """Footprints with `fields`, each told by `rules`."""

    timeframe: Timeframe
    window: Window
    grid: RowGrid
    fields: frozenset[FootprintField]
    rules: RowRules


async def read(source: BarSource, query: FootprintQuery) -> PageRead:
    """`source`: of the query's timeframe."""
    bounds, instrument = Bounds.of(query.window, query.timeframe), source.data.instrument
    recipe = BarRecipe.footprints(query.timeframe, query.row_ticks, query.align or "nearest")
    read = await source.read(recipe, bounds)
    opens, state = read.frame["open_ms"].to_numpy(), read.view.state
    starts = np.flatnonzero(np.diff(opens, prepend=-1))
    edges = np.append(starts, len(opens))

    def json(bars: slice) -> list[bytes]:
        rows = read.frame[edges[bars.start] : edges[bars.stop]]
        return footprints_json(flagged(rows, query.timeframe, read.cover, state), instrument)

    bars = WrittenBars(opens[starts], edges, json)
    return await written(bars, query.timeframe, bounds, source.data.budget, read.more_ms), read.view, read.cover


async def read_with_stats(source: BarSource, query: FootprintStatsQuery) -> tuple[PageRead, int]:
    """Return the same with statistics, and how high the rows are. Every bar is there, if without rows."""
    has_states, budget = not WITH_STATES.isdisjoint(query.fields), source.data.budget
    wanted = FlowWanted(query.window, query.grid, sums="unfinished" in query.fields, later=has_states)
    flow, instrument = await read_flow(source, wanted), source.data.instrument

    opens = flow.bars["open_ms"].to_numpy()
    edges = np.append(np.searchsorted(flow.levels["open_ms"].to_numpy(), opens), len(flow.levels))

    def json(bars: slice) -> list[bytes]:
        levels = flow.levels[edges[bars.start] : edges[bars.stop]]
        statistics = RowStatistics.of(levels, flow.row_ticks, query.rules)
        table, offset = bar_table(flow.bars[bars], statistics), lowest_offset(flow.row_ticks, query.grid.align)
        sums = flow.sums.join(table, on="open_ms", how="semi")
        return FlowFootprints(table, levels, statistics, offset, sums, flow.later).json(instrument, query.fields)

    page = await written(WrittenBars(opens, edges, json), query.timeframe, flow.bounds, budget, flow.more_ms)
    return (page, flow.view, flow.cover), flow.row_ticks


@dataclass(frozen=True, slots=True, eq=False)
class WrittenBars:
    """Bars to be written: when they open, and where each begins among their rows, and the last one ends."""

    opens: Ints
    edges: Ints
    # Those of a slice of bars.
    json: Callable[[slice], list[bytes]]


async def written(
    bars: WrittenBars, timeframe: Timeframe, bounds: Bounds, budget: QueryBudget, more_ms: int | None
) -> Page:
    """Write bars from the end that is asked for, as many as an answer has room for."""
    forward, slices = bounds.oldest_first, _slices(bars.edges)
    runs: list[bytes] = []
    count, room = 0, budget.max_bytes
    for some in slices if forward else slices[::-1]:
        rows = int(bars.edges[some.stop] - bars.edges[some.start])
        text = await budget.run(rows, _joined, bars.json, some)
        room -= len(text) + 1
        if room < 0 and not runs:
            raise _too_large(int(bars.opens[some.start]), budget)
        if room < 0:
            more_ms = int(bars.opens[some.start] if forward else bars.opens[some.stop])
            break
        runs.append(text)
        count += some.stop - some.start
    opens = bars.opens.tolist()
    told = opens[:count] if forward else opens[len(opens) - count :]
    spans = covered_span(told, timeframe, bounds, more_ms)
    return Page(runs if forward else runs[::-1], *spans, next_page(bounds, more_ms))


def _joined(json: Callable[[slice], list[bytes]], some: slice) -> bytes:
    return b",".join(json(some))


def _slices(edges: Sequence[int] | Ints) -> list[slice]:
    """Cut bars into slices of about ROWS_AT_ONCE rows, or one bar."""
    at, slices = 0, []
    while at < len(edges) - 1:
        to = max(at + 1, int(np.searchsorted(edges, edges[at] + ROWS_AT_ONCE, "right")) - 1)
        slices.append(slice(at, to))
        at = to
    return slices


def _too_large(open_ms: int, budget: QueryBudget) -> BadInput:
    return BadInput(
        f"the bar that opens at {open_ms} takes more than {budget.max_bytes >> 20} MB, "
        "expected a shorter timeframe or higher rows"
    )
