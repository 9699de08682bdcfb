"""What changed since a cursor: the seam between an answer or a lost connection and the stream.

The trade stream has one entry per commit. If it still has the one the cursor names, the entries after it say which
bars were touched since; these are read as they are now. Together they are one sequence with what came before: nothing
is lost, and nothing is told that did not change.
"""

import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace

import polars as pl

from common.errors import ArchiveDamaged, ArchiveUnavailable, BadInput
from common.market.coding import codec
from common.market.timeframes.timeframe import MINUTE_MS, Timeframe, minute_of
from common.series import CANDLES
from common.store.reads import SymbolState, TradeEntry, View
from feed.bars.by_trade import BarRecipe, read_traded
from feed.bars.days import read_days
from feed.bars.live import RECENT_BARS, At, BarGrid, Live, MinuteLive, TradeLive, Update
from feed.bars.minutes import Closed, candles_of, grow, merged, united
from feed.bars.tail import TailReading, Tails
from feed.reading.bounds import FOREVER_MS, Bounds, Span
from feed.reading.coverage import KnownCoverage
from feed.reading.history import History
from feed.reading.tape import EVERYTHING, Tapes, TapeView
from feed.reading.trade_archive import Kept, Overtaken, TradeHistory

# Beyond that a fresh snapshot is the shorter answer.
MAX_SPANS = 1_000
MAX_MINUTES = 200_000
# Of trades that are archived: each is read apart.
MAX_PAST_SPANS = 64
# Bars of days that are looked through for those that changed.
MAX_DAYS = 4_000
ROUNDS = 16

_CURSOR = re.compile(r"([0-9]{1,19})-([0-9A-Za-z]{0,64})", re.ASCII)


@dataclass(frozen=True, slots=True)
class Cursor:
    """Names a commit: its seq and its writer's token."""

    seq: int
    token: str

    @classmethod
    def parse(cls, text: str) -> "Cursor":
        match = _CURSOR.fullmatch(text)
        if not match or int(match[1]) >= 1 << 63:
            raise BadInput(f"cursor {text[:40]!r} is not one that an answer or a message carried")
        return cls(int(match[1]), match[2])


@dataclass(frozen=True, slots=True)
class BarChanges:
    """`updates`, oldest bar first, lead from the cursor to `live.at`."""

    live: Live
    updates: list[Update]


