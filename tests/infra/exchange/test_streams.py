"""What the streams tell, held against the truth."""

from itertools import groupby, pairwise
from typing import Any

import orjson
import pytest

from common.market.trade import SELL
from infra.exchange import Exchange
from infra.exchange.streams import parse
from tests.kit.exchange import EASY, START_MS, SYMBOL, Feed, served, simulated, still

MINUTE_MS = 60_000


async def test_every_trade_is_told_once_as_it_happened() -> None:
    async with served(still(history_ms=3_000)) as running, running.feed("/ws/btcusdt@trade") as feed:
        market = running.exchange.market(SYMBOL)
        first_id = market.tape.ids[-1] + 1
        running.exchange.advance(20_000)
        expected = [
            {
                "e": "trade",
                "E": trade.ts_ms,
                "s": SYMBOL,
                "t": trade.id,
                "p": market.listing.price(trade.price_ticks),
                "q": market.listing.size(trade.size_lots),
                "T": trade.ts_ms,
                "m": trade.side == SELL,
                "M": True,
            }
            for trade in market.trades(first_id).rows()
        ]
        assert len(expected) > 50
        assert await feed.messages() == expected
        assert running.exchange.missed(SYMBOL) == []


async def test_aggregates_of_the_stream_are_those_of_rest() -> None:
    async with served(still()) as running, running.feed("/ws/btcusdt@aggTrade") as feed:
        running.exchange.advance(8_000)
        told = [{name: value for name, value in each.items() if name not in "eEs"} for each in await feed.messages()]
        assert told == await running.get("aggTrades", symbol=SYMBOL, fromId=1, limit=1_000)
        assert len(told) > 50


async def test_a_combined_connection_wraps_and_a_raw_one_does_not() -> None:
    async with served(still()) as running:
        async with (
            running.feed("/stream?streams=btcusdt@trade/btcusdt@depth5@100ms") as combined,
            running.feed("/ws/btcusdt@trade/btcusdt@depth5@100ms") as raw,
        ):
            running.exchange.advance(5_000)
            wrapped = await combined.messages()
            assert {each["stream"] for each in wrapped} == {"btcusdt@trade", "btcusdt@depth5@100ms"}
            assert [each["data"] for each in wrapped] == await raw.messages()
            partial = next(each["data"] for each in wrapped if each["stream"] == "btcusdt@depth5@100ms")
            assert set(partial) == {"lastUpdateId", "bids", "asks"} and len(partial["bids"]) == 5


async def test_partial_books_and_quotes_are_the_book_at_their_update_id() -> None:
    async with served(still()) as running:
        async with running.feed("/stream?streams=btcusdt@depth20@100ms/btcusdt@bookTicker/btcusdt@depth10") as feed:
            running.exchange.advance(10_000)
            market = running.exchange.market(SYMBOL)
            price, size = market.listing.price, market.listing.size
            seen = {"btcusdt@depth20@100ms": 0, "btcusdt@bookTicker": 0, "btcusdt@depth10": 0}
            for message in await feed.messages():
                name, data = message["stream"], message["data"]
                seen[name] += 1
                state = market.book.at(data.get("u") or data["lastUpdateId"])
                bids = [[price(at), size(lots)] for at, lots in sorted(state.bids.items(), reverse=True)]
                asks = [[price(at), size(lots)] for at, lots in sorted(state.asks.items())]
                if name == "btcusdt@bookTicker":
                    assert [[data["b"], data["B"]], [data["a"], data["A"]]] == [bids[0], asks[0]]
                else:
                    levels = 20 if "20" in name else 10
                    assert (data["bids"], data["asks"]) == (bids[:levels], asks[:levels])
            assert seen["btcusdt@depth20@100ms"] > 50 and seen["btcusdt@bookTicker"] > 50
            assert 8 <= seen["btcusdt@depth10"] <= 10


async def test_diffs_follow_each_other_at_both_speeds() -> None:
    async with served(still(history_ms=7_777)) as running:
        async with running.feed("/ws/btcusdt@depth@100ms") as fast, running.feed("/ws/btcusdt@depth") as slow:
            running.exchange.advance(10_000)
            for feed, every_ms, least in ((fast, 100, 60), (slow, 1_000, 9)):
                events = await feed.messages()
                assert len(events) >= least
                assert all(before["u"] + 1 == after["U"] for before, after in pairwise(events))
                assert all(each["U"] <= each["u"] and each["E"] % every_ms == 0 for each in events)


