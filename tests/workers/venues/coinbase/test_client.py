"""Coinbase's client against a server that answers as Coinbase does."""

import json
from collections.abc import AsyncIterator
from contextlib import aclosing
from datetime import UTC, datetime
from typing import Any

import pytest
from websockets.asyncio.server import ServerConnection

from common.market.candle import BACKFILL
from common.market.trade import BUY, Trade
from tests.kit.clocks import FakeClock
from tests.workers.venues.history import START_MS, all_between, all_from_id, past, spans, within
from tests.workers.venues.recorded import listing
from tests.workers.venues.server import Answer, Exchange, Params, exchange
from workers.venues.coinbase.client import Coinbase
from workers.venues.shared.base import Connected, DepthEvent, QuoteEvent, TradesEvent, VenueError, VenueUnavailable
from workers.venues.shared.budget import OpenBudget

BTC = listing("BTC-USD", 2, 3, "COINBASE")
MINUTE_MS = 60_000


@pytest.fixture
async def venue() -> AsyncIterator[Exchange]:
    async with exchange() as it:
        yield it


def client(venue: Exchange, budget: OpenBudget, clock: FakeClock | None = None) -> Coinbase:
    return Coinbase(clock or FakeClock(), budget, rest_url=venue.rest_url, socket_url=venue.socket_url)


def serve_trades(venue: Exchange, trades: list[Trade]) -> None:
    def answer(params: Params) -> Answer:
        after = int(params.get("after", 1 << 62))
        older = [trade for trade in trades if trade.id < after]
        return 200, {}, [_row(trade) for trade in reversed(older[-int(params["limit"]) :])]

    venue.routes["/products/BTC-USD/trades"] = answer


async def test_pages_by_time_lose_no_trade_of_a_shared_millisecond(venue: Exchange) -> None:
    trades = past(4_000, first_id=1, burst=1_700)
    serve_trades(venue, trades)
    budget = OpenBudget()
    coinbase = client(venue, budget)
    for from_ms, to_ms in spans(trades):
        found, pages = await all_between(coinbase, BTC, from_ms, to_ms)
        assert found == within(trades, from_ms, to_ms)
        assert pages <= 6
    assert budget.weight == len(venue.asked)
    await coinbase.close()


async def test_the_first_trade_of_a_time_is_found_in_few_requests(venue: Exchange) -> None:
    trades = past(60_000, first_id=1)
    serve_trades(venue, trades)
    budget = OpenBudget()
    coinbase = client(venue, budget)
    wanted = trades[12_345]
    page = await coinbase.trades_between(BTC, wanted.ts_ms, trades[-1].ts_ms)
    assert page.ts_ms[0] == wanted.ts_ms and len(page) > 100
    assert budget.spent["trades"] <= 10
    await coinbase.close()


async def test_trades_older_than_the_venue_keeps_are_passed_over(venue: Exchange) -> None:
    trades = past(5_000, first_id=900_000)
    serve_trades(venue, trades)
    coinbase = client(venue, OpenBudget())
    found, _ = await all_between(coinbase, BTC, 0, trades[-1].ts_ms)
    assert found == trades
    await coinbase.close()


async def test_pages_by_id_go_on_where_the_last_one_ended(venue: Exchange) -> None:
    trades = past(3_500)
    serve_trades(venue, trades)
    coinbase = client(venue, OpenBudget())
    assert await all_from_id(coinbase, BTC, 1_000, 10_000, START_MS) == trades
    assert await all_from_id(coinbase, BTC, 1_700, 300, START_MS) == trades[700:]
    assert await all_from_id(coinbase, BTC, 4_500, 300, START_MS) == []
    await coinbase.close()


async def test_a_listing_has_the_steps_of_the_product(venue: Exchange) -> None:
    product = {"id": "BTC-USD", "quote_increment": "0.01", "base_increment": "0.00000001", "status": "online"}
    venue.answer("/products/BTC-USD", product)
    coinbase = client(venue, OpenBudget())
    found = await coinbase.listing("BTC-USD")
    assert (found.name, found.instrument.symbol, found.instrument.ids) == ("BTC-USD", "COINBASE:BTC-USD", "contiguous")
    assert (found.instrument.price_decimals, found.instrument.size_decimals) == (2, 8)
    assert (found.price_step_ticks, found.size_step_lots) == (1, 1)
    with pytest.raises(VenueError, match="product answered 404"):
        await coinbase.listing("XYZ-USD")
    venue.answer("/products/ABC-USD", product)
    with pytest.raises(VenueUnavailable):
        await coinbase.listing("ABC-USD")
    await coinbase.close()


