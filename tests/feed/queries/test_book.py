"""`GET /v1/book/{symbol}` and `GET /v1/quote/{symbol}`."""

from dataclasses import replace
from typing import Any

import pytest
from redis.asyncio import Redis

from common.market.instrument import Instrument
from tests.kit.books import BOOK, put_book
from tests.kit.served import Served, served
from tests.kit.waiting import wait_until_async
from tests.kit.writer import INSTRUMENT, START_MS, Writer

S = INSTRUMENT.symbol
BOOK_PATH, QUOTE_PATH = f"/v1/book/{S}", f"/v1/quote/{S}"


async def test_the_book_is_answered_best_first_in_the_shortest_exact_text(feed: Served, writer: Writer) -> None:
    await put_book(writer)
    text = (await feed.get(BOOK_PATH)).text
    head, _, health = text.partition(',"health":')
    assert head == (
        f'{{"symbol":"{S}","t":{START_MS + 7},"updateId":42,"live":true'
        ',"bids":[[100,1.5],[99.9,0.001],[99.5,0.02]],"asks":[[100.05,0.25],[101,3]]'
    )
    assert '"mode":"' in health


async def test_depth_cuts_each_side(feed: Served, writer: Writer) -> None:
    bids, asks = [(10_000 - at, 1) for at in range(1_000)], [(10_001 + at, 1) for at in range(900)]
    await put_book(writer, replace(BOOK, bids=bids, asks=asks))
    for asked, sizes in (({}, (20, 20)), ({"depth": 1}, (1, 1)), ({"depth": 1_000}, (1_000, 900))):
        answer = await feed.json(BOOK_PATH, **asked)
        assert (len(answer["bids"]), len(answer["asks"])) == sizes
        assert (answer["bids"][0], answer["asks"][0]) == ([100, 0.001], [100.01, 0.001])


async def test_a_venue_that_does_not_count_updates_has_no_update_id(feed: Served, writer: Writer) -> None:
    await put_book(writer, replace(BOOK, update_id=-1, bids=[]))
    answer = await feed.json(BOOK_PATH)
    assert (answer["updateId"], answer["bids"]) == (None, [])


async def test_a_symbol_without_a_book_is_404_and_says_why(feed: Served, writer: Writer) -> None:
    await writer.commit(writer.trade())
    response = await feed.get(BOOK_PATH)
    assert response.status_code == 404
    assert response.json()["error"] == {
        "code": "no_book",
        "message": f"{S} has no order book: its source brings none, or has not brought one yet",
    }


async def live(feed: Served) -> list[bool]:
    return [(await feed.json(path))["live"] for path in (BOOK_PATH, QUOTE_PATH)]


async def test_a_broken_book_is_shown_and_not_live(feed: Served, writer: Writer) -> None:
    await put_book(writer)
    assert await live(feed) == [True, True]
    await put_book(writer, replace(BOOK, live=False))
    assert await live(feed) == [False, False]
    assert (await feed.json(BOOK_PATH))["bids"][0] == [100, 1.5]


async def test_a_book_left_behind_is_not_live(feed: Served, writer: Writer) -> None:
    await put_book(writer)
    await writer.claim()
    assert await live(feed) == [False, False]
    await put_book(writer)
    assert await live(feed) == [True, True]
    await writer.store.release(writer.token)
    assert await live(feed) == [False, False]


async def test_the_book_of_a_holder_without_a_heartbeat_is_not_live(redis_url: str, writer: Writer) -> None:
    async with served(redis_url, lease_ttl_ms=100) as feed:
        await put_book(writer)

        async def is_over() -> bool:
            return await live(feed) == [False, False]

        await wait_until_async(is_over)
        await writer.store.beat(writer.token, writer.seq, {})
        assert await live(feed) == [True, True]


async def quote(feed: Served, path: str = QUOTE_PATH) -> dict[str, Any]:
    found = await feed.json(path)
    del found["health"]
    return found


NOTHING: dict[str, Any] = {"symbol": S, "t": None, "live": False} | dict.fromkeys(
    ("bid", "bidSize", "ask", "askSize", "mid", "spread", "last", "lastT")
)


async def test_a_quote_has_both_sides_what_is_between_and_the_last_price(feed: Served, writer: Writer) -> None:
    assert await quote(feed) == NOTHING
    await put_book(writer)
    await writer.commit(writer.trade(START_MS + 5, ticks=9_999))
    assert await quote(feed) == {
        "symbol": S,
        "t": START_MS + 7,
        "live": True,
        "bid": 100,
        "bidSize": 1.5,
        "ask": 100.05,
        "askSize": 0.25,
        "mid": 100.025,
        "spread": 0.05,
        "last": 99.99,
        "lastT": START_MS + 5,
    }


async def test_what_is_not_known_is_null(feed: Served, writer: Writer) -> None:
    await put_book(writer, replace(BOOK, asks=[]))
    half = NOTHING | {"t": START_MS + 7, "live": True, "bid": 100, "bidSize": 1.5}
    assert await quote(feed) == half
    await put_book(writer, replace(BOOK, bids=[]))
    assert await quote(feed) == NOTHING | {"t": START_MS + 7, "live": True, "ask": 100.05, "askSize": 0.25}


async def test_without_a_book_there_is_the_last_price(feed: Served, writer: Writer) -> None:
    await writer.commit(writer.trade(START_MS, ticks=10_050))
    assert await quote(feed) == NOTHING | {"last": 100.5, "lastT": START_MS}


async def test_the_last_price_is_that_of_the_last_trade_by_time(feed: Served, writer: Writer) -> None:
    await writer.commit(writer.trade(START_MS, ticks=10_050))
    # The clock closes the minute: there is no open one.
    writer.now_ms += 5 * 60_000
    await writer.commit()
    assert (await quote(feed))["last"] == 100.5
    await writer.commit(writer.trade(ticks=10_100))
    await writer.commit(writer.trade(START_MS + 1, ticks=5_000))
    found = await quote(feed)
    assert (found["last"], found["lastT"]) == (101, writer.now_ms)


@pytest.mark.parametrize(("decimals", "mid"), [(0, "10.5"), (3, "0.0105"), (18, "0.0000000000000000105")])
async def test_the_mid_of_an_odd_spread_is_exact(feed: Served, client: Redis, decimals: int, mid: str) -> None:
    writer = Writer(client, Instrument("TEST:MID", decimals, 0))
    await writer.register()
    await writer.claim()
    await put_book(writer, replace(BOOK, bids=[(10, 1)], asks=[(11, 1)]))
    assert f'"mid":{mid},' in (await feed.get("/v1/quote/TEST:MID")).text
    await put_book(writer, replace(BOOK, bids=[((1 << 53) - 2, 1)], asks=[((1 << 53) - 1, 1)]))
    text = (await feed.get("/v1/quote/TEST:MID")).text
    assert text.partition('"mid":')[2].partition(",")[0].replace(".", "").lstrip("0") == "90071992547409905"


async def test_simulated_books_say_so(feed: Served, client: Redis) -> None:
    writer = Writer(client)
    await writer.register(kind="simulator")
    await writer.claim()
    await put_book(writer)
    for path in (BOOK_PATH, QUOTE_PATH):
        assert (await feed.json(path))["simulated"] is True
