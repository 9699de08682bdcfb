"""A market that closes, through the whole feed: what is read, what is streamed, and whether it is open."""

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import datetime
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from redis.asyncio import Redis

from common.market.candle import LIVE
from common.market.instrument import Hours, Instrument
from common.market.trade import Trade
from common.store.registry import Market, Registry
from feed.queries.market import status
from feed.wire.errors import UnknownSymbol
from tests.kit.folding import Folding
from tests.kit.served import Served, hear, say
from tests.kit.waiting import wait_until_async
from tests.kit.writer import Writer

STOCK = Instrument("NYSE:BAC", 2, 0, "contiguous", calendar="XNYS", zone="America/New_York")
NEW_YORK = ZoneInfo("America/New_York")
PATH = f"/v1/candles/{STOCK.symbol}"
TIMEFRAMES = ("1s", "1m", "1h", "1d", "1w", "1M")
# A Wednesday, a half day, and the Monday after Christmas; before the open, in the session, at the close, and after it.
MOMENTS = [
    *("2015-12-23 08:15", "2015-12-23 09:30", "2015-12-23 10:29", "2015-12-23 10:30", "2015-12-23 15:59"),
    *("2015-12-23 16:00", "2015-12-23 16:01", "2015-12-23 19:00", "2015-12-24 09:29", "2015-12-24 09:31"),
    *("2015-12-24 12:45", "2015-12-24 13:00", "2015-12-24 13:01", "2015-12-24 14:30", "2015-12-28 04:00"),
    *("2015-12-28 09:30", "2015-12-28 09:50", "2015-12-28 11:31"),
]
# Opens of the bars that hold them, by the wall clock: worked out by hand.
OPENS = {
    "1s": ["23 09:30", "23 10:29", "23 10:30", "23 15:59", "23 16:00", "24 09:31", "24 12:45", "24 13:00"]
    + ["28 09:30", "28 09:50", "28 11:31"],
    "1h": ["23 09:30", "23 09:30", "23 10:30", "23 15:30", "23 15:30", "24 09:30", "24 12:30", "24 12:30"]
    + ["28 09:30", "28 09:30", "28 11:30"],
    "1d": ["23 09:30"] * 5 + ["24 09:30"] * 3 + ["28 09:30"] * 3,
    "1w": ["21 09:30"] * 8 + ["28 09:30"] * 3,
    "1M": ["01 09:30"] * 11,
}
OPENS["1m"] = OPENS["1s"]


def ms(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=NEW_YORK).timestamp()) * 1000


def in_session(text: str) -> bool:
    closes = {"23": "16:00", "24": "13:00", "28": "16:00"}[text[8:10]]
    return "09:30" <= text[11:] <= closes


def expected(trades: list[Trade], timeframe: str) -> dict[int, dict[str, Any]]:
    """Open, high, low, close, volume by open, of trades at the first of the MOMENTS."""
    inside = [trade for trade, text in zip(trades, MOMENTS, strict=False) if in_session(text)]
    bars: dict[int, list[Trade]] = {}
    for trade, opened in zip(inside, OPENS[timeframe], strict=False):
        bars.setdefault(ms(f"2015-12-{opened}"), []).append(trade)
    return {open_ms: bar(open_ms, some) for open_ms, some in bars.items()}


def bar(open_ms: int, trades: list[Trade]) -> dict[str, Any]:
    prices = [trade.price_ticks / 100 for trade in trades]
    volume = sum(trade.size_lots for trade in trades)
    return {"t": open_ms, "o": prices[0], "h": max(prices), "l": min(prices), "c": prices[-1], "v": volume}


def shown(bars: Any) -> dict[int, dict[str, Any]]:
    return {one["t"]: {name: one[name] for name in ("t", "o", "h", "l", "c", "v")} for one in bars}


@pytest.fixture
async def stock(client: Redis) -> AsyncIterator[Writer]:
    made = Writer(client, STOCK, sources=LIVE, now_ms=ms(MOMENTS[0]))
    await made.register()
    await made.claim()
    yield made


def next_trade(writer: Writer, number: int) -> Trade:
    return writer.trade(ms(MOMENTS[number]) + 100, ticks=1_700 + (7 * number) % 11, lots=10 + number)


