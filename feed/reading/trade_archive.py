"""The trades of a symbol that its stream has not got any more, out of the archive's days.

Whatever is read here is true of one view, that of a tape (feed.reading.tape), however long it takes and whatever is
committed and archived meanwhile. Up to the cut, the watermark of the stream's oldest entry, trades may have been cut
off the stream; later ones it has all. Of the time up to the cut the archive's trades and the tape's are all there are:
what is in both counts once. And what the archive got after the view is in the stream still, behind the view's commit:
that is looked up after an object was read, and left out. Only an import's trades show a moment before they are applied,
in a time that is not covered until then.
"""

import asyncio
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from dataclasses import dataclass, replace

import polars as pl

from common.archive.archive import Archive
from common.archive.parquet import Packed
from common.archive.series import TRADE_ROWS
from common.byte_lru import ByteLru
from common.errors import Overtaken
from common.frames import decode
from common.frames.schema import TRADES
from common.market.instrument import Instrument
from common.market.manifest import Fault, ManifestEntry
from common.market.scale import Scale
from common.market.timeframes.timeframe import DAY_MS, Timeframe, day_of
from common.store.archived import ArchivedTrades, Spans
from common.store.reads import SymbolReader, View
from feed.reading import archived
from feed.reading.archived import Faulty, Periods
from feed.reading.bounds import grid_at
from feed.reading.budget import MAX_ROWS, QueryBudget
from feed.reading.coverage import EMPTY, KnownCoverage
from feed.reading.tape import PAGE, TapeView
from feed.reading.workers import THREADS

# What one request reads of the archive, but for what its first bar takes; it is told where to go on.
MAX_DAYS = 32
MAX_TRADES = MAX_ROWS
# What all packed days of a process may take. A day of three million trades takes 25 MB, decoded 100.
MAX_BYTES = 128 << 20
# Trades decoded at once, about: fewer cost as much, for a row group is decoded whole.
AT_ONCE = TRADE_ROWS.group_rows


@dataclass(frozen=True, slots=True)
class TradeRetention:
    """Of which time all trades are kept: after `from_ms`, but for the spans `lost`, both ends included.

    `faults`: of the archive, met while reading: what is in their time is not known.
    """

    from_ms: int
    lost: Spans = ()
    faults: tuple[Fault, ...] = ()

    def cover(self, view: View, instrument: Instrument) -> KnownCoverage:
        if view.state is None:
            return EMPTY
        return KnownCoverage.of(view.state, instrument.ids, self.from_ms + 1).lacking(self.lacks, self.faults)

    @property
    def lacks(self) -> Spans:
        """Spans of time, both ends included, of which not all can be shown."""
        return (*self.lost, *((fault.from_ms, fault.to_ms - 1) for fault in self.faults))

    def without(self, piece: "Piece") -> "TradeRetention":
        """The same, less what a piece that was read lacks."""
        if piece.fault:
            return replace(self, faults=(*self.faults, piece.fault))
        return replace(self, lost=(*self.lost, (piece.from_ms, piece.to_ms - 1))) if piece.given_up else self


@dataclass(frozen=True, slots=True)
class Piece:
    """All trades in `[from_ms, to_ms)`, ascending, with the columns that `feed.reading.tape.bars_of` needs.

    `spent`: with it, as much has been read as a request may. `fault`: why the archive's are not among them;
    `given_up`: they are lost for good.
    """

    trades: pl.DataFrame
    from_ms: int
    to_ms: int
    spent: bool
    fault: Fault | None = None
    given_up: bool = False


# Symbol and its scale, day, and what was archived.
PackedKey = tuple[str, Scale, int, ArchivedTrades]


class PackedDays(ByteLru[PackedKey, Packed]):
    """Days of the archive as they are stored."""

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        super().__init__(max_bytes, lambda day: len(day.data), min_count=1)
        # A day is some 10 ms of work, in which no other question would be answered.
        self.turns = asyncio.Semaphore(THREADS)


