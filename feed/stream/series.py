"""One symbol and timeframe that has listeners.

A LiveSeries follows its symbol's commits one by one. Where it can't (feed.bars.live says when), it reads what changed
since the last commit it knows, while messages wait. So an outage, a missed message, an amendment and a takeover are one
case. Only when the store has not got that last commit any more (a rewind, or an outage longer than the trade stream)
every listener is sent for a fresh snapshot.
"""

import asyncio
import logging
import random
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from typing import Protocol

from common.errors import FleetError, StoreUnavailable
from common.market.timeframes.timeframe import Timeframe
from common.store.instrument import InstrumentChanged
from common.store.messages import CommitMessage
from common.store.reads import View
from common.store.registry import Market
from feed.bars.changes import Cursor
from feed.bars.live import At, Live, Update
from feed.bars.source import BarSource
from feed.metrics import Metrics
from feed.reading.coverage import KnownCoverage
from feed.wire import answers
from feed.wire.messages import BarMessage, Notice, StreamMessage

log = logging.getLogger(__name__)

# Messages that wait while a series is read again, which takes milliseconds. If more come, it is read once more.
BACKLOG = 64
MIN_BACKOFF_S, MAX_BACKOFF_S = 0.05, 2.0
# Gaps in one gap message, the newest; health has their number.
MAX_GAPS = 100


class BarListener(Protocol):
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

    def move(self, series: "LiveSeries") -> None:
        """The symbol has been changed: what follows comes from another series, and begins with a snapshot."""

    def end(self, error: FleetError) -> None:
        """There will be no more news."""


class LiveSeries:
    """`live` is None until first read. `epoch` counts changes of the writer, across which reads may not fit.

    `on_begin` is told what was seen with the first read; `on_changed`, that the symbol is not the market it was.
    """

    def __init__(
        self,
        market: Market,
        source: BarSource,
        metrics: Metrics,
        on_begin: Callable[[View], None],
        on_changed: Callable[[], None],
    ) -> None:
        self.market = market
        self.source = source
        self.live: Live | None = None
        self.epoch = 0
        self.listeners: set[BarListener] = set()
        self.names = answers.head(market, source.grid.timeframe.text).decode()
        self._metrics = metrics
        self._on_begin = on_begin
        self._on_changed = on_changed
        self._backlog: deque[tuple[CommitMessage, KnownCoverage | None]] = deque(maxlen=BACKLOG)
        self._reading: asyncio.Task[None] | None = None
        self._again = False

    @property
    def timeframe(self) -> Timeframe:
        return self.source.grid.timeframe

    def take(self, message: CommitMessage, cover: KnownCoverage | None) -> None:
        """The symbol's next commit. `cover`: its coverage, where the message has all of it."""
        if self._reading or self.live is None:
            self._backlog.append((message, cover))
        elif not self._apply(self.live, message, cover):
            self.read_again("missed" if message.seq != self.live.at.seq + 1 else "changed")

    def read_again(self, why: str) -> None:
        """Read what changed since the last commit known, or begin."""
        self._metrics.resyncs.labels(why).inc()
        if self._reading:
            self._again = True
        else:
            self._reading = asyncio.create_task(self._read())

    def close(self) -> None:
        if self._reading:
            self._reading.cancel()

    def tell(self, kind: str, content: Mapping[str, object]) -> None:
        """Push news that is not about bars, as of the last commit applied."""
        if self.live:
            self._push(Notice(self.names, self.live.at.seq, kind, self.live.at.cursor, content))

    def bar_messages(self, before: str, at: At, updates: list[Update]) -> Iterator[BarMessage]:
        """Messages of bars that changed together. A client that is cut off between two of them must resume before all
        of them, so only the last one carries the new cursor."""
        for update in updates:
            cursor = at.cursor if update is updates[-1] else before
            yield BarMessage(self.names, at.seq, update.open_ms, cursor, update, self.market.instrument)

    def _apply(self, live: Live, message: CommitMessage, cover: KnownCoverage | None) -> bool:
        """Apply the next commit; False if the series has to be read again."""
        before = live.at
        if message.token == before.token and message.seq <= before.seq:
            return True
        updates = live.apply(message, cover)
        if updates is None:
            return False
        self._tell_bars(before.cursor, updates)
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
                self._on_changed()
                return
            except Exception as error:
                known = isinstance(error, StoreUnavailable)
                log.warning("series waits", extra={"series": self.names, "error": str(error)}, exc_info=not known)
                await asyncio.sleep(random.uniform(0, min(MIN_BACKOFF_S * 2**failures, MAX_BACKOFF_S)))
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
            self._on_begin(view)
            for listener in self.listeners:
                listener.ready()
            return
        before = self.live.at
        changes = await self.source.changes(Cursor(before.seq, before.token), before.cover)
        if changes is None:
            self.live, _ = await self.source.live()
            self._restart(self.listeners)
            return
        self.live = changes.live
        if self.live.at.token != before.token:
            # Who has a snapshot newer than our last commit may hold what the former writer lost.
            self._restart({one for one in self.listeners if one.seq > before.seq and one.token != self.live.at.token})
        if self.live.at.cover.reshaped(before.cover):
            self._tell_gaps(before.cursor, self.live.at.cover)
        self._tell_bars(before.cursor, changes.updates)

    def _restart(self, listeners: set[BarListener]) -> None:
        self.epoch += 1
        for listener in listeners:
            listener.restart()

    def _tell_gaps(self, cursor: str, cover: KnownCoverage) -> None:
        assert self.live
        gaps = [answers.gap(hole) for hole in cover.newest_holes(MAX_GAPS)]
        self._push(Notice(self.names, self.live.at.seq, "gap", cursor, {"gaps": gaps}))

    def _tell_bars(self, before: str, updates: list[Update]) -> None:
        assert self.live
        for message in self.bar_messages(before, self.live.at, updates):
            self._push(message)

    def _push(self, message: StreamMessage) -> None:
        for listener in self.listeners:
            listener.push(message)
