"""`/v1/symbols` and `/v1/health`."""

from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from common.store.health import upkeep_of
from feed.queries import fleet
from feed.services import services_of
from feed.web.routes.symbol import of_symbol
from feed.wire import params


async def symbols(request: Request) -> Response:
    services = services_of(request)
    params.nothing(request.scope["query_string"])
    return _json(fleet.symbols(await fleet.look(services.queries), services.queries.rules))


async def health(request: Request) -> Response:
    services = services_of(request)
    params.nothing(request.scope["query_string"])
    return _json(await fleet.health(services.settings, services.queries, services.jobs, services.watch))


async def symbol_health(request: Request) -> Response:
    services = services_of(request)
    params.nothing(request.scope["query_string"])
    market = await services.queries.market(request.path_params["symbol"])
    view = await services.queries.reader(market).view()
    found = fleet.symbol_health(market, view, services.queries.rules)
    upkeep = await upkeep_of(services.client, market.symbol)
    history = upkeep.json(archiving=services.settings.archive_url is not None)
    return _json({"symbol": market.symbol, **found, "history": history})


def _json(content: dict[str, Any]) -> Response:
    return Response(orjson.dumps(content), media_type="application/json")


routes = [
    Route("/v1/symbols", symbols),
    Route("/v1/health", health),
    Route("/v1/health/{symbol}", of_symbol(symbol_health)),
]
