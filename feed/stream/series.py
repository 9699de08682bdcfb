"""One topic of one symbol that has listeners.

A LiveSeries follows its symbol's commits one by one. Where it can't (feed.bars.live says when), it reads what changed
since the last commit it knows, while messages wait. So an outage, a missed message, an amendment and a takeover are one
case. Only when the store has not got that last commit any more (a rewind, or an outage longer than the trade stream)
every listener is sent for a fresh snapshot.

What the commits mean to its listeners is the channel's: which updates there are, and how they are told.
"""

import asyncio
import logging
import random
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any, ClassVar, Generic, Protocol, TypeVar

from common.errors import FleetError, StoreUnavailable
from common.market.timeframes.timeframe import Timeframe
from common.store.instrument import InstrumentChanged
from common.store.reads import View
from common.store.registry import Market
from feed.bars.changes import Cursor
from feed.bars.choice import source_of
from feed.bars.data import SymbolData
from feed.bars.live import At
from feed.bars.source import BarSource
from feed.metrics import Metrics
from feed.queries.queries import SymbolQueries
from feed.reading.coverage import KnownCoverage
from feed.stream.topic import Topic
from feed.wire import answers
from feed.wire.messages import Notice, StreamMessage, Told

log = logging.getLogger(__name__)

# Messages that wait while a series is read again, which takes milliseconds. If more come, it is read once more.
BACKLOG = 64
MIN_BACKOFF_S, MAX_BACKOFF_S = 0.05, 2.0
# Gaps in one gap message, the newest; health has their number.
MAX_GAPS = 100

U_co = TypeVar("U_co", covariant=True)


class SeriesListener(Protocol):
    """One subscription of one client. None of its methods waits.

    `seq`, `token`: the commit of its snapshot; it needs nothing up to that one.
    """

    seq: int
    token: str

    def ready(self) -> None:
        """The series has begun: from now on all news is pushed."""

    def push(self, message: StreamMessage) -> None:
        """It replaces older news about the same."""

    def restart(self) -> None:
        """What the listener has been told is not true any more: it needs a snapshot."""

    def move(self, series: "LiveSeries[Any]") -> None:
        """The symbol has been changed: what follows comes from another series, and begins with a snapshot."""

    def end(self, error: FleetError) -> None:
        """There will be no more news."""


class Followed(Protocol[U_co]):
    """What is true at the last commit applied, `at`."""

    at: At

    def apply(self, message: Any, cover: KnownCoverage | None) -> Sequence[U_co] | None:
        """Take the next message; None if it can't be said what it changed."""


class FollowedChanges(Protocol[U_co]):
    """What leads from a cursor to `live.at`."""

    @property
    def live(self) -> Followed[U_co]: ...

    @property
    def updates(self) -> Sequence[U_co]: ...


class FollowedSource(Protocol[U_co]):
    """As feed.bars.source.BarSource has it."""

    async def live(self) -> tuple[Followed[U_co], View]: ...

    async def changes(self, cursor: Cursor, known: KnownCoverage | None = None) -> FollowedChanges[U_co] | None: ...


@dataclass(frozen=True, slots=True)
class SeriesHost:
    """Whose series it is. `symbol`: how its snapshots are read; `data`: what it follows.

    `on_begin` is told what was seen with the first read; `on_changed`, that the symbol is not the market it was.
    """

    symbol: SymbolQueries
    data: SymbolData
    metrics: Metrics
    on_begin: Callable[[View], None]
    on_changed: Callable[[], None]

    @property
    def market(self) -> Market:
        return self.symbol.market


@dataclass(frozen=True, slots=True)
class SnapshotRead:
    """What a subscription begins with, and what it is true of: a commit, or the number of a book.

    `frame`: what follows it as a binary message.
    """

    told: Told
    view: View
    at: At | None = None
    frame: bytes | None = None


@dataclass(frozen=True, slots=True)
class ReadAgain:
    """What changed since a cursor, as told, and the commit it leads to."""

    seq: int
    token: str
    watermark_ms: int
    messages: Sequence[StreamMessage]
    held: str = ""

    @property
    def cursor(self) -> str:
        return str(Cursor(self.seq, self.token, self.held))


class Hears(Enum):
    """The pub/sub channel of its symbol that a series follows."""

    COMMITS = "commits"
    BOOK = "book"


class Heard(Protocol):
    """A message of such a channel."""

    @property
    def seq(self) -> int: ...

    @property
    def token(self) -> str: ...


