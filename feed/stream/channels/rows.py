"""Bars that are worked out of more than their candle: told as what changed of them, at the commit they are read at."""

from abc import abstractmethod
from collections.abc import Iterable, Iterator, Sequence

from common.byte_lru import ByteLru
from common.market.timeframes.timeframe import Timeframe
from feed.bars.changes import ROUNDS, Cursor
from feed.bars.live import At, Update
from feed.queries.stated_pages import StatedPage
from feed.reading.bounds import Window
from feed.stream.channels.changed_rows import RowsRead, RowsReader
from feed.stream.channels.touched import TouchedSeries, has_reached
from feed.stream.series import ReadAgain, SeriesHost, SeriesListener, bar_source
from feed.stream.topic import Topic
from feed.wire.messages import RowsMessage
from feed.wire.row_bars import RowBar

# Bars that were told, so that only what changed of them is told next.
MAX_HELD_BYTES = 1 << 20


def _held() -> ByteLru[int, RowBar]:
    return ByteLru(MAX_HELD_BYTES, lambda bar: bar.size)


class RowSeries(TouchedSeries):
    """`is_running`: as of RowsReader."""

    is_running = False

    def __init__(self, host: SeriesHost, topic: Topic, timeframe: Timeframe) -> None:
        source = bar_source(host, timeframe)
        super().__init__(host, topic, source)
        self.timeframe = source.grid.timeframe
        self._held = _held()

    @abstractmethod
    async def page(self, window: Window) -> StatedPage:
        """The bars of a window as they are now."""

    @property
    def reader(self) -> RowsReader:
        return RowsReader(self.page, self.timeframe, self.is_running)

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
            if (
                read
                and has_reached(at, read.seq, read.token)
                and all(self.reader.has(open_ms, opens) for open_ms in touched)
            ):
                before = f"{cursor.seq}-{cursor.token}"
                return ReadAgain(read.seq, read.token, read.watermark_ms, list(self._told(read, read.bars, before)))
            opens |= touched
            read = await self.reader.read(opens)
            if read is None:
                return None
        return None

    def touched_by(self, before: At, at: At, updates: Sequence[Update]) -> Iterable[int]:
        yield from super().touched_by(before, at, updates)
        if self.is_running and at.cover.reshaped(before.cover):
            # Where a gap has no bar of its own, the sums after it lack something all the same.
            for from_ms, _ in at.cover.differences(before.cover):
                yield self.timeframe.open_of(from_ms)

    def _restart(self, listeners: set[SeriesListener]) -> None:
        super()._restart(listeners)
        # What a former writer lost may be in them.
        self._held = _held()

    async def _tell_once(self) -> None:
        opens = self._touched.opens
        read = await self.reader.read(opens)
        if read is None:
            self._lost()
            return
        if not await self._followed(read.seq, read.token):
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
