"""The manifest of an archive that was written before there was one, or that an earlier release has added to since.

It is made by a listing, once: what is there is known by its name, until it is next confirmed. What is not there between
the first and the last object is looked at: where the store, or another series, has something of it, it is missing, and
becomes an entry like all others, whose object is not found. Else nothing was traded.
"""

import asyncio
import logging
from collections.abc import Collection, Iterable

from redis.asyncio import Redis

from common.archive.archive import Archive
from common.archive.series import CANDLE_ROWS, FOOTPRINT_ROWS, SERIES, TRADE_ROWS, ArchiveSeries
from common.market.coding import codec
from common.market.manifest import ManifestEntry
from common.market.timeframes.periods import DAY
from common.market.timeframes.timeframe import DAY_MS, Timeframe, day_of
from common.series import FOOTPRINTS, MINUTE_SERIES
from common.store.archived import touches
from common.store.manifest import Manifest
from common.store.parts import DailyCandles, Range, Seals
from common.store.reads import SymbolReader
from common.store.registry import Market

log = logging.getLogger(__name__)

ATTEMPTS = 3


async def ensure_listed(client: Redis, market: Market, archive: Archive, series: str) -> None:
    """See to it that the manifest of the series tells all that is there. Else the next job tries again."""
    manifest = Manifest(client, market.symbol, series)
    for _ in range(ATTEMPTS):
        if (await manifest.outline()).is_whole:
            return
        # Before the listing: what is confirmed meanwhile is not in it.
        version = await manifest.version()
        entries = await _listed(client, market, archive, SERIES[series])
        if await manifest.take_listing(version, entries):
            log.info("archive listed", extra={"symbol": market.symbol, "series": series, "objects": len(entries)})
            return


async def _listed(client: Redis, market: Market, archive: Archive, series: ArchiveSeries) -> list[ManifestEntry]:
    there = {each.name: await asyncio.to_thread(archive.periods, each, market.symbol) for each in SERIES.values()}
    found = there[series.name]
    missing: Collection[int] = ()
    if len(found) > 1:
        witnesses = await _witnesses(client, market, series, there)
        missing = holes(series, found, witnesses)
    if missing:
        labels = ", ".join(map(series.label, sorted(missing)))
        log.warning("archive lacks", extra={"symbol": market.symbol, "series": series.name, "periods": labels})
    return [ManifestEntry(period_ms) for period_ms in sorted({*found, *missing})]


def holes(series: ArchiveSeries, found: Collection[int], days: Iterable[int]) -> set[int]:
    """Return the periods between the first and the last found of which there were days, and which are not found."""
    wanted = {series.period.open_of(day_ms) for day_ms in days}
    return {period_ms for period_ms in wanted - {*found} if min(found) < period_ms < max(found)}


async def _witnesses(client: Redis, market: Market, series: ArchiveSeries, there: dict[str, list[int]]) -> set[int]:
    """Return UTC days that have, or had, something of a series."""
    view = await SymbolReader(client, market.symbol).view(Seals(0), DailyCandles(Range(0, 1 << 53)))
    if series is CANDLE_ROWS:
        stored = {day_of(codec.candle_open(member)) for member in view.days.candles}
        return stored | {*there[FOOTPRINT_ROWS.name], *there[TRADE_ROWS.name]}
    if series.name in MINUTE_SERIES:
        sealed = {seal.day_ms for seal in view.seals if seal.count(MINUTE_SERIES[series.name])}
        return sealed | {*there[TRADE_ROWS.name]}
    known = view.archived.trades
    lost = known.lost if known else ()
    days = {seal.day_ms for seal in view.seals if seal.count(FOOTPRINTS)} | {*there[FOOTPRINT_ROWS.name]}
    days |= _days_within(market.instrument.anchored(DAY), map(codec.candle_open, view.days.candles))
    return {day_ms for day_ms in days if not touches(lost, day_ms, day_ms + DAY_MS)}


def _days_within(days: Timeframe, opens: Iterable[int]) -> set[int]:
    """Return the UTC days of those trading days that lie in one: of others it is not known when they were traded."""
    return {day_of(open_ms) for open_ms in opens if day_of(days.next_open(open_ms) - 1) == day_of(open_ms)}
