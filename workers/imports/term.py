"""One term of an import: from a won claim to the last file, or to an error after which the store is asked again."""

import asyncio
import sys
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass

import polars as pl
from redis.asyncio import Redis

from common.frames import decode
from common.market.builder.builder import Builder
from common.market.builder.coverage_kinds import load_coverage
from common.market.builder.id_coverage import IdCoverage
from common.market.builder.recent import RECENT_TRADES
from common.market.timeframes.timeframe import DAY_MS, day_of
from common.series import CANDLES
from common.store.format import CHUNKED_COVERAGE, DELTA_RANGES, written
from common.store.instrument import DataInstrument
from common.store.reads import SymbolReader
from common.store.symbol import Claim
from workers.imports.again import AtHand
from workers.imports.day import Day
from workers.imports.days import Days, steps
from workers.imports.files import Rows
from workers.imports.keeping import keeping
from workers.imports.order import FileOrder, Position
from workers.imports.tenure import Tenure
from workers.imports.trades import TradeKeeper
from workers.imports.work import ImportWork
from workers.imports.writer import DayWriter


async def begun(work: ImportWork, client: Redis, tenure: Tenure, claim: Claim, order: FileOrder) -> "ImportTerm":
    """Where the symbol stands, and where the files go on."""
    view = await SymbolReader(client, work.market.symbol).view()
    recent = decode.trades(await tenure.store.recent_batches(RECENT_TRADES))
    gaps = await tenure.store.gaps()
    instrument, grace_ms = work.market.instrument, work.settings.close_grace_ms
    if claim.checkpoint is None:
        builder = Builder.new(instrument, work.sources, grace_ms)
    else:
        builder = Builder.restore(instrument, claim.checkpoint, None, work.sources, grace_ms)
    work.begin_count(builder.refused)
    oldest = builder.coverage.oldest()
    kept = keeping(
        client,
        work.market,
        order,
        work.bounds.archived,
        view,
        oldest.from_ms if oldest else 0,
        is_within=work.within_retention,
        older=work.older,
    )
    await tenure.beat()
    last_ms = await tenure.meanwhile(order.last_ms)
    newest_ms = max(builder.newest_ms, min(last_ms, work.clock.now_ms()))
    reach = kept.reach(newest_ms, work.retention)
    if reach.short or reach.gone:
        work.on_reach(reach)
    await work.keep_longer(client, reach)
    position = Position.of(claim.import_position, order.recording)
    data = claim.data or DataInstrument.begun(instrument)
    form = written(claim.format, work.format)
    days = _waiting(work, builder, order, position, recent, kept.floors(newest_ms, work.retention), form)
    keeper = TradeKeeper(client, work.market, work.archive)
    await tenure.alive(asyncio.create_task(keeper.begin(oldest.from_ms if oldest else -1)))
    writer = DayWriter(
        work=work,
        client=client,
        tenure=tenure,
        builder=builder,
        gaps=gaps,
        days=days,
        keeping=kept,
        keeper=keeper,
        order=order,
        position=position,
        data=data,
        unsaid=None if claim.data else data,
        format=form,
        source_position=claim.position,
        floor_ms=claim.candle_floor_ms,
    )
    return ImportTerm(work, order, writer, reach.short.get(CANDLES.name, 0) if reach.within else 0)


def _waiting(
    work: ImportWork,
    builder: Builder,
    order: FileOrder,
    position: Position,
    recent: pl.DataFrame,
    floors_ms: tuple[int, int],
    form: int,
) -> Days:
    """The days that wait to be written: of what is known so far, the one that is under way."""
    seen = load_coverage(work.market.instrument.ids, builder.coverage.dump(), None)
    builder.keep_coverage(is_chunked=form >= CHUNKED_COVERAGE)
    if isinstance(seen, IdCoverage) and isinstance(builder.coverage, IdCoverage):
        # What has been read is bounded. Of what has been written more may be missing, while days wait.
        seen.max_holes, builder.coverage.max_holes = builder.coverage.max_holes, sys.maxsize
    at_hand = AtHand(recent, per_day=not isinstance(seen, IdCoverage))
    is_archived = work.archive is not None
    days = Days(seen, work.sources, *floors_ms, position.day_ms + 1, with_rows=is_archived, at_hand=at_hand)
    days.has_delta_range = form >= DELTA_RANGES
    if builder.open:
        # It is closed by the first trade of a later day.
        day_ms = day_of(builder.open.candle.open_ms)
        days.waiting[day_ms] = Day(day_ms, len(order.files))
    return days


