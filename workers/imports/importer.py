"""Importing trades into one symbol: files to days, and days written in atomic steps under a claim.

Days that are over are sealed at once, small ones several in a step; the newest one lies open, with its newest minute in
the checkpoint, as after a replay. What a kill interrupts is read again from the file of the oldest day that was not
written: the days before it are in the checkpoint, so nothing is lost and nothing counts twice.
"""

import asyncio
import logging
import sys
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass, field, replace
from typing import TypeVar

import polars as pl
from redis.asyncio import Redis

from common.archive.archive import Archive
from common.clock import JudgedClock, SystemClock
from common.errors import BadInput, RetryableError, StoreUnavailable
from common.frames import decode
from common.market.builder.builder import Builder, Changes, Minute
from common.market.builder.coverage import IdCoverage, load_coverage
from common.market.builder.gaps import ID_JUMP, NOT_IMPORTED, Gap, Ledger
from common.market.builder.recent import CONFLICT, RECENT_TRADES, Conflict
from common.market.candle import Candle
from common.market.coding import codec
from common.market.footprint import Footprint
from common.market.timeframes.timeframe import DAY_MS, MINUTE_MS, day_of
from common.market.trade import Trades
from common.series import CANDLES, FOOTPRINTS, MINUTE_SERIES
from common.store.client import commit_client
from common.store.format import CHUNKED_COVERAGE, store_format, written
from common.store.health import BACKFILLING, CLOSED
from common.store.imports import ImportedDay, ImportStep, ImportStore
from common.store.instrument import DataInstrument, check_instrument
from common.store.lease import LeaseObservation, Observer, new_token
from common.store.messages import NEWEST, WHOLE, CommitMessage
from common.store.presence import IMPORT, present
from common.store.reads import SymbolReader, View
from common.store.registry import Market, Registry
from common.store.rollups import RollupStore, Staged
from common.store.symbol import Claim, StreamBounds, SymbolStore
from workers.imports.again import AtHand
from workers.imports.below import Below
from workers.imports.days import Day, Days, day_floor, steps
from workers.imports.files import Readable, Rows
from workers.imports.joined import Made, cover, merged, minutes_of, outside, reads_as, sealed
from workers.imports.order import FileOrder, Position, in_order
from workers.imports.reach import Reach, keep_longer
from workers.imports.target import is_fed, target
from workers.imports.trades import TradeKeeper
from workers.rollup.day import SealFailed
from workers.symbol.claims import LOOKS_PER_LEASE
from workers.symbol.commit import CommitHead, Text, make_commit
from workers.symbol.conflicts import Conflicts
from workers.symbol.term import BEATS_PER_LEASE, TermSettings
from workers.withdrawal import withdraw

log = logging.getLogger(__name__)

BAD_LINE = "bad_line"
SOURCE = "import"
T = TypeVar("T")


@dataclass(slots=True)
class Done:
    """What an import has done so far. `trades`: applied by this run; `refused`: in all since the symbol began.

    `too_old`, `bare`: days of which nothing is kept, and of which no footprints are. `outside`: trades of
    the days that were written that are in no session: no bar shows them.
    """

    trades: int = 0
    days: int = 0
    too_old: int = 0
    bare: int = 0
    outside: int = 0
    fraction: float = 0.0
    refused: Counter[str] = field(default_factory=Counter)
    # How many trades were refused because others had been applied under their ids; and the first ones, each once.
    conflict_count: int = 0
    conflicts: dict[Conflict, None] = field(default_factory=dict)


