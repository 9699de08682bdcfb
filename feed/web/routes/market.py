"""`/v1/market`, `/v1/trades`, `/v1/book`, `/v1/quote` and `/v1/gaps`.

A symbol's market as it is, and what is missing of it.
"""

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from feed.services import services_of
from feed.web.routes.candles import MEDIA_TYPES
from feed.web.routes.symbol import of_symbol
from feed.wire import params


async def status(request: Request) -> Response:
    services = services_of(request)
    params.nothing(request.scope["query_string"])
    market = await services.queries.market(request.path_params["symbol"])
    return Response(await services.queries.status(market), media_type=MEDIA_TYPES["json"])


async def trades(request: Request) -> Response:
    services = services_of(request)
    query = params.trades_query(request.scope["query_string"])
    market = await services.queries.market(request.path_params["symbol"])
    return Response(await services.queries.trades(market, query), media_type=MEDIA_TYPES[query.form])


async def book(request: Request) -> Response:
    services = services_of(request)
    depth = params.book_depth(request.scope["query_string"])
    market = await services.queries.market(request.path_params["symbol"])
    return Response(await services.queries.book(market, depth), media_type=MEDIA_TYPES["json"])


async def quote(request: Request) -> Response:
    services = services_of(request)
    params.nothing(request.scope["query_string"])
    market = await services.queries.market(request.path_params["symbol"])
    return Response(await services.queries.quote(market), media_type=MEDIA_TYPES["json"])


async def gaps(request: Request) -> Response:
    services = services_of(request)
    query = params.gaps_query(request.scope["query_string"], services.settings.query_limit_max)
    market = await services.queries.market(request.path_params["symbol"])
    return Response(await services.queries.gaps(market, query), media_type=MEDIA_TYPES["json"])


routes = [
    Route("/v1/market/{symbol}", of_symbol(status)),
    Route("/v1/trades/{symbol}", of_symbol(trades)),
    Route("/v1/book/{symbol}", of_symbol(book)),
    Route("/v1/quote/{symbol}", of_symbol(quote)),
    Route("/v1/gaps/{symbol}", of_symbol(gaps)),
]
