"""The order book of one market: levels, the venue's rule of what follows what, and staying in step with it.

    sync = BookSync(BinanceSpotRule())
    outcome = sync.feed(event)        # diffs and snapshots, as they come
    sync.needs_snapshot               # the shell fetches one, or subscribes again, and feeds it
    sync.book.top(), sync.book.depth(20)

Prices are ticks, sizes lots. Whatever is in doubt is thrown away: a missing update, a wrong checksum or a crossed book
ends the book, and only a snapshot starts it again. A book that is SYNCED is never crossed.
"""

from bisect import bisect_left, bisect_right, insort
from collections import Counter, deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import NamedTuple, Protocol
from zlib import crc32

Level = tuple[int, int]
Levels = Sequence[Level]

# Levels kept of one side; beyond, the farthest are forgotten. Twice what the deepest markets show.
MAX_LEVELS = 100_000
# Diffs kept while the snapshot is on its way: 6 minutes of 100 ms, or a busy futures market for 15 s. Older ones are
# let go, which makes a snapshot that needed them too old: the rule finds out.
MAX_BUFFERED = 4_096
# Kraken's checksum covers so many levels of each side.
CHECKSUM_LEVELS = 10
# What `within` counts in: a hundredth of a percent.
BASIS_POINTS = 10_000

# Why a book was given up.
GAP, OLD_SNAPSHOT, CROSSED, CHECKSUM = "gap", "old_snapshot", "crossed", "checksum"


class BookEvent(Protocol):
    """What workers.venues.shared.base.DepthEvent is: a change of the book, or all of it (`snapshot`).

    Size 0 removes a level; of a price that is there twice the later one counts.
    """

    @property
    def ts_ms(self) -> int: ...
    @property
    def first_id(self) -> int: ...
    @property
    def last_id(self) -> int: ...
    @property
    def previous_id(self) -> int: ...
    @property
    def bids(self) -> Levels: ...
    @property
    def asks(self) -> Levels: ...
    @property
    def snapshot(self) -> bool: ...
    @property
    def checksum(self) -> int | None: ...


class Top(NamedTuple):
    """Best bid and ask."""

    bid_ticks: int
    bid_lots: int
    ask_ticks: int
    ask_lots: int


@dataclass(slots=True)
class BookSide:
    """One side. `keys` are its prices times `sign`, ascending, so that the best is the last.

    Nearly all changes are near the best price, where inserting into a list moves least; that keeps a level at
    0.2 us, and nothing has to search for the best.
    """

    sign: int
    sizes: dict[int, int] = field(default_factory=dict)
    keys: list[int] = field(default_factory=list)

    def replace(self, levels: Levels) -> None:
        self.sizes = {price: size for price, size in dict(levels).items() if size}
        self.keys = sorted(price * self.sign for price in self.sizes)

    def set(self, levels: Levels) -> None:
        """Sizes are absolute; removing what is not there is usual (it lay beyond the snapshot)."""
        sizes, keys, sign = self.sizes, self.keys, self.sign
        for price, size in levels:
            if size:
                if price not in sizes:
                    insort(keys, price * sign)
                sizes[price] = size
            elif sizes.pop(price, 0):
                del keys[bisect_left(keys, price * sign)]

    def cut(self, depth: int) -> list[Level]:
        """Forget all but the best `depth` levels; return what was forgotten, each with size 0."""
        prices = [key * self.sign for key in self.keys[:-depth]]
        del self.keys[:-depth]
        for price in prices:
            del self.sizes[price]
        return [(price, 0) for price in prices]

    def count(self, price_ticks: int) -> int:
        """How many levels are at least as good as a price."""
        return len(self.keys) - bisect_left(self.keys, price_ticks * self.sign)

    def nth(self, at: int) -> int:
        """The price of the `at`th best level, from 1."""
        return self.keys[-at] * self.sign

    def best(self, count: int) -> list[Level]:
        """The best `count` levels, best first."""
        return self._levels(self.keys[: -count - 1 : -1])

    def between(self, low_ticks: int, high_ticks: int) -> list[Level]:
        """The levels from `low_ticks` to `high_ticks`, both included, best first."""
        worst, best = (low_ticks, high_ticks) if self.sign > 0 else (-high_ticks, -low_ticks)
        keys = self.keys[bisect_left(self.keys, worst) : bisect_right(self.keys, best)]
        return self._levels(reversed(keys))

    def _levels(self, keys: Iterable[int]) -> list[Level]:
        sizes, sign = self.sizes, self.sign
        return [(key * sign, sizes[key * sign]) for key in keys]