class TradeHistory:
    """Reads one symbol. Cheap to make; `days` is shared."""

    def __init__(
        self,
        reader: SymbolReader,
        instrument: Instrument,
        days: PackedDays,
        archive: Archive | None,
        budget: QueryBudget | None = None,
    ) -> None:
        self._reader, self._instrument, self._days, self._archive = reader, instrument, days, archive
        self.budget = budget or QueryBudget.unlimited()

    def has(self, view: View) -> bool:
        """Whether there are archived trades."""
        return self._archive is not None and view.archived.trades is not None

    def retention(self, view: View, cut_ms: int) -> TradeRetention:
        """`cut_ms`: up to then trades may have been cut off the stream; -1 if none were."""
        known = view.archived.trades
        if cut_ms < 0 or known is None or not self.has(view):
            return TradeRetention(cut_ms)
        return TradeRetention(min(known.from_ms, cut_ms), known.lost)

    def first_whole(self, taped: TapeView, timeframe: Timeframe) -> int | None:
        """Return the open of the first bar of which the tape has all trades; the archive helps with those before.

        None if it can't: there are none before, or none archived, or the bars are longer than what is read at once.
        """
        if taped.from_ms < 0 or not self.has(taped.view) or timeframe.longest_ms > DAY_MS:
            return None
        return grid_at(timeframe, taped.from_ms + 1)

    async def pieces(
        self, taped: TapeView, start_ms: int, end_ms: int, *, oldest_first: bool
    ) -> AsyncGenerator[Piece, None]:
        """Yield what was traded in `[start_ms, end_ms)`, whose end is not after the cut's, piece by piece."""
        known = taped.view.archived.trades
        if known is None or start_ms >= end_ms:
            return
        reached_ms, read, at = (start_ms if oldest_first else end_ms), 0, 0
        there = await self._periods(known)
        asked = there.between(day_of(start_ms), end_ms, oldest_first=oldest_first)
        async with aclosing(asked) as entries:
            async for entry in entries:
                at, day_ms = at + 1, entry.period_ms
                day, fault = await self._day(there, entry, known)
                later = await self._later(taped.view)
                for stop_ms in _stops(day.rows if day else 0, day_ms, start_ms, end_ms, oldest_first=oldest_first):
                    span = (reached_ms, stop_ms) if oldest_first else (stop_ms, reached_ms)
                    found = await self._decoded(day, span)
                    read, reached_ms = read + len(found), stop_ms
                    await self.budget.read(len(found))
                    known_then = found.join(later, on=["ts_ms", "id"], how="anti") if len(later) else found
                    trades = _united(known_then, taped.between(*span))
                    spent = at >= MAX_DAYS or read >= MAX_TRADES or not self.budget.has_room(len(found))
                    yield Piece(trades, *span, spent, fault, entry.given_up)
        rest = (reached_ms, end_ms) if oldest_first else (start_ms, reached_ms)
        if rest[0] < rest[1]:
            yield Piece(_united(TRADES.to_frame(), taped.between(*rest)), *rest, spent=False)

    async def _periods(self, known: ArchivedTrades) -> Periods:
        assert self._archive
        may_be_none = known.watermark_ms <= known.from_ms
        return await archived.periods(self._reader, self._archive, TRADE_ROWS, may_be_none=may_be_none)

    async def _day(
        self, there: Periods, entry: ManifestEntry, known: ArchivedTrades
    ) -> tuple[Packed | None, Fault | None]:
        """Return a day, or why it is not what was archived."""
        if entry.given_up:
            return None, None
        key = (self._instrument.symbol, self._instrument.scale, entry.period_ms, known)
        day = self._days.get(key)
        if day is None:
            try:
                async with self._days.turns:
                    day = await there.read(entry.period_ms, lambda: self._packed(entry))
            except Faulty as error:
                return None, error.fault
            self._days.put(key, day)
        return day, None

    def _packed(self, entry: ManifestEntry) -> Packed:
        """Read a day that was archived. Blocks."""
        assert self._archive
        found = self._archive.packed(TRADE_ROWS, self._instrument, entry.period_ms, entry)
        assert found, "expected, so it is there"
        return found

    async def _decoded(self, day: Packed | None, span: tuple[int, int]) -> pl.DataFrame:
        if day is None:
            return TRADES.to_frame()
        async with self._days.turns:
            return await asyncio.to_thread(day.read, list(TRADES), *span)

    async def _later(self, view: View) -> pl.DataFrame:
        """The trades of all commits after the view's.

        Raises Overtaken where the stream has lost that one: by a rewind, or as many trades came as it keeps.
        """
        assert view.state
        entries = await self._reader.entries(view.state.seq - 1, PAGE)
        if len(entries) == PAGE or not entries or entries[0].cursor != view.state.cursor:
            raise Overtaken(f"{self._reader.keys.symbol} changed under the reading of its archive")
        return decode.trades([entry.trades for entry in entries[1:]])


def _stops(rows: int, day_ms: int, start_ms: int, end_ms: int, *, oldest_first: bool) -> Iterator[int]:
    """Yield up to where the parts of a day reach, each of about AT_ONCE trades, the last as far as day and range."""
    from_ms, to_ms = max(start_ms, day_ms), min(end_ms, day_ms + DAY_MS)
    step_ms = max(1, DAY_MS * AT_ONCE // max(rows, AT_ONCE))
    if oldest_first:
        yield from range(from_ms + step_ms, to_ms, step_ms)
        yield to_ms
    else:
        yield from range(to_ms - step_ms, from_ms, -step_ms)
        yield from_ms


def _united(archived: pl.DataFrame, taped: pl.DataFrame) -> pl.DataFrame:
    """The trades of both, ascending. How late an archived one came is not known: as if in time."""
    found = archived.with_columns(before_ms=pl.lit(-1, pl.Int64))
    if taped.is_empty():
        return found
    both = pl.concat([taped.select(found.columns), found])
    return both.unique(["ts_ms", "id"], keep="first", maintain_order=True).sort("ts_ms", "id")
