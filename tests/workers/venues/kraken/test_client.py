"""Kraken's client against a server that answers as Kraken does."""

import json
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import pytest
from websockets.asyncio.server import ServerConnection

from common.market.candle import BACKFILL
from common.market.trade import BUY, Trade
from tests.kit.clocks import FakeClock
from tests.workers.venues.history import START_MS, all_between, all_from_id, past, spans, within
from tests.workers.venues.recorded import listing
from tests.workers.venues.server import Answer, Exchange, Params, exchange
from workers.venues.kraken.client import Kraken
from workers.venues.shared.base import (
    Connected,
    DepthEvent,
    QuoteEvent,
    Throttled,
    TradesEvent,
    Unserved,
    VenueError,
    VenueUnavailable,
)
from workers.venues.shared.budget import OpenBudget

BTC = listing("BTC/USD", 2, 3, "KRAKEN")
MINUTE_MS = 60_000


@pytest.fixture
async def venue() -> AsyncIterator[Exchange]:
    async with exchange() as it:
        yield it


def client(venue: Exchange, budget: OpenBudget | None = None, clock: FakeClock | None = None) -> Kraken:
    return Kraken(clock or FakeClock(), budget or OpenBudget(), rest_url=venue.rest_url, socket_url=venue.socket_url)


def serve(venue: Exchange, endpoint: str, result: Any) -> None:
    venue.answer(f"/0/public/{endpoint}", {"error": [], "result": result})


def serve_trades(venue: Exchange, trades: list[Trade], inclusive: bool = False) -> None:
    """`inclusive`: the documents leave open whether `since` itself is in the answer."""

    def answer(params: Params) -> Answer:
        assert params["pair"] == "XBTUSD"
        since = int(params["since"])
        newer = [t for t in trades if _ns(t) > since or (inclusive and _ns(t) == since)][:1_000]
        # Times are written as numbers with the noise of a float behind them.
        rows = ",".join(
            f'["{t.price_ticks / 100:.5f}","{t.size_lots / 1_000:.8f}",{t.ts_ms / 1_000:.3f}0001,'
            f'"{"b" if t.side == BUY else "s"}","l","",{t.id}]'
            for t in newer
        )
        last = _ns(newer[-1]) if newer else since
        return 200, {}, f'{{"error":[],"result":{{"XXBTZUSD":[{rows}],"last":"{last}"}}}}'.encode()

    venue.routes["/0/public/Trades"] = answer


def _ns(trade: Trade) -> int:
    return trade.ts_ms * 1_000_000 + 100


@pytest.mark.parametrize("inclusive", [False, True])
async def test_pages_by_time_lose_no_trade_of_a_shared_millisecond(venue: Exchange, inclusive: bool) -> None:
    trades = past(4_000, burst=700)
    serve_trades(venue, trades, inclusive)
    budget = OpenBudget()
    kraken = client(venue, budget)
    for from_ms, to_ms in spans(trades):
        found, pages = await all_between(kraken, BTC, from_ms, to_ms)
        assert found == within(trades, from_ms, to_ms)
        assert pages <= 6
    assert budget.weight == len(venue.asked)
    await kraken.close()


async def test_more_trades_of_one_nanosecond_than_a_page_holds_end_and_leave_a_hole_that_the_ids_show(
    venue: Exchange,
) -> None:
    trades = past(4_000, burst=1_700)
    serve_trades(venue, trades)
    kraken = client(venue)
    found, _ = await all_between(kraken, BTC, trades[0].ts_ms, trades[-1].ts_ms)
    assert found[0] == trades[0] and found[-1] == trades[-1]
    assert 600 < len(trades) - len(found) < 800
    await kraken.close()


async def test_an_id_is_found_from_its_time_on(venue: Exchange) -> None:
    trades = past(5_500)
    serve_trades(venue, trades)
    budget = OpenBudget()
    kraken = client(venue, budget)
    assert await all_from_id(kraken, BTC, 1_000, 10_000, trades[0].ts_ms) == trades
    before = budget.weight
    page = await kraken.trades_from_id(BTC, 3_000, 300, trades[1_999].ts_ms)
    assert list(page.rows()) == trades[2_000:2_300]
    assert budget.weight == before + 1
    assert not await kraken.trades_from_id(BTC, 6_500, 300, trades[-1].ts_ms)
    await kraken.close()


async def test_an_id_far_from_its_time_is_not_searched_for_ever(venue: Exchange) -> None:
    serve_trades(venue, past(25_000))
    kraken = client(venue)
    with pytest.raises(Unserved, match="no trade 25500 of BTC/USD in 20 pages"):
        await kraken.trades_from_id(BTC, 25_500, 300, 0)
    await kraken.close()


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("EAPI:Rate limit exceeded", Throttled),
        ("EGeneral:Too many requests", Throttled),
        ("EGeneral:Temporary lockout", Throttled),
        ("EService:Unavailable", VenueUnavailable),
        ("EQuery:Unknown asset pair", VenueError),
    ],
)
async def test_an_error_inside_a_good_answer_is_told_by_who_must_act(
    venue: Exchange, text: str, error: type[Exception]
) -> None:
    venue.answer("/0/public/Time", {"error": [text]})
    budget = OpenBudget()
    kraken = client(venue, budget)
    with pytest.raises(error, match=f"Time answered {text}") as caught:
        await kraken.server_time_ms()
    assert type(caught.value) is error
    assert len(budget.refusals) == (error is Throttled)
    await kraken.close()


