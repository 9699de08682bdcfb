"""Every route over HTTP. An endpoint is listed here, and is a file in feed.queries."""

from collections.abc import Iterable, Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from common.store.instrument import InstrumentChanged
from feed.faces import multi_timeframe
from feed.queries import (
    book,
    candles,
    current,
    events,
    features,
    footprint,
    gaps,
    health,
    heatmap,
    indicator_list,
    indicators,
    market,
    orderflow,
    overview,
    profile,
    quote,
    quotes,
    symbol_health,
    symbols,
    trades,
    viewport,
)
from feed.queries.endpoint import Endpoint, ask
from feed.queries.fleet import Fleet
from feed.queries.queries import SymbolQueries
from feed.queries.validator import Validator, validator
from feed.services import Services, services_of
from feed.stream.channels.table import CHANNELS
from feed.web import process
from feed.web.documents import pages
from feed.wire.answers import Written
from feed.wire.params import read_request

OF_SYMBOL: tuple[Endpoint[SymbolQueries, Any], ...] = (
    candles.ENDPOINT,
    current.ENDPOINT,
    footprint.ENDPOINT,
    orderflow.ENDPOINT,
    profile.ENDPOINT,
    market.ENDPOINT,
    trades.ENDPOINT,
    book.ENDPOINT,
    quote.ENDPOINT,
    heatmap.ENDPOINT,
    indicators.ENDPOINT,
    viewport.ENDPOINT,
    gaps.ENDPOINT,
    events.ENDPOINT,
    symbol_health.ENDPOINT,
    *multi_timeframe.ENDPOINTS,
)
OF_FLEET: tuple[Endpoint[Fleet, Any], ...] = (
    symbols.ENDPOINT,
    health.ENDPOINT,
    indicator_list.ENDPOINT,
    features.ENDPOINT,
    quotes.ENDPOINT,
    overview.ENDPOINT,
)
_PATHS = [*(endpoint.path for endpoint in OF_SYMBOL), *(endpoint.path for endpoint in OF_FLEET)]
FEATURES = features.features_of(_PATHS, CHANNELS)

# A symbol is changed once in years: twice under one request is already more than there is.
ATTEMPTS = 3


def _symbol_route(endpoint: Endpoint[SymbolQueries, Any]) -> Route:
    """Once more, with the symbol as it is now, where it has been changed meanwhile."""

    async def handled(request: Request) -> Response:
        services, symbol = services_of(request), request.path_params["symbol"]
        for _ in range(ATTEMPTS - 1):
            try:
                return await _answered(endpoint, services, symbol, request)
            except InstrumentChanged:
                services.queries.forget(symbol)
        return await _answered(endpoint, services, symbol, request)

    return Route(endpoint.path, handled)


async def _answered(
    endpoint: Endpoint[SymbolQueries, Any], services: Services, symbol: str, request: Request
) -> Response:
    """What can be refused without knowing the symbol is refused first."""
    text, parameters, queries = request.scope["query_string"], endpoint.parameters, services.queries
    limit_max = services.settings.query_limit_max
    market = queries.market_named if endpoint.takes_bare_names else queries.market
    if parameters.needs_instrument:
        found = await market(symbol)
        query = read_request(text, parameters, limit_max, found.instrument)
    else:
        query = read_request(text, parameters, limit_max)
        found = await market(symbol)
    asked = queries.of(found)
    held = await _validator(endpoint, asked, query)
    if held and is_held(request.headers.getlist("if-none-match"), held.tag):
        return Response(
            status_code=304, headers=_headers(held) | {"fleet-cursor": held.cursor, "fleet-mode": held.mode}
        )
    return _response(await ask(endpoint, asked, query), _headers(held))


async def _validator(endpoint: Endpoint[SymbolQueries, Any], symbol: SymbolQueries, query: Any) -> Validator | None:
    """Looked up before the answer is: what is written in between makes the tag too old, never the answer."""
    asked = endpoint.range_of(symbol, query) if endpoint.range_of else None
    return await validator(symbol, asked, endpoint.path, query) if asked else None


def is_held(given: Iterable[str], tag: str) -> bool:
    """Whether a client that names these tags has that one: weakly, so that a proxy that has made it so matches."""
    tags = {each.strip().removeprefix("W/") for text in given for each in text.split(",")}
    return "*" in tags or tag.removeprefix("W/") in tags


def _fleet_route(endpoint: Endpoint[Fleet, Any]) -> Route:
    async def handled(request: Request) -> Response:
        services = services_of(request)
        limit_max = services.settings.query_limit_max
        query = read_request(request.scope["query_string"], endpoint.parameters, limit_max)
        return _response(Written.of(await endpoint.answer(services.fleet, query)))

    return Route(endpoint.path, handled)


def _headers(held: Validator | None) -> dict[str, str]:
    """A cache may keep what it asks about each time: a trade that comes late amends it."""
    return {"etag": held.tag, "cache-control": "private, no-cache"} if held else {}


def _response(written: Written, headers: Mapping[str, str] | None = None) -> Response:
    return Response(written.content, media_type=written.media_type, headers=headers)


routes = [
    *map(_symbol_route, OF_SYMBOL),
    *map(_fleet_route, OF_FLEET),
    *pages((*OF_SYMBOL, *OF_FLEET)),
    Route("/healthz", process.alive),
    Route("/readyz", process.ready),
    Route("/metrics", process.metrics),
]
