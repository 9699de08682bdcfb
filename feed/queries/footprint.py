"""`GET /v1/footprint/{symbol}`: bars with what was bought and sold at each price."""

from dataclasses import replace

from feed.bars import footprints
from feed.bars.footprints import FootprintQuery
from feed.queries.candles import bars_answer
from feed.queries.endpoint import Endpoint
from feed.queries.parameters import END, LIMIT, START, TIMEFRAME, window_of
from feed.queries.queries import SymbolQueries
from feed.reading.budget import QueryBudget
from feed.wire.answers import BarsAnswer
from feed.wire.parameter_types import RowTicks
from feed.wire.params import Given, Parameter, Parameters

ROW = Parameter("row", RowTicks(), 1, "Height of a row, in the price: a multiple of the tick, which it is by default.")


def _query(given: Given) -> FootprintQuery:
    return FootprintQuery(given[TIMEFRAME], window_of(given), given[ROW])


async def answer(symbol: SymbolQueries, query: FootprintQuery) -> BarsAnswer:
    return await symbol.queries.weighed(lambda budget: _answer(symbol, query, budget))


async def _answer(symbol: SymbolQueries, query: FootprintQuery, budget: QueryBudget) -> BarsAnswer:
    source = symbol.source(query.timeframe, budget)
    read = await footprints.read(source, replace(query, timeframe=source.grid.timeframe))
    return await bars_answer(symbol, query.timeframe, read)


ENDPOINT = Endpoint(
    "/v1/footprint/{symbol}",
    "Bars with what was bought and sold at each price.",
    Parameters((TIMEFRAME, START, END, LIMIT, ROW), _query),
    answer,
)
