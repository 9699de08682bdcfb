"""Importing trades into one symbol: files to days, and each day written in one atomic step under a claim.

Days that are over are sealed at once; the newest one lies open, with its newest minute in the checkpoint, as after a
replay. What a kill interrupts is read again from the file of the oldest day that was not written: the days before it
are in the checkpoint, so nothing is lost and nothing counts twice.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass, field, replace
from typing import TypeVar

import polars as pl
from redis.asyncio import Redis

from common.archive.archive import Archive
from common.clock import Clock, SystemClock
from common.errors import RetryableError, StoreUnavailable
from common.frames import decode, encode
from common.market import blocks, codec
from common.market.builder import Builder, Changes, Minute, pack_minute, unpack_minute
from common.market.candle import Candle
from common.market.coverage import IdCoverage, RecentCoverage
from common.market.footprint import Footprint
from common.market.gaps import ID_JUMP, Ledger
from common.market.packed import Ints
from common.market.timeframe import MINUTE_MS, day_of
from common.market.trade import Trades
from common.store.client import commit_client
from common.store.health import BACKFILLING, CLOSED
from common.store.imports import ImportedDay, ImportStore
from common.store.lease import Observer, Sighting, new_token
from common.store.messages import CommitMessage
from common.store.reads import State, SymbolReader
from common.store.registry import Market, Registry
from common.store.rollups import CANDLES, FOOTPRINTS, Minutes, RollupStore, Staged
from common.store.symbol import Bounds, Claim, SymbolStore
from workers.claims import LOOKS_PER_LEASE
from workers.commit import Head, Text, make_commit
from workers.imports.days import Day, Days, Frames, built, day_floor
from workers.imports.files import Readable, Rows, recording
from workers.imports.trades import TradeKeeper
from workers.replay import register
from workers.rollup.day import SealFailed
from workers.term import BEATS_PER_LEASE, TermSettings

log = logging.getLogger(__name__)

BAD_LINE = "bad_line"
SOURCE = "import"
T = TypeVar("T")


@dataclass(slots=True)
class Done:
    """What an import has done so far. `trades`: applied by this run; `refused`: in all since the symbol began."""

    trades: int = 0
    days: int = 0
    fraction: float = 0.0
    refused: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True, slots=True)
class Position:
    """Where an interrupted import goes on: the file to read first, and the last day that was written (-1: none).

    In the form of a replay's place, which takes it for another recording.
    """

    recording: str
    file: int = 0
    day_ms: int = -1

    @classmethod
    def of(cls, text: str, recording: str) -> "Position":
        """Of another recording, or none: from the beginning."""
        name, _, numbers = text.partition(":")
        if name != recording:
            return cls(recording)
        file, day_ms, _ = map(int, numbers.split(":"))
        return cls(recording, file, day_ms)

    def __str__(self) -> str:
        return f"{self.recording}:{self.file}:{self.day_ms}:0"


@dataclass(slots=True)
class Importer:
    """`run` returns what was done. Interrupted by `stop`, it returns early with `ended` False.

    `archive`: gets the trades; None if trades are not archived.
    """

    url: str
    market: Market
    files: Sequence[Readable]
    sources: int
    settings: TermSettings
    bounds: Bounds
    holder: str
    archive: Archive | None = None
    on_progress: Callable[[Done], None] = lambda done: None
    clock: Clock = field(default_factory=SystemClock)
    done: Done = field(default_factory=Done)
    ended: bool = False
    _stopping: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(self) -> Done:
        client = commit_client(self.url)
        try:
            await register(Registry(client), self.market, "an import")
            order = await asyncio.to_thread(_in_order, self.files)
            observer = Observer(self.settings.lease_ttl_ms)
            while not self.ended and not self._stopping.is_set():
                try:
                    await self._serve(client, order, observer)
                except RetryableError as error:
                    log.warning("lost", extra={"symbol": self.market.symbol, "error": str(error)})
                    await self._pause()
        finally:
            await client.aclose()
        return self.done

    def stop(self) -> None:
        """Finish the step under way, release, return from `run`."""
        self._stopping.set()

    async def _serve(self, client: Redis, order: "_Order", observer: Observer) -> None:
        symbol, store, token = self.market.symbol, SymbolStore(client, self.market.symbol, self.bounds), new_token()
        claim = await store.claim(token, observer.stale(symbol, self.clock.monotonic_ms()), self.holder)
        if isinstance(claim, Sighting):
            observer.note(symbol, claim, self.clock.monotonic_ms())
            await self._pause()
            return
        try:
            view = await SymbolReader(client, symbol).view()
            term = _Term(self, client, store, token, claim, view.state, await store.gaps(), order)
            self.ended = await term.run()
        finally:
            with suppress(StoreUnavailable):
                await store.release(token)

    async def _pause(self) -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), self.settings.lease_ttl_ms / LOOKS_PER_LEASE / 1_000)


@dataclass(frozen=True, slots=True)
class _Order:
    """Files by the time of their first good row, which is `first_ms`: -1 where none is near the file's beginning."""

    files: list[Readable]
    first_ms: list[int]
    recording: str