async def test_candles_are_asked_for_in_pages_that_the_venue_accepts(venue: Exchange) -> None:
    def answer(params: Params) -> Answer:
        start_s, end_s = (int(datetime.fromisoformat(params[name]).timestamp()) for name in ("start", "end"))
        assert (end_s - start_s) // 60 < 300 and params["granularity"] == "60"
        # Newest first, and one from before the start. Numbers are floats, with what summing them leaves behind.
        opens = range(start_s - 60, end_s + 1, 60)
        return 200, {}, [[at, 8.1, 8.18, 8.12, 8.15, 0.30000000000000004] for at in reversed(opens)]

    venue.routes["/products/BTC-USD/candles"] = answer
    budget = OpenBudget()
    coinbase = client(venue, budget, FakeClock(START_MS + 700 * MINUTE_MS + 1_000))
    found = await coinbase.candles(BTC, START_MS, START_MS + 5_000 * MINUTE_MS)
    assert [candle.open_ms for candle in found] == [START_MS + n * MINUTE_MS for n in range(699)]
    assert budget.spent == {"candles": 3}
    first = found[0]
    assert (first.open_ticks, first.high_ticks, first.low_ticks, first.close_ticks) == (812, 818, 810, 815)
    assert (first.volume_lots, first.buy_lots, first.sell_lots, first.unknown_lots) == (300, 0, 0, 300)
    # An estimate: volume x the mean of the four prices.
    assert (first.turnover, first.trades, first.sources) == (300 * 813, 0, BACKFILL)
    await coinbase.close()


async def test_the_book_and_the_time(venue: Exchange) -> None:
    book: dict[str, Any] = {"bids": [["9.99", "1.5", 3]], "asks": [["10.01", "2", 1]], "sequence": 17}
    venue.answer("/products/BTC-USD/book", book)
    venue.answer("/time", {"iso": "2024-08-09T00:00:00.123Z", "epoch": 1723161600.123})
    coinbase = client(venue, OpenBudget())
    expected = DepthEvent("BTC-USD", -1, -1, -1, -1, [(999, 1_500)], [(1_001, 2_000)], snapshot=True)
    assert await coinbase.depth(BTC) == expected
    assert await coinbase.server_time_ms() == START_MS + 123
    await coinbase.close()


async def test_the_channels_wanted_are_subscribed_without_a_key(venue: Exchange) -> None:
    time = "2024-08-09T00:00:00.000000Z"

    async def feed(socket: ServerConnection, number: int) -> None:
        match = _row(Trade(START_MS, 7, 999, 1_500, BUY)) | {"type": "match", "product_id": "BTC-USD"}
        ticker = {"type": "ticker", "product_id": "BTC-USD", "best_bid": "1", "best_ask": "2", "time": time}
        update = {"type": "l2update", "product_id": "BTC-USD", "changes": [], "time": time}
        for message in (match, ticker, update):
            await socket.send(json.dumps(message))

    venue.feeder = feed
    coinbase = client(venue, OpenBudget())
    kinds: set[type] = set()
    async with aclosing(coinbase.stream([BTC], depth=True, quotes=True)) as events:
        while not kinds >= {Connected, TradesEvent, DepthEvent, QuoteEvent}:
            kinds.add(type(await anext(events)))
    channels = ["matches", "level2_batch", "ticker"]
    assert venue.said == [{"type": "subscribe", "product_ids": ["BTC-USD"], "channels": channels}]
    await coinbase.close()


def _row(trade: Trade) -> dict[str, Any]:
    moment = datetime.fromtimestamp(trade.ts_ms // 1_000, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    return {
        "trade_id": trade.id,
        # The maker's.
        "side": "sell" if trade.side == BUY else "buy",
        "size": f"{trade.size_lots / 1_000:.8f}",
        "price": f"{trade.price_ticks / 100:.8f}",
        "time": f"{moment}.{trade.ts_ms % 1_000:03}917Z",
    }