@dataclass(slots=True)
class Book:
    """Both sides. `last_id`: the last update in it, where the venue counts them."""

    max_levels: int = MAX_LEVELS
    last_id: int = -1
    bids: BookSide = field(default_factory=lambda: BookSide(1))
    asks: BookSide = field(default_factory=lambda: BookSide(-1))

    def replace(self, bids: Levels, asks: Levels) -> None:
        self.bids.replace(bids)
        self.asks.replace(asks)
        self._cut(bids, asks)

    def apply(self, bids: Levels, asks: Levels) -> tuple[Levels, Levels]:
        """Set levels. Returns what changed by side: the same levels, and those forgotten beyond `max_levels`."""
        self.bids.set(bids)
        self.asks.set(asks)
        return self._cut(bids, asks)

    @property
    def crossed(self) -> bool:
        """Whether somebody bids as much as somebody asks, or more. No venue leaves such orders standing."""
        bids, asks = self.bids.keys, self.asks.keys
        return bool(bids and asks) and bids[-1] + asks[-1] >= 0

    @property
    def twice_mid(self) -> int | None:
        """Best bid plus best ask, so that the middle stays a whole number. None while a side is empty."""
        bids, asks = self.bids.keys, self.asks.keys
        return bids[-1] - asks[-1] if bids and asks else None

    def top(self) -> Top | None:
        if not (self.bids.keys and self.asks.keys):
            return None
        bid, ask = self.bids.keys[-1], -self.asks.keys[-1]
        return Top(bid, self.bids.sizes[bid], ask, self.asks.sizes[ask])

    def depth(self, count: int) -> tuple[list[Level], list[Level]]:
        """The best `count` bids and asks, best first."""
        return self.bids.best(count), self.asks.best(count)

    def within(self, reach_bp: int) -> tuple[list[Level], list[Level]]:
        """Bids and asks at most `reach_bp` hundredths of a percent from the middle, best first."""
        twice_mid = self.twice_mid
        if twice_mid is None:
            return [], []
        low, high = bounds(twice_mid, twice_mid * reach_bp // BASIS_POINTS)
        return self.bids.between(low, high), self.asks.between(low, high)

    def _cut(self, bids: Levels, asks: Levels) -> tuple[Levels, Levels]:
        if len(self.bids.keys) > self.max_levels:
            bids = [*bids, *self.bids.cut(self.max_levels)]
        if len(self.asks.keys) > self.max_levels:
            asks = [*asks, *self.asks.cut(self.max_levels)]
        return bids, asks


def bounds(twice_mid: int, twice_reach: int) -> tuple[int, int]:
    """The lowest and the highest price at most `twice_reach` half ticks from the middle."""
    return (twice_mid - twice_reach + 1) // 2, (twice_mid + twice_reach) // 2


class Fit(Enum):
    """How a diff follows the book: it is in it already, is the next one, or something is missing between."""

    OLD = 0
    NEXT = 1
    MISSING = 2


class Rule(Protocol):
    """A venue's way to keep a book. `numbered`: diffs carry ids, so those of before the snapshot can be told apart.

    `max_levels`: what the venue lets a client keep.
    """

    @property
    def numbered(self) -> bool: ...
    @property
    def max_levels(self) -> int: ...

    def fit(self, event: BookEvent, last_id: int, fresh: bool) -> Fit:
        """`last_id`: of the book. `fresh`: it is a snapshot without a diff on top."""

    def agrees(self, event: BookEvent, book: Book) -> bool:
        """Whether the venue's checksum is that of the book after the event."""


@dataclass(frozen=True, slots=True)
class BinanceSpotRule:
    """Ids count every update of the symbol: `U` is the previous `u` + 1.

    The documentation wants lastUpdateId within `[U;u]` of the first diff, which refuses the one that begins with
    lastUpdateId + 1. That one follows, too: a diff is the next when U <= last + 1 <= u.
    """

    numbered: bool = True
    max_levels: int = MAX_LEVELS

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

    def fit(self, event: BookEvent, last_id: int, fresh: bool) -> Fit:
        if event.last_id <= last_id:
            return Fit.OLD
        follows = event.previous_id <= last_id if fresh else event.previous_id == last_id
        return Fit.NEXT if follows else Fit.MISSING

    def agrees(self, event: BookEvent, book: Book) -> bool:
        return True


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


@dataclass(frozen=True, slots=True)
class CoinbaseRule:
    """A whole book at the subscription, then absolute sizes in order. What is lost is lost with the connection."""

    numbered: bool = False
    max_levels: int = MAX_LEVELS

    def fit(self, event: BookEvent, last_id: int, fresh: bool) -> Fit:
        return Fit.NEXT

    def agrees(self, event: BookEvent, book: Book) -> bool:
        return True


class Outcome(Enum):
    """What one event did."""

    APPLIED = 0
    """The book went one step on: `BookSync.changed`."""
    IGNORED = 1
    """It was in the book already."""
    WAITING = 2
    """There is no book; a diff is kept for the snapshot where diffs are numbered, else it is of no use."""
    SYNCED = 3
    """There is a new book, the snapshot's and the kept diffs'."""
    BROKEN = 4
    """There is no book any more, or still none: the snapshot was too old. `BookSync.cause` says why."""


@dataclass(slots=True)
class BookSync:
    """Keeps a book by a venue's rule: waits for a snapshot, follows, and waits anew after any break.

    `book` is to be read only while not `needs_snapshot`. `breaks` counts by cause.
    """

    rule: Rule
    book: Book = field(init=False)
    needs_snapshot: bool = True
    cause: str = ""
    breaks: Counter[str] = field(default_factory=Counter)
    changed: tuple[Levels, Levels] = ((), ())
    _fresh: bool = True
    _buffer: deque[BookEvent] = field(default_factory=lambda: deque(maxlen=MAX_BUFFERED))

    def __post_init__(self) -> None:
        self.book = Book(self.rule.max_levels)

    def feed(self, event: BookEvent) -> Outcome:
        if event.snapshot:
            return self._start(event)
        if not self.needs_snapshot:
            return self._follow(event)
        if self.rule.numbered:
            self._buffer.append(event)
        return Outcome.WAITING

    def lost(self) -> None:
        """The connection is gone, and with it whatever came meanwhile."""
        self.needs_snapshot = True
        self._buffer.clear()

    def _start(self, snapshot: BookEvent) -> Outcome:
        """A snapshot that is behind a book in step (two were on their way) is no news."""
        if not self.needs_snapshot and self.rule.numbered and snapshot.last_id <= self.book.last_id:
            return Outcome.IGNORED
        self.book.replace(snapshot.bids, snapshot.asks)
        self.book.last_id = snapshot.last_id
        self.needs_snapshot, self._fresh = False, True
        kept = list(self._buffer)
        self._buffer.clear()
        if fault := self._fault(snapshot):
            self._buffer.extend(kept)
            return self._break(fault)
        for at, event in enumerate(kept, 1):
            if self._follow(event) is Outcome.BROKEN:
                self._buffer.extend(kept[at:])
                return Outcome.BROKEN
        return Outcome.SYNCED

    def _follow(self, event: BookEvent) -> Outcome:
        fit = self.rule.fit(event, self.book.last_id, self._fresh)
        if fit is Fit.OLD:
            return Outcome.IGNORED
        if fit is Fit.MISSING:
            return self._break(OLD_SNAPSHOT if self._fresh else GAP, event)
        self.changed = self.book.apply(event.bids, event.asks)
        self.book.last_id, self._fresh = event.last_id, False
        fault = self._fault(event)
        return self._break(fault, event) if fault else Outcome.APPLIED

    def _fault(self, event: BookEvent) -> str:
        if self.book.crossed:
            return CROSSED
        return "" if self.rule.agrees(event, self.book) else CHECKSUM

    def _break(self, cause: str, event: BookEvent | None = None) -> Outcome:
        """The event that showed it is the first the next snapshot may need."""
        self.needs_snapshot, self.cause = True, cause
        self.breaks[cause] += 1
        if event is not None and self.rule.numbered:
            self._buffer.append(event)
        return Outcome.BROKEN
