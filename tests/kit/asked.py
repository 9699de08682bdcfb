"""Endpoints asked without HTTP."""

from typing import TypeVar

from common.store.registry import Market
from feed.bars.footprints import FootprintQuery
from feed.queries import candles, footprint
from feed.queries.candles import CandleQuery
from feed.queries.endpoint import Endpoint, ask
from feed.queries.queries import Queries, SymbolQueries

Q = TypeVar("Q")


async def body_of(endpoint: Endpoint[SymbolQueries, Q], queries: Queries, market: Market, query: Q) -> bytes:
    return bytes((await ask(endpoint, queries.of(market), query)).content)


async def candles_of(queries: Queries, market: Market, query: CandleQuery) -> bytes:
    return await body_of(candles.ENDPOINT, queries, market, query)


async def footprint_of(queries: Queries, market: Market, query: FootprintQuery) -> bytes:
    return await body_of(footprint.ENDPOINT, queries, market, query)
