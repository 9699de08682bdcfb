"""Binance's wire, spot and USD-M alike: frames of combined streams, and rows of REST answers.

Trades carry ids of one of two kinds, each contiguous, and a symbol must be followed by one kind for all its life:

    trade      raw trades, id `t`; REST gives the same ids in historicalTrades (`id`)
    aggTrade   fills of one taker order at one price as one trade, id `a`; REST gives them in aggTrades (`a`)
"""

from collections.abc import Callable, Sequence
from typing import Any, Literal

import orjson

from common.market.builder.validity import BAD_ID, BAD_TIME
from common.market.trade import BUY, MAX_TS_MS, SELL, Trade
from workers.venues.shared.base import Closing, DepthEvent, Event, Listing, NoTrade, QuoteEvent, Refused
from workers.venues.shared.fields import (
    BAD_JSON,
    BAD_SEQUENCE,
    MISSHAPEN,
    UNKNOWN_EVENT,
    UNKNOWN_SYMBOL,
    VENUE_ERROR,
    BadField,
    FieldScales,
    refused,
    shown,
    whole,
)

TradeIds = Literal["trade", "aggTrade"]
# The field of the id in a frame, by kind.
_ID_FIELDS: dict[TradeIds, str] = {"trade": "t", "aggTrade": "a"}

# How often a book may be sent; the end of the stream's name.
_SPEEDS = ("", "@0ms", "@100ms", "@250ms", "@500ms", "@1000ms")
# Streams that exist and say nothing we read.
_IGNORED = frozenset(
    "trade aggTrade kline ticker miniTicker avgPrice markPrice forceOrder blockTrade referencePrice".split()
)
_SHUTDOWN = "serverShutdown"
# USD-M: what is in the trade stream, and numbered with the trades, but never was in the book.
_ON_BOOK, _OFF_BOOK = "MARKET", frozenset(("INSURANCE_FUND", "ADL", "NA"))

Message = dict[str, Any]
Events = Sequence[Event | Closing]
Reader = Callable[[FieldScales, Message], Events]


class BinanceParser:
    def __init__(self, listings: Sequence[Listing], trades: TradeIds = "trade") -> None:
        self._trades, self._id_field = trades, _ID_FIELDS[trades]
        self._names = frozenset(listing.name.lower() for listing in listings)
        # By the stream's name: on a combined stream it alone says what spot's quotes are.
        self._routes: dict[str, tuple[Reader, FieldScales]] = {}
        for market in map(FieldScales, listings):
            name = market.name.lower()
            self._routes[f"{name}@{trades}"] = self._trade, market
            self._routes[f"{name}@bookTicker"] = _quote, market
            self._routes |= {f"{name}@depth{speed}": (_depth, market) for speed in _SPEEDS}

    def parse(self, frame: bytes | str) -> Events:
        try:
            message = orjson.loads(frame)
        except ValueError as error:
            return (Refused(BAD_JSON, str(error)[:100]),)
        try:
            stream = message.get("stream")
            route = self._routes.get(stream)
            if route is not None:
                return route[0](route[1], message["data"])
            return self._other(stream, message)
        except (BadField, *MISSHAPEN) as error:
            return (refused(error),)

    def _trade(self, market: FieldScales, data: Message) -> Events:
        if data["e"] != self._trades or data["s"] != market.name or data.get("X", _ON_BOOK) != _ON_BOOK:
            return self._no_trade(market, data)
        return (market.event(data["T"], data[self._id_field], data["p"], data["q"], _side(data["m"])),)

    def _no_trade(self, market: FieldScales, data: Message) -> Events:
        """What stands in the stream of trades and is none of the market's."""
        if data["e"] != self._trades:
            raise BadField(UNKNOWN_EVENT, f"event {shown(data['e'])} in the stream {self._trades}")
        _check_symbol(market, data)
        if data["X"] not in _OFF_BOOK:
            raise BadField(UNKNOWN_EVENT, f"trade of kind {shown(data['X'])}")
        ts_ms = whole(data["T"], BAD_TIME, 1, MAX_TS_MS - 1)
        return (NoTrade(market.name, ts_ms, whole(data[self._id_field], BAD_ID)),)

    def _other(self, stream: object, message: Message) -> Events:
        """What is in no stream we read: control answers, notices, streams that others asked for."""
        if stream is None:
            return _control(message)
        name, _, kind = str(stream).partition("@")
        if name == f"!{_SHUTDOWN}":
            return _control(message["data"])
        if name not in self._names:
            raise BadField(UNKNOWN_SYMBOL, f"stream {shown(stream)} is of no market we follow")
        if kind.partition("@")[0].partition("_")[0] not in _IGNORED:
            raise BadField(UNKNOWN_EVENT, f"stream {shown(stream)} is of no kind we know")
        return ()


