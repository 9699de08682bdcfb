"""Binance: the client of its markets, and what is particular to spot.

Trades of spot are raw trades: `@trade` on the socket, historicalTrades by id on REST, which has needed no key since
2023. The market-data host data-api.binance.vision does not serve it, so the default is api.binance.com. No endpoint
gives raw trades by time: aggTrades does, and says the first raw id of each.
"""

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

from common.clock import Clock
from common.market.builder.validity import BAD_ID, BAD_SIZE, BAD_TIME
from common.market.candle import Candle
from common.market.instrument import check_symbol
from common.market.timeframes.timeframe import MINUTE_MS
from common.market.trade import MAX_LOTS, MAX_TS_MS, Trade, Trades
from common.market.units import MAX_DECIMALS
from workers.venues.binance.wire import BinanceParser, TradeIds, snapshot, trade_row
from workers.venues.shared.answers import (
    candle_of,
    closed_before,
    in_order,
    listing_of,
    opens_of,
    readable,
    reading,
    whole_millis,
    within,
)
from workers.venues.shared.base import DepthEvent, Event, Listing, OnRefused, Unserved, VenueError, unheard
from workers.venues.shared.budget import RequestBudget
from workers.venues.shared.fields import FieldScales, scaled, whole
from workers.venues.shared.live import SocketFeed, Timing, follow
from workers.venues.shared.rest import Rest

# Most rows of recent trades, aggregates and candles.
PAGE = 1_000
# Most streams of one socket (USD-M; spot allows more).
SOCKET_STREAMS = 200
# A level of a book holds less than so many orders of the greatest size.
LEVEL_ORDERS = 1_000
# Where a step is not in force the venue says 0; it then prints so many decimals.
UNFILTERED_STEP = "0.00000001"


@dataclass(frozen=True, slots=True)
class Weights:
    """What a request costs, at the limits we ask with."""

    exchange_info: int
    raw_trades: int
    recent_trades: int
    agg_trades: int
    klines: int
    depth: int
    time: int = 1


@dataclass(frozen=True, slots=True)
class BinanceApi:
    """What differs between Binance's markets.

    `public_path`: of the socket that has books, quotes and raw trades; `market_path`: of the one that has aggregates.
    `raw_page`: most raw trades of a page. `history_needs_key`: raw trades by id are only for holders of a key.
    `aggregate_ms`: how far the time of an aggregate can be from that of a raw trade in it.
    """

    name: str
    rest_url: str
    socket_url: str
    prefix: str
    public_path: str
    market_path: str
    weights: Weights
    depth_levels: int
    raw_page: int
    history_needs_key: bool
    aggregate_ms: int


SPOT = BinanceApi(
    name="BINANCE",
    rest_url="https://api.binance.com",
    socket_url="wss://stream.binance.com:9443",
    prefix="/api/v3",
    public_path="",
    market_path="",
    weights=Weights(exchange_info=20, raw_trades=25, recent_trades=25, agg_trades=4, klines=2, depth=250),
    depth_levels=5_000,
    raw_page=1_000,
    history_needs_key=False,
    aggregate_ms=0,
)


