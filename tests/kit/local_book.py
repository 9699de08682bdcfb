"""A local book by the procedure that the venue documents, in the words of the wire."""

from dataclasses import dataclass, field
from typing import Any

from infra.exchange.market import ExchangeMarket

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
