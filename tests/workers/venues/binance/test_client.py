"""Binance's client against a server that answers as Binance does."""

import json
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from dataclasses import replace
from itertools import groupby
from typing import Any

import pytest
from websockets.asyncio.server import ServerConnection

from common.errors import BadInput
from common.market.candle import BACKFILL
from common.market.trade import SELL, Trade
from tests.kit.clocks import FakeClock
from tests.workers.venues.history import START_MS, all_between, all_from_id, past, spans, within
from tests.workers.venues.recorded import listing
from tests.workers.venues.server import Answer, Exchange, Params, Route, exchange
from workers.venues.binance.client import SPOT, Binance, BinanceApi
from workers.venues.binance.usdm import USDM
from workers.venues.binance.wire import TradeIds
from workers.venues.shared.base import (
    Connected,
    DepthEvent,
    Listing,
    QuoteEvent,
    TradesEvent,
    Unserved,
    VenueError,
    VenueUnavailable,
)
from workers.venues.shared.budget import CONNECT, OpenBudget

BTC = listing("BTCUSDT", 2, 3, "BINANCE")
MINUTE_MS = 60_000


class BinanceServer:
    """The trades of one market, by raw id and as aggregates of what is of one ms, price and side. Counts weights."""

    def __init__(self, venue: Exchange, api: BinanceApi, trades: list[Trade]) -> None:
        self.api, self.raw = api, trades
        self.aggregates = list(_aggregates(trades))
        self.weight = 0
        routes = {
            "historicalTrades": (self.historical, api.weights.raw_trades),
            "trades": (self.recent, api.weights.recent_trades),
            "aggTrades": (self.aggregated, api.weights.agg_trades),
        }
        for name, (route, weight) in routes.items():
            venue.routes[f"{api.prefix}/{name}"] = self._weighed(route, weight)

    def _weighed(self, route: Callable[[Params], list[Any]], weight: int) -> Route:
        def answer(params: Params) -> Answer:
            self.weight += weight
            return 200, {"X-MBX-USED-WEIGHT-1M": str(self.weight)}, route(params)

        return answer

    def historical(self, params: Params) -> list[Any]:
        limit, first_id = int(params["limit"]), int(params["fromId"])
        assert limit <= self.api.raw_page
        return [_raw(trade) for trade in self.raw if trade.id >= first_id][:limit]

    def recent(self, params: Params) -> list[Any]:
        return [_raw(trade) for trade in self.raw[-int(params["limit"]) :]]

    def aggregated(self, params: Params) -> list[Any]:
        assert int(params["limit"]) <= 1_000
        if "fromId" in params:
            found = [each for each in self.aggregates if each["a"] >= int(params["fromId"])]
        else:
            found = [each for each in self.aggregates if each["T"] >= int(params["startTime"])]
        return found[: int(params["limit"])]


@pytest.fixture
async def venue() -> AsyncIterator[Exchange]:
    async with exchange() as it:
        yield it


def client(venue: Exchange, api: BinanceApi = SPOT, **more: Any) -> Binance:
    return Binance(FakeClock(), OpenBudget(), api, rest_url=venue.rest_url, socket_url=venue.socket_url, **more)


@pytest.mark.parametrize(("api", "key"), [(SPOT, ""), (USDM, "key")])
async def test_pages_by_time_lose_no_trade_of_a_shared_millisecond(venue: Exchange, api: BinanceApi, key: str) -> None:
    trades = past(4_000, burst=1_700)
    server = BinanceServer(venue, api, trades)
    binance = client(venue, api, key=key)
    for from_ms, to_ms in spans(trades):
        found, pages = await all_between(binance, BTC, from_ms, to_ms)
        assert found == within(trades, from_ms, to_ms)
        assert pages <= 2 + len(trades) // api.raw_page
    assert _budget(binance).weight == server.weight
    assert _budget(binance).headers["x-mbx-used-weight-1m"] == str(server.weight)
    await binance.close()


async def test_pages_by_id_go_on_where_the_last_one_ended(venue: Exchange) -> None:
    trades = past(3_500)
    BinanceServer(venue, SPOT, trades)
    binance = client(venue)
    assert await all_from_id(binance, BTC, 1_000, 10_000, START_MS) == trades
    assert await all_from_id(binance, BTC, 1_700, 300, START_MS) == trades[700:]
    assert await all_from_id(binance, BTC, 4_500, 300, START_MS) == []
    await binance.close()


async def test_ids_that_do_not_exist_are_left_out_of_a_page(venue: Exchange) -> None:
    trades = [trade for trade in past(3_500) if not 2_000 <= trade.id < 2_040]
    BinanceServer(venue, SPOT, trades)
    binance = client(venue)
    assert await all_from_id(binance, BTC, 1_000, 1_000, START_MS) == trades
    await binance.close()