def _in_order(files: Sequence[Readable]) -> _Order:
    heads = ((file.first_ms(), str(file.path), file) for file in files)
    timed = sorted(((-1 if ms is None else ms, path, file) for ms, path, file in heads), key=lambda row: row[:2])
    order = [file for *_, file in timed]
    return _Order(order, [ms for ms, *_ in timed], recording(order))


class _Term:
    """From a won claim to the last file, or to an error after which the store is asked anew where it stands."""

    def __init__(
        self,
        work: Importer,
        client: Redis,
        store: SymbolStore,
        token: str,
        claim: Claim,
        state: State | None,
        gaps: Ledger,
        order: _Order,
    ) -> None:
        self._work, self._store, self._token, self._order, self._gaps = work, store, token, order, gaps
        # Keeps no trades but those of its own commit.
        self._bare = SymbolStore(client, work.market.symbol, replace(work.bounds, trades=0))
        self._wrote_any = False
        self._imports = ImportStore(client, work.market.symbol, work.bounds.events)
        self._rollups = RollupStore(client, work.market.symbol, work.bounds.events)
        instrument, grace_ms = work.market.instrument, work.settings.close_grace_ms
        if claim.checkpoint is None:
            self._builder = Builder.new(instrument, work.sources, grace_ms)
        else:
            self._builder = Builder.restore(instrument, claim.checkpoint, None, work.sources, grace_ms)
        self._seq, self._position = claim.seq, Position.of(claim.position, order.recording)
        self._keeper = TradeKeeper(client, work.market, work.archive)
        self._days = self._in_waiting(state)
        self._bad = 0

    def _in_waiting(self, state: State | None) -> Days:
        builder, work = self._builder, self._work
        newest_ms = max([builder.watermark_ms, *self._order.first_ms])
        retention, archived = work.settings.retention, work.bounds.archived
        # Of what retention has dropped nothing is shown, whatever is written there.
        candle_floor_ms, footprint_floor_ms = (state.candle_floor_ms, state.footprint_floor_ms) if state else (0, 0)
        if CANDLES not in archived:
            candle_floor_ms = max(candle_floor_ms, day_floor(newest_ms, retention.candle_days))
        if FOOTPRINTS not in archived:
            footprint_floor_ms = max(footprint_floor_ms, day_floor(newest_ms, retention.footprint_days))
        seen = Builder.restore(work.market.instrument, builder.checkpoint(), None, 0, 0).coverage
        assert isinstance(seen, IdCoverage | RecentCoverage)
        floors = candle_floor_ms, footprint_floor_ms
        days = Days(seen, work.sources, *floors, self._position.day_ms + 1, with_rows=work.archive is not None)
        if builder.open:
            # It is closed by the first trade of a later day.
            day_ms = day_of(builder.open.candle.open_ms)
            days.waiting[day_ms] = Day(day_ms, len(self._order.files))
        return days

    async def run(self) -> bool:
        """True if all files have been read and written."""
        work, order = self._work, self._order
        covered = self._builder.coverage.spans()
        await self._alive(asyncio.create_task(self._keeper.begin(covered[0].from_ms if covered else -1)))
        newest_ms, number = -1, -1
        async with aclosing(self._rows()) as batches:
            async for file, rows in batches:
                newest_ms, number = (newest_ms, number) if file == number else (order.first_ms[file], file)
                self._bad += rows.bad
                took_ms = await self._meanwhile(self._take, rows, file)
                newest_ms = max(newest_ms, took_ms or 0)
                horizon_ms = min([newest_ms, *order.first_ms[file + 1 : file + 2]])
                for day in self._days.done(horizon_ms):
                    await self._seal(day, file)
                work.done.fraction = (file + rows.fraction) / len(order.files)
                work.on_progress(work.done)
                if work._stopping.is_set():
                    return False
        await self._finish()
        return True

    def _take(self, rows: Rows, file: int) -> int | None:
        if rows.of_minutes:
            return self._days.take_candles(rows.frame, file)
        return self._days.take(rows.frame, file, self._work.clock.now_ms())

    async def _finish(self) -> None:
        """Write what is left. The newest day may not be over: it is committed as a worker would."""
        waiting, end = self._days.waiting, len(self._order.files)
        new = [day_ms for day_ms in sorted(waiting) if waiting[day_ms].trades]
        for day_ms in sorted(waiting):
            is_over = waiting[day_ms].end_ms <= self._builder.watermark_ms
            if is_over or any(day_ms < later_ms for later_ms in new):
                await self._seal(waiting[day_ms], end)
        left = next((waiting[day_ms] for day_ms in sorted(waiting) if waiting[day_ms].trades), None)
        for day in waiting.values():
            if day is not left:
                self._builder.refused.update(day.refused)
        await self._commit_last(left)
        self._work.done.fraction = 1.0
        self._work.on_progress(self._work.done)

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

    async def _seal(self, day: Day, file: int) -> None:
        """Write a day that is over. `file`: the one being read."""
        builder, work = self._builder, self._work
        del self._days.waiting[day.day_ms]
        closes = builder.open is not None and day_of(builder.open.candle.open_ms) == day.day_ms
        if not day.trades and not closes:
            builder.refused.update(day.refused)
            return
        stored = await self._imports.read(day.day_ms)
        (candles, levels), made = await self._meanwhile(_sealed, day, stored, builder.open, builder.watermark_ms)
        builder.refused.update(day.refused)
        if not day.trades and not closes:
            return
        staged = await self._stage(day.day_ms, (candles, levels), made) if made else None
        if closes:
            builder.open = None
        builder.watermark_ms = max(builder.watermark_ms, day.end_ms)
        opens = candles["open_ms"].to_list() or [day.day_ms]
        # Whoever has live bars reads them again: all of a day is more than a message should carry.
        newest = [Candle(**row) for row in candles.tail(1).rows(named=True)]
        await self._meanwhile(self._keeper.keep, day)
        await self._write(self._head(day, file), day, staged, opens, newest)
        self._days.written(day)
        self._wrote(day)
        work.on_progress(work.done)

    async def _write(
        self, head: Head, day: Day, staged: Staged | None, opens: Sequence[int], amended: list[Candle]
    ) -> None:
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
            trades=codec.pack_trades(Trades()),
        )
        events = [Text(builder, head).gap(gap) for gap in head.gaps]
        await self._imports.write(
            ImportedDay(
                token=self._token,
                seq=self._seq,
                day_ms=day.day_ms,
                staged=staged,
                first_ms=opens[0],
                last_ms=opens[-1],
                position=head.position,
                checkpoint=checkpoint,
                events=events,
                messages=[(keys.commits, message.pack()), *((keys.events, event) for event in events)],
                gaps={gap.id: gap.dump() for gap in head.gaps},
                forgotten=head.forgotten,
                archived=self._work.archive is not None,
                lost=self._keeper.take_lost(day),
            )
        )
        self._seq += 1
        self._wrote_any = True

    async def _stage(self, day_ms: int, frames: Frames, made: dict[str, bytes]) -> Staged:
        """Lay the blocks down, and see that they read as what they were made of."""
        laid = await self._rollups.stage(day_ms, made)
        candles, levels = frames
        same = await self._meanwhile(_reads_as, laid, candles, levels)
        if not same:
            raise SealFailed(f"day {day_ms} of {self._work.market.symbol} was read otherwise than it was written")
        digests = tuple(blocks.digest(made[name]) if name in made else "" for name in (CANDLES, FOOTPRINTS))
        return Staged((len(candles), levels["open_ms"].n_unique() if FOOTPRINTS in made else 0), digests)

    async def _commit_last(self, day: Day | None) -> None:
        builder, work = self._builder, self._work
        changes = Changes(Trades(), open=builder.open, moved=True)
        if day:
            del self._days.waiting[day.day_ms]
            # The kept trades go first (import.lua): those of this step would be missing among them.
            await self._write(Head(self._token, self._seq, str(self._position), {}), day, None, [day.day_ms], [])
            await self._meanwhile(self._keeper.keep, day)
            stored = await self._imports.read(day.day_ms)
            frames = await self._meanwhile(_merged, day, stored, builder.open, builder.watermark_ms)
            minutes = await self._meanwhile(_minutes, *frames)
            builder.refused.update(day.refused)
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
        head = self._head(day, len(self._order.files))
        head = replace(head, health={"mode": CLOSED, "source": SOURCE})
        commit = make_commit(head, builder, changes, work.settings.retention)
        retention = work.settings.retention
        floors = (day_floor(builder.watermark_ms, days) for days in (retention.candle_days, retention.footprint_days))
        candle_floor_ms, footprint_floor_ms = floors
        commit = replace(commit, candle_floor_ms=candle_floor_ms, footprint_floor_ms=footprint_floor_ms)
        await (self._bare if self._wrote_any else self._store).commit(commit)
        if day:
            self._wrote(day)
        work.done.refused = builder.refused

    def _head(self, day: Day | None, file: int) -> Head:
        """Bring coverage, ledger, counts and position up to a day that is about to be written."""
        builder, now_ms = self._builder, self._work.clock.now_ms()
        if day:
            _cover(builder, day)
        if self._bad:
            builder.refused[BAD_LINE] += self._bad
            self._bad = 0
        gaps = self._gaps.follow(builder.coverage, ID_JUMP, now_ms)
        forgotten = self._gaps.forgotten() if gaps else []
        first = min([file, *(waiting.file for waiting in self._days.waiting.values())])
        written_ms = max(self._position.day_ms, day.day_ms if day else -1)
        self._position = Position(self._order.recording, first, written_ms)
        return Head(self._token, self._seq, str(self._position), {}, gaps, forgotten)

    def _wrote(self, day: Day) -> None:
        done = self._work.done
        done.days += bool(day.trades)
        done.trades += day.trades
        done.refused = self._builder.refused

    async def _meanwhile(self, work: Callable[..., T], *arguments: object) -> T:
        """Run it in a thread, with signs of life while it lasts."""
        return await self._alive(asyncio.create_task(asyncio.to_thread(work, *arguments)))

    async def _alive(self, task: "asyncio.Task[T]") -> T:
        beat_s = self._work.settings.lease_ttl_ms / BEATS_PER_LEASE / 1_000
        while not (await asyncio.wait({task}, timeout=beat_s))[0]:
            await self._store.beat(self._token, self._seq, {"mode": BACKFILLING, "source": SOURCE})
        return task.result()