async def test_history_has_the_bars_of_its_sessions_and_nothing_else(feed: Served, stock: Writer) -> None:
    trades = []
    for number in range(len(MOMENTS)):
        trades.append(next_trade(stock, number))
        await stock.commit(trades[-1])
        if number in (7, 12):
            # What is kept from one question to the next is right after a close, too.
            for timeframe in TIMEFRAMES:
                answer = await feed.json(PATH, timeframe=timeframe)
                assert shown(answer["bars"]) == expected(trades, timeframe), (number, timeframe)
                assert all(one["isFinal"] for one in answer["bars"]) or timeframe in ("1w", "1M")
    for timeframe in TIMEFRAMES:
        answer = await feed.json(PATH, timeframe=timeframe)
        whole = expected(trades, timeframe)
        assert shown(answer["bars"]) == whole, timeframe
        assert [one["isFinal"] for one in answer["bars"]] == [True] * (len(whole) - 1) + [False]
        assert not any(one.get("partial") for one in answer["bars"][1:])
        current = await feed.json(f"{PATH}/current", timeframe=timeframe)
        assert current["bar"] == answer["bars"][-1]
        paged: dict[int, Any] = {}
        end = ms("2016-01-01 00:00")
        while page := (await feed.json(PATH, timeframe=timeframe, end=end, limit=1))["bars"]:
            paged, end = shown(page) | paged, page[0]["t"]
        assert paged == whole
        rows = await feed.json(f"/v1/footprint/{STOCK.symbol}", timeframe=timeframe)
        assert [one["t"] for one in rows["bars"]] == list(whole)


async def test_filling_leaves_no_bar_between_sessions(feed: Served, stock: Writer) -> None:
    for number in range(8):
        await stock.commit(next_trade(stock, number))
    hours = [f"2015-12-23 {hour:02}:30" for hour in range(9, 16)]
    for start in ({}, {"start": ms("2015-12-23 00:00")}):
        answer = await feed.json(PATH, timeframe="1h", fill="flat", **start)
        assert [one["t"] for one in answer["bars"]] == list(map(ms, hours))
    answer = await feed.json(PATH, timeframe="1h", fill="flat", limit=3)
    assert [one["t"] for one in answer["bars"]] == list(map(ms, hours[-3:]))


async def test_the_stream_has_the_same_bars(feed: Served, stock: Writer) -> None:
    listening = {timeframe: Folding(feed, STOCK.symbol, timeframe, 100) for timeframe in TIMEFRAMES}
    trades = [next_trade(stock, 0)]
    await stock.commit(trades[0])
    for one in listening.values():
        one.join()
    await wait_until_async(lambda: all("snapshot" in one.heard for one in listening.values()))
    for number in range(1, len(MOMENTS)):
        trades.append(next_trade(stock, number))
        await stock.commit(trades[-1])
        if number == 10:
            # Who was away hears of what it missed.
            await listening["1d"].leave()
        elif number == 13:
            listening["1d"].join()
    for timeframe, one in listening.items():
        whole = expected(trades, timeframe)
        await wait_until_async(lambda one=one, whole=whole: shown(one.bars.values()) == whole)  # type: ignore[misc]
        assert one.heard.count("amend") == 0, timeframe
        await one.leave()


async def test_a_subscription_that_the_feed_ends_is_gone(feed: Served, stock: Writer) -> None:
    await stock.commit(next_trade(stock, 1))
    async with feed.connect() as socket:
        await say(socket, action="subscribe", symbol=STOCK.symbol, timeframe="1d")
        await hear(socket, "snapshot")
        for one in feed.services.hub.feeds:
            one.end(UnknownSymbol("it is not there any more"))
        assert (await hear(socket, "error"))["timeframe"] == "1d"
        await say(socket, action="list")
        assert (await hear(socket, "list"))["subscriptions"] == []
    assert not feed.services.hub.feeds


async def test_a_late_trade_outside_every_session_changes_no_bar(feed: Served, stock: Writer) -> None:
    for number in range(10):
        await stock.commit(next_trade(stock, number))
    before = {timeframe: await feed.json(PATH, timeframe=timeframe) for timeframe in TIMEFRAMES}
    await stock.commit(stock.trade(ms("2015-12-23 17:00"), ticks=9_999, lots=1))
    for timeframe, answer in before.items():
        assert (await feed.json(PATH, timeframe=timeframe))["bars"] == answer["bars"]
    await stock.commit(stock.trade(ms("2015-12-23 16:00") + 200, ticks=9_999, lots=1))
    for timeframe in ("1h", "1d", "1w"):
        bars = (await feed.json(PATH, timeframe=timeframe))["bars"]
        assert max(one["h"] for one in bars) == 99.99