def trade_row(market: FieldScales, row: Message, trades: TradeIds) -> Trade:
    """One row of historicalTrades, trades or aggTrades. Bad or one of MISSHAPEN where it is no good."""
    if trades == "aggTrade":
        return market.trade(row["T"], row["a"], row["p"], row["q"], _side(row["m"]))
    return market.trade(row["time"], row["id"], row["price"], row["qty"], _side(row["isBuyerMaker"]))


def snapshot(market: FieldScales, answer: Message, limit: int) -> DepthEvent:
    """The book as REST gives it, at most `limit` levels of a side. Of spot it has no time."""
    last = whole(answer["lastUpdateId"], BAD_SEQUENCE)
    ts_ms = whole(answer.get("E", -1), BAD_TIME, -1, MAX_TS_MS - 1)
    left_out: list[Refused] = []
    bids, asks = market.levels(answer["bids"], left_out), market.levels(answer["asks"], left_out)
    are_whole = len(answer["bids"]) < limit, len(answer["asks"]) < limit
    return DepthEvent(market.name, ts_ms, last, last, -1, bids, asks, snapshot=True, whole=are_whole)


def _depth(market: FieldScales, data: Message) -> Events:
    if data["e"] != "depthUpdate":
        raise BadField(UNKNOWN_EVENT, f"event {shown(data['e'])} in a stream of depth")
    _check_symbol(market, data)
    first = whole(data["U"], BAD_SEQUENCE)
    last = whole(data["u"], BAD_SEQUENCE, first)
    previous = whole(data.get("pu", -1), BAD_SEQUENCE, -1)
    ts_ms = whole(data["E"], BAD_TIME, 1, MAX_TS_MS - 1)
    left_out: list[Refused] = []
    bids, asks = market.levels(data["b"], left_out), market.levels(data["a"], left_out)
    return (DepthEvent(market.name, ts_ms, first, last, previous, bids, asks), *left_out)


def _quote(market: FieldScales, data: Message) -> Events:
    """Spot's has no event and no time."""
    if data.get("e", "bookTicker") != "bookTicker":
        raise BadField(UNKNOWN_EVENT, f"event {shown(data['e'])} in a stream of quotes")
    _check_symbol(market, data)
    ts_ms = whole(data.get("E", -1), BAD_TIME, -1, MAX_TS_MS - 1)
    update_id = whole(data["u"], BAD_SEQUENCE)
    bid, ask = market.prices[data["b"]], market.prices[data["a"]]
    return (QuoteEvent(market.name, ts_ms, update_id, bid, market.sizes[data["B"]], ask, market.sizes[data["A"]]),)


def _control(message: Message) -> Events:
    if message.get("e") == _SHUTDOWN:
        return (Closing(),)
    if "error" in message or "code" in message:
        raise BadField(VENUE_ERROR, shown(message))
    if "result" not in message:
        raise BadField(UNKNOWN_EVENT, f"message {shown(message)} is of no kind we know")
    return ()


def _check_symbol(market: FieldScales, data: Message) -> None:
    if data["s"] != market.name:
        raise BadField(UNKNOWN_SYMBOL, f"symbol {shown(data['s'])} in a stream of {market.name}")


def _side(buyer_made: object) -> int | None:
    """The aggressor: where the buyer's order stood in the book, the seller took it."""
    return SELL if buyer_made is True else BUY if buyer_made is False else None
