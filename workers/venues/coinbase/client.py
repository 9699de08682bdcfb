"""Coinbase Exchange.

The trade's `side` is the maker's, on the socket and in REST alike: `sell` means that a seller's order stood in the
book and a buyer took it. Trade ids count up by one per product. REST pages trades by id only, from the newest down.
The channel `level2` needs a key since 2023-08; `level2_batch` gives the same every 50 ms and needs none. Its updates
have neither numbers nor checksums: a missed one can't be seen.
"""

from collections.abc import AsyncGenerator, Callable, Sequence
from datetime import UTC, datetime
from typing import Any

import orjson

from common.market.builder.validity import BAD_TIME
from common.market.candle import Candle
from common.market.instrument import check_symbol
from common.market.timeframes.timeframe import MINUTE_MS
from common.market.trade import BUY, MAX_TS_MS, SELL, Trade, Trades
from workers.venues.shared.answers import (
    candle_of,
    closed_before,
    in_order,
    listing_of,
    readable,
    reading,
    whole_millis,
    within,
)
from workers.venues.shared.base import DepthEvent, Event, Listing, QuoteEvent, Refused
from workers.venues.shared.fields import (
    BAD_SHAPE,
    UNKNOWN_EVENT,
    UNKNOWN_SYMBOL,
    VENUE_ERROR,
    BadField,
    FieldScales,
    exact_json,
    lists,
    read_frame,
    shown,
    time_ms,
    whole,
)
from workers.venues.shared.one_socket import OneSocketVenue

# Most trades and candles of one answer.
TRADES_PAGE, CANDLES_PAGE = 1_000, 300
# Requests spent on finding the first trade of a time, by halving ids: 2**40 trades are more than there are.
MAX_HALVINGS = 40

# The product itself is no further path below it.
PRODUCT = "product"

_CHANNELS = {"trades": "matches", "depth": "level2_batch", "quotes": "ticker"}
# Say nothing we read. Heartbeats come only to those who ask.
_IGNORED = frozenset(("subscriptions", "heartbeat", "status", "received", "open", "done", "change", "activate"))
_AGGRESSORS = {"sell": BUY, "buy": SELL}

Message = dict[str, Any]
Reader = Callable[[FieldScales, Message], Sequence[Event]]


class CoinbaseParser:
    def __init__(self, listings: Sequence[Listing]) -> None:
        self._markets = {listing.name: FieldScales(listing) for listing in listings}
        self._readers: dict[str, Reader] = {
            # The last one before we came: a trade like any other, and the end of a hole.
            "last_match": _match,
            "match": _match,
            "ticker": _ticker,
            "snapshot": _snapshot,
            "l2update": _update,
        }

    def parse(self, frame: bytes | str) -> Sequence[Event]:
        return read_frame(frame, orjson.loads, self._read)

    def _read(self, message: Message) -> Sequence[Event]:
        kind = message["type"]
        reader = self._readers.get(kind)
        if reader is None:
            return _other(kind, message)
        market = self._markets.get(message["product_id"])
        if market is None:
            raise BadField(UNKNOWN_SYMBOL, f"product {shown(message['product_id'])} is no market we follow")
        return reader(market, message)


