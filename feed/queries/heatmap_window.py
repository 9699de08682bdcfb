"""Which columns and rows a heatmap has: of what is asked, alone, before anything of it is read."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from common.errors import BadInput
from common.frames.liquidity import CellGrid
from common.market.timeframes.timeframe import DAY_MS, Timeframe, width_text
from feed.queries.parameters import END, START, TIMEFRAME_TEXT
from feed.wire.parameter_types import Parsed, PriceTicks, RowTicks, Whole
from feed.wire.params import Given, Parameter

MAX_COLS, MAX_ROWS, MAX_CELLS = 8_192, 4_096, 2_000_000
# What a bucket is chosen from, in ms: each a whole number of one before.
WIDTHS = (50, 100, 250, 1_000, 5_000, 30_000, 60_000, 300_000, 900_000, 3_600_000, DAY_MS)
# Shown where no start is given.
DEFAULT_MS = 3_600_000

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
WINDOW = (START, END, PRICE_MIN, PRICE_MAX, BUCKET, MAX_COLS_ASKED, ROW, MAX_ROWS_ASKED)


@dataclass(frozen=True, slots=True)
class HeatmapWindow:
    start_ms: int | None
    end_ms: int | None
    price_min: int | None
    price_max: int | None
    bucket: Timeframe | None
    max_cols: int
    row_ticks: int | None
    max_rows: int

    @classmethod
    def of(cls, given: Given) -> "HeatmapWindow":
        return cls(
            given[START],
            given[END],
            given[PRICE_MIN],
            given[PRICE_MAX],
            given[BUCKET],
            given[MAX_COLS_ASKED],
            given[ROW],
            given[MAX_ROWS_ASKED],
        )

    def times(self, now_ms: int, max_span_ms: int) -> CellGrid:
        """Columns that reach outwards to whole buckets; of one row. `now_ms`: the end where none is given."""
        end_ms = now_ms if self.end_ms is None else self.end_ms
        start_ms = max(0, end_ms - DEFAULT_MS) if self.start_ms is None else self.start_ms
        if not start_ms < end_ms <= start_ms + max_span_ms:
            raise BadInput(f"start {start_ms} and end {end_ms} are not up to {max_span_ms // DAY_MS} days apart")
        if self.bucket is not None:
            bucket_ms = _width(self.bucket)
        else:
            bucket_ms = next((width for width in WIDTHS if _count(start_ms, end_ms, width) <= self.max_cols), DAY_MS)
        grid = columns(start_ms, end_ms, bucket_ms)
        rows = 1
        if self.row_ticks and self.price_min is not None and self.price_max is not None:
            rows = _count(self.price_min, self.price_max + 1, self.row_ticks)
        _check(grid, rows)
        return grid

    def coarser(self, grid: CellGrid, bucket_ms: int, row_ticks: int) -> "HeatmapWindow":
        """As coarse as what is kept of it: at least so wide and high, and multiples of both."""
        width = next(width for width in WIDTHS if width >= grid.bucket_ms and not width % bucket_ms)
        height = next(height for height in _heights() if height >= grid.row_ticks and not height % row_ticks)
        return replace(self, bucket=Timeframe.parse(width_text(width)), row_ticks=height)

    def with_rows(self, times: CellGrid, lowest: int | None, highest: int | None) -> CellGrid:
        """Rows that reach outwards; where no prices are given, from the lowest that is known to the highest."""
        low = self.price_min if self.price_min is not None else lowest or 0
        high = self.price_max if self.price_max is not None else low if highest is None else highest
        high = max(low, high)
        row_ticks = self.row_ticks or _height(low, high, self.max_rows)
        p0_ticks, rows = low // row_ticks * row_ticks, _count(low, high + 1, row_ticks)
        grid = CellGrid(times.t0_ms, times.bucket_ms, times.cols, p0_ticks, row_ticks, rows)
        _check(grid, rows)
        return grid


def columns(start_ms: int, end_ms: int, bucket_ms: int) -> CellGrid:
    return CellGrid(start_ms // bucket_ms * bucket_ms, bucket_ms, _count(start_ms, end_ms, bucket_ms), 0, 1, 1)


def _width(bucket: Timeframe) -> int:
    width = bucket.fixed_ms
    if width is None or width > DAY_MS or DAY_MS % width:
        raise BadInput(f"bucket is {bucket.text}, expected a part of a day, such as 250ms, 1s or 1m")
    return width


def _height(low: int, high: int, max_rows: int) -> int:
    """The smallest of 1, 2, 5, 10, 20, ... ticks that makes no more rows."""
    return next(height for height in _heights() if _count(low, high + 1, height) <= max_rows)


def _heights() -> Iterator[int]:
    power = 1
    while True:
        yield from (power, 2 * power, 5 * power)
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
        f" a bucket of {width_text(fits)} would fit"
    )
