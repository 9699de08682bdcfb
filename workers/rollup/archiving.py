"""Sealed days into the archive: a period is written whole, read back, and only then confirmed to the store.

Its object is read first, and replaced only if it is still that one. So whatever another job confirms meanwhile, and the
store drops for it, is in what this one has read, or this one is refused and begins anew.

Late trades of minutes that the archive alone has come out of the store as parts (common.market.builder.late), and the
object says which of them it has: a job that dies before it confirms merges none of them twice.

Loads Polars: only ever imported in the process of one job.
"""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass

import polars as pl
from redis.asyncio import Redis

from common.archive.archive import Archive
from common.archive.late import with_parts
from common.archive.series import CANDLE_ROWS, FOOTPRINT_ROWS, ArchiveSeries
from common.errors import Stale, StoreUnavailable, Superseded
from common.frames import decode
from common.market.builder.late import merged_with
from common.market.coding import blocks
from common.market.timeframes.timeframe import DAY_MS
from common.store.manifest import Manifest
from common.store.reads import Seal, SealedSeries, SymbolReader, SymbolState
from common.store.registry import Market
from common.store.rollups import RollupStore
from workers.rollup.listing import ensure_listed

log = logging.getLogger(__name__)

# A day that is sealed anew between the commands, and an object that another job replaces, are read once more.
ATTEMPTS = 5


@dataclass(frozen=True, slots=True)
class _Source:
    """How the sealed days of a series are read."""

    name: SealedSeries
    rows: ArchiveSeries
    decode: Callable[..., pl.DataFrame]
    digest: Callable[[Seal], str]
    floor: Callable[[SymbolState], int]


_SOURCES = {
    "candles": _Source(
        "candles",
        CANDLE_ROWS,
        decode.sealed_candles,
        lambda seal: seal.candle_digest,
        lambda state: state.candle_floor_ms,
    ),
    "footprints": _Source(
        "footprints",
        FOOTPRINT_ROWS,
        decode.sealed_footprints,
        lambda seal: seal.footprint_digest,
        lambda state: state.footprint_floor_ms,
    ),
}


async def archive_period(client: Redis, market: Market, archive: Archive, series: str, period_ms: int) -> bool:
    """Archive a period if anything of it is due; False if not."""
    source, store, manifest = (
        _SOURCES[series],
        RollupStore(client, market.symbol),
        Manifest(client, market.symbol, series),
    )
    end_ms = source.rows.period.next_open(period_ms)
    await ensure_listed(client, market, archive, series)
    for _ in range(ATTEMPTS):
        expected = await manifest.entry(period_ms)
        before = await asyncio.to_thread(
            archive.version,
            source.rows,
            market.instrument,
            period_ms,
            expected,
            may_be_missing=expected is not None and await _has_all(client, market, source, period_ms),
        )
        token, scores = await store.unarchived(series)
        due = {day_ms: score for day_ms, score in scores.items() if period_ms <= day_ms < end_ms}
        if not due:
            return False
        late = await store.late(series, period_ms, end_ms)
        sealed = await _sealed(SymbolReader(client, market.symbol, market.instrument), source, period_ms, end_ms)
        if sealed is None:
            continue
        frame = with_parts(source.rows, _joined(source.rows, before.frame, sealed), late.parts, before.late)
        entry = None
        if len(frame):
            try:
                written = await asyncio.to_thread(archive.replace, before, frame, merged_with(before.late, late.parts))
                entry = written.entry(period_ms)
            except Superseded:
                continue
        there = set(frame.select(_DAY).to_series().unique())
        try:
            complete_ms = await store.archived(
                series,
                token,
                {day_ms: score for day_ms, score in due.items() if day_ms in there},
                # Dropped before there was an archive.
                [day_ms for day_ms in due if day_ms not in there],
                late,
                entry,
            )
        except Stale:
            continue
        log.info(
            "archived",
            extra={"symbol": market.symbol, "series": series, "rows": len(frame), "complete_ms": complete_ms},
        )
        return True
    raise StoreUnavailable(f"{market.symbol} changed under every attempt to archive its {series}")


async def _has_all(client: Redis, market: Market, source: _Source, period_ms: int) -> bool:
    """Whether the store has dropped nothing of the period: then an object of it that is missing is made anew."""
    state = (await SymbolReader(client, market.symbol).view()).state
    return state is not None and source.floor(state) <= period_ms


async def _sealed(reader: SymbolReader, source: _Source, start_ms: int, end_ms: int) -> dict[int, pl.DataFrame] | None:
    """Return the sealed days of `[start_ms, end_ms)`. None if one has been sealed anew since its seal was read."""
    view = await reader.view(seals_from_ms=start_ms)
    # A seal stays until both series have dropped the day.
    kept_ms = max(start_ms, source.floor(view.state)) if view.state else start_ms
    seals = [seal for seal in view.seals if kept_ms <= seal.day_ms < end_ms and source.digest(seal)]
    found = await reader.blocks(source.name, [seal.day_ms for seal in seals]) if seals else []
    known = [block for block in found if block]
    if list(map(blocks.digest, known)) != list(map(source.digest, seals)):
        return None
    assert reader.instrument, "made with one"
    scales = view.state.scales(reader.instrument) if view.state else None
    return {seal.day_ms: source.decode([block], scales=scales) for seal, block in zip(seals, known, strict=True)}


def _joined(rows: ArchiveSeries, before: pl.DataFrame | None, sealed: dict[int, pl.DataFrame]) -> pl.DataFrame:
    """Join the sealed days with those that the archive alone has, for the store has dropped them."""
    kept = [] if before is None else [before.filter(~_DAY.is_in(list(sealed)))]
    return pl.concat([rows.schema.to_frame(), *kept, *sealed.values()]).sort("open_ms", maintain_order=True)


_DAY = pl.col("open_ms") - pl.col("open_ms") % DAY_MS