@dataclass(slots=True)
class Importer:
    """`run` returns what was done. Interrupted by `stop`, it returns early with `ended` False.

    `archive`: gets the trades; None if trades are not archived. `older`: the archive that gets days which the store has
    dropped; None: they are left alone. `within_retention`: days older than what is kept are left out; else more is kept
    of the symbol from now on, unless the archive has it. `on_reach` is told of either, before the first day.
    """

    url: str
    market: Market
    files: Sequence[Readable]
    sources: int
    settings: TermSettings
    bounds: StreamBounds
    holder: str
    archive: Archive | None = None
    older: Archive | None = None
    within_retention: bool = False
    on_reach: Callable[[Reach], None] = lambda reach: None
    on_progress: Callable[[Done], None] = lambda done: None
    clock: JudgedClock = field(default_factory=lambda: JudgedClock(SystemClock()))
    done: Done = field(default_factory=Done)
    ended: bool = False
    # How far writers may go in the form of the store, as it was when this began.
    format: int = 1
    # Days that were left out.
    left_out: set[int] = field(default_factory=set)
    # What the symbol had refused for conflicts when this began.
    _conflicts_before: int | None = None
    _stopping: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(self) -> Done:
        client = commit_client(self.url)
        try:
            market, is_new = await target(Registry(client), self.market, self.files)
            self.use(market)
            try:
                self.format = await store_format(client)
                async with present(client, IMPORT):
                    await self._work(client)
            finally:
                if is_new and not self.ended:
                    await withdraw(client, self.market.symbol, self.bounds, self.clock, self.holder)
        finally:
            await client.aclose()
        return self.done

    async def _work(self, client: Redis) -> None:
        order = await asyncio.to_thread(in_order, self.files)
        if self.within_retention:
            # Of the same files another import: without it, or by other days, it begins again.
            order = replace(order, recording=f"{order.recording}-within-{self.settings.retention.candle_days}")
        observer = Observer(self.settings.lease_ttl_ms)
        while not self.ended and not self._stopping.is_set():
            try:
                await self._serve(client, order, observer)
            except RetryableError as error:
                log.warning("lost", extra={"symbol": self.market.symbol, "error": str(error)})
                await self._pause()

    def use(self, market: Market) -> None:
        self.market = market
        self.settings = replace(self.settings, retention=self.settings.retention.of(market))

    def stop(self) -> None:
        """Finish the step under way, release, return from `run`."""
        self._stopping.set()

    def begin_count(self, refused: Counter[str]) -> None:
        """`refused`: by the symbol so far."""
        if self._conflicts_before is None:
            self._conflicts_before = refused[CONFLICT]

    def note_refused(self, refused: Counter[str], conflicts: Sequence[Conflict]) -> None:
        """`conflicts`: those that this term has told of."""
        self.done.refused = refused
        self.done.conflict_count = refused[CONFLICT] - (self._conflicts_before or 0)
        self.done.conflicts |= dict.fromkeys(conflicts)

    async def _serve(self, client: Redis, order: FileOrder, observer: Observer) -> None:
        symbol, token = self.market.symbol, new_token()
        store = SymbolStore(client, symbol, self.bounds, self.clock)
        stale = observer.stale(symbol, self.clock.monotonic_ms())
        # The worker that feeds the symbol never stands still: it finds itself fenced, and comes back when we are done.
        claim = await store.claim(token, stale, self.holder, force=is_fed(self.market))
        if isinstance(claim, LeaseObservation):
            observer.note(symbol, claim, self.clock.monotonic_ms())
            await self._pause()
            return
        try:
            check_instrument(claim.data, self.market.instrument)
            if is_fed(self.market) and not claim.position:
                raise BadInput(f"symbol {symbol} has not begun: let its worker run first, so that history has an end")
            view = await SymbolReader(client, symbol).view()
            recent = decode.trades(await store.recent_batches(RECENT_TRADES))
            term = _Term(self, client, store, token, claim, view, await store.gaps(), order, recent)
            self.ended = await term.run()
        finally:
            with suppress(StoreUnavailable):
                await store.release(token)

    async def _pause(self) -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), self.settings.lease_ttl_ms / LOOKS_PER_LEASE / 1_000)


