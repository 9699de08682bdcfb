"""Bars that are worked out of more than their candle: told as what changed of them, at the commit they are read at.

A commit says which bars it touched. These are read once more, at most every EVERY_S, and what is told of them is true
of the commit they are read at; so it is told once the series has followed up to that commit, and knows of no other bar
that was touched by then. A client that has it all is at that commit.
"""

import asyncio
import logging
import time
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from common.byte_lru import ByteLru
from common.errors import FleetError, StoreUnavailable
from common.market.timeframes.timeframe import Timeframe
from common.store.instrument import InstrumentChanged
from feed.bars.changes import ROUNDS, Cursor
from feed.bars.live import At, Update
from feed.queries.stated_pages import StatedPage
from feed.reading.bounds import Window
from feed.reading.lanes import Busy
from feed.stream.channels.changed_rows import RowsRead, RowsReader
from feed.stream.series import LiveSeries, ReadAgain, SeriesHost, SeriesListener, bar_source, pause_after
from feed.stream.topic import Topic
from feed.wire.messages import RowsMessage
from feed.wire.row_bars import RowBar

log = logging.getLogger(__name__)

# Between the beginnings of two reads; and how many times as long as a read takes there is none.
EVERY_S = 0.05
REST = 3
# Bars that were told, so that only what changed of them is told next.
MAX_HELD_BYTES = 1 << 20
# How long a read waits for the series to follow.
FOLLOW_S = 1.0


@dataclass(slots=True)
class TouchedBars:
    """Bars to be read: by their opens, the first and the last commit that touched them."""

    _commits: dict[int, tuple[int, int]] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self._commits)

    @property
    def opens(self) -> frozenset[int]:
        return frozenset(self._commits)

    def add(self, open_ms: int, first_seq: int, last_seq: int) -> None:
        known = self._commits.get(open_ms)
        self._commits[open_ms] = known[0] if known else first_seq, last_seq

    def until(self, seq: int) -> frozenset[int]:
        """Those that had been touched by then."""
        return frozenset(open_ms for open_ms, (first_seq, _) in self._commits.items() if first_seq <= seq)

    def told(self, seq: int) -> None:
        """All are told as they were at that commit."""
        self._commits = {
            open_ms: (max(first_seq, seq + 1), last_seq)
            for open_ms, (first_seq, last_seq) in self._commits.items()
            if last_seq > seq
        }


def _held() -> ByteLru[int, RowBar]:
    return ByteLru(MAX_HELD_BYTES, lambda bar: bar.size)


class RowSeries(LiveSeries[Update]):
    """`is_running`: as of RowsReader. `_complete`: the cursor of a client that has all that was told."""

    is_running = False

    def __init__(self, host: SeriesHost, topic: Topic, timeframe: Timeframe) -> None:
        source = bar_source(host, timeframe)
        super().__init__(host, topic, source)
        self.timeframe = source.grid.timeframe
        self._touched = TouchedBars()
        self._held = _held()
        self._complete = ""
        self._moved = asyncio.Event()
        self._telling: asyncio.Task[None] | None = None

    @abstractmethod
    async def page(self, window: Window) -> StatedPage:
        """The bars of a window as they are now."""

    @property
    def reader(self) -> RowsReader:
        return RowsReader(self.page, self.timeframe, self.is_running)

    def close(self) -> None:
        super().close()
        if self._telling:
            self._telling.cancel()

    async def changes_since(self, cursor: Cursor) -> ReadAgain | None:
        read: RowsRead | None = None
        opens: frozenset[int] = frozenset()
        for _ in range(ROUNDS):
            changes = await self.source.changes(cursor)
            if changes is None:
                return None
            at, touched = changes.live.at, frozenset(update.open_ms for update in changes.updates)
            if not touched:
                return ReadAgain(at.seq, at.token, at.watermark_ms, [])
            if read and _has_reached(at, read) and all(self.reader.has(open_ms, opens) for open_ms in touched):
                before = f"{cursor.seq}-{cursor.token}"
                return ReadAgain(read.seq, read.token, read.watermark_ms, list(self._told(read, read.bars, before)))
            opens |= touched
            read = await self.reader.read(opens)
            if read is None:
                return None
        return None

    def _tell_updates(self, before: At, at: At, updates: Sequence[Update]) -> None:
        """Not yet: note what is to be read."""
        if not self._touched:
            self._complete = before.cursor
        for update in updates:
            self._touched.add(update.open_ms, before.seq + 1, at.seq)
        self._moved.set()
        if self._touched and self._telling is None:
            self._telling = asyncio.create_task(self._tell_touched())

    def _restart(self, listeners: set[SeriesListener]) -> None:
        super()._restart(listeners)
        # What a former writer lost may be in them.
        self._held = _held()

    def _lost(self) -> None:
        super()._lost()
        self._touched = TouchedBars()
        self._moved.set()

    async def _tell_touched(self) -> None:
        """Read and tell until nothing is left to be told."""
        failures = 0
        while self._touched:
            began_s = time.monotonic()
            try:
                await self._tell_once()
                failures = 0
            except InstrumentChanged:
                self.host.on_changed()
                break
            except (StoreUnavailable, Busy) as error:
                log.warning("rows wait", extra={"series": self.names, "error": str(error)})
                await pause_after(failures)
                failures += 1
            except FleetError as error:
                self.end(error)
                break
            except Exception:
                log.exception("rows failed", extra={"series": self.names})
                await pause_after(failures)
                failures += 1
            took_s = time.monotonic() - began_s
            await asyncio.sleep(max(EVERY_S - took_s, REST * took_s))
        self._telling = None

    async def _tell_once(self) -> None:
        opens = self._touched.opens
        read = await self.reader.read(opens)
        if read is None:
            self._lost()
            return
        if not await self._followed(read):
            return
        if not all(self.reader.has(open_ms, opens) for open_ms in self._touched.until(read.seq)):
            return
        changed = [bar for bar in read.bars if self._held.get(bar.open_ms) != bar]
        patches = [bar.since(self._held.get(bar.open_ms)) for bar in changed]
        for message in self._told(read, patches, self._complete):
            self._push(message)
        for bar in changed:
            self._held.put(bar.open_ms, bar)
        self._touched.told(read.seq)
        self._complete = read.cursor

    def _told(self, read: RowsRead, bars: Sequence[RowBar], before: str) -> Iterator[RowsMessage]:
        """Only the last message carries the new cursor, as that of bars that changed together."""
        for bar in bars:
            cursor = read.cursor if bar is bars[-1] else before
            yield RowsMessage(self.names, read.seq, bar.open_ms, cursor, self.topic.channel, bar)

    async def _followed(self, read: RowsRead) -> bool:
        """Wait until the series is at the commit that was read; False if it went another way."""
        try:
            async with asyncio.timeout(FOLLOW_S):
                while self.live and not _has_reached(self.live.at, read):
                    if self.live.at.seq > read.seq:
                        return False
                    self._moved.clear()
                    await self._moved.wait()
        except TimeoutError:
            return False
        return True


def _has_reached(at: At, read: RowsRead) -> bool:
    return at.token == read.token and at.seq >= read.seq