class LiveSeries(ABC, Generic[U_co]):
    """`live` is None until first read. `epoch` counts changes of the writer, across which reads may not fit."""

    hears: ClassVar[Hears] = Hears.COMMITS

    def __init__(self, host: SeriesHost, topic: Topic, source: FollowedSource[U_co]) -> None:
        self.host = host
        self.topic = topic
        self.source = source
        self.live: Followed[U_co] | None = None
        self.epoch = 0
        self.listeners: set[SeriesListener] = set()
        self.names = topic.names(host.market)
        self._backlog: deque[tuple[Heard, KnownCoverage | None]] = deque(maxlen=BACKLOG)
        self._reading: asyncio.Task[None] | None = None
        self._again = False

    @abstractmethod
    async def snapshot(self, limit: int) -> SnapshotRead:
        """What a listener begins with."""

    @abstractmethod
    async def changes_since(self, cursor: Cursor) -> ReadAgain | None:
        """What changed since a listener was there; None if that can't be said."""

    @abstractmethod
    def _tell_updates(self, before: At, at: At, updates: Sequence[Any]) -> None:
        """Updates led from one commit to a later one: tell the listeners."""

    @property
    def market(self) -> Market:
        return self.host.market

    def take(self, message: Heard, cover: KnownCoverage | None) -> None:
        """The next message. `cover`: its coverage, where it is a commit's and has all of it."""
        if self._reading or self.live is None:
            self._backlog.append((message, cover))
        elif not self._apply(self.live, message, cover):
            self.read_again("missed" if message.seq != self.live.at.seq + 1 else "changed")

    def read_again(self, why: str) -> None:
        """Read what changed since the last commit known, or begin."""
        self.host.metrics.resyncs.labels(why).inc()
        if self._reading:
            self._again = True
        else:
            self._reading = asyncio.create_task(self._read())

    def end(self, error: FleetError) -> None:
        """There will be no more news."""
        for listener in list(self.listeners):
            listener.end(error)

    def close(self) -> None:
        if self._reading:
            self._reading.cancel()

    def tell(self, kind: str, content: Mapping[str, object]) -> None:
        """Push news that is not about what it follows, as of the last commit applied."""
        if self.live:
            self._push(Notice(self.names, self.live.at.seq, kind, self.live.at.cursor, content))

    def _lost(self) -> None:
        """The store has not got the last commit known any more."""
        self._restart(self.listeners)

    def _restart(self, listeners: set[SeriesListener]) -> None:
        self.epoch += 1
        for listener in listeners:
            listener.restart()

    def _push(self, message: StreamMessage) -> None:
        for listener in self.listeners:
            listener.push(message)

    def _apply(self, live: Followed[U_co], message: Heard, cover: KnownCoverage | None) -> bool:
        """Apply the next commit; False if the series has to be read again."""
        before = live.at
        if message.token == before.token and message.seq <= before.seq:
            return True
        updates = live.apply(message, cover)
        if updates is None:
            return False
        self._tell_updates(before, live.at, updates)
        return True

    async def _read(self) -> None:
        failures = 0
        while True:
            self._again = False
            try:
                await self._catch_up()
                is_done = not self._again and self._drained()
                failures = 0
            except InstrumentChanged:
                # Another series takes its place, and what waits here is of no use to anybody.
                self.host.on_changed()
                return
            except Exception as error:
                known = isinstance(error, StoreUnavailable)
                log.warning("series waits", extra={"series": self.names, "error": str(error)}, exc_info=not known)
                await pause_after(failures)
                failures += 1
                continue
            if is_done:
                break
        self._reading = None

    def _drained(self) -> bool:
        """Apply what came while reading; False if it does not follow."""
        while self._backlog and self.live:
            if not self._apply(self.live, *self._backlog.popleft()):
                return False
        return True

    async def _catch_up(self) -> None:
        if self.live is None:
            self.live, view = await self.source.live()
            self.host.on_begin(view)
            for listener in self.listeners:
                listener.ready()
            return
        before = self.live.at
        changes = await self.source.changes(Cursor(before.seq, before.token), before.cover)
        if changes is None:
            self.live, _ = await self.source.live()
            self._lost()
            return
        self.live = changes.live
        at = self.live.at
        if at.token != before.token:
            # Who has a snapshot newer than our last commit may hold what the former writer lost.
            self._restart({one for one in self.listeners if one.seq > before.seq and one.token != at.token})
        if at.cover.reshaped(before.cover):
            self._tell_gaps(before.cursor, at)
        self._tell_updates(before, at, changes.updates)

    def _tell_gaps(self, cursor: str, at: At) -> None:
        gaps = [answers.gap(hole) for hole in at.cover.newest_holes(MAX_GAPS)]
        self._push(Notice(self.names, at.seq, "gap", cursor, {"gaps": gaps}))


class ToldAtOnce(LiveSeries[U_co]):
    """One whose updates are all that its listeners are told."""

    @abstractmethod
    def messages(self, before: At, at: At, updates: Sequence[Any]) -> Iterator[StreamMessage]:
        """What led from one commit to a later one, as it is told. A listener that has all of it is at `at`."""

    async def changes_since(self, cursor: Cursor, known: KnownCoverage | None = None) -> ReadAgain | None:
        """`known`: the coverage that the listener knows; else a gap that has changed since can't be told."""
        changes = await self.source.changes(cursor, known)
        if changes is None:
            return None
        at = changes.live.at
        before = replace(at, seq=cursor.seq, token=cursor.token)
        return ReadAgain(at.seq, at.token, at.watermark_ms, list(self.messages(before, at, changes.updates)))

    def _tell_updates(self, before: At, at: At, updates: Sequence[Any]) -> None:
        for message in self.messages(before, at, updates):
            self._push(message)


def bar_source(host: SeriesHost, timeframe: Timeframe) -> BarSource:
    return source_of(host.data, host.market.instrument.anchored(timeframe))


async def pause_after(failures: int) -> None:
    """Before what failed so many times in a row is tried again."""
    await asyncio.sleep(random.uniform(0, min(MIN_BACKOFF_S * 2**failures, MAX_BACKOFF_S)))
