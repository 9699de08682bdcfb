"""How Coinbase keeps a book in step."""

from dataclasses import dataclass

from common.market.depth.book import MAX_LEVELS, Book
from common.market.depth.sync import BookEvent, Fit


@dataclass(frozen=True, slots=True)
class CoinbaseRule:
    """A whole book at the subscription, then absolute sizes in order. What is lost is lost with the connection."""

    numbered: bool = False
    max_levels: int = MAX_LEVELS
    refills: bool = False

    def fit(self, event: BookEvent, last_id: int, fresh: bool) -> Fit:
        return Fit.NEXT

    def agrees(self, event: BookEvent, book: Book) -> bool:
        return True
