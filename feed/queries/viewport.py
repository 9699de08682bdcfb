"""`GET /v1/viewport/{symbol}`: all of a picture in one answer: the timeframe that suits it, candles, cells, profile."""

from dataclasses import dataclass, replace
from functools import partial
from typing import Literal, get_args

import numpy as np
import orjson
import polars as pl

from common.errors import BadInput
from common.frames.liquidity import CellGrid, CellKind
from common.frames.orderflow.statistics import RowRules
from common.market.builder.gaps import Ledger
from common.market.orderflow.viewport import MIN_ROW_PX, TIMEFRAMES, PriceRows, choose_timeframe
from common.market.timeframes.timeframe import DAY_MS, MINUTE, MINUTE_MS, Timeframe, width_text
from common.series import CANDLES
from feed.bars.frames import cover_of, page_of
from feed.bars.viewport import CellsWanted, ChooseRows, ViewportBars, read_viewport
from feed.queries.candles import bars_answer
from feed.queries.endpoint import Endpoint
from feed.queries.flow_parameters import stated_rows
from feed.queries.heatmap import MAX_DEPTH_MS, MAX_TRADED_MS, heatmap_of, read_cells
from feed.queries.heatmap_window import MAX_COLS, HeatmapWindow
from feed.queries.queries import SymbolQueries
from feed.reading.bounds import Window
from feed.reading.budget import QueryBudget
from feed.wire import shapes
from feed.wire.answers import BarsAnswer, exact
from feed.wire.heatmaps import MAX_JSON_CELLS, JsonHeatmap
from feed.wire.parameter_types import OneOf, Parsed, PriceTicks, RowTicks, Time, Whole
from feed.wire.params import Given, Parameter, Parameters
from feed.wire.profiles import ShownProfiles, profiles_told
from feed.wire.traded_heatmaps import TRADED_CHANNELS, JsonTraded, TradedHeatmap

ViewportCells = Literal["none", "depth", "traded"]

# Of a picture; screens have fewer.
MAX_SIDE_PX = 8_192
# Shown where no start is given.
DEFAULT_MS = 3_600_000
# What of a cell is shown.
CELL: CellKind = "max"

TIME_START: Parameter[int | None] = Parameter("timeStart", Time(), None, "Left edge; an hour before the right one.")
TIME_END: Parameter[int | None] = Parameter(
    "timeEnd", Time(not_before="timeStart"), None, "Right edge, itself not included; now."
)
PRICE_MIN: Parameter[int | None] = Parameter("priceMin", PriceTicks(), None, "Lower edge; the lowest of the candles.")
PRICE_MAX: Parameter[int | None] = Parameter(
    "priceMax", PriceTicks("priceMin"), None, "Upper edge; the highest of the candles."
)


def _timeframe(text: str) -> Timeframe | None:
    return None if text == "auto" else Timeframe.parse(text)


SLOT: Parameter[Timeframe | None] = Parameter(
    "timeframe", Parsed(_timeframe), None, "Length of a bar, or auto: the one that suits the width."
)
WIDTH = Parameter("width", Whole(MAX_SIDE_PX), 1_200, "Width of the picture in px.")
HEIGHT = Parameter("height", Whole(MAX_SIDE_PX), 600, "Height of the picture in px.")
CURRENT: Parameter[Timeframe | None] = Parameter(
    "current", Parsed(Timeframe.parse), None, "The timeframe that is shown: auto keeps it while its bars fit."
)
CURRENT_ROW: Parameter[int | None] = Parameter(
    "currentRow", RowTicks(), None, "The height of rows that is shown: kept while it fits."
)
CELLS: Parameter[ViewportCells] = Parameter(
    "heatmap",
    OneOf(get_args(ViewportCells)),
    "none",
    "depth: with what rested at which price and when; traded: with what was traded there.",
)
PROFILE = Parameter("profile", OneOf(("0", "1")), "0", "1: with how much was traded at each price.")


@dataclass(frozen=True, slots=True)
class ViewportQuery:
    start_ms: int | None
    end_ms: int | None
    price_min: int | None
    price_max: int | None
    timeframe: Timeframe | None
    width_px: int
    height_px: int
    current: Timeframe | None
    held_row_ticks: int | None
    cells: ViewportCells
    has_profile: bool

    @classmethod
    def of(cls, given: Given) -> "ViewportQuery":
        return cls(
            given[TIME_START],
            given[TIME_END],
            given[PRICE_MIN],
            given[PRICE_MAX],
            given[SLOT],
            given[WIDTH],
            given[HEIGHT],
            given[CURRENT],
            given[CURRENT_ROW],
            given[CELLS],
            given[PROFILE] == "1",
        )


