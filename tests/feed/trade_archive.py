"""Archives the trades of a symbol, as the job does."""

from typing import Any

import polars as pl
from redis.asyncio import Redis

from common.archive.archive import Archive
from common.archive.series import TRADE_ROWS
from common.frames import decode
from common.market.instrument import Instrument
from common.market.timeframe import DAY_MS
from common.store.reads import SymbolReader


async def archive_trades(client: Redis, archive: Archive, instrument: Instrument, *, confirm: bool = True) -> None:
    """Write the trades of all commits since the last time, and confirm them."""
    reader = SymbolReader(client, instrument.symbol)
    view = await reader.view()
    known = view.archived_trades
    entries = await reader.entries(known.seq if known else 0, 1 << 30)
    if not entries:
        return
    trades = decode.trades([entry.trades for entry in entries])
    for (day_ms,), rows in trades.group_by(pl.col("ts_ms") // DAY_MS * DAY_MS):
        before = archive.read_period(TRADE_ROWS, instrument, int(str(day_ms)))
        both = pl.concat([rows] if before is None else [before, rows]).unique(["ts_ms", "id"]).sort("ts_ms", "id")
        archive.write(TRADE_ROWS, instrument, int(str(day_ms)), both)
    if confirm:
        fields: Any = {
            "trades_seq": entries[-1].seq,
            "trades_ms": entries[-1].watermark_ms,
            "trades_from_ms": known.from_ms if known else (entries[0].watermark_ms if entries[0].seq > 1 else -1),
            "trades_version": known.version + 1 if known else 1,
        }
        await client.hset(reader.keys.archive, mapping=fields)
