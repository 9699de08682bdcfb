"""A client that follows the venue's rule for a local book has the truth at every update, and never breaks."""

from typing import Any

import pytest

from infra.exchange import Drop, Exchange
from tests.kit.exchange import EASY, START_MS, SYMBOL, Feed, Served, served, simulated
from tests.kit.local_book import LocalBook, MissedEvents, assert_true


async def synced(running: Served, feed: Feed) -> tuple[LocalBook, list[dict[str, Any]]]:
    """Buffer, take a snapshot that is not older than the buffer, apply what it does not have."""
    buffer: list[dict[str, Any]] = []
    book = LocalBook()
    while not buffer or book.last_id < buffer[0]["U"]:
        running.exchange.advance(250)
        buffer += await feed.messages()
        book.set(await running.get("depth", symbol=SYMBOL, limit=5_000))
        # Between snapshot and events time goes on.
        running.exchange.advance(250)
        buffer += await feed.messages()
    return book, buffer


@pytest.mark.parametrize("stream", ["depth@100ms", "depth"])
async def test_a_synced_book_is_the_truth_at_every_update(stream: str) -> None:
    markets = simulated(SYMBOL, orders_per_s=20)
    async with served(Exchange(markets, start_ms=START_MS, history_ms=2_000, rules=EASY)) as running:
        market = running.exchange.market(SYMBOL)
        async with running.feed(f"/ws/btcusdt@{stream}") as feed:
            book, buffer = await synced(running, feed)
            applied = 0
            for _ in range(8):
                for event in buffer:
                    book.apply(event)
                    assert_true(book, market)
                    applied += 1
                running.exchange.advance(3_333)
                buffer = await feed.messages()
            assert applied > (150 if "@" in stream else 15)


async def test_a_lost_event_is_seen_by_the_rule_and_a_new_snapshot_heals_it() -> None:
    async with served(Exchange(simulated(SYMBOL), start_ms=START_MS, rules=EASY)) as running:
        market = running.exchange.market(SYMBOL)
        async with running.feed("/ws/btcusdt@depth@100ms") as feed:
            book, buffer = await synced(running, feed)
            for event in buffer:
                book.apply(event)
            running.exchange.inject(Drop(SYMBOL, stream="depth"))
            running.exchange.advance(2_000)
            with pytest.raises(MissedEvents):
                for event in await feed.messages():
                    book.apply(event)
            book, buffer = await synced(running, feed)
            for event in buffer:
                book.apply(event)
            assert_true(book, market)