async def test_aggregates_are_paged_by_their_own_ids(venue: Exchange) -> None:
    server = BinanceServer(venue, USDM, past(3_000, burst=1_200))
    binance = client(venue, USDM, trades="aggTrade")
    expected = [_of_aggregate(each) for each in server.aggregates]
    for from_ms, to_ms in spans(expected):
        found, _ = await all_between(binance, BTC, from_ms, to_ms)
        assert found == within(expected, from_ms, to_ms)
    assert await all_from_id(binance, BTC, 5, 700, START_MS) == expected[5:]
    await binance.close()


async def test_without_a_key_the_futures_give_only_the_last_trades(venue: Exchange) -> None:
    trades = past(3_000)
    BinanceServer(venue, USDM, trades)
    binance = client(venue, USDM)
    assert await all_from_id(binance, BTC, 3_100, 500, START_MS) == trades[2_100:]
    with pytest.raises(Unserved, match="before id 3000 only to holders of a key"):
        await binance.trades_from_id(BTC, 2_999, 500, START_MS)
    found, _ = await all_between(binance, BTC, trades[2_500].ts_ms, trades[-1].ts_ms)
    assert found == within(trades, trades[2_500].ts_ms, trades[-1].ts_ms)
    await binance.close()


async def test_a_page_that_can_not_be_read_is_the_venues_failure(venue: Exchange) -> None:
    row = _raw(Trade(START_MS, 5, 10_000, 1, SELL))
    binance = client(venue)
    for wrong in ({"price": "0"}, {"price": 7}, {"time": None}, {"isBuyerMaker": "yes"}, {"id": -1}):
        venue.answer("/api/v3/historicalTrades", [row | wrong])
        with pytest.raises(VenueUnavailable, match="historicalTrades answered what can't be read"):
            await binance.trades_from_id(BTC, 1, 10, START_MS)
    answers: list[Any] = [{"code": 1}, [[]], None, [7]]
    for answer in answers:
        venue.answer("/api/v3/historicalTrades", answer)
        with pytest.raises(VenueUnavailable):
            await binance.trades_from_id(BTC, 1, 10, START_MS)
    await binance.close()


async def test_a_venue_that_repeats_itself_does_not_hold_us_for_ever(venue: Exchange) -> None:
    row = _raw(Trade(START_MS, 5, 10_000, 1, SELL))
    venue.answer("/api/v3/historicalTrades", [row] * 1_000)
    venue.answer("/api/v3/aggTrades", [{"a": 5, "f": 5, "T": START_MS}])
    binance = client(venue)
    assert len(await binance.trades_between(BTC, START_MS, START_MS)) == 1
    venue.answer("/api/v3/klines", [_kline(0)] * 1_000)
    assert len(await binance.candles(BTC, 0, 10 * MINUTE_MS)) == 1
    assert _budget(binance).spent["klines"] == 2
    await binance.close()


async def test_a_listing_has_the_steps_and_the_decimals_that_are_printed(venue: Exchange) -> None:
    venue.answer("/api/v3/exchangeInfo", {"symbols": [_spot_symbol("0.01000000", "0.00010000", "9000.00000000")]})
    binance = client(venue)
    eth = await binance.listing("ETHUSDT")
    assert eth.instrument.symbol == "BINANCE:ETHUSDT" and eth.instrument.ids == "contiguous"
    assert (eth.instrument.price_decimals, eth.price_step_ticks) == (2, 1)
    # Its book has had levels with five decimals at that step.
    assert (eth.instrument.size_decimals, eth.size_step_lots) == (8, 10_000)
    assert _budget(binance).weight == 20
    await binance.close()


async def test_sizes_keep_so_many_decimals_that_the_greatest_still_fit(venue: Exchange) -> None:
    venue.answer("/api/v3/exchangeInfo", {"symbols": [_spot_symbol("0.00000500", "1.00000000", "92141578.00000000")]})
    binance = client(venue)
    coin = await binance.listing("ETHUSDT")
    assert (coin.instrument.price_decimals, coin.price_step_ticks) == (6, 5)
    assert (coin.instrument.size_decimals, coin.size_step_lots) == (4, 10_000)
    await binance.close()


async def test_a_step_that_is_not_in_force_gives_the_decimals_that_are_printed(venue: Exchange) -> None:
    venue.answer("/api/v3/exchangeInfo", {"symbols": [_spot_symbol("0.00000000", "0.00000000", "9000.0")]})
    binance = client(venue)
    found = await binance.listing("ETHUSDT")
    assert (found.instrument.price_decimals, found.instrument.size_decimals) == (8, 8)
    await binance.close()


