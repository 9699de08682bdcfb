"""A client that follows the venue's rule for a local book has the truth at every update, and never breaks."""

from dataclasses import dataclass, field
from typing import Any

import pytest

from infra.exchange import Drop, Exchange
from infra.exchange.market import ExchangeMarket
from tests.kit.exchange import EASY, START_MS, SYMBOL, Feed, Served, served, simulated

Levels = dict[str, str]


class MissedEvents(Exception):
    """The rule says: start over."""


@dataclass
class LocalBook:
    """The documented procedure, in the words of the wire."""

    last_id: int = 0
    bids: Levels = field(default_factory=dict)
    asks: Levels = field(default_factory=dict)

    def set(self, snapshot: dict[str, Any]) -> None:
        self.last_id = snapshot["lastUpdateId"]
        self.bids, self.asks = dict(snapshot["bids"]), dict(snapshot["asks"])

    def apply(self, event: dict[str, Any]) -> None:
        if event["u"] <= self.last_id:
            return
        if event["U"] > self.last_id + 1:
            raise MissedEvents(f"event begins with {event['U']}, the book ends with {self.last_id}")
        for levels, changes in ((self.bids, event["b"]), (self.asks, event["a"])):
            for price, size in changes:
                if float(size):
                    levels[price] = size
                else:
                    levels.pop(price, None)
        self.last_id = event["u"]


def assert_true(book: LocalBook, market: ExchangeMarket) -> None:
    state = market.book.at(book.last_id)
    price, size = market.listing.price, market.listing.size
    assert book.bids == {price(at): size(lots) for at, lots in state.bids.items()}
    assert book.asks == {price(at): size(lots) for at, lots in state.asks.items()}
    assert max(map(float, book.bids)) < min(map(float, book.asks))


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
