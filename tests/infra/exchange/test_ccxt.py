"""The ccxt client, unmodified but for its addresses, works against the exchange and agrees with the truth."""

import asyncio
import importlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from common.market.timeframes.timeframe import DAY_MS
from common.market.trade import BUY
from infra.exchange import Exchange, Rules
from infra.exchange.market import ExchangeMarket
from tests.kit.exchange import SYMBOL, Served, served, simulated, still

pytestmark = pytest.mark.process

NAME = "BTC/USDT"
# ccxt knows the futures venues of the same name too; they are elsewhere.
OPTIONS = {"options": {"fetchMarkets": {"types": ["spot"]}, "defaultType": "spot"}}


def module(name: str) -> Any:
    """Imported by name: a type checker would read a hundred exchanges."""
    return importlib.import_module(name)


def pointed(client: Any, running: Served) -> Any:
    client.urls["api"]["public"] = f"{running.address.rest}/api/v3"
    return client


@asynccontextmanager
async def client_of(running: Served, name: str = "ccxt.async_support") -> AsyncIterator[Any]:
    client = pointed(module(name).binance(OPTIONS), running)
    if name == "ccxt.pro":
        client.urls["api"]["ws"]["spot"] = f"{running.address.ws}/ws"
    try:
        yield client
    finally:
        await client.close()


def decimal(market: ExchangeMarket, ticks: int) -> float:
    return float(market.listing.price(ticks))


async def test_markets_and_time() -> None:
    async with served(still("BTCUSDT", "ETHUSDT")) as running, client_of(running) as client:
        markets = await client.load_markets()
        assert list(markets) == [NAME, "ETH/USDT"]
        assert markets[NAME]["precision"] == {"amount": 1e-5, "price": 0.01, "base": 1e-8, "quote": 1e-8}
        assert markets[NAME]["active"] and markets[NAME]["limits"]["cost"]["min"] == 5
        assert await client.fetch_time() == running.exchange.now_ms
        assert client.price_to_precision(NAME, 64_000.12345) == "64000.12"


async def test_candles_are_the_truth() -> None:
    async with served(still(history_ms=200_000)) as running, client_of(running) as client:
        market = running.exchange.market(SYMBOL)
        found = await client.fetch_ohlcv(NAME, "1m", limit=1_000)
        minutes = [market.minutes.minute(open_ms) for open_ms in market.minutes.opens]
        assert found == [
            [
                kline.open_ms,
                *(decimal(market, each) for each in (kline.open_ticks, kline.high_ticks, kline.low_ticks)),
                decimal(market, kline.close_ticks),
                float(market.listing.size(kline.volume_lots)),
            ]
            for kline in minutes
            if kline
        ]
        assert await client.fetch_ohlcv(NAME, "1m", since=found[1][0], limit=2) == found[1:3]


@pytest.mark.parametrize("method", ["publicGetTrades", "publicGetHistoricalTrades"])
async def test_trades_are_the_truth(method: str) -> None:
    async with served(still(history_ms=120_000)) as running, client_of(running) as client:
        market = running.exchange.market(SYMBOL)
        # ccxt wants some key for the historical ones; the venue does not.
        client.apiKey = "any"
        found = await client.fetch_trades(NAME, limit=400, params={"fetchTradesMethod": method})
        expected = list(market.trades().rows())[-400:]
        assert [
            (int(each["id"]), each["timestamp"], each["price"], each["amount"], each["side"]) for each in found
        ] == [
            (
                trade.id,
                trade.ts_ms,
                decimal(market, trade.price_ticks),
                float(market.listing.size(trade.size_lots)),
                "buy" if trade.side == BUY else "sell",
            )
            for trade in expected
        ]


async def test_aggregates_are_paged_by_time_as_ccxt_does() -> None:
    async with served(still(history_ms=120_000)) as running, client_of(running) as client:
        market = running.exchange.market(SYMBOL)
        since = market.tape.ts_ms[300]
        found = await client.fetch_trades(NAME, since=since, limit=1_000)
        first = market.tape.aggregate(market.tape.aggregate_at_time(since))
        assert found[0]["timestamp"] == first.ts_ms and len(found) > 500
        # ccxt sorts ids of one millisecond as texts.
        assert sorted(int(each["id"]) for each in found) == list(range(first.id, first.id + len(found)))


async def test_the_order_book_is_the_truth() -> None:
    async with served(still(history_ms=10_000)) as running, client_of(running) as client:
        market = running.exchange.market(SYMBOL)
        found = await client.fetch_order_book(NAME, limit=50)
        state = market.book.at(found["nonce"])
        assert [price for price, _ in found["bids"]] == [
            decimal(market, ticks) for ticks in sorted(state.bids, reverse=True)[:50]
        ]
        assert found["asks"][0] == [
            decimal(market, min(state.asks)),
            float(market.listing.size(state.asks[min(state.asks)])),
        ]
        quotes = await client.fetch_bids_asks([NAME])
        assert (quotes[NAME]["bid"], quotes[NAME]["ask"]) == (found["bids"][0][0], found["asks"][0][0])


async def test_errors_are_those_ccxt_knows() -> None:
    errors = module("ccxt")
    # A day, so that no new window begins between two requests.
    rules = Rules(weight_limit=30, weight_window_ms=DAY_MS)
    async with served(still(rules=rules)) as running, client_of(running) as client:
        await client.load_markets()
        with pytest.raises(errors.BadSymbol):
            await client.publicGetTickerPrice({"symbol": "NOPE"})
        with pytest.raises(errors.DDoSProtection, match="-1003"):
            await client.fetch_trades(NAME, params={"fetchTradesMethod": "publicGetTrades"})


async def test_the_synchronous_client_works_too() -> None:
    async with served(still(history_ms=10_000)) as running:
        client = pointed(module("ccxt").binance(OPTIONS), running)
        found = await asyncio.to_thread(client.fetch_trades, NAME, limit=3)
        assert int(found[-1]["id"]) == running.exchange.market(SYMBOL).tape.aggregates
        client.session.close()


async def test_its_streaming_client_follows_trades_and_book() -> None:
    """An independent reading of the book rule: ccxt raises where the sequence breaks."""
    exchange = Exchange(simulated(SYMBOL), history_ms=5_000, speed=20)
    async with served(exchange) as running, client_of(running, "ccxt.pro") as client:
        ids: list[int] = []
        while len(ids) < 50:
            ids += [int(trade["id"]) for trade in await client.watch_trades(NAME)]
        assert sorted(set(ids)) == list(range(min(ids), max(ids) + 1))
        book = await client.watch_order_book(NAME)
        synced_at = book["nonce"]
        while book["nonce"] < synced_at + 300:
            book = await client.watch_order_book(NAME)
        market = exchange.market(SYMBOL)
        state = market.book.at(book["nonce"])
        best = [price for price, _ in book["bids"][:20]], [price for price, _ in book["asks"][:20]]
        assert best == (
            [decimal(market, ticks) for ticks in sorted(state.bids, reverse=True)[:20]],
            [decimal(market, ticks) for ticks in sorted(state.asks)[:20]],
        )
        exchange.speed = 0