@dataclass(slots=True)
class ImportTerm:
    """`from_ms`: what is older is left out."""

    work: ImportWork
    order: FileOrder
    writer: DayWriter
    from_ms: int

    async def run(self) -> bool:
        """True if all files have been read and written."""
        work, order, tenure = self.work, self.order, self.writer.tenure
        newest_ms, number = -1, -1
        async with aclosing(self._rows()) as batches:
            async for file, rows in batches:
                newest_ms, number = (newest_ms, number) if file == number else (order.first_ms[file], file)
                self.writer.bad_rows += rows.bad
                took_ms = await tenure.meanwhile(self._take, rows, file)
                newest_ms = max(newest_ms, took_ms or 0)
                horizon_ms = min([newest_ms, *order.first_ms[file + 1 : file + 2]])
                await self._seal_all(self.writer.days.done(horizon_ms), file)
                work.done.fraction = (file + rows.fraction) / len(order.files)
                work.on_progress(work.done)
                if work.is_stopping:
                    return False
        return await self._finish()

    def _take(self, rows: Rows, file: int) -> int | None:
        frame = self._without_old(rows.frame) if self.from_ms else rows.frame
        if rows.of_minutes:
            return self.writer.days.take_candles(frame, file)
        return self.writer.days.take(frame, file, self.work.clock.now_ms())

    def _without_old(self, frame: pl.DataFrame) -> pl.DataFrame:
        """What is left out is as if it were in no file: a later import may bring it."""
        time = pl.col(frame.columns[0])
        old = frame.filter(time < self.from_ms).select((time // DAY_MS).unique()).to_series()
        self.work.left_out.update(old.to_list())
        return frame.filter(time >= self.from_ms) if len(old) else frame

    async def _finish(self) -> bool:
        """Write what is left. The newest day may not be over: it is committed as a worker would. False if stopped."""
        waiting, end = self.writer.days.waiting, len(self.order.files)
        new = [day_ms for day_ms in sorted(waiting) if waiting[day_ms].trades]
        over_ms = max([day_of(self.writer.builder.watermark_ms), *new])
        await self._seal_all([waiting[day_ms] for day_ms in sorted(waiting) if day_ms < over_ms], end)
        if self.work.is_stopping:
            return False
        left = next((waiting[day_ms] for day_ms in sorted(waiting) if waiting[day_ms].trades), None)
        await self.writer.tenure.meanwhile(self.writer.keeper.compare, list(waiting.values()))
        for day in waiting.values():
            if day is not left:
                self.writer.count(day)
        await self.writer.write_last(left)
        self.work.done.fraction = 1.0
        self.work.on_progress(self.work.done)
        return True

    async def _rows(self) -> AsyncGenerator[tuple[int, Rows]]:
        """The batches of all files from the position on; the next one is read while one is taken in."""
        source = self._batches()
        following = asyncio.create_task(asyncio.to_thread(next, source, None))
        try:
            while found := await self.writer.tenure.alive(following):
                following = asyncio.create_task(asyncio.to_thread(next, source, None))
                yield found
        finally:
            await asyncio.gather(following, return_exceptions=True)

    def _batches(self) -> Iterator[tuple[int, Rows]]:
        for number, file in enumerate(self.order.files):
            if number >= self.writer.position.file:
                for rows in file.batches():
                    yield number, rows

    async def _seal_all(self, days: Sequence[Day], file: int) -> None:
        """Write days that are over, ascending, or as many as there is time for. `file`: the one being read."""
        for step in steps(days, alone=self.writer.keeping.below.has if self.writer.keeping.below else None):
            if self.work.is_stopping:
                return
            await self.writer.write(step, file)
