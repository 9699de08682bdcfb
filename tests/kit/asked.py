"""Endpoints asked without HTTP, and all that a feed says of a symbol."""

from typing import Any, TypeVar

from common.store.registry import Market
from feed.bars.footprints import FootprintQuery
from feed.queries import candles, footprint
from feed.queries.candles import CandleQuery
from feed.queries.endpoint import Endpoint, ask
from feed.queries.queries import Queries, SymbolQueries
from tests.kit.served import Served

Q = TypeVar("Q")


async def body_of(endpoint: Endpoint[SymbolQueries, Q], queries: Queries, market: Market, query: Q) -> bytes:
    return bytes((await ask(endpoint, queries.of(market), query)).content)


async def candles_of(queries: Queries, market: Market, query: CandleQuery) -> bytes:
    return await body_of(candles.ENDPOINT, queries, market, query)


async def footprint_of(queries: Queries, market: Market, query: FootprintQuery) -> bytes:
    return await body_of(footprint.ENDPOINT, queries, market, query)


async def all_answers(feed: Served, symbol: str) -> dict[Any, Any]:
    asked = [
        *((f"/v1/candles/{symbol}", {"timeframe": timeframe}) for timeframe in ("1m", "1h", "1d", "1w", "1s")),
        (f"/v1/footprint/{symbol}", {"timeframe": "1h"}),
        # A mean has two decimals more than prices, so it is another number where these have more.
        (f"/v1/orderflow/{symbol}", {"timeframe": "1h", "fields": "v,delta,dmin,dmax,cvd,poc,vah,val,buyImb,sellImb"}),
        (f"/v1/trades/{symbol}", {"limit": "10000"}),
        (f"/v1/gaps/{symbol}", {}),
    ]
    found: dict[Any, Any] = {}
    for path, params in asked:
        answer = await feed.json(path, **params)
        found[path, str(params)] = {name: value for name, value in answer.items() if name not in ("cursor", "health")}
    return found
