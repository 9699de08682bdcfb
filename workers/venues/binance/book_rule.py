"""How Binance keeps a book in step."""

from dataclasses import dataclass

from common.market.depth.book import MAX_LEVELS, Book
from common.market.depth.sync import BookEvent, Fit


@dataclass(frozen=True, slots=True)
class BinanceSpotRule:
    """Ids count every update of the symbol: `U` is the previous `u` + 1.

    The documentation wants lastUpdateId within `[U;u]` of the first diff, which refuses the one that begins with
    lastUpdateId + 1. That one follows, too: a diff is the next when U <= last + 1 <= u.
    """

    numbered: bool = True
    max_levels: int = MAX_LEVELS
    refills: bool = False

    def fit(self, event: BookEvent, last_id: int, fresh: bool) -> Fit:
        if event.last_id <= last_id:
            return Fit.OLD
        return Fit.NEXT if event.first_id <= last_id + 1 else Fit.MISSING

    def agrees(self, event: BookEvent, book: Book) -> bool:
        return True


@dataclass(frozen=True, slots=True)
class BinanceUsdmRule:
    """Ids are shared by all symbols, so `U` says nothing; `pu` names the previous diff's `u`.

    A snapshot lies inside or at the end of a diff: the first one on top has pu <= lastUpdateId < u. From then on
    pu is exactly the last u.
    """

    numbered: bool = True
    max_levels: int = MAX_LEVELS
    refills: bool = False

    def fit(self, event: BookEvent, last_id: int, fresh: bool) -> Fit:
        if event.last_id <= last_id:
            return Fit.OLD
        follows = event.previous_id <= last_id if fresh else event.previous_id == last_id
        return Fit.NEXT if follows else Fit.MISSING

    def agrees(self, event: BookEvent, book: Book) -> bool:
        return True
