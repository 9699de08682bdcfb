"""`GET /v1/heatmap/{symbol}`: what rested in the book or was traded, as cells of a bucket and a row of prices."""

from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

import numpy as np

from common.frames.best import best_by_bucket
from common.frames.depth import Ints
from common.frames.liquidity import CellGrid, CellKind, Liquidity, liquidity
from common.market.builder.gaps import Ledger
from common.market.timeframes.timeframe import DAY_MS, MINUTE, MINUTE_MS, Timeframe, width_text
from common.store.reads import View
from common.tiles import TRADE_LEVELS
from feed.bars import traded
from feed.bars.traded import TradedRead
from feed.queries.endpoint import Endpoint
from feed.queries.heatmap_window import WINDOW, HeatmapWindow, columns
from feed.queries.queries import SymbolQueries
from feed.reading.budget import QueryBudget
from feed.reading.depth_history import DepthPlan, Untiled
from feed.wire import shapes
from feed.wire.answers import Answer
from feed.wire.errors import NoBook
from feed.wire.heatmaps import Heatmap, HeatmapForm, heatmap
from feed.wire.parameter_types import Lots, OneOf, SomeOf, Whole
from feed.wire.params import FORM, Given, Parameter, Parameters
from feed.wire.traded_heatmaps import TRADED_CHANNELS, ChannelName, TradedHeatmap, traded_heatmap

HeatmapKind = Literal["depth", "traded"]

# Of a book; what it costs goes by what is shown.
MAX_DEPTH_MS = 366 * DAY_MS
# Of trades, for all of their minutes are read.
MAX_TRADED_MS = 31 * DAY_MS

KIND: Parameter[HeatmapKind] = Parameter("kind", OneOf(get_args(HeatmapKind)), "depth", "What the cells are of.")
CELL: Parameter[CellKind] = Parameter("cell", OneOf(get_args(CellKind)), "max", "What of a cell of depth is answered.")
MIN: Parameter[int | None] = Parameter(
    "min", Lots(), None, "Least size at a price: less is left out, before rows are summed."
)
CHANNELS: Parameter[frozenset[ChannelName]] = Parameter(
    "channels", SomeOf(tuple(TRADED_CHANNELS)), frozenset(TRADED_CHANNELS), "What of a traded cell is answered."
)
BEST = Parameter("best", Whole(1, 0), 0, "1: traded cells with the best prices of the book, where it is known.")
FORMAT: Parameter[HeatmapForm] = Parameter(FORM, OneOf(get_args(HeatmapForm)), "json", "How the answer is written.")


@dataclass(frozen=True, slots=True)
class HeatmapQuery:
    kind: HeatmapKind
    window: HeatmapWindow
    cell: CellKind
    min_lots: int
    channels: frozenset[ChannelName]
    has_best: bool
    form: HeatmapForm

    @classmethod
    def of(cls, given: Given) -> "HeatmapQuery":
        return cls(
            given[KIND],
            HeatmapWindow.of(given),
            given[CELL],
            given[MIN] or 0,
            given[CHANNELS],
            bool(given[BEST]),
            given[FORMAT],
        )


async def answer(symbol: SymbolQueries, query: HeatmapQuery) -> Answer:
    work_out = _of_depth if query.kind == "depth" else _of_trades
    return await symbol.queries.weighed(lambda budget: work_out(symbol, query, budget))


async def _of_depth(symbol: SymbolQueries, query: HeatmapQuery, budget: QueryBudget) -> Answer:
    found = await read_cells(symbol, query.window, query.cell, budget, query.min_lots)
    if found is None:
        name = symbol.market.symbol
        raise NoBook(f"{name} has no history of an order book: its source brings none, or none yet")
    view = await symbol.reader.view()
    return heatmap(query.form, heatmap_of(symbol, query.cell, found, view))


class KnownCells(NamedTuple):
    """`known_ms`: the end of what is known of the book at all."""

    found: Liquidity
    known_ms: int


def heatmap_of(symbol: SymbolQueries, cell: CellKind, cells: KnownCells, view: View) -> Heatmap:
    return Heatmap(symbol.market, cells.found, cell, cells.known_ms, view, symbol.health(view))


