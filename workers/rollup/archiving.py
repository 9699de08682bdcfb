"""Sealed days into the archive: a period is written whole, read back, and only then confirmed to the store.

Its object is read first, and replaced only if it is still that one. So whatever another job confirms meanwhile, and the
store drops for it, is in what this one has read, or this one is refused and begins again.

Late trades of minutes that the archive alone has come out of the store as parts (common.market.builder.late), and the
object says which of them it has: a job that dies before it confirms merges none of them twice.

Loads Polars: only ever imported in the process of one job.
"""

import asyncio
import logging

import polars as pl
from redis.asyncio import Redis

from common.archive.archive import Archive
from common.archive.late import with_parts
from common.archive.series import SERIES, ArchiveSeries
from common.errors import Overtaken, Stale, Superseded
from common.frames.minutes import FRAMES, MinuteFrames
from common.market.builder.late import merged_with
from common.market.coding import blocks
from common.market.timeframes.timeframe import DAY_MS
from common.retry import retry_when_overtaken
from common.series import MinuteSeries
from common.store.manifest import Manifest
from common.store.minute_archive import MinuteArchive
from common.store.parts import Seals
from common.store.reads import SymbolReader
from common.store.registry import Market
from workers.rollup.listing import ensure_listed

log = logging.getLogger(__name__)


async def archive_period(client: Redis, market: Market, archive: Archive, series: str, period_ms: int) -> bool:
    """Archive a period if anything of it is due; False if not."""
    await ensure_listed(client, market, archive, series)
    # A day that is sealed again between the commands, and an object that another job replaces, are read once more.
    return await retry_when_overtaken(
        lambda: _archive(client, market, archive, series, period_ms),
        market.symbol,
        f"archive its {series}",
        by=(Overtaken, Stale, Superseded),
    )


async def _archive(client: Redis, market: Market, archive: Archive, series: str, period_ms: int) -> bool:
    frames, rows = FRAMES[series], SERIES[series]
    store, manifest = MinuteArchive(client, market.symbol), Manifest(client, market.symbol, series)
    end_ms = rows.period.next_open(period_ms)
    expected = await manifest.entry(period_ms)
    before = await asyncio.to_thread(
        archive.version,
        rows,
        market.instrument,
        period_ms,
        expected,
        may_be_missing=expected is not None and await _has_all(client, market, frames.series, period_ms),
    )
    token, scores = await store.unarchived(series)
    due = {day_ms: score for day_ms, score in scores.items() if period_ms <= day_ms < end_ms}
    if not due:
        return False
    late = await store.late(series, period_ms, end_ms)
    sealed = await _sealed(SymbolReader(client, market.symbol, market.instrument), frames, period_ms, end_ms)
    frame = with_parts(rows, _joined(rows, before.frame, sealed), late.parts, before.late)
    entry = None
    if len(frame):
        written = await asyncio.to_thread(archive.replace, before, frame, merged_with(before.late, late.parts))
        entry = written.entry(period_ms)
    there = set(frame.select(_DAY).to_series().unique())
    complete_ms = await store.archived(
        series,
        token,
        {day_ms: score for day_ms, score in due.items() if day_ms in there},
        # Dropped before there was an archive.
        [day_ms for day_ms in due if day_ms not in there],
        late,
        entry,
    )
    log.info(
        "archived",
        extra={"symbol": market.symbol, "series": series, "rows": len(frame), "complete_ms": complete_ms},
    )
    return True


async def _has_all(client: Redis, market: Market, series: MinuteSeries, period_ms: int) -> bool:
    """Whether the store has dropped nothing of the period: then an object of it that is missing is made again."""
    state = (await SymbolReader(client, market.symbol).view()).state
    return state is not None and state.floor_ms(series) <= period_ms


async def _sealed(reader: SymbolReader, frames: MinuteFrames, start_ms: int, end_ms: int) -> dict[int, pl.DataFrame]:
    """Return the sealed days of `[start_ms, end_ms)`."""
    series = frames.series
    view = await reader.view(Seals(start_ms))
    # A seal stays until all series have dropped the day.
    kept_ms = max(start_ms, view.state.floor_ms(series)) if view.state else start_ms
    seals = [seal for seal in view.seals if kept_ms <= seal.day_ms < end_ms and seal.digest(series)]
    found = await reader.blocks(series, [seal.day_ms for seal in seals]) if seals else []
    known = [block for block in found if block]
    if list(map(blocks.digest, known)) != [seal.digest(series) for seal in seals]:
        raise Overtaken(f"a day of {reader.keys.symbol} was sealed again while it was read")
    assert reader.instrument, "made with one"
    scales = view.state.scales(reader.instrument) if view.state else None
    return {seal.day_ms: frames.unseal([block], scales=scales) for seal, block in zip(seals, known, strict=True)}


def _joined(rows: ArchiveSeries, before: pl.DataFrame | None, sealed: dict[int, pl.DataFrame]) -> pl.DataFrame:
    """Join the sealed days with those that the archive alone has, for the store has dropped them."""
    kept = [] if before is None else [before.filter(~_DAY.is_in(list(sealed)))]
    return pl.concat([rows.schema.to_frame(), *kept, *sealed.values()]).sort("open_ms", maintain_order=True)


_DAY = pl.col("open_ms") - pl.col("open_ms") % DAY_MS