async def test_klines_of_the_stream_end_as_those_of_rest() -> None:
    names = ["btcusdt@kline_1m", "btcusdt@kline_1s", "btcusdt@kline_5m", "btcusdt@kline_1m@+08:00"]
    markets = simulated(SYMBOL, orders_per_s=1)
    async with served(Exchange(markets, start_ms=START_MS, history_ms=3_000, rules=EASY)) as running:
        async with running.feed("/stream?streams=" + "/".join(names)) as feed:
            running.exchange.advance(3 * MINUTE_MS)
            messages = await feed.messages()
        for name in names:
            interval = name.partition("_")[2].partition("@")[0]
            told = [each["data"] for each in messages if each["stream"] == name]
            ask = {"symbol": SYMBOL, "interval": interval, "limit": 1_000, "startTime": told[0]["k"]["t"]}
            rows = {row[0]: row for row in await running.get("klines", **ask)}
            closed = [each for each in told if each["k"]["x"]]
            assert [_row(each) for each in closed] == [rows[each["k"]["t"]] for each in closed]
            opens = [each["k"]["t"] for each in closed]
            span_ms = {"1m": MINUTE_MS, "1s": 1_000, "5m": 5 * MINUTE_MS}[interval]
            assert opens == [opens[0] + at * span_ms for at in range(len(opens))] if opens else interval == "5m"
            every_ms = 1_000 if interval == "1s" else 2_000
            assert all(each["E"] % every_ms == 0 for each in told)


def _row(event: dict[str, Any]) -> list[Any]:
    k = event["k"]
    return [k["t"], k["o"], k["h"], k["l"], k["c"], k["v"], k["T"], k["q"], k["n"], k["V"], k["Q"], "0"]


async def test_klines_name_their_first_and_last_trade() -> None:
    async with served(still()) as running, running.feed("/ws/btcusdt@kline_1m") as feed:
        running.exchange.advance(61_000)
        market = running.exchange.market(SYMBOL)
        closed = next(each["k"] for each in await feed.messages() if each["k"]["x"])
        ids = [trade.id for trade in market.trades().rows() if trade.ts_ms < START_MS + MINUTE_MS]
        assert (closed["f"], closed["L"], closed["n"]) == (ids[0], ids[-1], len(ids))


async def test_times_are_microseconds_where_the_url_says_so() -> None:
    async with served(still()) as running:
        path = "/stream?streams=btcusdt@trade/btcusdt@kline_1m/btcusdt@depth"
        async with running.feed(path) as plain, running.feed(path + "&timeUnit=microsecond") as fine:
            running.exchange.advance(5_000)
            for before, after in zip(await plain.messages(), await fine.messages(), strict=True):
                assert after["data"]["E"] == before["data"]["E"] * 1_000
                if "k" in after["data"]:
                    assert after["data"]["k"]["T"] == (before["data"]["k"]["T"] + 1) * 1_000 - 1


async def test_markets_are_told_apart() -> None:
    async with served(still("BTCUSDT", "ETHUSDT")) as running, running.feed("/ws/ethusdt@trade") as feed:
        running.exchange.advance(10_000)
        assert {each["s"] for each in await feed.messages()} == {"ETHUSDT"}
        assert list(running.exchange.hub.delivered) == ["ETHUSDT"]


async def test_a_quiet_book_is_not_told() -> None:
    async with served(Exchange([], start_ms=START_MS)) as running, running.feed("/ws/btcusdt@depth@100ms") as feed:
        running.exchange.advance(10_000)
        assert await feed.frames() == []


@pytest.mark.parametrize(
    "name",
    [
        "BTCUSDT@trade",
        "btcusdt@trades",
        "btcusdt@kline_7m",
        "btcusdt@depth7",
        "btcusdt@depth@10ms",
        "btcusdt",
        "@trade",
    ],
)
async def test_an_unknown_stream_is_taken_and_stays_silent(name: str) -> None:
    assert parse(name) is None
    async with served(still()) as running, running.feed() as feed:
        assert await feed.ask("SUBSCRIBE", name) == {"result": None, "id": 1}
        running.exchange.advance(2_000)
        assert await feed.frames() == []


async def test_what_is_sent_is_json_without_spaces_as_the_venue_writes_it() -> None:
    async with served(still()) as running, running.feed("/ws/btcusdt@trade/btcusdt@depth@100ms") as feed:
        running.exchange.advance(3_000)
        for frame in await feed.frames():
            assert isinstance(frame, str)
            assert orjson.dumps(orjson.loads(frame)).decode() == frame


async def test_market_time_can_run_by_itself() -> None:
    async with served(still()) as running, running.feed("/ws/btcusdt@trade") as feed:
        running.exchange.speed = 300
        ids = [await _next_id(feed) for _ in range(300)]
        running.exchange.speed = 0
        assert ids == list(range(ids[0], ids[0] + 300))


async def _next_id(feed: Feed) -> int:
    trade_id: int = orjson.loads(await feed.socket.recv())["t"]
    return trade_id


def test_groups_of_the_minute_are_what_the_names_say() -> None:
    streams = [parse(f"btcusdt@{name}") for name in ("depth", "depth@100ms", "depth20", "depth5@100ms", "kline_1s")]
    found = [(each.kind, each.every_ms, each.levels) for each in streams if each]
    assert found == [
        *(("depth", 1_000, 0), ("depth", 100, 0), ("partial", 1_000, 20), ("partial", 100, 5), ("kline", 1_000, 0)),
    ]
    assert [kind for kind, _ in groupby(kind for kind, *_ in found)] == ["depth", "partial", "kline"]