async def test_the_futures_list_all_their_markets_at_once(venue: Exchange) -> None:
    filters = [
        {"filterType": "PRICE_FILTER", "tickSize": "0.10", "maxPrice": "4529764"},
        {"filterType": "LOT_SIZE", "stepSize": "0.001", "maxQty": "1000"},
    ]
    symbols = [
        {"symbol": name, "pricePrecision": 2, "quantityPrecision": 3, "filters": filters} for name in ("A", "BTCUSDT")
    ]
    venue.answer("/fapi/v1/exchangeInfo", {"symbols": symbols})
    binance = client(venue, USDM)
    found = await binance.listing("BTCUSDT")
    assert found.instrument.symbol == "BINANCE_USDM:BTCUSDT"
    assert (found.instrument.price_decimals, found.instrument.size_decimals) == (1, 3)
    with pytest.raises(VenueError, match="BINANCE_USDM lists no 'XYZ'"):
        await binance.listing("XYZ")
    await binance.close()


async def test_a_name_that_can_not_be_one_is_not_even_asked_for(venue: Exchange) -> None:
    binance = client(venue)
    for name in ("", "btcusdt", "../time", "A" * 40):
        with pytest.raises(BadInput):
            await binance.listing(name)
    assert venue.asked == []
    await binance.close()


async def test_candles_are_the_closed_ones_without_empty_minutes(venue: Exchange) -> None:
    clock = FakeClock(START_MS + 2_500 * MINUTE_MS + 1_000)

    def klines(params: Params) -> Answer:
        opens = range(int(params["startTime"]), int(params["endTime"]) + 1, MINUTE_MS)
        rows = [_kline(open_ms, trades=0 if open_ms == START_MS + 5 * MINUTE_MS else 3) for open_ms in opens]
        return 200, {}, rows[: int(params["limit"])]

    venue.routes["/api/v3/klines"] = klines
    binance = Binance(clock, OpenBudget(), rest_url=venue.rest_url)
    found = await binance.candles(BTC, START_MS, START_MS + 5_000 * MINUTE_MS)
    expected = [START_MS + n * MINUTE_MS for n in range(2_499) if n != 5]
    assert [candle.open_ms for candle in found] == expected
    assert _budget(binance).spent == {"klines": 3}
    first = found[0]
    assert (first.open_ticks, first.high_ticks, first.low_ticks, first.close_ticks) == (812, 818, 810, 815)
    assert (first.volume_lots, first.buy_lots, first.sell_lots) == (124_553, 70_110, 54_443)
    assert (first.turnover, first.trades, first.sources) == (101_423_055_000, 3, BACKFILL)
    await binance.close()


async def test_candles_that_contradict_themselves_are_the_venues_failure(venue: Exchange) -> None:
    binance = client(venue)
    for row in (_kline(START_MS + 1), [*_kline(START_MS)[:2], "8.00", *_kline(START_MS)[3:]], _kline(START_MS)[:5]):
        venue.answer("/api/v3/klines", [row])
        with pytest.raises(VenueUnavailable, match="klines answered what can't be read"):
            await binance.candles(BTC, 0, MINUTE_MS)
    await binance.close()


@pytest.mark.parametrize(("api", "weight"), [(SPOT, 250), (USDM, 20)])
async def test_the_book_and_the_time(venue: Exchange, api: BinanceApi, weight: int) -> None:
    answer = {"lastUpdateId": 7, "bids": [["9.99", "1.5"]], "asks": [["10.01", "2"], ["10.0123", "1"]]}
    venue.answer(f"{api.prefix}/depth", answer)
    venue.answer(f"{api.prefix}/time", {"serverTime": START_MS})
    binance = client(venue, api)
    book = await binance.depth(BTC)
    assert book == DepthEvent("BTCUSDT", -1, 7, 7, -1, [(999, 1_500)], [(1_001, 2_000)], snapshot=True)
    assert _budget(binance).spent == {"depth": 1} and _budget(binance).weight == weight
    assert await binance.server_time_ms() == START_MS
    venue.answer(f"{api.prefix}/time", {"serverTime": "now"})
    with pytest.raises(VenueUnavailable):
        await binance.server_time_ms()
    await binance.close()


@pytest.mark.parametrize(
    ("api", "ids", "paths"),
    [
        (SPOT, "trade", ["/stream?streams=btcusdt@trade/btcusdt@depth@100ms/btcusdt@bookTicker"]),
        (SPOT, "aggTrade", ["/stream?streams=btcusdt@aggTrade/btcusdt@depth@100ms/btcusdt@bookTicker"]),
        (USDM, "trade", ["/public/stream?streams=btcusdt@trade/btcusdt@depth@100ms/btcusdt@bookTicker"]),
        (
            USDM,
            "aggTrade",
            [
                "/market/stream?streams=btcusdt@aggTrade",
                "/public/stream?streams=btcusdt@depth@100ms/btcusdt@bookTicker",
            ],
        ),
    ],
)
async def test_each_stream_is_asked_for_on_the_path_that_delivers_it(
    venue: Exchange, api: BinanceApi, ids: TradeIds, paths: list[str]
) -> None:
    venue.feeder = _feed
    binance = client(venue, api, trades=ids)
    kinds: set[type] = set()
    async with aclosing(binance.stream([BTC], depth=True, quotes=True)) as events:
        while not kinds >= {Connected, TradesEvent, DepthEvent, QuoteEvent}:
            kinds.add(type(await anext(events)))
    assert sorted(venue.paths) == paths
    assert _budget(binance).spent[CONNECT] == len(paths)
    await binance.close()


