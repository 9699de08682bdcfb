"""The admin surface, `/_admin/...`: what tests in this process do with Python objects, others do here.

    GET  /_admin/stats                                      requests, weights, violations, connections
    GET  /_admin/requests                                   the last requests, one by one; `violations` likewise
    GET  /_admin/truth/{symbol}/trades?from_id=&to_id=      all trades, also hidden ones, and where the tape ends
    GET  /_admin/truth/{symbol}/klines?interval=&from_ms=&to_ms=
    GET  /_admin/truth/{symbol}/book?update_id=             the book right after an update; the newest without
    GET  /_admin/truth/{symbol}/missed                      trade ids that were not sent
    GET  /_admin/faults, POST /_admin/faults                the log; inject `{"kind": "drop", "symbol": ..., ...}`
    POST /_admin/time {"advance_ms": 1000} | {"speed": 60}

Every request carries `Authorization: Bearer <token>`. Prices and sizes are ticks and lots.
"""

import hmac
from collections.abc import Awaitable, Callable
from dataclasses import fields
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount, Route

from common.errors import BadInput
from common.market.trade import MAX_ID
from infra.exchange import history
from infra.exchange.exchange import Exchange
from infra.exchange.faults import fault_of
from infra.exchange.klines import INTERVALS, Kline
from infra.exchange.market import ExchangeMarket

# One answer stays small; who wants more asks again from the next id.
MAX_ROWS = 20_000
# Time passes in one go: nothing else is answered meanwhile.
MAX_ADVANCE_MS = 60 * 60 * 1_000

Handler = Callable[[Exchange, Request], Awaitable[Any]]


def routes(exchange: Exchange, token: str) -> list[Mount]:
    handlers: list[tuple[str, str, Handler]] = [
        ("/stats", "GET", _stats),
        ("/requests", "GET", _requests),
        ("/violations", "GET", _violations),
        ("/truth/{symbol}/trades", "GET", _trades),
        ("/truth/{symbol}/klines", "GET", _klines),
        ("/truth/{symbol}/book", "GET", _book),
        ("/truth/{symbol}/missed", "GET", _missed),
        ("/faults", "GET", _faults),
        ("/faults", "POST", _inject),
        ("/time", "POST", _time),
    ]
    found = [Route(path, _guarded(exchange, token, handler), methods=[method]) for path, method, handler in handlers]
    return [Mount("/_admin", routes=found)]


def _guarded(exchange: Exchange, token: str, handler: Handler) -> Callable[[Request], Awaitable[Response]]:
    async def guarded(request: Request) -> Response:
        given = request.headers.get("authorization", "").removeprefix("Bearer ")
        if not hmac.compare_digest(given.encode(), token.encode()):
            return _json({"error": "the admin surface wants Authorization: Bearer and the token"}, 401)
        try:
            return _json(await handler(exchange, request))
        except BadInput as error:
            return _json({"error": str(error)}, 400)

    return guarded


async def _stats(exchange: Exchange, request: Request) -> dict[str, Any]:
    return {
        "now_ms": exchange.now_ms,
        "speed": exchange.speed,
        **exchange.stats.as_dict(),
        "connections": [connection.describe() for connection in exchange.hub.open],
        "ended": list(exchange.hub.ended),
    }


async def _requests(exchange: Exchange, request: Request) -> list[dict[str, Any]]:
    return [asked._asdict() for asked in exchange.stats.request_log]


async def _violations(exchange: Exchange, request: Request) -> list[dict[str, Any]]:
    return [violation._asdict() for violation in exchange.stats.violation_log]


async def _trades(exchange: Exchange, request: Request) -> dict[str, Any]:
    tape = _market(exchange, request).tape
    start, end = tape.at_id(_whole(request, "from_id", 0)), tape.at_id(_whole(request, "to_id", MAX_ID - 1) + 1)
    rows = [list(trade) for trade in tape.trades(start, min(end, start + MAX_ROWS))]
    bounds = [tape.ids[0], tape.ids[-1]] if tape else None
    return {"columns": ["ts_ms", "id", "price_ticks", "size_lots", "side"], "trades": rows, "kept": bounds}


async def _klines(exchange: Exchange, request: Request) -> list[dict[str, int]]:
    market = _market(exchange, request)
    interval = request.query_params.get("interval", "1m")
    if interval not in INTERVALS:
        raise BadInput(f"interval is {interval[:20]!r}, expected one of {', '.join(INTERVALS)}")
    span = history.KlineSpan(_whole(request, "from_ms", 0), _whole(request, "to_ms", exchange.now_ms), MAX_ROWS)
    found = history.klines_between(market, history.KlineGrid(INTERVALS[interval]), span, exchange.now_ms)
    return [{each.name: getattr(kline, each.name) for each in fields(Kline)} for kline in found]


async def _book(exchange: Exchange, request: Request) -> dict[str, Any]:
    book = _market(exchange, request).book
    state = book.at(_whole(request, "update_id", book.last_id))
    bids, asks = sorted(state.bids.items(), reverse=True), sorted(state.asks.items())
    return {"update_id": state.update_id, "bids": bids, "asks": asks, "kept": [book.oldest_id, book.last_id]}


async def _missed(exchange: Exchange, request: Request) -> list[tuple[int, int]]:
    return exchange.missed(_market(exchange, request).symbol)


async def _faults(exchange: Exchange, request: Request) -> list[dict[str, Any]]:
    return [injection.as_dict() for injection in exchange.faults]


async def _inject(exchange: Exchange, request: Request) -> dict[str, Any]:
    data = await _object(request)
    at_ms = data.pop("at_ms", None)
    fault = fault_of(data)
    if at_ms is None:
        return exchange.inject(fault).as_dict()
    if not isinstance(at_ms, int):
        raise BadInput(f"at_ms is {at_ms!r}, expected ms of market time")
    exchange.plan(fault, at_ms)
    return {"planned": fault.kind, "at_ms": at_ms}


async def _time(exchange: Exchange, request: Request) -> dict[str, Any]:
    data = await _object(request)
    speed, span_ms = data.get("speed"), data.get("advance_ms", 0)
    if not isinstance(span_ms, int) or not 0 <= span_ms <= MAX_ADVANCE_MS:
        raise BadInput(f"advance_ms is {span_ms!r}, expected a whole number up to {MAX_ADVANCE_MS}")
    if speed is not None:
        if not isinstance(speed, int | float) or not 0 <= speed <= 10_000:
            raise BadInput(f"speed is {speed!r}, expected a number from 0 to 10000")
        exchange.speed = float(speed)
    exchange.advance(span_ms)
    return {"now_ms": exchange.now_ms, "speed": exchange.speed}


def _market(exchange: Exchange, request: Request) -> ExchangeMarket:
    return exchange.market(request.path_params["symbol"])


def _whole(request: Request, name: str, default: int) -> int:
    text = request.query_params.get(name)
    if text is None:
        return default
    if not (text.isascii() and text.isdigit() and len(text) < 20):
        raise BadInput(f"{name} is {text[:40]!r}, expected a whole number")
    return int(text)


async def _object(request: Request) -> dict[str, Any]:
    try:
        data = orjson.loads(await request.body())
    except orjson.JSONDecodeError as error:
        raise BadInput(f"the body is no JSON: {error}") from None
    if not isinstance(data, dict):
        raise BadInput("the body is no JSON object")
    return data


def _json(content: Any, status: int = 200) -> Response:
    return Response(orjson.dumps(content, option=orjson.OPT_NON_STR_KEYS), status, media_type="application/json")
