"""`/v1/candles` and `/v1/footprint`."""

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from feed.services import services_of
from feed.web.routes.symbol import of_symbol
from feed.wire import params

MEDIA_TYPES = {
    "json": "application/json",
    "csv": "text/csv",
    "arrow": "application/vnd.apache.arrow.stream",
}


async def candles(request: Request) -> Response:
    services = services_of(request)
    query = params.candle_query(request.scope["query_string"], services.settings.query_limit_max)
    market = await services.queries.market(request.path_params["symbol"])
    body = await services.queries.candles(market, query)
    return Response(body, media_type=MEDIA_TYPES[query.form])


async def current(request: Request) -> Response:
    services = services_of(request)
    timeframe = params.timeframe_only(request.scope["query_string"])
    market = await services.queries.market(request.path_params["symbol"])
    return Response(await services.queries.current(market, timeframe), media_type=MEDIA_TYPES["json"])


async def footprint(request: Request) -> Response:
    services = services_of(request)
    market = await services.queries.market(request.path_params["symbol"])
    limit_max = services.settings.query_limit_max
    query = params.footprint_query(request.scope["query_string"], limit_max, market.instrument)
    return Response(await services.queries.footprint(market, query), media_type=MEDIA_TYPES["json"])


routes = [
    Route("/v1/candles/{symbol}", of_symbol(candles)),
    Route("/v1/candles/{symbol}/current", of_symbol(current)),
    Route("/v1/footprint/{symbol}", of_symbol(footprint)),
]