@dataclass(frozen=True, slots=True)
class Slots:
    """Bars side by side, that reach outwards from the edges of the picture. `timeframe`: anchored."""

    timeframe: Timeframe
    from_ms: int
    to_ms: int

    @classmethod
    def of(cls, timeframe: Timeframe, start_ms: int, end_ms: int) -> "Slots":
        last_ms = timeframe.open_of(end_ms - 1)
        # Between two sessions there is no bar.
        return cls(timeframe, min(timeframe.open_of(start_ms), start_ms), max(timeframe.next_open(last_ms), end_ms))

    @property
    def count(self) -> int:
        """Of sessions, with as many as there would be between them."""
        return -(-(self.to_ms - self.from_ms) // self.timeframe.longest_ms)

    @property
    def window(self) -> Window:
        """Days of sessions, and months, are shorter than the longest of them."""
        return Window(self.from_ms, self.to_ms, self.count + self.count // 8 + 2)

    def max_rows(self, height_px: int) -> int:
        """As many as can be told apart, and as an answer has room for in so many slots."""
        return max(1, min(height_px // MIN_ROW_PX, MAX_JSON_CELLS // (self.count + 1) - 1))


async def answer(symbol: SymbolQueries, query: ViewportQuery) -> BarsAnswer:
    return await symbol.queries.weighed(lambda budget: _answer(symbol, query, budget))


async def _answer(symbol: SymbolQueries, query: ViewportQuery, budget: QueryBudget) -> BarsAnswer:
    start_ms, end_ms = await _edges(symbol, query)
    # Of the edges alone, before anything is read.
    slots = slots_of(symbol, query, start_ms, end_ms)
    choose = partial(rows_of, query, slots.max_rows(query.height_px))
    shown = await _read(symbol, query, slots, choose, budget)
    if query.timeframe is None and _lacks_trades(symbol, slots, shown):
        minutes = Slots.of(symbol.market.instrument.anchored(MINUTE), start_ms, end_ms)
        shown = await _read(symbol, query, minutes, choose, budget)
    page = await page_of(symbol.data(budget), shown.bars)
    told = await bars_answer(symbol, shown.timeframe, (page, shown.bars.view, shown.bars.cover))
    stated = _edges_told(symbol, shown) | _profile_told(symbol, query, shown)
    if query.cells != "none":
        tell = _depth_told if query.cells == "depth" else _traded_told
        stated["heatmap"] = await tell(symbol, slots, shown, budget)
    return replace(told, stated=stated)


async def _read(
    symbol: SymbolQueries, query: ViewportQuery, slots: Slots, choose: ChooseRows, budget: QueryBudget
) -> ViewportBars:
    source = symbol.source(slots.timeframe, budget)
    cells = traded_cells(slots) if query.cells == "traded" else None
    return await read_viewport(source, slots.window, choose, cells, has_profile=query.has_profile)


def traded_cells(slots: Slots) -> CellsWanted:
    """Of the newest of the slots, if they are more than an answer may be of."""
    times = _heatmap_window(slots, MAX_TRADED_MS).times(slots.to_ms, MAX_TRADED_MS)

    def grid_of(rows: PriceRows) -> CellGrid:
        return _heatmap_window(slots, MAX_TRADED_MS, rows).with_rows(times, None, None)

    return CellsWanted(Timeframe.parse(width_text(times.bucket_ms)), grid_of)


async def _edges(symbol: SymbolQueries, query: ViewportQuery) -> tuple[int, int]:
    end_ms = query.end_ms
    if end_ms is None:
        state = (await symbol.data().history.look(CANDLES)).state
        end_ms = max(state.watermark_ms if state else 0, query.start_ms or DEFAULT_MS) + 1
    start_ms = max(0, end_ms - DEFAULT_MS) if query.start_ms is None else query.start_ms
    if start_ms >= end_ms:
        raise BadInput(f"timeStart {start_ms} is not before timeEnd {end_ms}, expected timeStart < timeEnd")
    return start_ms, end_ms


def slots_of(symbol: SymbolQueries, query: ViewportQuery, start_ms: int, end_ms: int) -> Slots:
    """Raises BadInput where there are more than an answer has room for."""
    anchored = symbol.market.instrument.anchored
    timeframe = query.timeframe or choose_timeframe(end_ms - start_ms, query.width_px, query.current)
    slots = Slots.of(anchored(timeframe), start_ms, end_ms)
    if slots.count <= MAX_COLS:
        return slots
    others = (each for each in TIMEFRAMES.values() if Slots.of(anchored(each), start_ms, end_ms).count <= MAX_COLS)
    fits = next(others, None)
    wanted = f"{fits.text} would fit, or auto" if fits else "expected a shorter time"
    raise BadInput(f"that is {slots.count} bars of {timeframe.text}, expected at most {MAX_COLS}: {wanted}")


def rows_of(query: ViewportQuery, max_rows: int, bars: pl.DataFrame) -> PriceRows | None:
    """Rows from one edge to the other; of an edge that is not given, from where the candles end."""
    low, high = query.price_min, query.price_max
    if bars.is_empty() and (low is None or high is None):
        return None
    low = int(bars["low_ticks"].to_numpy().min()) if low is None else low
    high = int(bars["high_ticks"].to_numpy().max()) if high is None else high
    return PriceRows.of(min(low, high), max(low, high), max_rows, query.held_row_ticks)


def _lacks_trades(symbol: SymbolQueries, slots: Slots, shown: ViewportBars) -> bool:
    """Whether minutes have more of the time than trades, which are kept for less long, or fewer of one request."""
    if slots.timeframe.longest_ms >= MINUTE_MS:
        return False
    if shown.bars.more:
        return True
    known = cover_of(symbol.market, shown.bars.view)
    span = max(slots.from_ms, known.start_ms), slots.to_ms
    lacking_ms = shown.bars.cover.first_missing(*span)
    return lacking_ms is not None and lacking_ms != known.first_missing(*span)


def _edges_told(symbol: SymbolQueries, shown: ViewportBars) -> dict[str, object]:
    told: dict[str, object] = {"timeStart": shown.window.start_ms, "timeEnd": shown.window.end_ms}
    if shown.rows is None:
        return told | {"priceMin": None, "priceMax": None, "row": None}
    instrument = symbol.market.instrument
    edges = {"priceMin": shown.rows.low_ticks, "priceMax": shown.rows.high_ticks}
    told |= {name: exact(instrument.price_text(ticks)) for name, ticks in edges.items()}
    return told | stated_rows(shown.rows.row_ticks, "floor", instrument)


def _profile_told(symbol: SymbolQueries, query: ViewportQuery, shown: ViewportBars) -> dict[str, object]:
    """Its figures are of all prices, its rows those between the edges."""
    if not query.has_profile:
        return {}
    if shown.profile is None or shown.rows is None:
        return {"profile": None}
    prices = shown.rows.low_ticks, shown.rows.high_ticks
    asked = ShownProfiles(RowRules(), None, 0, naked=False, prices=prices)
    (told,) = profiles_told(shown.profile, asked, symbol.market.instrument)
    return {"profile": told}


async def _depth_told(
    symbol: SymbolQueries, slots: Slots, shown: ViewportBars, budget: QueryBudget
) -> orjson.Fragment | None:
    """None where there is nothing to tell: no book, or no prices."""
    if shown.rows is None:
        return None
    cells = await read_cells(symbol, _heatmap_window(slots, MAX_DEPTH_MS, shown.rows), CELL, budget)
    if cells is None:
        return None
    value = JsonHeatmap(heatmap_of(symbol, CELL, cells, shown.bars.view))
    return orjson.Fragment(await budget.run(slots.count * shown.rows.count, lambda: orjson.dumps(value.told())))


async def _traded_told(
    symbol: SymbolQueries, _: Slots, shown: ViewportBars, budget: QueryBudget
) -> orjson.Fragment | None:
    """None where there are no prices. What is missing, and the market's health, the answer tells of all of it."""
    if shown.cells is None:
        return None
    found, grid = shown.cells, shown.cells.found.grid
    best = np.zeros((0, 4), np.int64)
    told = TradedHeatmap(symbol.market, found, width_text(grid.bucket_ms), TRADED_CHANNELS, best, Ledger(), {})
    return orjson.Fragment(await budget.run(len(found.found.cells.cols), lambda: orjson.dumps(JsonTraded(told).told())))


def _heatmap_window(slots: Slots, max_ms: int, rows: PriceRows | None = None) -> HeatmapWindow:
    """A column a bar, where bars are parts of a day; else the least ones that are no more."""
    start_ms, width_ms = max(slots.from_ms, slots.to_ms - max_ms), slots.timeframe.fixed_ms
    bucket = slots.timeframe if width_ms and DAY_MS % width_ms == 0 else None
    if rows is None:
        return HeatmapWindow(start_ms, slots.to_ms, None, None, bucket, slots.count, None, 1)
    edges = start_ms, slots.to_ms, rows.low_ticks, rows.high_ticks
    return HeatmapWindow(*edges, bucket, slots.count, rows.row_ticks, rows.count)


ENDPOINT = Endpoint(
    "/v1/viewport/{symbol}",
    "A picture of a window of time and prices: candles, cells and a profile as fine as can be seen.",
    Parameters(
        (
            TIME_START,
            TIME_END,
            PRICE_MIN,
            PRICE_MAX,
            SLOT,
            WIDTH,
            HEIGHT,
            CURRENT,
            CURRENT_ROW,
            CELLS,
            PROFILE,
        ),
        ViewportQuery.of,
    ),
    answer,
    shapes.VIEWPORT,
)
