"""How Kraken keeps a book in step."""

from dataclasses import dataclass
from zlib import crc32

from common.market.depth.book import Book
from common.market.depth.sync import BookEvent, Fit

# Kraken's checksum covers so many levels of each side.
CHECKSUM_LEVELS = 10


@dataclass(frozen=True, slots=True)
class KrakenRule:
    """No ids, but a checksum with every update; the book is cut to the subscribed depth after each.

    The checksum is of the digits Kraken writes. `price_zeros`, `size_zeros`: how many zeros it writes beyond the
    instrument's decimals (WebSocket v1 does: 354.80000000 for a price of two decimals; v2 does not).
    """

    max_levels: int
    price_zeros: int = 0
    size_zeros: int = 0
    numbered: bool = False
    refills: bool = True

    def fit(self, event: BookEvent, last_id: int, fresh: bool) -> Fit:
        return Fit.NEXT

    def agrees(self, event: BookEvent, book: Book) -> bool:
        return event.checksum is None or event.checksum == self.checksum(book)

    def checksum(self, book: Book) -> int:
        """CRC32 of the ten best asks, then bids, best first: price and size without point and leading zeros."""
        price_zeros, size_zeros = "0" * self.price_zeros, "0" * self.size_zeros
        best = [*book.asks.best(CHECKSUM_LEVELS), *book.bids.best(CHECKSUM_LEVELS)]
        text = "".join([f"{price}{price_zeros}{size}{size_zeros}" for price, size in best])
        return crc32(text.encode())
