"""The HTTP side of the exchange: `/api/v3/...` as the venue answers it."""

import asyncio
from urllib.parse import parse_qsl
from uuid import uuid4

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from infra.exchange import admin
from infra.exchange.exchange import Exchange
from infra.exchange.limits import BANNED, OK, Verdict
from infra.exchange.params import Params, Rejected
from infra.exchange.rest import ROUTES
from infra.exchange.rest_faults import Refusal
from infra.exchange.stats import Asked
from infra.exchange.wire import MICROSECOND, MILLISECOND

_JSON = "application/json;charset=UTF-8"
_TOO_MANY = (
    "Too much request weight used; current limit is {limit} request weight per 1 MINUTE."
    " Please use WebSocket Streams for live updates to avoid polling the API."
)
_BANNED = (
    "Way too much request weight used; IP banned until {until_ms}."
    " Please use WebSocket Streams for live updates to avoid bans."
)


def app(exchange: Exchange, token: str) -> Starlette:
    api = ExchangeApi(exchange)
    return Starlette(routes=[Route("/api/v3/{path:path}", api.answer), *admin.routes(exchange, token)])


class ExchangeApi:
    def __init__(self, exchange: Exchange) -> None:
        self.exchange = exchange

    async def answer(self, request: Request) -> Response:
        """Spend the weight, then fail if a fault says so, then answer. Every request is counted."""
        exchange, path, query = self.exchange, request.path_params["path"], request.url.query
        now_ms, ip = exchange.clock.now_ms(), request.client.host if request.client else ""
        route = ROUTES.get(path)
        weight = route.weight(dict(parse_qsl(query))) if route else 1
        verdict = exchange.limiter.request(ip, weight, now_ms)
        delay_ms = exchange.rest_faults.delay_ms(path) if verdict.status == OK else 0
        refusal = exchange.rest_faults.refusal(path, now_ms) if verdict.status == OK else None
        if delay_ms:
            await asyncio.sleep(delay_ms / 1_000)
        response = self._response(request, path, verdict, refusal)
        response.headers["x-mbx-uuid"] = str(uuid4())
        response.headers["x-mbx-used-weight"] = response.headers["x-mbx-used-weight-1m"] = str(verdict.used_weight)
        spent = weight if verdict.status == OK else 0
        faulty = refusal is not None
        exchange.stats.request(Asked(now_ms, ip, path, query, spent, response.status_code, verdict.used_weight, faulty))
        if verdict.status != OK:
            exchange.stats.violate("ban" if verdict.status == BANNED else "weight", ip, f"{path}?{query}", now_ms)
        return response

    def _response(self, request: Request, path: str, verdict: Verdict, refusal: Refusal | None) -> Response:
        if verdict.status != OK:
            until_ms = verdict.banned_until_ms
            return self._limited(verdict.status, verdict.retry_after_s, until_ms)
        if refusal is None:
            return self._content(request, path)
        if refusal.retry_after_s:
            return self._limited(refusal.status, refusal.retry_after_s, refusal.until_ms)
        return _broken(refusal)

    def _content(self, request: Request, path: str) -> Response:
        route = ROUTES.get(path)
        if route is None:
            return Response("<html><body>404 Not found</body></html>", 404, media_type="text/html")
        try:
            sent = parse_qsl(request.url.query, keep_blank_values=True)
            content = route.answer(self.exchange.desk(_unit(request)), Params(sent, route.known))
        except Rejected as error:
            return Response(error.body(), error.status, media_type=_JSON)
        return Response(content, media_type=_JSON)

    def _limited(self, status: int, retry_after_s: int, until_ms: int) -> Response:
        text = (
            _BANNED.format(until_ms=until_ms)
            if status == BANNED
            else _TOO_MANY.format(limit=self.exchange.rules.weight_limit)
        )
        body = Rejected(-1003, text).body()
        return Response(body, status, headers={"Retry-After": str(retry_after_s)}, media_type=_JSON)


def _broken(refusal: Refusal) -> Response:
    if refusal.body == "json":
        text = "Server is currently overloaded with other requests. Please try again in a few minutes."
        return Response(Rejected(-1008, text).body(), refusal.status, media_type=_JSON)
    page = "<html><head><title>Error</title></head><body>The request could not be satisfied.</body></html>"
    return Response(page if refusal.body == "html" else "", refusal.status, media_type="text/html")


def _unit(request: Request) -> int:
    return MICROSECOND if request.headers.get("x-mbx-time-unit", "").upper() == "MICROSECOND" else MILLISECOND
