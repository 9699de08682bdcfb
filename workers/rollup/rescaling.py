"""Archived objects in the scale that their symbol is of now: each is read in its own, and written again.

A reader brings them to the symbol's scale by itself, so nothing depends on when this is done. Others are told one type
for all files of a symbol: DuckDB takes that of the first one, and rounds the rest without a word.

Loads Polars: only ever imported in the process of one job.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from contextlib import suppress

from redis.asyncio import Redis

from common.archive.archive import Archive
from common.archive.series import SERIES
from common.errors import ArchiveDamaged, Stale, Superseded
from common.market.instrument import Instrument
from common.market.manifest import ManifestEntry
from common.store.manifest import Manifest
from common.store.registry import Market
from common.store.rescale import RescaleStore

log = logging.getLogger(__name__)

# A job begins no further object after that: others wait, and a stop gives it one second.
MAX_JOB_S = 1.0


async def rescale_archive(client: Redis, market: Market, archive: Archive, stopping: Callable[[], bool]) -> None:
    """Write as many objects again as there is time for, the newest first.

    One that can't be read does not hold up the others; the first is raised once they are done.
    """
    store, until_s = RescaleStore(client, market.symbol), time.monotonic() + MAX_JOB_S
    failure: ArchiveDamaged | None = None
    with suppress(Stale):
        left = await store.left()
        if left and not left.is_listed:
            await store.listed(left, await asyncio.to_thread(_objects, archive, market.symbol))
            left = await store.left()
        for series, period_ms in left.objects if left else ():
            if stopping() or time.monotonic() >= until_s:
                break
            assert left, "looped over"
            expected = await Manifest(client, market.symbol, series).entry(period_ms)
            try:
                entry = await asyncio.to_thread(_rewrite, archive, series, left.data.instrument, period_ms, expected)
                await store.done(left, series, period_ms, entry)
            except Superseded:
                pass
            except ArchiveDamaged as error:
                failure = failure or error
    if failure:
        raise failure


def _objects(archive: Archive, symbol: str) -> list[tuple[str, int]]:
    return [(name, period_ms) for name, series in SERIES.items() for period_ms in archive.periods(series, symbol)]


def _rewrite(
    archive: Archive, name: str, instrument: Instrument, period_ms: int, expected: ManifestEntry | None
) -> ManifestEntry | None:
    """Return the entry of the object that was written; None if it was of that scale, or there is none."""
    found = archive.version(SERIES[name], instrument, period_ms, expected)
    if found.frame is None or found.scale == instrument.scale:
        return None
    written = archive.replace(found, found.frame)
    log.info("rescaled", extra={"symbol": instrument.symbol, "series": name, "period_ms": period_ms})
    return written.entry(period_ms)