def _cover(builder: Builder, day: Day) -> None:
    coverage = builder.coverage
    if isinstance(coverage, RecentCoverage) and day.trades:
        from_ms = min(ms for ms in (coverage.from_ms, day.from_ms) if ms >= 0)
        to_ms = max(coverage.to_ms, day.to_ms)
        # Of the ids nothing is kept: only what comes after all of them is surely no duplicate.
        builder.coverage = RecentCoverage(coverage.window, to_ms, from_ms, to_ms)
    else:
        coverage.cover(day.spans)


def _merged(day: Day, stored: tuple[Minutes, Minutes], growing: Minute | None, watermark_ms: int) -> Frames:
    """The whole day: what is new, what is stored, and the minute that grows if it is of this day."""
    candles, levels = stored
    candle_members, footprint_members = list(candles.open), list(levels.open)
    if growing and day_of(growing.candle.open_ms) == day.day_ms:
        growing_frames = _frames_of(growing)
        candle_members += growing_frames[0]
        footprint_members += growing_frames[1]
    opened, open_levels = decode.candles(candle_members), decode.footprints(footprint_members)
    both = (_overlaid(decode.sealed_candles, candles, opened), _overlaid(decode.sealed_footprints, levels, open_levels))
    return built(day, *both, watermark_ms)


