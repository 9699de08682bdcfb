"""Staying in step with a market: the venue's rule of what follows what, and a book that keeps to it.

    sync = BookSync(rule)
    outcome = sync.feed(event)        # diffs and snapshots, as they come
    sync.needs_snapshot               # the shell fetches one, or subscribes again, and feeds it
    sync.book.top(), sync.book.depth(20)

Whatever is in doubt is thrown away: a missing update, a wrong checksum or a crossed book ends the book, and only a
snapshot starts it again. A book that is SYNCED is never crossed.
"""

from collections import Counter, deque
from dataclasses import dataclass, field
from enum import Enum
from typing import Protocol

from common.market.depth.book import Book, Levels

# Diffs kept while the snapshot is on its way: 6 minutes of 100 ms, or a busy futures market for 15 s. Older ones are
# let go, which makes a snapshot that needed them too old: the rule finds out.
MAX_BUFFERED = 4_096

# Why a book was given up.
GAP, OLD_SNAPSHOT, CROSSED, CHECKSUM = "gap", "old_snapshot", "crossed", "checksum"
# Or why its history is broken: a wider snapshot has another book where both are known.
DIFFERENT = "different"


class BookEvent(Protocol):
    """What workers.venues.shared.base.DepthEvent is: a change of the book, or all of it (`snapshot`).

    Size 0 removes a level; of a price that is there twice the later one counts. `whole`: of a snapshot, whether its
    bids and its asks are all there are; else it reaches to the worst of them.
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
    def whole(self) -> tuple[bool, bool]: ...
    @property
    def checksum(self) -> int | None: ...


class Fit(Enum):
    """How a diff follows the book: it is in it already, is the next one, or something is missing between."""

    OLD = 0
    NEXT = 1
    MISSING = 2


class Rule(Protocol):
    """A venue's way to keep a book. `numbered`: diffs carry ids, so those of before the snapshot can be told apart.

    `max_levels`: what the venue lets a client keep. `refills`: it sends each level that comes among the best
    `max_levels`, so that all is known down to the worst one held; else no further than the snapshot reached.
    """

    @property
    def numbered(self) -> bool: ...
    @property
    def refills(self) -> bool: ...
    @property
    def max_levels(self) -> int: ...

    def fit(self, event: BookEvent, last_id: int, fresh: bool) -> Fit:
        """`last_id`: of the book. `fresh`: it is a snapshot without a diff on top."""

    def agrees(self, event: BookEvent, book: Book) -> bool:
        """Whether the venue's checksum is that of the book after the event."""


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
    """Keeps a book by a venue's rule: waits for a snapshot, follows, and waits again after any break.

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
        self.book = Book(self.rule.max_levels, self.rule.refills)

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
        self.book.replace(snapshot.bids, snapshot.asks, snapshot.whole)
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