class _Term:
    """From a won claim to the last file, or to an error after which the store is asked anew where it stands."""

    def __init__(
        self,
        work: Importer,
        client: Redis,
        store: SymbolStore,
        token: str,
        claim: Claim,
        view: View,
        gaps: Ledger,
        order: FileOrder,
        recent: pl.DataFrame,
    ) -> None:
        self._work, self._store, self._token, self._order, self._gaps = work, store, token, order, gaps
        self._client = client
        # What becomes of days that the store has dropped.
        self._below: Below | None = None
        # Keeps no trades but those of its own commit.
        self._bare = SymbolStore(client, work.market.symbol, replace(work.bounds, trades=0), work.clock)
        self._wrote_any = False
        # The days that were written, and whether they had footprints.
        self._has_footprints: dict[int, bool] = {}
        self._reader = SymbolReader(client, work.market.symbol)
        self._imports = ImportStore(client, work.market.symbol, work.bounds.events)
        self._rollups = RollupStore(client, work.market.symbol, work.bounds.events)
        instrument, grace_ms = work.market.instrument, work.settings.close_grace_ms
        if claim.checkpoint is None:
            self._builder = Builder.new(instrument, work.sources, grace_ms)
        else:
            self._builder = Builder.restore(instrument, claim.checkpoint, None, work.sources, grace_ms)
        self._format = written(claim.format, work.format)
        self._seq, self._source_position = claim.seq, claim.position
        data = claim.data or DataInstrument.begun(instrument)
        self._scales = data.scales
        # What the data does not say yet: of which instrument it is.
        self._unsaid = None if claim.data else data
        self._floor_ms = claim.candle_floor_ms
        self._position = Position.of(claim.import_position, order.recording)
        # The worker that comes back must not take months that nobody imported for what it has missed.
        self._cause = NOT_IMPORTED if is_fed(work.market) else ID_JUMP
        self._keeper = TradeKeeper(client, work.market, work.archive)
        self._recent = recent
        self._dropped_ms = self._dropped(view)
        firsts = [ms for ms in order.first_ms if ms >= 0]
        self._first_day_ms = day_of(min(firsts)) if firsts else sys.maxsize
        # What is older is left out.
        self._from_ms = 0
        self._days: Days
        self._bad = 0
        self._conflicts = Conflicts(instrument)
        # Those that are counted, and not told of yet.
        self._untold: list[Conflict] = []
        work.begin_count(self._builder.refused)

    async def _suit_retention(self, newest_ms: int) -> None:
        """Keep what comes, or leave it out, and say so."""
        reach = self._reach(newest_ms)
        if reach.short or reach.gone:
            self._work.on_reach(reach)
        if reach.within:
            self._from_ms = reach.short.get(CANDLES.name, 0)
        await self._keep_longer(reach)

    async def _keep_longer(self, reach: Reach) -> None:
        if reach.raised:
            work = self._work
            work.use(await keep_longer(Registry(self._client), work.market, reach.raised))

    def _reach(self, newest_ms: int) -> Reach:
        work, first_ms = self._work, self._first_day_ms
        # What the store has dropped there it can't have again: between the two would be a hole that nothing tells of.
        gone = {each: floor_ms for each, floor_ms in self._dropped_ms.items() if first_ms < floor_ms}
        kept = {each: days for each, days in self._kept().items() if each not in gone}
        return Reach(first_ms, newest_ms, kept, gone, work.bounds.archived, work.within_retention)

    def _kept(self) -> dict[str, int]:
        """Days kept of what the files bring."""
        retention = self._work.settings.retention
        of_trades = any(not file.of_minutes for file in self._order.files)
        series = MINUTE_SERIES.values() if of_trades else [CANDLES]
        return {each.name: retention.days(each) for each in series}

    def _in_waiting(self, newest_ms: int) -> Days:
        builder, work = self._builder, self._work
        seen = load_coverage(work.market.instrument.ids, builder.coverage.dump(), None)
        builder.keep_coverage(is_chunked=self._format >= CHUNKED_COVERAGE)
        if isinstance(seen, IdCoverage) and isinstance(builder.coverage, IdCoverage):
            # What has been read is bounded. Of what has been written more may be missing, while days wait.
            seen.max_holes, builder.coverage.max_holes = builder.coverage.max_holes, sys.maxsize
        floors = self._floors(newest_ms)
        at_hand = AtHand(self._recent, per_day=not isinstance(seen, IdCoverage))
        is_archived = work.archive is not None
        days = Days(seen, work.sources, *floors, self._position.day_ms + 1, with_rows=is_archived, at_hand=at_hand)
        if builder.open:
            # It is closed by the first trade of a later day.
            day_ms = day_of(builder.open.candle.open_ms)
            days.waiting[day_ms] = Day(day_ms, len(self._order.files))
        return days

    def _dropped(self, view: View) -> dict[str, int]:
        """Up to which day the store has dropped each series. Of what was dropped nothing is shown in the store."""
        work, oldest, state = self._work, self._builder.coverage.oldest(), view.state
        oldest_ms = oldest.from_ms if oldest else 0
        found = state.floors_ms if state else {}
        was_dropped = oldest_ms < max(found.values(), default=0)
        # Whole candles can't be merged into what the archive has: which of them it has is not known.
        of_trades = not any(file.of_minutes for file in self._order.files)
        if work.older and was_dropped and of_trades and found.keys() <= work.bounds.archived:
            self._below = Below(self._client, work.market, work.older, view.archived, day_of(oldest_ms))
            return {series: self._below.floor(series, floor_ms) for series, floor_ms in found.items()}
        # The floor also rises above a symbol that is younger: there was nothing to drop, and it goes back.
        return {series: floor_ms for series, floor_ms in found.items() if oldest_ms < floor_ms}

    def _floors(self, newest_ms: int) -> tuple[int, int]:
        """From which day on candles are made, and footprints."""
        retention = self._work.settings.retention
        archived = self._work.bounds.archived
        candle_floor_ms, footprint_floor_ms = (
            max(
                self._dropped_ms.get(each.name, 0),
                0 if each.name in archived else day_floor(newest_ms, retention.days(each)),
            )
            for each in (CANDLES, FOOTPRINTS)
        )
        return candle_floor_ms, footprint_floor_ms

    async def run(self) -> bool:
        """True if all files have been read and written."""
        work, order = self._work, self._order
        await self._beat()
        last_ms = await self._meanwhile(order.last_ms)
        newest_to_be_ms = max(self._builder.newest_ms, min(last_ms, work.clock.now_ms()))
        await self._suit_retention(newest_to_be_ms)
        self._days = self._in_waiting(newest_to_be_ms)
        oldest = self._builder.coverage.oldest()
        await self._alive(asyncio.create_task(self._keeper.begin(oldest.from_ms if oldest else -1)))
        newest_ms, number = -1, -1
        async with aclosing(self._rows()) as batches:
            async for file, rows in batches:
                newest_ms, number = (newest_ms, number) if file == number else (order.first_ms[file], file)
                self._bad += rows.bad
                took_ms = await self._meanwhile(self._take, rows, file)
                newest_ms = max(newest_ms, took_ms or 0)
                horizon_ms = min([newest_ms, *order.first_ms[file + 1 : file + 2]])
                await self._seal_all(self._days.done(horizon_ms), file)
                work.done.fraction = (file + rows.fraction) / len(order.files)
                work.on_progress(work.done)
                if work._stopping.is_set():
                    return False
        return await self._finish()

    def _take(self, rows: Rows, file: int) -> int | None:
        frame = self._without_old(rows.frame) if self._from_ms else rows.frame
        if rows.of_minutes:
            return self._days.take_candles(frame, file)
        return self._days.take(frame, file, self._work.clock.now_ms())

    def _without_old(self, frame: pl.DataFrame) -> pl.DataFrame:
        """What is left out is as if it were in no file: a later import may bring it."""
        time = pl.col(frame.columns[0])
        old = frame.filter(time < self._from_ms).select((time // DAY_MS).unique()).to_series()
        self._work.left_out.update(old.to_list())
        return frame.filter(time >= self._from_ms) if len(old) else frame

    async def _finish(self) -> bool:
        """Write what is left. The newest day may not be over: it is committed as a worker would. False if stopped."""
        waiting, end = self._days.waiting, len(self._order.files)
        new = [day_ms for day_ms in sorted(waiting) if waiting[day_ms].trades]
        over_ms = max([day_of(self._builder.watermark_ms), *new])
        await self._seal_all([waiting[day_ms] for day_ms in sorted(waiting) if day_ms < over_ms], end)
        if self._work._stopping.is_set():
            return False
        left = next((waiting[day_ms] for day_ms in sorted(waiting) if waiting[day_ms].trades), None)
        await self._meanwhile(self._keeper.compare, list(waiting.values()))
        for day in waiting.values():
            if day is not left:
                self._count(day)
        await self._commit_last(left)
        self._work.done.fraction = 1.0
        self._work.on_progress(self._work.done)
        return True

    async def _rows(self) -> AsyncGenerator[tuple[int, Rows]]:
        """The batches of all files from the position on; the next one is read while one is taken in."""
        source = self._batches()
        following = asyncio.create_task(asyncio.to_thread(next, source, None))
        try:
            while found := await self._alive(following):
                following = asyncio.create_task(asyncio.to_thread(next, source, None))
                yield found
        finally:
            await asyncio.gather(following, return_exceptions=True)

    def _batches(self) -> Iterator[tuple[int, Rows]]:
        for number, file in enumerate(self._order.files):
            if number >= self._position.file:
                for rows in file.batches():
                    yield number, rows

    async def _seal_all(self, days: Sequence[Day], file: int) -> None:
        """Write days that are over, ascending, or as many as there is time for. `file`: the one being read."""
        for step in steps(days, alone=self._below.has if self._below else None):
            if self._work._stopping.is_set():
                return
            await self._seal(step, file)

    async def _seal(self, days: Sequence[Day], file: int) -> None:
        """Write days in one step."""
        builder = self._builder
        closing_ms = day_of(builder.open.candle.open_ms) if builder.open else -1
        for day in days:
            del self._days.waiting[day.day_ms]
        await self._meanwhile(self._keeper.compare, days)
        days = self._with_news(days, closing_ms)
        if not days:
            return
        # Before the archive is confirmed: a reader may keep an object for as long as nothing else is.
        await self._meanwhile(self._keeper.keep, days, await self._keeper.expected(days))
        stored = await self._imports.read([day.day_ms for day in days])
        made = await self._meanwhile(sealed, days, stored, builder.open, builder.watermark_ms, self._scales)
        for day in days:
            self._count(day)
        kept = [each for each in made if each.day.trades or each.day.day_ms == closing_ms]
        if kept and self._below and self._below.has(kept[0].day.day_ms):
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
                self._count(day)
        return found

    def _count(self, day: Day) -> None:
        """What is refused of a day counts with the next step."""
        self._builder.refused.update(day.refused)
        self._untold += day.conflicts

    async def _write_sealed(self, made: Sequence[Made], closing_ms: int, file: int) -> None:
        builder, days = self._builder, [each.day for each in made]
        staged = await self._stage(made)
        if any(day.day_ms == closing_ms for day in days):
            builder.open = None
        builder.watermark_ms = max(builder.watermark_ms, days[-1].end_ms)
        opens = [ms for each in made for ms in (each.candles["open_ms"].to_list() or [each.day.day_ms])]
        # Whoever has live bars reads them again: all of a day is more than a message should carry.
        newest = [Candle(**row) for row in made[-1].candles.tail(1).rows(named=True)]
        outside = await self._meanwhile(self._outside, made)
        rows = zip(days, staged, outside, strict=True)
        written = [ImportedDay(day.day_ms, laid, count) for day, laid, count in rows]
        await self._write(self._head(days, file), days, written, (opens[0], opens[-1]), newest)
        for day in days:
            self._days.written(day)
            self._wrote(day)
        self._work.done.outside += sum(outside)
        self._work.on_progress(self._work.done)

    def _outside(self, made: Sequence[Made]) -> list[int]:
        return [outside(each.candles, self._work.market.instrument) for each in made]

    async def _write_below(self, made: Made, file: int) -> None:
        """Commit the minutes of a day that the store has dropped: they are late trades, and go on into the archive."""
        builder, below, day = self._builder, self._below, made.day
        assert below, "asked before"
        # The kept trades go first, as in the last step.
        head = self._plain_head()
        await self._write(head, [day], [ImportedDay(day.day_ms, None)], (day.day_ms, day.day_ms), [])
        minutes = await self._alive(asyncio.create_task(below.begin(day, made.candles, made.levels)))
        head, newest_ms = replace(self._head([day], file), floor_ms=self._floor_ms), max(minutes)
        # Whoever has live bars reads them again, as of any imported day.
        newest = Minute(codec.unpack_candle(minutes[newest_ms][0]), Footprint())
        changes = Changes(Trades(), amended={newest_ms: newest}, open=builder.open)
        commit = make_commit(head, builder, changes, self._work.settings.retention)
        await self._bare.commit(replace(commit, minutes=minutes, import_position=str(self._position)))
        self._seq += 1
        self._days.written(day)
        await self._alive(asyncio.create_task(below.archive(day.day_ms)))
        self._work.done.trades += day.trades
        self._work.done.days += 1
        self._work.on_progress(self._work.done)

    async def _write(
        self,
        head: CommitHead,
        days: Sequence[Day],
        written: Sequence[ImportedDay],
        opens: tuple[int, int],
        amended: list[Candle],
    ) -> None:
        """One step. `opens`: of the first and the last minute that it writes."""
        builder, keys = self._builder, self._store.keys
        checkpoint = builder.checkpoint()
        message = CommitMessage(
            seq=self._seq + 1,
            token=self._token,
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
                token=self._token,
                seq=self._seq,
                days=written,
                first_ms=opens[0],
                last_ms=opens[1],
                position=str(self._position),
                checkpoint=checkpoint,
                events=events,
                messages=[(keys.commits, message.pack()), *((keys.events, event) for event in events)],
                gaps={gap.id: gap.dump() for gap in head.gaps},
                forgotten=head.forgotten,
                archived=self._work.archive is not None,
                lost=self._keeper.take_lost(days),
                entries=self._keeper.take_entries(),
                format=self._format,
                data=self._unsaid,
            )
        )
        self._unsaid = None
        self._seq += 1
        self._wrote_any = True

    async def _stage(self, made: Sequence[Made]) -> list[Staged | None]:
        """Lay the blocks down, and see that they read as what they were made of."""
        laid = await self._rollups.stage_days({each.day.day_ms: each.blocks for each in made})
        same = await self._meanwhile(reads_as, laid, made, self._scales)
        if not same:
            days = ", ".join(str(each.day.day_ms) for each in made)
            raise SealFailed(f"days {days} of {self._work.market.symbol} were read otherwise than they were written")
        return [each.staged() for each in made]

    async def _commit_last(self, day: Day | None) -> None:
        builder, work = self._builder, self._work
        changes = Changes(Trades(), open=builder.open, moved=True)
        if day:
            del self._days.waiting[day.day_ms]
            await self._meanwhile(self._keeper.keep, [day], await self._keeper.expected([day]))
            stored = await self._imports.read([day.day_ms])
            frames = await self._meanwhile(merged, [day], stored, builder.open, builder.watermark_ms, self._scales)
            minutes = await self._meanwhile(minutes_of, *frames)
            count = await self._meanwhile(outside, frames[0], work.market.instrument)
            work.done.outside += count
            # The kept trades go first (import.lua): those of this step would be missing among them.
            head = self._plain_head()
            await self._write(head, [day], [ImportedDay(day.day_ms, None, count)], (day.day_ms, day.day_ms), [])
            self._count(day)
            # A candle is of a minute that is over.
            to_ms = day.to_ms + day.of_minutes
            was_ms, builder.watermark_ms = builder.watermark_ms, max(builder.watermark_ms, to_ms)
            changed = pl.concat(day.candles)["open_ms"].unique().to_list()
            newest_ms = max(minutes)
            builder.open = minutes.pop(newest_ms) if newest_ms + MINUTE_MS > builder.watermark_ms else None
            if changes.open and changes.open.candle.open_ms in minutes:
                changed.append(changes.open.candle.open_ms)
            for open_ms in sorted(set(changed) & set(minutes)):
                late = open_ms + MINUTE_MS <= was_ms
                (changes.amended if late else changes.closed)[open_ms] = minutes[open_ms]
            changes.open = builder.open
        head = self._head([day] if day else [], len(self._order.files))
        mode = BACKFILLING if is_fed(work.market) else CLOSED
        head = replace(head, health={"mode": mode, "source": SOURCE})
        # Only now it is known which trades were the first and the last.
        await self._keep_longer(self._reach(builder.newest_ms))
        commit = make_commit(head, builder, changes, work.settings.retention)
        retention = work.settings.retention
        commit = replace(
            commit,
            floors_ms={
                name: day_floor(builder.newest_ms, retention.days(series)) for name, series in MINUTE_SERIES.items()
            },
            import_position=str(self._position),
            data=self._unsaid,
        )
        await (self._bare if self._wrote_any else self._store).commit(commit)
        if day:
            self._wrote(day)
        work.note_refused(builder.refused, self._conflicts.told)
        await self._count_what_is_kept()

    async def _count_what_is_kept(self) -> None:
        state = (await self._reader.view()).state
        assert state, "read after a commit"
        self._work.done.too_old = len(self._work.left_out)
        candle_floor_ms, footprint_floor_ms = state.candle_floor_ms, state.floor_ms(FOOTPRINTS)
        for day_ms, has_footprints in self._has_footprints.items():
            self._work.done.too_old += day_ms < candle_floor_ms
            self._work.done.bare += has_footprints and candle_floor_ms <= day_ms < footprint_floor_ms

    def _head(self, days: Sequence[Day], file: int) -> CommitHead:
        """Bring coverage, ledger, counts and position up to days that are about to be written."""
        builder, now_ms = self._builder, self._work.clock.now_ms()
        for day in days:
            cover(builder, day)
            self._first_day_ms = min(self._first_day_ms, day.day_ms)
        if self._bad:
            builder.refused[BAD_LINE] += self._bad
            self._bad = 0
        gaps = self._gaps.follow(builder.coverage, self._cause, now_ms)
        forgotten = self._gaps.forgotten() if gaps else []
        first = min([file, *(waiting.file for waiting in self._days.waiting.values())])
        written_ms = max([self._position.day_ms, *(day.day_ms for day in days)])
        self._position = Position(self._order.recording, first, written_ms)
        return self._plain_head(gaps, forgotten)

    def _plain_head(self, gaps: Sequence[Gap] = (), forgotten: Sequence[str] = ()) -> CommitHead:
        conflicts, self._untold = self._conflicts.tell(self._untold), []
        position = self._source_position
        return CommitHead(
            self._token, self._seq, position, {}, gaps, forgotten, format=self._format, conflicts=conflicts
        )

    def _wrote(self, day: Day) -> None:
        done = self._work.done
        done.days += bool(day.trades)
        if day.trades:
            self._has_footprints[day.day_ms] = not day.of_minutes
        done.trades += day.trades
        self._work.note_refused(self._builder.refused, self._conflicts.told)

    async def _meanwhile(self, work: Callable[..., T], *arguments: object) -> T:
        """Run it in a thread, with signs of life while it lasts."""
        return await self._alive(asyncio.create_task(asyncio.to_thread(work, *arguments)))

    async def _alive(self, task: "asyncio.Task[T]") -> T:
        beat_s = self._work.settings.lease_ttl_ms / BEATS_PER_LEASE / 1_000
        while not (await asyncio.wait({task}, timeout=beat_s))[0]:
            await self._beat()
        return task.result()

    async def _beat(self) -> None:
        await self._store.beat(self._token, self._seq, {"mode": BACKFILLING, "source": SOURCE})
