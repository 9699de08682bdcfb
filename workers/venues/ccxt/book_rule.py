"""How the books that ccxt gives are kept in step."""

from dataclasses import dataclass

from common.market.depth.book import Book
from common.market.depth.sync import BookEvent, Fit


@dataclass(frozen=True, slots=True)
class CcxtRule:
    """Its best levels at first, as many as the exchange likes to show, and then how these have changed."""

    max_levels: int
    numbered: bool = False
    refills: bool = True

    def fit(self, event: BookEvent, last_id: int, fresh: bool) -> Fit:
        return Fit.NEXT

    def agrees(self, event: BookEvent, book: Book) -> bool:
        return True
