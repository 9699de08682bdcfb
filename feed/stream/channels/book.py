"""The order book: its best levels, and what changes of them; and the best bid and ask alone.

A book has no commits. Each that its worker writes has a number, and while it has listeners it is published whole, at
the venue's pace. Where a number is missing, the book is read once more, and every listener begins again.
"""

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

from common.market.depth.book import Level
from common.store.book import BookReader, BookSnapshot, NumberedBook
from common.store.reads import SymbolReader, View
from feed.bars.changes import Cursor
from feed.bars.live import At
from feed.queries.book import DEPTH, is_live, numbered, reader_of, told_head
from feed.queries.quote import told_quote
from feed.reading.coverage import EMPTY, KnownCoverage
from feed.stream.channels.channel import Channel
from feed.stream.series import Hears, LiveSeries, ReadAgain, SeriesHost, SnapshotRead
from feed.stream.topic import Topic
from feed.wire.answers import SymbolAnswer, told_levels
from feed.wire.messages import BookMessage, Notice, StreamMessage


@dataclass(frozen=True, slots=True)
class BookStep:
    """A book, and the one before it."""

    before: BookSnapshot
    after: BookSnapshot


@dataclass(slots=True)
class LiveBook:
    """`at`: the number of the book, in the place of a commit. None: there is none yet."""

    at: At
    book: BookSnapshot | None

    @classmethod
    def of(cls, found: NumberedBook | None) -> "LiveBook":
        return cls(_at(found), found.book if found else None)

    def apply(self, message: NumberedBook, cover: KnownCoverage | None) -> list[BookStep] | None:
        before = self.book
        if before is None or (message.token, message.seq) != (self.at.token, self.at.seq + 1):
            return None
        self.at, self.book = _at(message), message.book
        return [BookStep(before, message.book)]


def _at(found: NumberedBook | None) -> At:
    return At(found.seq, found.token, -1, EMPTY, -1) if found else At(0, "", -1, EMPTY, -1)


@dataclass(frozen=True, slots=True)
class BookChanges:
    live: LiveBook
    updates: list[BookStep]


@dataclass(frozen=True, slots=True)
class BookSource:
    store: SymbolReader
    reader: BookReader

    async def live(self) -> tuple[LiveBook, View]:
        return LiveBook.of(await self.reader.numbered()), await self.store.view()

    async def changes(self, cursor: Cursor, known: KnownCoverage | None = None) -> BookChanges | None:
        """None, if there are any: what is gone of a book is not kept."""
        live = LiveBook.of(await self.reader.numbered())
        return BookChanges(live, []) if (live.at.seq, live.at.token) == (cursor.seq, cursor.token) else None


class OfBook(LiveSeries[BookStep]):
    hears: ClassVar[Hears] = Hears.BOOK

    def __init__(self, host: SeriesHost, topic: Topic) -> None:
        super().__init__(host, topic, BookSource(host.data.store, reader_of(host.symbol)))

    async def snapshot(self, limit: int) -> SnapshotRead:
        found, view = await numbered(self.host.symbol)
        at = _at(found)
        fields = self.fields(found.book, is_live=is_live(found.book, view, self.host.symbol))
        fields |= {"cursor": at.cursor, "health": self.host.symbol.health(view)}
        return SnapshotRead(SymbolAnswer(self.market, fields), view, at)

    async def changes_since(self, cursor: Cursor) -> ReadAgain | None:
        return None

    def _tell_updates(self, before: At, at: At, updates: Sequence[BookStep]) -> None:
        for step in updates:
            for message in self.messages(at, step):
                self._push(message)

    @abstractmethod
    def fields(self, book: BookSnapshot, *, is_live: bool) -> dict[str, object]:
        """What a snapshot says of the book."""

    @abstractmethod
    def messages(self, at: At, step: BookStep) -> Iterator[StreamMessage]:
        """What is told of the change."""


class BookSeries(OfBook):
    def __init__(self, host: SeriesHost, topic: Topic, depth: int) -> None:
        super().__init__(host, topic)
        self._depth = depth

    def fields(self, book: BookSnapshot, *, is_live: bool) -> dict[str, object]:
        sides = {"bids": book.bids, "asks": book.asks}
        levels = {side: told_levels(each[: self._depth], self.market.instrument) for side, each in sides.items()}
        return told_head(book, is_live=is_live) | levels

    def messages(self, at: At, step: BookStep) -> Iterator[StreamMessage]:
        bids = _changed(step.before.bids[: self._depth], step.after.bids[: self._depth])
        asks = _changed(step.before.asks[: self._depth], step.after.asks[: self._depth])
        if bids or asks or step.before.live != step.after.live:
            head = told_head(step.after, is_live=step.after.live)
            yield BookMessage(self.names, at.seq, "book", at.cursor, head, bids, asks, self.market.instrument)


class QuoteSeries(OfBook):
    def __init__(self, host: SeriesHost, topic: Topic, _: None) -> None:
        super().__init__(host, topic)

    def fields(self, book: BookSnapshot, *, is_live: bool) -> dict[str, object]:
        return told_quote(book, self.market.instrument, is_live=is_live)

    def messages(self, at: At, step: BookStep) -> Iterator[StreamMessage]:
        if _best(step.before) != _best(step.after):
            content = self.fields(step.after, is_live=step.after.live)
            yield Notice(self.names, at.seq, "quote", at.cursor, content)


def _changed(before: list[Level], after: list[Level]) -> dict[int, int]:
    """Levels with the sizes they have now, 0 of those that are none of the best any more."""
    held, now = dict(before), dict(after)
    return dict.fromkeys(held.keys() - now.keys(), 0) | dict(now.items() - held.items())


def _best(book: BookSnapshot) -> tuple[list[Level], list[Level], bool]:
    return book.bids[:1], book.asks[:1], book.live


BOOK = Channel("book", (DEPTH,), lambda given: given[DEPTH], BookSeries, limit=None)
QUOTE = Channel("quote", (), lambda given: None, QuoteSeries, limit=None)