def _overlaid(unseal: Callable[[list[bytes]], pl.DataFrame], minutes: Minutes, opened: pl.DataFrame) -> pl.DataFrame:
    """Sealed and open minutes as one: of a minute in both the open one counts."""
    if not minutes.sealed:
        return opened
    sealed = unseal(list(minutes.sealed.values()))
    return pl.concat([sealed.join(opened.select("open_ms").unique(), on="open_ms", how="anti"), opened])


def _sealed(
    day: Day, stored: tuple[Minutes, Minutes], growing: Minute | None, watermark_ms: int
) -> tuple[Frames, dict[str, bytes]]:
    """The day, and its blocks by series."""
    candles, levels = _merged(day, stored, growing, watermark_ms)
    made = {CANDLES: blocks.pack_candles(encode.candles(candles))} if len(candles) else {}
    if len(levels):
        made[FOOTPRINTS] = blocks.pack_levels([_column(levels, name) for name in levels.columns])
    return (candles, levels), made


def _reads_as(laid: dict[str, bytes], candles: pl.DataFrame, levels: pl.DataFrame) -> bool:
    if not decode.sealed_candles([laid[CANDLES]]).equals(candles):
        return False
    return FOOTPRINTS not in laid or decode.sealed_footprints([laid[FOOTPRINTS]]).equals(levels)


def _column(frame: pl.DataFrame, name: str) -> Ints:
    found: Ints = frame[name].to_numpy()
    return found


def _minutes(candles: pl.DataFrame, levels: pl.DataFrame) -> dict[int, Minute]:
    members = encode.footprints(levels)
    footprints = {codec.footprint_open(member): member for member in members}
    packed = encode.candles(candles)
    opens = candles["open_ms"].to_list()
    return {open_ms: _minute(candle, footprints.get(open_ms)) for open_ms, candle in zip(opens, packed, strict=True)}


def _minute(candle: bytes, footprint: bytes | None) -> Minute:
    return unpack_minute(candle, footprint) if footprint else Minute(codec.unpack_candle(candle), Footprint())


def _frames_of(minute: Minute) -> tuple[list[bytes], list[bytes]]:
    candle, footprint = pack_minute(minute)
    return [candle], [footprint] if footprint else []
