"""`book` and `quote`: what a client has put together is the book, whatever happens in between."""

import random
from dataclasses import replace
from typing import Any

import pytest
from redis.asyncio import Redis

from common.market.scale import Scale
from common.store.book import BookSnapshot, BookStore, NumberedBook
from common.store.keys import SymbolKeys
from feed.stream.channels import book as book_channels
from tests.kit.channel_folds import BookFolding
from tests.kit.folding import all_leave
from tests.kit.served import Served, hear, say
from tests.kit.waiting import wait_until_async
from tests.kit.writer import INSTRUMENT, START_MS, Writer
from tests.scale import SCALE, scaled

S = INSTRUMENT.symbol
BOOK = BookSnapshot(START_MS, 42, [(10_000, 1_500), (9_990, 1)], [(10_005, 250), (10_100, 3_000)], live=True)
WRONG: list[dict[str, Any]] = [
    {"channel": "book", "limit": 5},
    {"channel": "book", "depth": 1_001},
    {"channel": "book", "depth": "5"},
    {"channel": "quote", "depth": 1},
]
# Some 3 s of `infra/test`.
SCHEDULES = 100 if SCALE >= 1 else scaled(8)


async def put(writer: Writer, book: BookSnapshot) -> int:
    return await BookStore(writer.client, S, INSTRUMENT.scale).put(writer.token, book)


def moved(book: BookSnapshot, rng: random.Random) -> BookSnapshot:
    """Some levels set, some gone."""
    bids, asks = dict(book.bids), dict(book.asks)
    for side, prices in ((bids, range(9_980, 10_001)), (asks, range(10_001, 10_022))):
        for _ in range(rng.randint(0, 4)):
            side[rng.choice(prices)] = rng.randint(0, 3)
    levels = [[(ticks, lots) for ticks, lots in side.items() if lots] for side in (bids, asks)]
    ts_ms, live = book.ts_ms + rng.randint(0, 100), rng.random() < 0.95
    return BookSnapshot(ts_ms, book.update_id + 1, sorted(levels[0], reverse=True), sorted(levels[1]), live)


async def agree(clients: list[BookFolding]) -> None:
    for one in clients:
        if one.joined:
            await one.check(await one.expected())


@pytest.mark.parametrize("seed", range(SCHEDULES))
async def test_folded_books_equal_answers_whatever_happens(
    client: Redis, feed: Served, writer: Writer, seed: int
) -> None:
    rng, book = random.Random(seed), BOOK
    await put(writer, book)
    clients: list[BookFolding] = []
    for _ in range(30):
        for _ in range(rng.randint(1, 4)):
            book = moved(book, rng)
            await put(writer, book)
        if rng.random() < 0.4:
            one = BookFolding(feed, S, rng.choice((1, 3, 20)))
            one.join()
            clients.append(one)
        if clients and rng.random() < 0.3:
            await rng.choice(clients).come_or_go()
        if rng.random() < 0.1:
            await client.execute_command("CLIENT", "KILL", "TYPE", "pubsub")  # type: ignore[no-untyped-call]
        if rng.random() < 0.1:
            await writer.claim()
            book = moved(book, rng)
            await put(writer, book)
        if rng.random() < 0.3:
            await agree(clients)
    await agree(clients)
    await all_leave(clients)


async def test_a_book_begins_with_its_best_levels_and_goes_on_with_those_that_change(
    feed: Served, writer: Writer
) -> None:
    await put(writer, BOOK)
    async with feed.connect() as socket:
        await say(socket, action="subscribe", channel="book", symbol=S, depth=1, id=1)
        snapshot = await hear(socket)
        assert (snapshot["type"], snapshot["channel"], snapshot["params"], snapshot["id"]) == (
            "snapshot",
            "book",
            {"depth": 1},
            1,
        )
        assert (snapshot["bids"], snapshot["asks"], snapshot["live"]) == ([[100, 1.5]], [[100.05, 0.25]], True)
        assert (snapshot["seq"], snapshot["cursor"]) == (1, f"1-{writer.token}")
        # Below the best nothing is told.
        await put(writer, replace(BOOK, bids=[(10_000, 1_500)]))
        await put(writer, replace(BOOK, ts_ms=START_MS + 7, update_id=44, bids=[(9_990, 2)]))
        told = await hear(socket)
        assert (told["type"], told["seq"], told["t"], told["updateId"]) == ("book", 3, START_MS + 7, 44)
        assert sorted(told["bids"]) == [[99.9, 0.002], [100, 0]] and told["asks"] == []
        await put(writer, replace(BOOK, bids=[(9_990, 2)], live=False))
        assert (await hear(socket))["live"] is False