@pytest.mark.parametrize(
    ("now", "state", "label", "next_open", "next_close"),
    [
        ("2015-12-23 09:29", "closed", None, "2015-12-23 09:30", "2015-12-23 16:00"),
        ("2015-12-23 09:30", "open", "2015-12-23", "2015-12-24 09:30", "2015-12-23 16:00"),
        ("2015-12-24 12:59", "open", "2015-12-24", "2015-12-28 09:30", "2015-12-24 13:00"),
        ("2015-12-24 13:00", "closed", None, "2015-12-28 09:30", "2015-12-28 16:00"),
    ],
)
def test_the_status_says_when_it_changes(
    now: str, state: str, label: str | None, next_open: str, next_close: str
) -> None:
    found = status(STOCK, ms(now))
    assert (found["state"], found["nextOpen"], found["nextClose"]) == (state, ms(next_open), ms(next_close))
    assert (found["session"] or {}).get("label") == label


@pytest.mark.parametrize("hours", ["regular", "extended"])
@pytest.mark.parametrize(
    ("now", "phase"),
    [
        ("2015-12-23 03:59", ""),
        ("2015-12-23 04:00", "isPreMarket"),
        ("2015-12-23 09:29", "isPreMarket"),
        ("2015-12-23 09:30", "isOpen"),
        ("2015-12-23 15:59", "isOpen"),
        ("2015-12-23 16:00", "isAfterHours"),
        ("2015-12-23 20:00", ""),
        ("2015-12-24 13:00", "isAfterHours"),
        ("2015-12-24 17:00", ""),
        ("2015-12-25 12:00", ""),
    ],
)
def test_the_part_of_the_day_is_told_whatever_hours_a_symbol_keeps(hours: Hours, now: str, phase: str) -> None:
    found = status(replace(STOCK, hours=hours), ms(now))
    told = [name for name in ("isPreMarket", "isOpen", "isAfterHours") if found[name]]
    assert told == ([phase] if phase else [])


def test_a_market_without_extended_hours_is_open_or_not() -> None:
    for calendar, now, is_open in (("XNSE", "2015-12-23 01:00", True), ("XNSE", "2015-12-23 09:00", False)):
        found = status(replace(STOCK, calendar=calendar, zone="UTC"), ms(now))
        assert (found["isOpen"], found["isPreMarket"], found["isAfterHours"]) == (is_open, False, False)
    assert status(replace(STOCK, calendar="24x7", zone="UTC"), ms("2015-12-25 12:00"))["isOpen"]


async def test_market_answers_status_and_health(feed: Served, stock: Writer) -> None:
    await stock.commit(next_trade(stock, 0))
    answer = await feed.json(f"/v1/market/{STOCK.symbol}")
    assert list(answer) == ["symbol", "calendar", "zone", "hours", "state"] + [
        *("isOpen", "isPreMarket", "isAfterHours", "session", "nextOpen", "nextClose", "lastUpdate", "health")
    ]
    assert (answer["calendar"], answer["zone"], answer["hours"]) == ("XNYS", "America/New_York", "regular")
    assert (answer["state"] == "open") == (answer["session"] is not None) and answer["lastUpdate"] > 0
    assert (await feed.get(f"/v1/market/{STOCK.symbol}", x=1)).status_code == 400
    await Registry(stock.client).add_symbol(Market(Instrument("ANY", 2, 2), {"kind": "inbox"}))
    always = await feed.json("/v1/market/ANY")
    assert [
        always[name] for name in ("calendar", "zone", "state", "session", "nextOpen", "nextClose", "lastUpdate")
    ] == [*("24x7", "UTC", "open", None, None, None, None)]


def test_the_moments_of_these_tests_ascend() -> None:
    assert all(ms(one) < ms(other) for one, other in pairwise(MOMENTS))
    assert {timeframe: len(opens) for timeframe, opens in OPENS.items()} == dict.fromkeys(
        OPENS, sum(map(in_session, MOMENTS))
    )