@dataclass(frozen=True, slots=True)
class Sources:
    """Where one symbol's bars are read."""

    reader: History
    tails: Tails
    tapes: Tapes
    past: TradeHistory

    async def live(self, grid: BarGrid) -> tuple[Live, View]:
        """Return live bars as of now, and the view they are of."""
        if grid.timeframe.of_days:
            closed = await self._days(grid, None)
            if closed:
                return _day_live(grid, closed), closed.view
        if grid.timeframe.of_minutes:
            reading = await self.tails.read(self.reader, grid.instrument, grid.timeframe)
            return _minute_live(grid, reading), reading.view
        taped = await self.tapes.read(self.reader)
        return await self._trade_live(grid, taped), taped.view

    async def changes(self, grid: BarGrid, cursor: Cursor, known: KnownCoverage | None = None) -> BarChanges | None:
        """Return what changed since the cursor, or None if that can't be said: a snapshot is due.

        `known`: the coverage at the cursor. Without it a gap that changed since is a reason for None, for its bars may
        have become partial, or stopped being so, without a trade of their own.
        """
        if grid.timeframe.of_days:
            changes = await self._of_days(grid, cursor, known)
            if changes:
                return changes
        if grid.timeframe.of_minutes:
            return await self._of_minutes(grid, cursor, known)
        return await self._of_trades(grid, cursor, known)

    async def _days(self, grid: BarGrid, since_seq: int | None, from_ms: int | None = None) -> Closed | None:
        """Read the closed part of the newest bar, or all bars that open from `from_ms` on."""
        if from_ms is None:
            bounds = Bounds(0, FOREVER_MS, 1, oldest_first=False)
        else:
            bounds = Bounds(from_ms, FOREVER_MS, MAX_DAYS, oldest_first=True)
        return await read_days(self.reader, grid.timeframe, bounds, since_seq)

    async def _of_days(self, grid: BarGrid, cursor: Cursor, known: KnownCoverage | None) -> BarChanges | None:
        from_ms: int | None = None
        for _ in range(ROUNDS):
            closed = await self._days(grid, cursor.seq, from_ms)
            if closed is None:
                return None
            touched = _touched(grid, closed.view.state, closed.view.entries, cursor, known)
            if touched is None:
                return None
            live, spans = _day_live(grid, closed), united(touched.spans(grid.timeframe))
            if not spans:
                return BarChanges(live, [])
            if from_ms is not None and not closed.to_end:
                return None
            if from_ms is not None and from_ms <= spans[0][0]:
                return BarChanges(live, list(_day_updates(live, touched, closed, spans)))
            from_ms = spans[0][0]
        return None

    async def _of_minutes(self, grid: BarGrid, cursor: Cursor, known: KnownCoverage | None) -> BarChanges | None:
        spans: list[Span] = []
        for _ in range(ROUNDS):
            reading = await self.tails.read(self.reader, grid.instrument, grid.timeframe, spans, cursor.seq)
            touched = _touched(grid, reading.view.state, reading.view.entries, cursor, known)
            if touched is None:
                return None
            needed = united(touched.closed_spans(grid.timeframe))
            if len(needed) > MAX_SPANS or sum(to - start for start, to in needed) > MAX_MINUTES * MINUTE_MS:
                return None
            # What was touched by a commit that came between the two reads is read in the next round.
            if set(needed) <= set(spans):
                live = _minute_live(grid, reading)
                return BarChanges(live, list(_minute_updates(live, touched, reading)))
            spans = needed
        return None

    async def _of_trades(self, grid: BarGrid, cursor: Cursor, known: KnownCoverage | None) -> BarChanges | None:
        taped = await self.tapes.read(self.reader, cursor.seq)
        touched = _touched(grid, taped.view.state, taped.view.entries, cursor, known)
        if touched is None:
            return None
        live = await self._trade_live(grid, taped)
        spans = united(touched.spans(grid.timeframe))
        if not spans:
            return BarChanges(live, [])
        try:
            bars = await self._traded(grid, taped, spans)
        except (ArchiveUnavailable, ArchiveDamaged, Overtaken):
            return None
        if bars is None:
            return None
        return BarChanges(live, [grid.update(bar, live.at, touched.was_ms) for bar in candles_of(bars)])

    async def _traded(self, grid: BarGrid, taped: TapeView, spans: list[Span]) -> pl.DataFrame | None:
        """Read the bars that open in these spans; None if that is too much of the archive, or not there as it was."""
        making = BarRecipe.candles(grid.timeframe, taped.sources)
        cut_ms = self.past.first_whole(taped, grid.timeframe) or 0
        older = [span for span in spans if span[0] < cut_ms]
        if len(older) > MAX_PAST_SPANS:
            return None
        parts: list[pl.DataFrame] = []
        for from_ms, to_ms in older:
            bounds = replace(EVERYTHING, start_ms=from_ms, end_ms=to_ms)
            found = await read_traded(self.past, taped, making, bounds)
            if found.more_ms is not None or found.kept.faults:
                return None
            parts.append(found.bars)
        newer = spans[len(older) :]
        if newer:
            bars = taped.bars(grid.timeframe, replace(EVERYTHING, start_ms=newer[0][0], end_ms=newer[-1][1]))
            inside = pl.any_horizontal(pl.col("open_ms").is_between(*span, closed="left") for span in newer)
            parts.append(bars.filter(inside))
        return pl.concat(parts)

    async def _trade_live(self, grid: BarGrid, taped: TapeView) -> TradeLive:
        """The newest bars of which the tape has all trades; only the growing one may be of the archive, too."""
        state, timeframe = taped.view.state, grid.timeframe
        growing_ms = timeframe.open_of(max(state.watermark_ms, 0)) if state else 0
        first_ms, kept = timeframe.open_of(max(taped.from_ms, 0)), Kept(taped.from_ms)
        cut_ms = self.past.first_whole(taped, timeframe)
        if cut_ms is not None:
            first_ms = min(cut_ms, growing_ms)
        bounds = replace(EVERYTHING, start_ms=first_ms, limit=RECENT_BARS + 1)
        bars = taped.bars(timeframe, bounds)
        if cut_ms is not None:
            # Where the archive does not answer, the growing bar is partial.
            with suppress(ArchiveUnavailable, ArchiveDamaged):
                found = await read_traded(self.past, taped, BarRecipe.candles(timeframe, taped.sources), bounds)
                bars, kept = found.bars, found.kept
        recent = candles_of(bars.tail(RECENT_BARS))
        from_ms = recent[0].open_ms if len(bars) > len(recent) else first_ms
        at = At.of(state, grid.instrument.ids, kept.from_ms + 1, kept.lacks)
        return TradeLive(grid, at, {bar.open_ms: bar for bar in recent}, from_ms, taped.sources)


