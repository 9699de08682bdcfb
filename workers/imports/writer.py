"""Days of an import written in atomic steps, under a claim: what they change of the symbol, and what is told of it."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import polars as pl
from redis.asyncio import Redis

from common.market.builder.builder import Builder, Changes, Minute, unpack_minute
from common.market.builder.gaps import ID_JUMP, NOT_IMPORTED, Gap, Ledger
from common.market.builder.recent import Conflict
from common.market.candle import Candle
from common.market.coding import codec
from common.market.footprint import Footprint
from common.market.timeframes.timeframe import MINUTE_MS, day_of
from common.market.trade import Trades
from common.series import FOOTPRINTS, MINUTE_SERIES
from common.store.health import BACKFILLING, CLOSED
from common.store.imports import ImportedDay, ImportStep, ImportStore
from common.store.instrument import DataInstrument
from common.store.messages import NEWEST, WHOLE, CommitMessage
from common.store.reads import SymbolReader
from common.store.rollups import RollupStore, SealFailed, Staged
from common.store.symbol import SymbolStore
from workers.imports.day import Day
from workers.imports.days import Days, day_floor
from workers.imports.joined import Made, cover, merged, outside, packed, reads_as, sealed
from workers.imports.keeping import Keeping
from workers.imports.order import FileOrder, Position
from workers.imports.target import is_fed
from workers.imports.tenure import SOURCE, Tenure
from workers.imports.trades import TradeKeeper
from workers.imports.work import ImportWork
from workers.symbol.commit import CommitHead, Text, make_commit
from workers.symbol.conflicts import Conflicts

BAD_LINE = "bad_line"


@dataclass(slots=True, kw_only=True)
class DayWriter:
    """`days`: those that wait to be written; one that is written is told to it."""

    work: ImportWork
    client: Redis
    tenure: Tenure
    builder: Builder
    gaps: Ledger
    days: Days
    keeping: Keeping
    keeper: TradeKeeper
    order: FileOrder
    position: Position
    data: DataInstrument
    # What the data does not say yet: of which instrument it is.
    unsaid: DataInstrument | None
    format: int
    source_position: str
    # Minutes that open before had been dropped when this began.
    floor_ms: int
    # Rows that could not be read, not counted yet.
    bad_rows: int = 0
    # Conflicts that are counted, and not told of yet.
    _untold: list[Conflict] = field(default_factory=list)
    # The days that were written, and whether they had footprints.
    _has_footprints: dict[int, bool] = field(default_factory=dict)
    _wrote_any: bool = False
    _conflicts: Conflicts = field(init=False)
    _imports: ImportStore = field(init=False)
    _rollups: RollupStore = field(init=False)
    # Keeps no trades but those of its own commit.
    _bare: SymbolStore = field(init=False)

    def __post_init__(self) -> None:
        work = self.work
        symbol, bounds = work.market.symbol, work.bounds
        self._conflicts = Conflicts(work.market.instrument)
        self._imports = ImportStore(self.client, symbol, bounds.events)
        self._rollups = RollupStore(self.client, symbol, bounds.events)
        self._bare = SymbolStore(self.client, symbol, replace(bounds, trades=0), work.clock)

    async def write(self, days: Sequence[Day], file: int) -> None:
        """Write days that are over in one step. `file`: the one being read."""
        builder = self.builder
        closing_ms = day_of(builder.open.candle.open_ms) if builder.open else -1
        for day in days:
            del self.days.waiting[day.day_ms]
        await self.tenure.meanwhile(self.keeper.compare, days)
        days = self._with_news(days, closing_ms)
        if not days:
            return
        # Before the archive is confirmed: a reader may keep an object for as long as nothing else is.
        await self.tenure.meanwhile(self.keeper.keep, days, await self.keeper.expected(days))
        stored = await self._imports.read([day.day_ms for day in days])
        made = await self.tenure.meanwhile(sealed, days, stored, builder.open, builder.watermark_ms, self.data.scales)
        for day in days:
            self.count(day)
        kept = [each for each in made if each.day.trades or each.day.day_ms == closing_ms]
        if kept and self.keeping.below and self.keeping.below.has(kept[0].day.day_ms):
            await self._write_below(kept[0], file)
        elif kept:
            await self._write_sealed(kept, closing_ms, file)

    def _with_news(self, days: Sequence[Day], closing_ms: int) -> list[Day]:
        """Days that have trades, or the minute that grows, which is over by then. Of others the refused are counted."""
        found = []
        for day in days:
            if day.trades or day.day_ms == closing_ms:
                found.append(day)
            else:
                self.count(day)
        return found

    def count(self, day: Day) -> None:
        """What is refused of a day counts with the next step."""
        self.builder.refused.update(day.refused)
        self._untold += day.conflicts

    async def _write_sealed(self, made: Sequence[Made], closing_ms: int, file: int) -> None:
        builder, days = self.builder, [each.day for each in made]
        staged = await self._stage(made)
        if any(day.day_ms == closing_ms for day in days):
            builder.open = None
        builder.watermark_ms = max(builder.watermark_ms, days[-1].end_ms)
        opens = [ms for each in made for ms in (each.candles["open_ms"].to_list() or [each.day.day_ms])]
        # Readers of live bars read them again: all of a day is more than a message should carry.
        newest = [Candle(**row) for row in made[-1].candles.tail(1).rows(named=True)]
        outside = await self.tenure.meanwhile(self._outside, made)
        rows = zip(days, staged, outside, strict=True)
        written = [ImportedDay(day.day_ms, laid, count) for day, laid, count in rows]
        await self._write_step(self._head(days, file), days, written, (opens[0], opens[-1]), newest)
        for day in days:
            self.days.written(day)
            self._wrote(day)
        self.work.done.outside += sum(outside)
        self.work.on_progress(self.work.done)

    def _outside(self, made: Sequence[Made]) -> list[int]:
        return [outside(each.candles, self.work.market.instrument) for each in made]

    async def _write_below(self, made: Made, file: int) -> None:
        """Commit the minutes of a day that the store has dropped: they are late trades, and go on into the archive."""
        builder, below, day = self.builder, self.keeping.below, made.day
        assert below, "asked before"
        # The kept trades go first, as in the last step.
        head = self._plain_head()
        await self._write_step(head, [day], [ImportedDay(day.day_ms, None)], (day.day_ms, day.day_ms), [])
        minutes = await self.tenure.alive(asyncio.create_task(below.begin(day, made.candles, made.levels)))
        head, newest_ms = replace(self._head([day], file), floor_ms=self.floor_ms), max(minutes)
        # Readers of live bars read them again, as of any imported day.
        changes = Changes(Trades(), amended={newest_ms: _told(minutes[newest_ms])}, open=builder.open)
        commit = make_commit(head, builder, changes, self.work.retention)
        await self._bare.commit(replace(commit, minutes=minutes, import_position=str(self.position)))
        self.tenure.seq += 1
        self.days.written(day)
        await self.tenure.alive(asyncio.create_task(below.archive(day.day_ms)))
        self.work.done.trades += day.trades
        self.work.done.days += 1
        self.work.on_progress(self.work.done)

    async def _write_step(
        self,
        head: CommitHead,
        days: Sequence[Day],
        written: Sequence[ImportedDay],
        opens: tuple[int, int],
        amended: list[Candle],
    ) -> None:
        """One step. `opens`: of the first and the last minute that it writes."""
        builder, keys = self.builder, self.tenure.store.keys
        checkpoint = builder.checkpoint()
        message = CommitMessage(
            seq=self.tenure.seq + 1,
            token=self.tenure.token,
            watermark_ms=builder.watermark_ms,
            closed=[],
            amended=amended,
            open=builder.open.candle if builder.open else None,
            coverage_json=checkpoint.coverage,
            trades=codec.NO_TRADES,
            version=NEWEST if checkpoint.is_chunked else WHOLE,
            is_reshaped=True,
        )
        text = Text(builder, head)
        events = [*map(text.gap, head.gaps), *map(text.conflict, head.conflicts)]
        await self._imports.write(
            ImportStep(
                token=self.tenure.token,
                seq=self.tenure.seq,
                days=written,
                first_ms=opens[0],
                last_ms=opens[1],
                position=str(self.position),
                checkpoint=checkpoint,
                events=events,
                messages=[(keys.commits, message.pack()), *((keys.events, event) for event in events)],
                gaps={gap.id: gap.dump() for gap in head.gaps},
                forgotten=head.forgotten,
                archived=self.work.archive is not None,
                lost=self.keeper.take_lost(days),
                entries=self.keeper.take_entries(),
                format=self.format,
                data=self.unsaid,
            )
        )
        self.unsaid = None
        self.tenure.seq += 1
        self._wrote_any = True

    async def _stage(self, made: Sequence[Made]) -> list[Staged | None]:
        """Lay the blocks down, and see that they read as what they were made of."""
        laid = await self._rollups.stage_days({each.day.day_ms: each.blocks for each in made})
        same = await self.tenure.meanwhile(reads_as, laid, made, self.data.scales)
        if not same:
            days = ", ".join(str(each.day.day_ms) for each in made)
            raise SealFailed(f"days {days} of {self.work.market.symbol} were read otherwise than they were written")
        return [each.staged() for each in made]

    async def write_last(self, day: Day | None) -> None:
        self.source_position = self.work.ends_at() or self.source_position
        builder, work = self.builder, self.work
        changes, minutes = Changes(Trades(), open=builder.open, moved=True), dict[int, tuple[bytes, bytes]]()
        if day:
            del self.days.waiting[day.day_ms]
            await self.tenure.meanwhile(self.keeper.keep, [day], await self.keeper.expected([day]))
            stored = await self._imports.read([day.day_ms])
            frames = await self.tenure.meanwhile(
                merged, [day], stored, builder.open, builder.watermark_ms, self.data.scales
            )
            minutes = await self.tenure.meanwhile(packed, *frames)
            count = await self.tenure.meanwhile(outside, frames[0], work.market.instrument)
            work.done.outside += count
            # The kept trades go first (import.lua): those of this step would be missing among them.
            head = self._plain_head()
            await self._write_step(head, [day], [ImportedDay(day.day_ms, None, count)], (day.day_ms, day.day_ms), [])
            self.count(day)
            # A candle is of a minute that is over.
            to_ms = day.to_ms + day.of_minutes
            was_ms, builder.watermark_ms = builder.watermark_ms, max(builder.watermark_ms, to_ms)
            changed = pl.concat(day.candles)["open_ms"].unique().to_list()
            newest_ms = max(minutes)
            is_open = newest_ms + MINUTE_MS > builder.watermark_ms
            builder.open = unpack_minute(*minutes.pop(newest_ms)) if is_open else None
            if changes.open and changes.open.candle.open_ms in minutes:
                changed.append(changes.open.candle.open_ms)
            for open_ms in sorted(set(changed) & set(minutes)):
                late = open_ms + MINUTE_MS <= was_ms
                (changes.amended if late else changes.closed)[open_ms] = _told(minutes[open_ms])
            changes.open = builder.open
        head = self._head([day] if day else [], len(self.order.files))
        mode = BACKFILLING if is_fed(work.market) else CLOSED
        head = replace(head, health={"mode": mode, "source": SOURCE})
        # Only now it is known which trades were the first and the last.
        await work.keep_longer(self.client, self.keeping.reach(builder.newest_ms, work.retention))
        commit = make_commit(head, builder, changes, work.retention)
        floors_ms = {
            name: day_floor(builder.newest_ms, work.retention.days(series)) for name, series in MINUTE_SERIES.items()
        }
        commit = replace(
            commit,
            minutes={open_ms: minutes[open_ms] for open_ms in commit.minutes},
            floors_ms=floors_ms,
            import_position=str(self.position),
            data=self.unsaid,
        )
        await (self._bare if self._wrote_any else self.tenure.store).commit(commit)
        if day:
            self._wrote(day)
        work.note_refused(builder.refused, self._conflicts.told)
        await self._count_what_is_kept()

    async def _count_what_is_kept(self) -> None:
        state = (await SymbolReader(self.client, self.work.market.symbol).view()).state
        assert state, "read after a commit"
        self.work.done.too_old = len(self.work.left_out)
        candle_floor_ms, footprint_floor_ms = state.candle_floor_ms, state.floor_ms(FOOTPRINTS)
        for day_ms, has_footprints in self._has_footprints.items():
            self.work.done.too_old += day_ms < candle_floor_ms
            self.work.done.bare += has_footprints and candle_floor_ms <= day_ms < footprint_floor_ms

    def _head(self, days: Sequence[Day], file: int) -> CommitHead:
        """Bring coverage, ledger, counts and position up to days that are about to be written."""
        builder, now_ms = self.builder, self.work.clock.now_ms()
        for day in days:
            cover(builder, day)
            self.keeping.first_day_ms = min(self.keeping.first_day_ms, day.day_ms)
        if self.bad_rows:
            builder.refused[BAD_LINE] += self.bad_rows
            self.bad_rows = 0
        # The worker that comes back must not take months that were never imported for what it has missed.
        cause = NOT_IMPORTED if is_fed(self.work.market) else ID_JUMP
        gaps = self.gaps.follow(builder.coverage, cause, now_ms)
        forgotten = self.gaps.forgotten() if gaps else []
        first = min([file, *(waiting.file for waiting in self.days.waiting.values())])
        written_ms = max([self.position.day_ms, *(day.day_ms for day in days)])
        self.position = Position(self.order.recording, first, written_ms)
        return self._plain_head(gaps, forgotten)

    def _plain_head(self, gaps: Sequence[Gap] = (), forgotten: Sequence[str] = ()) -> CommitHead:
        conflicts, self._untold = self._conflicts.tell(self._untold), []
        position = self.source_position
        return CommitHead(
            self.tenure.token, self.tenure.seq, position, {}, gaps, forgotten, format=self.format, conflicts=conflicts
        )

    def _wrote(self, day: Day) -> None:
        done = self.work.done
        done.days += bool(day.trades)
        if day.trades:
            self._has_footprints[day.day_ms] = not day.of_minutes
        done.trades += day.trades
        self.work.note_refused(self.builder.refused, self._conflicts.told)


def _told(packed_minute: tuple[bytes, bytes]) -> Minute:
    """As far as a commit tells of it: what it stores is packed already."""
    return Minute(codec.unpack_candle(packed_minute[0]), Footprint())
