"""Applied trades into the archive: out of the stream into the objects of their days, and then confirmed to the store.

A day's object is united with what comes, by time and id, and never loses a row. So whatever is killed or held up, runs
twice or beside another, and whatever a store that went back in time has fetched again: each trade is there once.

Loads Polars: only ever imported in the process of one job, or of an import.
"""

import asyncio
import logging
from collections.abc import Iterator
from contextlib import suppress

import polars as pl
from redis.asyncio import Redis

from common.archive.archive import Archive
from common.archive.series import TRADE_ROWS
from common.errors import ArchiveUnavailable, Stale, Superseded
from common.frames import decode
from common.market.coding import codec
from common.market.instrument import Instrument
from common.market.manifest import ManifestEntry
from common.market.timeframes.timeframe import DAY_MS
from common.retry import ATTEMPTS, retry_when_overtaken
from common.store.manifest import Manifest
from common.store.parts import TradeEntry
from common.store.reads import SymbolReader
from common.store.registry import Market
from common.store.trade_archive import TRADES, ArchiveStanding, TradeArchive
from workers.rollup.listing import ensure_listed

log = logging.getLogger(__name__)

# Trades, and entries, taken in before the next confirmation: some 100 MB if each entry has one trade.
MAX_TRADES = 250_000
# Each of these entries may have a whole batch of the worker's: 270 kB.
PAGE = 256


async def archive_trades(client: Redis, market: Market, archive: Archive) -> bool:
    """Archive all trades that are applied by now and have not been archived; return whether there were any."""
    store, manifest = TradeArchive(client, market.symbol, market.instrument), Manifest(client, market.symbol, TRADES)
    await ensure_listed(client, market, archive, TRADES)

    async def attempt() -> bool:
        standing = await store.standing()
        if standing is None:
            return False
        return await _archive(store, market.instrument, archive, standing, manifest)

    # What another job, another worker or an import changes meanwhile is read once more.
    return await retry_when_overtaken(attempt, market.symbol, "archive its trades", by=(Stale,))


async def waiting_trades(store: TradeArchive, at: ArchiveStanding) -> pl.DataFrame:
    """Return the trades that have been applied and not archived, in the order they were applied."""
    found: list[TradeEntry] = []
    while page := await entries(store.reader, found[-1].seq if found else at.archived_seq or 0, at.seq):
        found += page
    return decode.trades([entry.trades for entry in found])


async def _archive(
    store: TradeArchive, instrument: Instrument, archive: Archive, at: ArchiveStanding, manifest: Manifest
) -> bool:
    """Return whether anything was written."""
    count = 0
    while at.archived_seq != at.seq:
        waiting = await entries(store.reader, archived_to(at), at.seq)
        trades = decode.trades([entry.trades for entry in waiting])
        written = []
        for day_ms, some in by_day(trades):
            expected = await manifest.entry(day_ms)
            written.append(await asyncio.to_thread(add_to_day, archive, instrument, day_ms, some, expected))
        # Without an entry: what there was has been dropped, and noted as lost.
        last = (waiting[-1].seq, waiting[-1].watermark_ms) if waiting else (at.seq, at.watermark_ms)
        at, count = await store.confirm(at, *last, written), count + len(written)
        log.info("archived", extra={"symbol": instrument.symbol, "series": TRADE_ROWS.name, "rows": len(trades)})
    return count > 0


def archived_to(at: ArchiveStanding) -> int:
    """Up to which commit the archive has all. Of a store that was put back piece by piece: none of its stream."""
    return at.archived_seq if at.archived_seq and at.archived_seq <= at.seq else 0


async def entries(reader: SymbolReader, after_seq: int, last_seq: int) -> list[TradeEntry]:
    """The entries between two commits, the last one included, or the first of them with MAX_TRADES."""
    found: list[TradeEntry] = []
    count = 0
    while count < MAX_TRADES:
        page = await reader.entries(found[-1].seq if found else after_seq, PAGE)
        wanted = [entry for entry in page if entry.seq <= last_seq]
        found += wanted
        count += sum(max(1, codec.TRADES_HEAD.unpack_from(entry.trades)[0]) for entry in wanted)
        if len(wanted) < PAGE:
            break
    return found


def add_to_day(
    archive: Archive,
    instrument: Instrument,
    day_ms: int,
    trades: pl.DataFrame,
    expected: ManifestEntry | None = None,
) -> ManifestEntry:
    """Make the trades (TRADES, of one UTC day, in any order) part of the day's object; return its entry. Blocks.

    `expected`: what was confirmed of the day: ArchiveDamaged if that is not there.
    """
    for _ in range(ATTEMPTS):
        before = archive.version(TRADE_ROWS, instrument, day_ms, expected)
        frame = united(before.frame, trades)
        if before.frame is not None and before.claim and frame.equals(before.frame):
            return before.claim.entry(day_ms)
        with suppress(Superseded):
            return archive.replace(before, frame).entry(day_ms)
    raise ArchiveUnavailable(f"trades of {instrument.symbol} changed under every attempt to add to their day {day_ms}")


def united(before: pl.DataFrame | None, trades: pl.DataFrame) -> pl.DataFrame:
    """All trades, ascending by time and id, each once; of two with the same time and id the newer one."""
    rows = trades if before is None else pl.concat([before, trades])
    if not rows.select(_FOLLOWS.all()).item():
        rows = rows.sort("ts_ms", "id", maintain_order=True)
        rows = rows.filter(_FOLLOWS.shift(-1, fill_value=True))
    return rows


# Whether a row is later than the one before it, by time and id; of equal ones it is not.
_BEFORE = pl.col("ts_ms").shift(), pl.col("id").shift()
_FOLLOWS = ((pl.col("ts_ms") > _BEFORE[0]) | ((pl.col("ts_ms") == _BEFORE[0]) & (pl.col("id") > _BEFORE[1]))).fill_null(
    value=True
)


def by_day(trades: pl.DataFrame) -> Iterator[tuple[int, pl.DataFrame]]:
    """Cut trades by UTC day."""
    days = (trades["ts_ms"] // DAY_MS * DAY_MS).alias("day")
    for day_ms in days.unique().sort().to_list():
        yield day_ms, trades.filter(days == day_ms)