async def read_cells(
    symbol: SymbolQueries, window: HeatmapWindow, cell: CellKind, budget: QueryBudget, min_lots: int = 0
) -> KnownCells | None:
    """Cells of depth. None: the symbol has no history of a book."""
    queries, instrument = symbol.queries, symbol.market.instrument
    of_symbol = queries.client, instrument.symbol, instrument.scale
    newest = await queries.depth.newest(*of_symbol)
    if newest is None:
        return None
    # Of the time alone, before anything is read.
    times = window.times(newest.known_ms, MAX_DEPTH_MS)
    if min_lots > 1:
        # Levels are filtered before they are summed into rows, and so only what is kept of levels is.
        minutes = await queries.depth.read(*of_symbol, times.t0_ms, times.end_ms, budget)
        grid = window.with_rows(times, *DepthPlan((), [Untiled(times.t0_ms, times.end_ms, minutes)], {}).prices)
        found = await budget.run(grid.cols * grid.rows, liquidity, minutes, grid, cell, min_lots)
        return KnownCells(found, newest.known_ms)
    labels = await queries.book_history.labels(*of_symbol, times)
    while True:
        plan = await queries.book_history.plan(*of_symbol, labels, times, window.row_ticks, budget)
        grid = window.with_rows(times, *plan.prices)
        if window.row_ticks is None:
            # The height of the rows has come out of what is known, and says which tiles suit them.
            plan = await queries.book_history.plan(*of_symbol, labels, times, grid.row_ticks, budget)
        kept = plan.coarser()
        if kept is None:
            found = await queries.book_history.cells(*of_symbol, plan, grid, cell, budget)
            return KnownCells(found, newest.known_ms)
        window = window.coarser(grid, *kept)
        times = window.times(newest.known_ms, MAX_DEPTH_MS)


async def _of_trades(symbol: SymbolQueries, query: HeatmapQuery, budget: QueryBudget) -> Answer:
    state = (await symbol.reader.view()).state
    times = query.window.times(max(state.watermark_ms, 0) + 1 if state else 1, MAX_TRADED_MS)
    read = await _read_traded(symbol, query, times, budget)
    grid = read.found.grid
    _, holes = read.cover.within(grid.t0_ms, grid.end_ms)
    ledger = await symbol.reader.gaps() if holes else Ledger()
    best = await _best(symbol, grid, budget) if query.has_best else np.zeros((0, 4), np.int64)
    channels = {name: channel for name, channel in TRADED_CHANNELS.items() if name in query.channels}
    bucket = width_text(grid.bucket_ms)
    found = TradedHeatmap(symbol.market, read, bucket, channels, best, ledger, symbol.health(read.view))
    return traded_heatmap(query.form, found)


async def _read_traded(symbol: SymbolQueries, query: HeatmapQuery, times: CellGrid, budget: QueryBudget) -> TradedRead:
    """Of trades that are not kept any more, by the next coarser tiles that are, and by minutes."""
    coarser = [level.bucket_ms for level in TRADE_LEVELS if level.bucket_ms > times.bucket_ms]
    wider = [columns(times.t0_ms, times.end_ms, bucket_ms) for bucket_ms in (*coarser, MINUTE_MS)]
    for some in (times, *(wider if times.bucket_ms < MINUTE_MS else ())):

        def with_rows(lowest: int | None, highest: int | None, some: CellGrid = some) -> CellGrid:
            return query.window.with_rows(some, lowest, highest)

        bucket = Timeframe.parse(width_text(some.bucket_ms))
        read = await traded.read(symbol.data(budget), bucket, some, with_rows, query.min_lots)
        if read is not None:
            return read
    raise AssertionError(f"{MINUTE.text} is made of minutes, which are there or are not")


async def _best(symbol: SymbolQueries, grid: CellGrid, budget: QueryBudget) -> Ints:
    queries, instrument = symbol.queries, symbol.market.instrument
    minutes = await queries.depth.read(
        queries.client, instrument.symbol, instrument.scale, grid.t0_ms, grid.end_ms, budget
    )
    if not minutes:
        return np.zeros((0, 4), np.int64)
    return np.stack(best_by_bucket([each.best for each in minutes], grid.t0_ms, grid.bucket_ms, grid.cols), axis=1)


ENDPOINT = Endpoint(
    "/v1/heatmap/{symbol}",
    "What rested, or was traded, at which price and when.",
    Parameters((*WINDOW, CELL, MIN, CHANNELS, BEST, KIND, FORMAT), HeatmapQuery.of),
    answer,
    shapes.HEATMAP,
)
