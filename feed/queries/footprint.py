"""`GET /v1/footprint/{symbol}`: bars with what was bought and sold at each price, and what that says."""

from dataclasses import replace
from typing import Literal

from common.frames.orderflow.footprint_json import FOOTPRINT_FIELDS, FootprintField
from feed.bars import footprints
from feed.bars.flow import RowGrid
from feed.bars.footprints import FootprintQuery, FootprintStatsQuery
from feed.queries.candles import bars_answer
from feed.queries.endpoint import Endpoint
from feed.queries.flow_parameters import ALIGN, ROW, RULES, refuse_rules, rules_of, stated_rows
from feed.queries.parameters import END, LIMIT, START, TIMEFRAME, window_of
from feed.queries.queries import SymbolQueries
from feed.reading.budget import QueryBudget
from feed.wire.answers import BarsAnswer
from feed.wire.parameter_types import OneOf, SomeOf
from feed.wire.params import Given, Parameter, Parameters

Switch = Literal["0", "1"]

STATS: Parameter[Switch] = Parameter("stats", OneOf(("0", "1")), "0", "1: with all of the fields.")
FIELDS: Parameter[frozenset[FootprintField] | None] = Parameter(
    "fields", SomeOf(FOOTPRINT_FIELDS), None, "What else is told of a bar, with commas between."
)


def _query(given: Given) -> FootprintQuery | FootprintStatsQuery:
    timeframe, window = given[TIMEFRAME], window_of(given)
    fields = frozenset(FOOTPRINT_FIELDS) if given[STATS] == "1" else given[FIELDS]
    row, align = given[ROW], given[ALIGN]
    if fields is None:
        refuse_rules(given)
        if row is not None:
            return FootprintQuery(timeframe, window, row, align)
    grid = RowGrid(row, align or "nearest")
    return FootprintStatsQuery(timeframe, window, grid, fields or frozenset(), rules_of(given))


async def answer(symbol: SymbolQueries, query: FootprintQuery | FootprintStatsQuery) -> BarsAnswer:
    return await symbol.queries.weighed(lambda budget: _answer(symbol, query, budget))


async def _answer(
    symbol: SymbolQueries, query: FootprintQuery | FootprintStatsQuery, budget: QueryBudget
) -> BarsAnswer:
    source, instrument = symbol.source(query.timeframe, budget), symbol.market.instrument
    query = replace(query, timeframe=source.grid.timeframe)
    if isinstance(query, FootprintQuery):
        told = await bars_answer(symbol, query.timeframe, await footprints.read(source, query))
        stated = stated_rows(query.row_ticks, query.align, instrument) if query.align else {}
        return replace(told, stated=stated)
    read, row_ticks = await footprints.read_with_stats(source, query)
    told = await bars_answer(symbol, query.timeframe, read)
    return replace(told, stated=stated_rows(row_ticks, query.grid.align, instrument) | _rules(query))


def _rules(query: FootprintStatsQuery) -> dict[str, object]:
    """By which rules value areas were made."""
    has_area = not query.fields.isdisjoint(("vah", "val"))
    return {"va": query.rules.area, "share": query.rules.share_bp} if has_area else {}


ENDPOINT = Endpoint(
    "/v1/footprint/{symbol}",
    "Bars with what was bought and sold at each price.",
    Parameters((TIMEFRAME, START, END, LIMIT, ROW, ALIGN, STATS, FIELDS, *RULES), _query),
    answer,
)
