"""`GET /v1/candles/{symbol}/current`: the bar that grows."""

from common.market.timeframes.timeframe import Timeframe
from feed.queries.endpoint import Endpoint
from feed.queries.parameters import TIMEFRAME
from feed.queries.queries import SymbolQueries
from feed.wire import shapes
from feed.wire.answers import CurrentAnswer
from feed.wire.params import Parameters


async def answer(symbol: SymbolQueries, timeframe: Timeframe) -> CurrentAnswer:
    source = symbol.source(timeframe)
    live, view = await source.live()
    bar = source.grid.shown(live.growing, live.at) if live.growing else None
    return CurrentAnswer(symbol.market, timeframe.text, bar, view, live.at.cover, symbol.queries.rules)


ENDPOINT = Endpoint(
    "/v1/candles/{symbol}/current",
    "The bar that grows, null while nothing does.",
    Parameters((TIMEFRAME,), lambda given: given[TIMEFRAME]),
    answer,
    shapes.CURRENT,
)
