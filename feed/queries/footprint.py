"""`GET /v1/footprint/{symbol}`: bars with what was bought and sold at each price, and what that says."""

from dataclasses import replace
from typing import get_args

from common.frames.orderflow.footprint_json import FOOTPRINT_FIELDS, FootprintField
from feed.bars import footprints
from feed.bars.flow import RowGrid
from feed.bars.footprints import FootprintQuery, FootprintStatsQuery
from feed.queries.candles import bars_answer
from feed.queries.endpoint import Endpoint
from feed.queries.flow_parameters import ALIGN, ROW, RULES, refuse_rules, rules_of, stated_rows
from feed.queries.parameters import END, LIMIT, START, TIMEFRAME, Switch, window_of
from feed.queries.queries import SymbolQueries
from feed.queries.stated_pages import StatedPage
from feed.queries.validator import bars_range
from feed.reading.bounds import Window
from feed.reading.budget import QueryBudget
from feed.wire import shapes
from feed.wire.answers import BarsAnswer
from feed.wire.parameter_types import OneOf, SomeOf
from feed.wire.params import Given, Parameter, Parameters

STATS: Parameter[Switch] = Parameter("stats", OneOf(get_args(Switch)), "0", "1: with all of the fields.")
FIELDS: Parameter[frozenset[FootprintField] | None] = Parameter(
    "fields", SomeOf(FOOTPRINT_FIELDS), None, "What else is told of a bar, with commas between."
)


AnyFootprintQuery = FootprintQuery | FootprintStatsQuery


def _query(given: Given) -> AnyFootprintQuery:
    fields = frozenset(FOOTPRINT_FIELDS) if given[STATS] == "1" else given[FIELDS]
    if fields is None:
        refuse_rules(given, "stats=1 or fields")
    return query_of(given, window_of(given), fields)


def query_of(given: Given, window: Window, fields: frozenset[FootprintField] | None) -> AnyFootprintQuery:
    """`fields`: None where nothing is asked for beyond the rows."""
    timeframe, row, align = given[TIMEFRAME], given[ROW], given[ALIGN]
    if fields is None and row is not None:
        return FootprintQuery(timeframe, window, row, align)
    grid = RowGrid(row, align or "nearest")
    return FootprintStatsQuery(timeframe, window, grid, fields or frozenset(), rules_of(given))


async def answer(symbol: SymbolQueries, query: AnyFootprintQuery) -> BarsAnswer:
    if isinstance(query, FootprintQuery):
        found = await page(symbol, query)
    else:
        found = await symbol.stated_page("footprint", query, lambda budget: _with_stats(symbol, query, budget))
    return replace(await bars_answer(symbol, query.timeframe, found.read), stated=found.stated)


async def page(symbol: SymbolQueries, query: AnyFootprintQuery) -> StatedPage:
    """The bars as they are now."""

    async def read(budget: QueryBudget) -> StatedPage:
        if isinstance(query, FootprintQuery):
            return await _plain(symbol, query, budget)
        return await _with_stats(symbol, query, budget)

    return await symbol.queries.weighed(read)


async def _plain(symbol: SymbolQueries, query: FootprintQuery, budget: QueryBudget) -> StatedPage:
    source = symbol.source(query.timeframe, budget)
    page, view, cover = await footprints.read(source, replace(query, timeframe=source.grid.timeframe))
    stated = stated_rows(query.row_ticks, query.align, symbol.market.instrument) if query.align else {}
    return StatedPage(page, stated, view, cover)


async def _with_stats(symbol: SymbolQueries, query: FootprintStatsQuery, budget: QueryBudget) -> StatedPage:
    source = symbol.source(query.timeframe, budget)
    read, row_ticks = await footprints.read_with_stats(source, replace(query, timeframe=source.grid.timeframe))
    page, view, cover = read
    stated = stated_rows(row_ticks, query.grid.align, symbol.market.instrument) | _rules(query)
    return StatedPage(page, stated, view, cover)


def _rules(query: FootprintStatsQuery) -> dict[str, object]:
    """By which rules value areas were made."""
    has_area = not query.fields.isdisjoint(("vah", "val"))
    return {"va": query.rules.area, "share": query.rules.share_bp} if has_area else {}


ENDPOINT = Endpoint(
    "/v1/footprint/{symbol}",
    "Bars with what was bought and sold at each price.",
    Parameters((TIMEFRAME, START, END, LIMIT, ROW, ALIGN, STATS, FIELDS, *RULES), _query),
    answer,
    shapes.FOOTPRINT,
    lambda symbol, query: bars_range(symbol, query.timeframe, query.window),
)