class Binance:
    """One of Binance's markets. Bare constructor arguments are those of the real one.

    `trades`: which ids are followed (binance_wire); it must never change for a symbol.
    """

    book_levels: int | None = None
    asked_by_id = True
    candle_fields = frozenset(
        "open_ticks high_ticks low_ticks close_ticks volume_lots buy_lots sell_lots turnover trades".split()
    )

    def __init__(
        self,
        clock: Clock,
        budget: RequestBudget,
        api: BinanceApi = SPOT,
        *,
        rest_url: str = "",
        socket_url: str = "",
        key: str = "",
        trades: TradeIds = "trade",
        timing: Timing | None = None,
    ) -> None:
        self.name = api.name
        self.on_refused: OnRefused = unheard
        self._clock, self._budget, self._api, self._trades, self._timing = clock, budget, api, trades, timing
        self._socket_url = socket_url or api.socket_url
        self._has_history = bool(key) or not api.history_needs_key
        headers = {"X-MBX-APIKEY": key} if key else {}
        self._rest = Rest(rest_url or api.rest_url, budget, clock, headers)

    async def listing(self, name: str) -> Listing:
        check_symbol(name)
        answer = await self._get("exchangeInfo", self._api.weights.exchange_info, symbol=name)
        with reading("exchangeInfo"):
            found = next((market for market in answer["symbols"] if market["symbol"] == name), None)
            if found is None:
                raise VenueError(f"{self.name} lists no {name!r}")
            filters = {each["filterType"]: each for each in found["filters"]}
            lots, price_step = filters["LOT_SIZE"], _in_force(filters["PRICE_FILTER"]["tickSize"])
            return listing_of(self.name, name, name, price_step, _in_force(lots["stepSize"]), _printed(found, lots))

    def stream(self, listings: Sequence[Listing], *, depth: bool, quotes: bool) -> AsyncGenerator[Event, None]:
        names = [listing.name.lower() for listing in listings]
        trades = [f"{name}@{self._trades}" for name in names]
        more = ["depth@100ms"] * depth + ["bookTicker"] * quotes
        books = [f"{name}@{kind}" for name in names for kind in more]
        streams = {self._api.public_path: books}
        path = self._api.public_path if self._trades == "trade" else self._api.market_path
        streams[path] = trades + streams.get(path, [])
        parser = BinanceParser(listings, self._trades)
        feeds = chain.from_iterable(self._feeds(path, asked, parser) for path, asked in streams.items())
        return follow(list(feeds), self._clock, self._budget, self._timing)

    async def trades_from_id(self, listing: Listing, first_id: int, limit: int, at_ms: int) -> Trades:
        rows, _ = await self._page(FieldScales(listing), first_id, limit)
        return in_order(rows[:limit])

    async def trades_between(self, listing: Listing, from_ms: int, to_ms: int) -> Trades:
        market, api = FieldScales(listing), self._api
        start_ms = max(0, from_ms - api.aggregate_ms)
        found = await self._get("aggTrades", api.weights.agg_trades, symbol=listing.name, startTime=start_ms, limit=1)
        with reading("aggTrades"):
            times = [whole(row["T"], BAD_TIME, 1, MAX_TS_MS - 1) for row in found]
            firsts = [whole(row["f" if self._trades == "trade" else "a"], BAD_ID) for row in found]
        if not found or times[0] > to_ms + api.aggregate_ms:
            return Trades()
        return await whole_millis(lambda first_id: self._page(market, first_id, PAGE), firsts[0], from_ms, to_ms)

    async def candles(self, listing: Listing, from_ms: int, to_ms: int) -> list[Candle]:
        market, candles = FieldScales(listing), list[Candle]()
        end_ms = closed_before(to_ms, self._clock.now_ms())
        start_ms = from_ms
        while start_ms < end_ms:
            span = {"startTime": start_ms, "endTime": end_ms - 1}
            rows = await self._get(
                "klines", self._api.weights.klines, symbol=listing.name, interval="1m", limit=PAGE, **span
            )
            candles += readable("klines", rows, lambda row: _candle(market, row), self.on_refused)
            last_ms = max(opens_of(rows), default=-1)
            goes_on = len(rows) == PAGE and last_ms >= start_ms
            start_ms = last_ms + MINUTE_MS if goes_on else end_ms
        return within(candles, from_ms, end_ms)

    async def depth(self, listing: Listing) -> DepthEvent:
        weight, levels = self._api.weights.depth, self._api.depth_levels
        answer = await self._get("depth", weight, symbol=listing.name, limit=levels)
        with reading("depth"):
            return snapshot(FieldScales(listing), answer, levels)

    async def server_time_ms(self) -> int:
        answer = await self._get("time", self._api.weights.time)
        with reading("time"):
            return whole(answer["serverTime"], BAD_TIME, 1, MAX_TS_MS - 1)

    async def close(self) -> None:
        await self._rest.close()

    def _feeds(self, path: str, streams: list[str], parser: BinanceParser) -> list[SocketFeed]:
        parts = [streams[at : at + SOCKET_STREAMS] for at in range(0, len(streams), SOCKET_STREAMS)]
        return [SocketFeed(f"{self._socket_url}{path}/stream?streams={'/'.join(part)}", parser) for part in parts]

    async def _page(self, market: FieldScales, first_id: int, limit: int) -> tuple[list[Trade], int | None]:
        """Trades from `first_id` on, and the id to go on from when there may be more."""
        if self._trades == "aggTrade":
            return await self._by_id("aggTrades", self._api.weights.agg_trades, PAGE, market, first_id, limit)
        if self._has_history:
            weight, page = self._api.weights.raw_trades, self._api.raw_page
            return await self._by_id("historicalTrades", weight, page, market, first_id, limit)
        return await self._recent(market, first_id)

    async def _by_id(
        self, endpoint: str, weight: int, page: int, market: FieldScales, first_id: int, limit: int
    ) -> tuple[list[Trade], int | None]:
        asked = min(limit, page)
        answer = await self._get(endpoint, weight, symbol=market.name, fromId=first_id, limit=asked)
        found = readable(endpoint, answer, lambda row: trade_row(market, row, self._trades), self.on_refused)
        # Only what was asked for, so that the next page always lies behind this one.
        rows = sorted((row for row in found if row.id >= first_id), key=_id)
        return rows, rows[-1].id + 1 if rows and len(answer) == asked else None

    async def _recent(self, market: FieldScales, first_id: int) -> tuple[list[Trade], int | None]:
        """The same out of the last trades, which need no key."""
        answer = await self._get("trades", self._api.weights.recent_trades, symbol=market.name, limit=PAGE)
        found = readable("trades", answer, lambda row: trade_row(market, row, self._trades), self.on_refused)
        rows = sorted(found, key=_id)
        if rows and rows[0].id > first_id:
            raise Unserved(f"{self.name} gives trades of {market.name} before id {rows[0].id} only to holders of a key")
        return [row for row in rows if row.id >= first_id], None

    async def _get(self, endpoint: str, weight: int, **params: str | int) -> Any:
        path, market = f"{self._api.prefix}/{endpoint}", str(params.get("symbol", ""))
        return await self._rest.get(path, params, weight=weight, endpoint=endpoint, market=market)