async def test_a_listing_has_the_decimals_that_checksums_are_made_of(venue: Exchange) -> None:
    pair = {"altname": "XBTUSD", "wsname": "XBT/USD", "pair_decimals": 2, "lot_decimals": 8, "tick_size": "0.5"}
    serve(venue, "AssetPairs", {"XXBTZUSD": pair})
    kraken = client(venue)
    for name in ("XBT-USD", "BTC-USD"):
        found = await kraken.listing(name)
        assert (found.name, found.instrument.symbol, found.instrument.ids) == (
            "BTC/USD",
            f"KRAKEN:{name}",
            "contiguous",
        )
        assert (found.instrument.price_decimals, found.instrument.size_decimals) == (2, 8)
        assert (found.price_step_ticks, found.size_step_lots) == (50, 1)
    assert venue.asked == [("/0/public/AssetPairs", {"pair": "XBTUSD"})] * 2
    with pytest.raises(VenueError, match="KRAKEN lists no 'ETH-USD'"):
        await kraken.listing("ETH-USD")
    for wrong in ({"pair_decimals": "2"}, {"lot_decimals": 99}, {"tick_size": "x"}, {"wsname": None}):
        serve(venue, "AssetPairs", {"XXBTZUSD": pair | wrong})
        with pytest.raises(VenueUnavailable):
            await kraken.listing("XBT-USD")
    await kraken.close()


async def test_candles_are_the_closed_ones_that_are_still_kept(venue: Exchange) -> None:
    opens = [START_MS // 1_000 + 60 * n for n in range(720)]
    rows = [[at, "8.12", "8.18", "8.10", "8.15", "8.14", "124.55300000", 3 if at != opens[5] else 0] for at in opens]
    serve(venue, "OHLC", {"XXBTZUSD": rows, "last": opens[-2]})
    kraken = client(venue, clock=FakeClock(opens[-1] * 1_000 + 30_000))
    found = await kraken.candles(BTC, START_MS, START_MS + 5_000 * MINUTE_MS)
    assert [candle.open_ms for candle in found] == [at * 1_000 for at in opens[:-1] if at != opens[5]]
    first = found[0]
    assert (first.open_ticks, first.high_ticks, first.low_ticks, first.close_ticks) == (812, 818, 810, 815)
    assert (first.volume_lots, first.unknown_lots, first.trades) == (124_553, 124_553, 3)
    # Out of the average price that Kraken states.
    assert (first.turnover, first.sources) == (124_553 * 814, BACKFILL)
    with pytest.raises(Unserved, match=f"no candles of BTC/USD before {START_MS}"):
        await kraken.candles(BTC, START_MS - MINUTE_MS, START_MS + MINUTE_MS)
    await kraken.close()


async def test_the_book_and_the_time(venue: Exchange) -> None:
    serve(venue, "Depth", {"XXBTZUSD": {"bids": [["9.99000", "1.500", 17]], "asks": [["10.01000", "2.000", 18]]}})
    serve(venue, "Time", {"unixtime": START_MS // 1_000, "rfc1123": "Fri,  9 Aug 24 00:00:00 +0000"})
    kraken = client(venue)
    expected = DepthEvent("BTC/USD", -1, -1, -1, -1, [(999, 1_500)], [(1_001, 2_000)], snapshot=True)
    assert await kraken.depth(BTC) == expected
    assert await kraken.server_time_ms() == START_MS
    await kraken.close()


@pytest.mark.parametrize("result", [{}, {"last": "1"}, {"XXBTZUSD": None, "last": "1"}, {"XXBTZUSD": []}, 7])
async def test_an_answer_of_another_shape_is_the_venues_failure(venue: Exchange, result: Any) -> None:
    serve(venue, "Trades", result)
    kraken = client(venue)
    with pytest.raises(VenueUnavailable, match="Trades answered what can't be read"):
        await kraken.trades_from_id(BTC, 1, 10, START_MS)
    await kraken.close()


async def test_the_channels_wanted_are_subscribed(venue: Exchange) -> None:
    async def feed(socket: ServerConnection, number: int) -> None:
        row = '{"symbol":"BTC/USD","side":"buy","price":9.9,"qty":1,"trade_id":7,"timestamp":"2024-08-09T00:00:00Z"}'
        book = '{"symbol":"BTC/USD","bids":[],"asks":[],"checksum":0}'
        quote = '{"symbol":"BTC/USD","bid":1,"bid_qty":1,"ask":2,"ask_qty":1}'
        for channel, data in (("trade", row), ("book", book), ("ticker", quote)):
            await socket.send(f'{{"channel":"{channel}","type":"snapshot","data":[{data}]}}')

    venue.feeder = feed
    kraken = client(venue)
    kinds: set[type] = set()
    async with aclosing(kraken.stream([BTC], depth=True, quotes=True)) as events:
        while not kinds >= {Connected, TradesEvent, DepthEvent, QuoteEvent}:
            kinds.add(type(await anext(events)))
    channels: list[dict[str, Any]] = [
        {"channel": "trade", "snapshot": True},
        {"channel": "book", "depth": 1_000},
        {"channel": "ticker", "event_trigger": "bbo"},
    ]
    expected = [{"method": "subscribe", "params": each | {"symbol": ["BTC/USD"]}} for each in channels]
    assert venue.said == expected, json.dumps(venue.said)
    await kraken.close()
