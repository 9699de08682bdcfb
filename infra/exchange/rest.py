"""The REST routes: each a weight, the parameters it knows, and a function from parameters to JSON."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import NamedTuple

import orjson

from common.market.simulation.book import ASK, BID
from common.market.trade import Trade
from infra.exchange import history, wire
from infra.exchange.exchange_info import HALT, TRADING, rate_limits, symbol_info
from infra.exchange.klines import INTERVALS
from infra.exchange.market import ExchangeMarket
from infra.exchange.params import BAD_COMBINATION, BAD_SYMBOL, Params, Rejected
from infra.exchange.rules import Rules

HOUR_MS = 60 * 60 * 1_000
# (up to this many levels, weight)
_DEPTH_WEIGHTS = ((100, 5), (500, 25), (1_000, 50), (5_000, 250))


@dataclass(frozen=True, slots=True)
class RestContext:
    """What an answer is made from. `now_ms`: of the market; `told_ms`: what the venue says the time is."""

    markets: dict[str, ExchangeMarket]
    rules: Rules
    now_ms: int
    told_ms: int
    unit: int

    def market(self, symbol: str) -> ExchangeMarket:
        market = self.markets.get(symbol)
        if market is None:
            raise Rejected(*BAD_SYMBOL)
        return market

    def chosen(self, params: Params) -> list[ExchangeMarket]:
        """Of `symbol` or `symbols`; all without either."""
        names = params.symbols()
        if params.has("symbol"):
            if names is not None:
                raise Rejected(*BAD_COMBINATION)
            names = [params.symbol()]
        return list(self.markets.values()) if names is None else [self.market(name) for name in names]

    def told(self) -> int:
        return self.told_ms * self.unit


Answer = Callable[[RestContext, Params], str]
Query = dict[str, str]


class Route(NamedTuple):
    """`weight` is told from the query alone, before the query is looked at: bad requests cost as well."""

    weight: Callable[[Query], int]
    known: tuple[str, ...]
    answer: Answer


def ping(desk: RestContext, params: Params) -> str:
    return "{}"


def time(desk: RestContext, params: Params) -> str:
    return f'{{"serverTime":{desk.told()}}}'


def exchange_info(desk: RestContext, params: Params) -> str:
    markets = desk.chosen(params)
    symbols = [symbol_info(market.listing, _status(market, desk.now_ms)) for market in markets]
    wanted = params.text("symbolStatus")
    if wanted is not None:
        if params.has("symbol") or params.has("symbols"):
            raise Rejected(*BAD_COMBINATION)
        if wanted not in (TRADING, HALT, "BREAK"):
            raise Rejected(-1122, "Invalid symbolStatus.")
        symbols = [symbol for symbol in symbols if symbol["status"] == wanted]
    info = {
        "timezone": "UTC",
        "serverTime": desk.told(),
        "rateLimits": rate_limits(desk.rules),
        "exchangeFilters": [],
        "symbols": symbols,
    }
    return orjson.dumps(info).decode()


def trades(desk: RestContext, params: Params) -> str:
    market = desk.market(params.symbol())
    return _trades(desk, market, history.newest_trades(market, params.limit(500, 1_000)))


def historical_trades(desk: RestContext, params: Params) -> str:
    market, first_id, limit = desk.market(params.symbol()), params.whole("fromId"), params.limit(500, 1_000)
    if first_id is None:
        return _trades(desk, market, history.newest_trades(market, limit))
    return _trades(desk, market, history.trades_from_id(market, first_id, limit))


def agg_trades(desk: RestContext, params: Params) -> str:
    market, first_id = desk.market(params.symbol()), params.whole("fromId")
    span = history.KlineSpan(params.start_ms(), params.end_ms(), params.limit(500, 1_000))
    if span.start_ms is not None and span.end_ms is not None and span.end_ms - span.start_ms > HOUR_MS:
        raise Rejected(-1127, "More than 1 hours between startTime and endTime.")
    if first_id is None:
        found = history.aggregates_between(market, span)
    elif span.start_ms is not None or span.end_ms is not None:
        raise Rejected(*BAD_COMBINATION)
    else:
        found = history.aggregates_from_id(market, first_id, span.limit)
    return _list(wire.aggregate_row(market.listing, aggregate, desk.unit) for aggregate in found)


def klines(desk: RestContext, params: Params) -> str:
    market, timeframe = desk.market(params.symbol()), INTERVALS.get(params.mandatory("interval"))
    if timeframe is None:
        raise Rejected(-1120, "Invalid interval.")
    grid = history.KlineGrid(timeframe, params.zone_offset_ms())
    span = history.KlineSpan(params.start_ms(), params.end_ms(), params.limit(500, 1_000))
    found = history.klines_between(market, grid, span, desk.now_ms)
    return _list(wire.kline_row(market.listing, kline, grid.next_open(kline.open_ms), desk.unit) for kline in found)


def depth(desk: RestContext, params: Params) -> str:
    market, limit = desk.market(params.symbol()), params.limit(100, 5_000)
    book = market.book
    return wire.depth_snapshot(market.listing, book.last_id, book.top(BID, limit), book.top(ASK, limit))


def price_ticker(desk: RestContext, params: Params) -> str:
    return _of_chosen(desk, params, _price_row)


def book_ticker(desk: RestContext, params: Params) -> str:
    return _of_chosen(desk, params, _quote_row)


def _fixed(weight: int) -> Callable[[Query], int]:
    return lambda query: weight


def _depth_weight(query: Query) -> int:
    limit = query.get("limit", "100")
    levels = min(int(limit), 5_000) if limit.isascii() and limit.isdigit() and len(limit) < 20 else 0
    return next(weight for most, weight in _DEPTH_WEIGHTS if levels <= most)


def _ticker_weight(query: Query) -> int:
    return 2 if "symbol" in query else 4


_KLINES = Route(_fixed(2), ("symbol", "interval", "startTime", "endTime", "timeZone", "limit"), klines)
_TICKER = ("symbol", "symbols", "symbolStatus")
ROUTES = {
    "ping": Route(_fixed(1), (), ping),
    "time": Route(_fixed(1), (), time),
    "exchangeInfo": Route(
        _fixed(20), ("symbol", "symbols", "permissions", "showPermissionSets", "symbolStatus"), exchange_info
    ),
    "trades": Route(_fixed(25), ("symbol", "limit"), trades),
    "historicalTrades": Route(_fixed(25), ("symbol", "limit", "fromId"), historical_trades),
    "aggTrades": Route(_fixed(4), ("symbol", "fromId", "startTime", "endTime", "limit"), agg_trades),
    "klines": _KLINES,
    "uiKlines": _KLINES,
    "depth": Route(_depth_weight, ("symbol", "limit"), depth),
    "ticker/price": Route(_ticker_weight, _TICKER, price_ticker),
    "ticker/bookTicker": Route(_ticker_weight, _TICKER, book_ticker),
}


def _status(market: ExchangeMarket, now_ms: int) -> str:
    return HALT if market.halt_announced and now_ms < market.halted_until_ms else TRADING


def _trades(desk: RestContext, market: ExchangeMarket, found: list[Trade]) -> str:
    return _list(wire.trade_row(market.listing, trade, desk.unit) for trade in found)


def _of_chosen(desk: RestContext, params: Params, row: Callable[[ExchangeMarket], str | None]) -> str:
    """One object for `symbol`, else a list; markets that have nothing to show yet are left out of it."""
    rows = [row(market) for market in desk.chosen(params)]
    if params.has("symbol"):
        return rows[0] or "{}"
    return _list(found for found in rows if found)


def _price_row(market: ExchangeMarket) -> str | None:
    if not market.tape:
        return None
    last = market.tape.trade(len(market.tape) - 1)
    return f'{{"symbol":"{market.symbol}","price":"{market.listing.price(last.price_ticks)}"}}'


def _quote_row(market: ExchangeMarket) -> str | None:
    bids, asks = market.book.top(BID, 1), market.book.top(ASK, 1)
    return wire.quote_row(market.listing, bids[0], asks[0]) if bids and asks else None


def _list(rows: Iterable[str]) -> str:
    return f"[{','.join(rows)}]"