def _candle(market: FieldScales, row: list[Any]) -> Candle | None:
    """A kline: open time, o, h, l, c, volume, close time, quote volume, trades, taker buy volume, ...

    An empty minute is there as a flat one.
    """
    if not row[8]:
        return None
    opened, high, low, closed, volume = row[1:6]
    prices = (opened, high, low, closed)
    return candle_of(market, row[0], prices, volume, buy_volume=row[9], sell_known=True, turnover=row[7], trades=row[8])


def _id(row: Trade) -> int:
    return row.id


def _printed(found: dict[str, Any], lots: dict[str, str]) -> int:
    """Decimals of sizes as Binance prints them, as far as they fit.

    Orders older than a coarser step keep their finer size, and are in the book and in trades: of ETHUSDT, step
    0.0001, a level of 2292.22972 was recorded in 2024.
    """
    printed = whole(found.get("quantityPrecision", found.get("baseAssetPrecision")), BAD_SIZE, 0, MAX_DECIMALS)
    max_lots = scaled(lots["maxQty"], 0) * LEVEL_ORDERS
    return next(places for places in range(printed, -1, -1) if places == 0 or max_lots * 10**places < MAX_LOTS)


def _in_force(step: str) -> str:
    return step if step.strip("0.") else UNFILTERED_STEP