async def test_only_what_is_wanted_is_streamed(venue: Exchange) -> None:
    venue.feeder = _feed
    binance = client(venue)
    eth = listing("ETHUSDT", 2, 8)
    async with aclosing(binance.stream([BTC, eth], depth=False, quotes=False)) as events:
        await anext(events)
    assert venue.paths == ["/stream?streams=btcusdt@trade/ethusdt@trade"]
    await binance.close()


async def test_many_markets_are_spread_over_sockets(venue: Exchange) -> None:
    binance = client(venue)
    listings: list[Listing] = [listing(f"C{n}USDT", 2, 3) for n in range(250)]
    async with aclosing(binance.stream(listings, depth=False, quotes=False)) as events:
        await anext(events)
        await anext(events)
    assert sorted(path.count("@trade") for path in venue.paths) == [50, 200]
    await binance.close()


async def test_another_exchange_may_speak_binance(venue: Exchange) -> None:
    venue.answer("/api/v3/exchangeInfo", {"symbols": [_spot_symbol("0.01", "0.001", "100")]})
    local = client(venue, replace(SPOT, name="LOCAL"))
    assert (await local.listing("ETHUSDT")).instrument.symbol == "LOCAL:ETHUSDT"
    assert local.name == "LOCAL"
    await local.close()


def _budget(binance: Binance) -> OpenBudget:
    assert isinstance(binance._budget, OpenBudget)
    return binance._budget


async def _feed(socket: ServerConnection, number: int) -> None:
    assert socket.request is not None
    for stream in socket.request.path.partition("=")[2].split("/"):
        kind = stream.split("@")[1]
        data: dict[str, Any] = {"s": "BTCUSDT", "E": START_MS, "T": START_MS, "u": 7, "m": True, "p": "1", "q": "1"}
        data |= {"e": "depthUpdate", "U": 7, "b": [], "a": []} if kind == "depth" else {"e": kind, "t": 7}
        if kind == "bookTicker":
            data |= {"b": "1", "B": "1", "a": "2", "A": "1"}
        if kind == "aggTrade":
            data |= {"a": 3}
        await socket.send(json.dumps({"stream": stream, "data": data}))


def _raw(trade: Trade) -> dict[str, Any]:
    price, size = trade.price_ticks / 100, trade.size_lots / 1_000
    row = {"id": trade.id, "price": f"{price:.8f}", "qty": f"{size:.8f}", "quoteQty": f"{price * size:.8f}"}
    return row | {"time": trade.ts_ms, "isBuyerMaker": trade.side == SELL, "isBestMatch": True}


def _aggregates(trades: list[Trade]) -> Any:
    groups = groupby(trades, key=lambda trade: (trade.ts_ms, trade.price_ticks, trade.side))
    for number, ((ts_ms, ticks, side), group) in enumerate(groups):
        parts = list(group)
        size = sum(part.size_lots for part in parts) / 1_000
        row = {"a": number, "p": f"{ticks / 100:.8f}", "q": f"{size:.8f}", "f": parts[0].id, "l": parts[-1].id}
        yield row | {"T": ts_ms, "m": side == SELL, "M": True}


def _of_aggregate(row: dict[str, Any]) -> Trade:
    return Trade(row["T"], row["a"], round(float(row["p"]) * 100), round(float(row["q"]) * 1_000), int(row["m"]))


def _kline(open_ms: int, trades: int = 3) -> list[Any]:
    prices = ["8.12000000", "8.18000000", "8.10000000", "8.15000000"]
    sums = ["1014230.55000000", trades, "70.11000000", "571000.10000000", "0"]
    return [open_ms, *prices, "124.55300000", open_ms + MINUTE_MS - 1, *sums]


def _spot_symbol(tick: str, step: str, most: str) -> dict[str, Any]:
    filters = [
        {"filterType": "PRICE_FILTER", "minPrice": tick, "maxPrice": "1000000.00000000", "tickSize": tick},
        {"filterType": "LOT_SIZE", "minQty": step, "maxQty": most, "stepSize": step},
        {"filterType": "NOTIONAL"},
    ]
    return {"symbol": "ETHUSDT", "status": "TRADING", "baseAssetPrecision": 8, "quotePrecision": 8, "filters": filters}