@dataclass(frozen=True, slots=True)
class Touched:
    """Bars that changed after the watermark was `was_ms`: by their opens, and all those within spans of time."""

    was_ms: int
    growing_ms: int
    opens: set[int]
    ranges: list[tuple[int, int]]

    def spans(self, timeframe: Timeframe) -> Iterator[Span]:
        for open_ms in self.opens:
            yield open_ms, timeframe.next_open(open_ms)
        for from_ms, to_ms in self.ranges:
            yield timeframe.open_of(from_ms), timeframe.next_open(timeframe.open_of(to_ms))

    def closed_spans(self, timeframe: Timeframe) -> list[Span]:
        """The same without the growing bar, which the tail has."""
        return [(start, min(end, self.growing_ms)) for start, end in self.spans(timeframe) if start < self.growing_ms]

    def grew(self, timeframe: Timeframe) -> bool:
        return any(end > self.growing_ms for _, end in self.spans(timeframe))


def _touched(
    grid: BarGrid, state: SymbolState | None, entries: list[TradeEntry], cursor: Cursor, known: KnownCoverage | None
) -> Touched | None:
    """Return what commits after the cursor's touched; None if the stream has not got the cursor's commit."""
    entries = [entry for entry in entries if entry.seq >= cursor.seq]
    if state is None or not entries or (entries[0].seq, entries[0].token) != (cursor.seq, cursor.token):
        return None
    if known is None and state.reshaped_seq > cursor.seq:
        return None
    timeframe, was_ms = grid.timeframe, entries[0].watermark_ms
    opens = {timeframe.open_of(ts_ms) for ts_ms in _times(entries[1:], timeframe)}
    before_ms = timeframe.open_of(max(was_ms, 0))
    if timeframe.next_open(before_ms) <= state.watermark_ms:
        # It was growing then, and is closed now even if no trade came: by the clock.
        opens.add(before_ms)
    cover = KnownCoverage.of(state, grid.instrument.ids)
    ranges = list(cover.differences(known)) if known else []
    return Touched(was_ms, timeframe.open_of(max(state.watermark_ms, 0)), opens, ranges)


def _times(entries: Iterable[TradeEntry], timeframe: Timeframe) -> set[int]:
    """The times of their trades; for bars of whole minutes the minutes will do, and are far fewer."""
    times = {ts_ms for entry in entries for ts_ms in codec.unpack_trades(entry.trades).ts_ms}
    times = {minute_of(ts_ms) for ts_ms in times} if timeframe.of_minutes else times
    return {ts_ms for ts_ms in times if timeframe.holds(ts_ms)} if timeframe.sessions else times


def _minute_updates(live: MinuteLive, touched: Touched, reading: TailReading) -> Iterator[Update]:
    grid, at = live.grid, live.at
    for members in reading.extra:
        for bar in merged(members, grid.timeframe):
            yield grid.update(bar, at, touched.was_ms)
    if live.growing and touched.grew(grid.timeframe):
        yield grid.update(live.growing, at, touched.was_ms)


def _minute_live(grid: BarGrid, reading: TailReading) -> MinuteLive:
    state, tail = reading.view.state, reading.tail
    at = At.of(state, grid.instrument.ids, state.candle_floor_ms if state else -1, reading.view.lost(CANDLES))
    return MinuteLive(grid, at, tail.base if tail else None, tail.growing if tail else None)


def _day_live(grid: BarGrid, closed: Closed) -> MinuteLive:
    state = closed.view.state
    at = At.of(state, grid.instrument.ids, -1)
    growing_ms = grid.timeframe.open_of(max(at.watermark_ms, 0))
    bars = [bar for bar in candles_of(closed.bars.tail(1)) if bar.open_ms == growing_ms]
    base = bars[0] if bars else None
    if state and state.candle:
        grow(bars, codec.unpack_candle(state.candle), grid.timeframe)
    return MinuteLive(grid, at, base, bars[-1] if bars else None)


def _day_updates(live: MinuteLive, touched: Touched, closed: Closed, spans: list[Span]) -> Iterator[Update]:
    for bar in candles_of(closed.bars):
        if any(start <= bar.open_ms < end for start, end in spans) and bar.open_ms < touched.growing_ms:
            yield live.grid.update(bar, live.at, touched.was_ms)
    if live.growing and touched.grew(live.grid.timeframe):
        yield live.grid.update(live.growing, live.at, touched.was_ms)