class Coinbase(OneSocketVenue):
    name = "COINBASE"
    REST_URL = "https://api.exchange.coinbase.com"
    SOCKET_URL = "wss://ws-feed.exchange.coinbase.com"
    book_levels: int | None = None
    asked_by_id = True
    candle_fields = frozenset("open_ticks high_ticks low_ticks close_ticks volume_lots".split())

    async def listing(self, name: str) -> Listing:
        check_symbol(name)
        answer = await self._get(PRODUCT, name)
        with reading(PRODUCT):
            if answer["id"] != name:
                raise BadField(UNKNOWN_SYMBOL, f"product {shown(answer['id'])} in the answer for {name}")
            return listing_of(self.name, name, name, answer["quote_increment"], answer["base_increment"])

    def stream(self, listings: Sequence[Listing], *, depth: bool, quotes: bool) -> AsyncGenerator[Event, None]:
        asked = {"trades": True, "depth": depth, "quotes": quotes}
        channels = [channel for kind, channel in _CHANNELS.items() if asked[kind]]
        products = [listing.name for listing in listings]
        hello = orjson.dumps({"type": "subscribe", "product_ids": products, "channels": channels})
        return self._follow(CoinbaseParser(listings), [hello])

    async def trades_from_id(self, listing: Listing, first_id: int, limit: int, at_ms: int) -> Trades:
        rows, _ = await self._page(FieldScales(listing), first_id, min(limit, TRADES_PAGE))
        return in_order(rows[:limit])

    async def trades_between(self, listing: Listing, from_ms: int, to_ms: int) -> Trades:
        market = FieldScales(listing)
        first_id = await self._first_id(market, from_ms)
        if first_id is None:
            return Trades()
        return await whole_millis(lambda at: self._page(market, at, TRADES_PAGE), first_id, from_ms, to_ms)

    async def candles(self, listing: Listing, from_ms: int, to_ms: int) -> list[Candle]:
        """Coinbase has no candle where there was no trade."""
        market, candles = FieldScales(listing), list[Candle]()
        end_ms = closed_before(to_ms, self._clock.now_ms())
        for start_ms in range(from_ms, end_ms, CANDLES_PAGE * MINUTE_MS):
            # Both ends count: one more candle than fits is refused as a whole.
            until_ms = min(start_ms + (CANDLES_PAGE - 1) * MINUTE_MS, end_ms - 1)
            span: dict[str, str | int] = {"start": _iso(start_ms), "end": _iso(until_ms), "granularity": 60}
            rows = await self._get("candles", market.name, span)
            candles += readable("candles", rows, lambda row: _candle(market, row), self.on_refused)
        return within(candles, from_ms, end_ms)

    async def depth(self, listing: Listing) -> DepthEvent:
        market = FieldScales(listing)
        answer = await self._get("book", market.name, {"level": 2})
        with reading("book"):
            return _book(market, answer, [])

    async def server_time_ms(self) -> int:
        answer = await self._get("time")
        with reading("time"):
            return time_ms(answer["iso"])

    async def _page(self, market: FieldScales, first_id: int, limit: int) -> tuple[list[Trade], int | None]:
        """Trades from `first_id` on, ascending, and where to go on: `after` an id are the older ones, newest first."""
        rows = await self._older(market, first_id + limit, limit)
        wanted = [row for row in rows if row.id >= first_id]
        full = bool(wanted) and wanted[-1].id == first_id + limit - 1
        return wanted, first_id + limit if full else None

    async def _older(self, market: FieldScales, before_id: int | None, limit: int) -> list[Trade]:
        params: dict[str, str | int] = {"limit": limit}
        if before_id is not None:
            params["after"] = before_id
        answer = await self._get("trades", market.name, params)
        found = readable("trades", answer, lambda row: _trade(market, row), self.on_refused)
        return sorted(found, key=lambda row: row.id)

    async def _first_id(self, market: FieldScales, from_ms: int) -> int | None:
        """The id of the first trade at or after a time, give or take what lies in one page before it."""
        newest = await self._older(market, None, TRADES_PAGE)
        if not newest or newest[-1].ts_ms < from_ms:
            return None
        low, high = 1, newest[0].id
        if newest[0].ts_ms < from_ms:
            return high
        for _ in range(MAX_HALVINGS):
            if high - low < TRADES_PAGE:
                break
            middle = (low + high) // 2
            # The trade just before the middle; where there is none any more, the time lies further on.
            page = await self._older(market, middle, 1)
            low, high = (middle, high) if not page or page[-1].ts_ms < from_ms else (low, middle)
        return low

    async def _get(self, endpoint: str, market: str = "", params: dict[str, str | int] | None = None) -> Any:
        path = (f"/products/{market}" if market else "") + ("" if endpoint == PRODUCT else f"/{endpoint}")
        # Candles are numbers, not texts: they are kept as they are written.
        return await self._rest.get(path, params or {}, weight=1, endpoint=endpoint, market=market, loads=exact_json)


def _match(market: FieldScales, message: Message) -> Sequence[Event]:
    return (market.event(*_fields(message)),)


def _trade(market: FieldScales, row: Message) -> Trade:
    return market.trade(*_fields(row))


def _fields(row: Message) -> tuple[int, Any, str, str, int | None]:
    return time_ms(row["time"]), row["trade_id"], row["price"], row["size"], _AGGRESSORS.get(row["side"])


def _ticker(market: FieldScales, message: Message) -> Sequence[Event]:
    """Sent with each trade. The sizes are there since 2022."""
    prices, sizes = market.prices, market.sizes
    bid, ask = prices[message["best_bid"]], prices[message["best_ask"]]
    bid_lots, ask_lots = sizes[message.get("best_bid_size", "0")], sizes[message.get("best_ask_size", "0")]
    return (QuoteEvent(market.name, time_ms(message["time"]), -1, bid, bid_lots, ask, ask_lots),)


def _snapshot(market: FieldScales, message: Message) -> Sequence[Event]:
    left_out: list[Refused] = []
    return (_book(market, message, left_out), *left_out)


def _book(market: FieldScales, message: Message, left_out: list[Refused]) -> DepthEvent:
    ts_ms = time_ms(message["time"]) if "time" in message else -1
    bids, asks = market.levels(message["bids"], left_out), market.levels(message["asks"], left_out)
    return DepthEvent(market.name, ts_ms, -1, -1, -1, bids, asks, snapshot=True)


def _update(market: FieldScales, message: Message) -> Sequence[Event]:
    changes = {"buy": list[list[str]](), "sell": list[list[str]]()}
    for side, price, size in lists(message["changes"]):
        if side not in changes:
            raise BadField(BAD_SHAPE, f"side {shown(side)} of a level is neither buy nor sell")
        changes[side].append([price, size])
    left_out: list[Refused] = []
    bids, asks = market.levels(changes["buy"], left_out), market.levels(changes["sell"], left_out)
    return (DepthEvent(market.name, time_ms(message["time"]), -1, -1, -1, bids, asks), *left_out)


def _other(kind: object, message: Message) -> Sequence[Event]:
    if kind == "error":
        raise BadField(VENUE_ERROR, f"{shown(message.get('message'))} {shown(message.get('reason'))}")
    if kind not in _IGNORED:
        raise BadField(UNKNOWN_EVENT, f"message of type {shown(kind)}")
    return ()


def _candle(market: FieldScales, row: list[Any]) -> Candle:
    """`[time in s, low, high, open, close, volume]`."""
    seconds, low, high, opened, closed, volume = row
    open_ms = whole(seconds, BAD_TIME, 0, MAX_TS_MS // 1_000 - 1) * 1_000
    return candle_of(market, open_ms, (str(opened), str(high), str(low), str(closed)), str(volume))


def _iso(ts_ms: int) -> str:
    return datetime.fromtimestamp(ts_ms / 1_000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
