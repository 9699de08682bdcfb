"""`GET /v1/heatmap/{symbol}`: what rested at which price and when, as cells of a bucket of time and a row of prices."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

from common.errors import BadInput
from common.frames.depth_minute import DepthMinute
from common.frames.liquidity import CellGrid, CellKind, Liquidity, liquidity
from common.market.timeframes.timeframe import DAY_MS, Timeframe
from common.store.reads import View
from feed.queries.endpoint import Endpoint
from feed.queries.parameters import END, START, TIMEFRAME_TEXT
from feed.queries.queries import SymbolQueries
from feed.reading.budget import QueryBudget
from feed.wire import shapes
from feed.wire.answers import Answer
from feed.wire.errors import NoBook
from feed.wire.heatmaps import Heatmap, HeatmapForm, heatmap
from feed.wire.parameter_types import OneOf, Parsed, PriceTicks, RowTicks, Whole
from feed.wire.params import FORM, Given, Parameter, Parameters

HeatmapKind = Literal["depth"]

MAX_COLS, MAX_ROWS, MAX_CELLS = 8_192, 4_096, 2_000_000
# What a bucket is chosen from, in ms: each a whole number of one before.
WIDTHS = (50, 100, 250, 1_000, 5_000, 30_000, 60_000, 300_000, 900_000, 3_600_000, DAY_MS)
# Shown of a book where no start is given.
DEFAULT_MS = 3_600_000
# Nothing is kept for longer.
MAX_SPAN_MS = 7 * DAY_MS

KIND: Parameter[HeatmapKind] = Parameter("kind", OneOf(get_args(HeatmapKind)), "depth", "What the cells are of.")
PRICE_MIN: Parameter[int | None] = Parameter("price_min", PriceTicks(), None, "The lowest price.")
PRICE_MAX: Parameter[int | None] = Parameter("price_max", PriceTicks("price_min"), None, "The highest price.")
BUCKET: Parameter[Timeframe | None] = Parameter(
    "bucket",
    Parsed(Timeframe.parse, TIMEFRAME_TEXT),
    None,
    "Width of a column, up to a day: a number and ms, s, m, h or d.",
)
MAX_COLS_ASKED = Parameter("max_cols", Whole(MAX_COLS), 1_000, "Most columns, where no bucket is given.")
ROW: Parameter[int | None] = Parameter(
    "row", RowTicks(), None, "Height of a row, in the price: a multiple of the tick; or auto, as it is by default."
)
MAX_ROWS_ASKED = Parameter("max_rows", Whole(MAX_ROWS), 200, "Most rows, where no row is given.")
CELL: Parameter[CellKind] = Parameter("cell", OneOf(get_args(CellKind)), "max", "What of a cell is answered.")
FORMAT: Parameter[HeatmapForm] = Parameter(FORM, OneOf(get_args(HeatmapForm)), "json", "How the answer is written.")


@dataclass(frozen=True, slots=True)
class HeatmapQuery:
    start_ms: int | None
    end_ms: int | None
    price_min: int | None
    price_max: int | None
    bucket: Timeframe | None
    max_cols: int
    row_ticks: int | None
    max_rows: int
    cell: CellKind
    form: HeatmapForm

    @classmethod
    def of(cls, given: Given) -> "HeatmapQuery":
        return cls(
            given[START],
            given[END],
            given[PRICE_MIN],
            given[PRICE_MAX],
            given[BUCKET],
            given[MAX_COLS_ASKED],
            given[ROW],
            given[MAX_ROWS_ASKED],
            given[CELL],
            given[FORMAT],
        )


async def answer(symbol: SymbolQueries, query: HeatmapQuery) -> Answer:
    return await symbol.queries.weighed(lambda budget: _answer(symbol, query, budget))


async def _answer(symbol: SymbolQueries, query: HeatmapQuery, budget: QueryBudget) -> Answer:
    found = await read_cells(symbol, query, budget)
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


async def read_cells(symbol: SymbolQueries, query: HeatmapQuery, budget: QueryBudget) -> KnownCells | None:
    """None: the symbol has no history of a book."""
    queries, instrument = symbol.queries, symbol.market.instrument
    of_symbol = queries.client, instrument.symbol, instrument.scale
    newest = await queries.depth.newest(*of_symbol)
    if newest is None:
        return None
    # Of the time alone, before anything is read.
    times = _times(query, newest.known_ms)
    minutes = await queries.depth.read(*of_symbol, times.t0_ms, times.end_ms, budget)
    grid = _with_rows(query, times, minutes)
    found: Liquidity = await budget.run(grid.cols * grid.rows, liquidity, minutes, grid, query.cell)
    return KnownCells(found, newest.known_ms)


def _times(query: HeatmapQuery, known_ms: int) -> CellGrid:
    """Columns that reach outwards to whole buckets; of one row."""
    end_ms = known_ms if query.end_ms is None else query.end_ms
    start_ms = max(0, end_ms - DEFAULT_MS) if query.start_ms is None else query.start_ms
    if not start_ms < end_ms <= start_ms + MAX_SPAN_MS:
        raise BadInput(f"start {start_ms} and end {end_ms} are not up to {MAX_SPAN_MS // DAY_MS} days apart")
    if query.bucket is not None:
        bucket_ms = _width(query.bucket)
    else:
        bucket_ms = next((width for width in WIDTHS if _count(start_ms, end_ms, width) <= query.max_cols), DAY_MS)
    grid = CellGrid(start_ms // bucket_ms * bucket_ms, bucket_ms, _count(start_ms, end_ms, bucket_ms), 0, 1, 1)
    rows = 1
    if query.row_ticks and query.price_min is not None and query.price_max is not None:
        rows = _count(query.price_min, query.price_max + 1, query.row_ticks)
    _check(grid, rows)
    return grid


def _width(bucket: Timeframe) -> int:
    width = bucket.fixed_ms
    if width is None or width > DAY_MS or DAY_MS % width:
        raise BadInput(f"bucket is {bucket.text}, expected a part of a day, such as 250ms, 1s or 1m")
    return width


def _with_rows(query: HeatmapQuery, times: CellGrid, minutes: Sequence[DepthMinute]) -> CellGrid:
    """Rows that reach outwards; of all that is known, where no prices are given."""
    spans = [span for minute in minutes for span in minute.spans]
    low = query.price_min if query.price_min is not None else min((span[2] for span in spans), default=0)
    high = query.price_max if query.price_max is not None else max((span[3] for span in spans), default=low)
    high = max(low, high)
    row_ticks = query.row_ticks or _height(low, high, query.max_rows)
    p0_ticks, rows = low // row_ticks * row_ticks, _count(low, high + 1, row_ticks)
    grid = CellGrid(times.t0_ms, times.bucket_ms, times.cols, p0_ticks, row_ticks, rows)
    _check(grid, rows)
    return grid


def _height(low: int, high: int, max_rows: int) -> int:
    """The smallest of 1, 2, 5, 10, 20, ... ticks that makes no more rows."""
    power = 1
    while True:
        for height in (power, 2 * power, 5 * power):
            if _count(low, high + 1, height) <= max_rows:
                return height
        power *= 10


def _count(first: int, end: int, step: int) -> int:
    """Steps of the grid that `[first, end)` touches."""
    return -(-end // step) - first // step


def _check(grid: CellGrid, rows: int) -> None:
    if rows > MAX_ROWS:
        raise BadInput(f"that is {rows} rows, expected at most {MAX_ROWS}: a greater row")
    if grid.cols <= MAX_COLS and grid.cols * rows <= MAX_CELLS:
        return
    most = min(MAX_COLS, MAX_CELLS // rows)
    fits = next((width for width in WIDTHS if _count(grid.t0_ms, grid.end_ms, width) <= most), DAY_MS)
    raise BadInput(
        f"that is {grid.cols} columns of {rows} rows, expected at most {MAX_COLS} columns and {MAX_CELLS} cells:"
        f" a bucket of {_text(fits)} would fit"
    )


def _text(width_ms: int) -> str:
    for unit, length_ms in (("d", DAY_MS), ("h", 3_600_000), ("m", 60_000), ("s", 1_000)):
        if width_ms % length_ms == 0:
            return f"{width_ms // length_ms}{unit}"
    return f"{width_ms}ms"


ENDPOINT = Endpoint(
    "/v1/heatmap/{symbol}",
    "What rested at which price and when.",
    Parameters(
        (START, END, PRICE_MIN, PRICE_MAX, BUCKET, MAX_COLS_ASKED, ROW, MAX_ROWS_ASKED, CELL, KIND, FORMAT),
        HeatmapQuery.of,
    ),
    answer,
    shapes.HEATMAP,
)