async def test_a_quote_is_told_when_the_best_prices_change(feed: Served, writer: Writer) -> None:
    await put(writer, BOOK)
    async with feed.connect() as socket:
        await say(socket, action="subscribe", channel="quote", symbol=S)
        snapshot = await hear(socket)
        assert (snapshot["type"], snapshot["bid"], snapshot["ask"], snapshot["mid"]) == (
            "snapshot",
            100,
            100.05,
            100.025,
        )
        await put(writer, replace(BOOK, asks=[BOOK.asks[0]]))
        await put(writer, replace(BOOK, asks=BOOK.asks[1:]))
        told = await hear(socket)
        names = ("type", "channel", "seq", "bid", "ask", "askSize", "spread", "live")
        assert [told[name] for name in names] == ["quote", "quote", 3, 100, 101, 3, 1, True]
        answer = await feed.json(f"/v1/quote/{S}")
        same = ("t", "live", "bid", "bidSize", "ask", "askSize", "mid", "spread")
        assert [told[name] for name in same] == [answer[name] for name in same]


async def test_a_book_is_published_only_while_somebody_listens(feed: Served, writer: Writer) -> None:
    assert await put(writer, BOOK) == 0
    async with feed.connect() as one, feed.connect() as other:
        for socket, channel in ((one, "book"), (other, "quote")):
            await say(socket, action="subscribe", channel=channel, symbol=S)
            await hear(socket, "snapshot")
        # One connection of the feed for all its clients.
        assert await put(writer, BOOK) == 1
        await say(one, action="unsubscribe", channel="book", symbol=S)
        await hear(one, "unsubscribed")
        assert await put(writer, BOOK) == 1

    async def is_quiet() -> bool:
        return await put(writer, BOOK) == 0

    await wait_until_async(is_quiet)
    assert not feed.services.hub.channels


async def test_a_number_that_is_missing_has_the_book_read_again(feed: Served, writer: Writer, client: Redis) -> None:
    await put(writer, BOOK)
    one = BookFolding(feed, S, 20)
    one.join()
    await wait_until_async(lambda: one.cursor)
    await client.hincrby(SymbolKeys(S).book, "seq", 5)
    await put(writer, replace(BOOK, bids=[]))
    await agree([one])
    assert one.heard == ["snapshot", "snapshot"]
    await one.leave()


async def test_a_level_that_is_left_out_would_show(
    feed: Served, writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The negative control of what is folded above."""
    await put(writer, BOOK)
    one = BookFolding(feed, S, 20)
    one.join()
    await wait_until_async(lambda: one.cursor)
    changed = book_channels._changed
    monkeypatch.setattr(book_channels, "_changed", lambda *sides: dict(list(changed(*sides).items())[1:]))
    await put(writer, replace(BOOK, bids=[], asks=[]))
    await wait_until_async(lambda: one.heard[-1] == "book")
    assert one.differences(await one.expected())
    await one.leave()


async def test_a_symbol_without_a_book_is_an_error_that_ends_the_subscription(feed: Served, writer: Writer) -> None:
    async with feed.connect() as socket:
        await say(socket, action="subscribe", channel="book", symbol=S)
        error = await hear(socket)
        assert (error["type"], error["code"], error["channel"], error["symbol"]) == ("error", "no_book", "book", S)
        await say(socket, action="list")
        assert (await hear(socket))["subscriptions"] == []
        for wrong in WRONG:
            await say(socket, action="subscribe", symbol=S, **wrong)
            assert (await hear(socket))["code"] == "bad_input"


def test_a_message_has_the_book_in_the_scale_that_is_asked_for() -> None:
    packed = b"abc 7 5 -1 live 2.3\n" + BOOK.pack()
    found = NumberedBook.unpack(packed, Scale(3, 3))
    assert (found.seq, found.token, found.cursor) == (7, "abc", "7-abc")
    bids, asks = [[(10 * ticks, lots) for ticks, lots in side] for side in (BOOK.bids, BOOK.asks)]
    assert found.book == BookSnapshot(5, -1, bids, asks, live=True)
