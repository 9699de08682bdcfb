"""The range of the running delta of minutes that do not tell it: made of their trades, as they are kept and archived.

Only of a minute of which all trades are at hand: what they make is compared with the candle.

Loads Polars: only ever imported in the process of one job, and there only if a minute lacks its range.
"""

import asyncio
from collections.abc import Iterator, Sequence
from itertools import groupby

import polars as pl
from redis.asyncio import Redis

from common.archive.archive import Archive
from common.archive.parquet import Packed
from common.archive.series import TRADE_ROWS
from common.frames import bulk, decode, encode
from common.frames.schema import CANDLES, DELTA_RANGE, TRADES
from common.market.timeframes.timeframe import MINUTE, MINUTE_MS, day_of
from common.store.registry import Market
from common.store.trade_archive import ArchiveStanding, TradeArchive
from workers.rollup.trades import archived_to, entries, united

HOUR_MS = 60 * MINUTE_MS
# All that trades tell of a candle but when they came.
_TOLD = [name for name in CANDLES if name not in ("rev", "sources", *DELTA_RANGE)]


async def with_ranges(
    archive: Archive | None, client: Redis, market: Market, members: Sequence[bytes]
) -> dict[int, bytes]:
    """Return packed candles of one UTC day with their range, by open: those of which all trades are kept.

    `members`: packed candles, ascending. `archive`: None if there is none.
    """
    store, candles = TradeArchive(client, market.symbol, market.instrument), decode.candles(list(members))
    standing = await store.standing()
    if standing is None:
        return {}
    is_archived = archive is not None and standing.archived_seq is not None
    waiting = await _waiting(store, standing, archived_to(standing) if is_archived else 0, candles["open_ms"])
    day_ms = day_of(int(candles["open_ms"][0]))
    day = await asyncio.to_thread(archive.packed, TRADE_ROWS, market.instrument, day_ms) if archive else None
    made = [await asyncio.to_thread(_made, day, waiting, *span) for span in _hours(candles["open_ms"].to_list())]
    ranges = pl.concat(made).select(*_TOLD, *DELTA_RANGE)
    found = candles.drop(DELTA_RANGE).join(ranges, on=_TOLD, how="inner", maintain_order="left").select(candles.columns)
    return dict(zip(found["open_ms"].to_list(), encode.candles(found), strict=True))


def _hours(opens: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Spans from the first to the end of the last of them in each hour: a busy day's trades are not for one frame."""
    for _, group in groupby(opens, lambda open_ms: open_ms // HOUR_MS):
        some = list(group)
        yield some[0], some[-1] + MINUTE_MS


async def _waiting(store: TradeArchive, standing: ArchiveStanding, after_seq: int, opens: pl.Series) -> pl.DataFrame:
    """Trades of those minutes that the stream has of later commits."""
    found = [TRADES.to_frame()]
    while page := await entries(store.reader, after_seq, standing.seq):
        trades, after_seq = decode.trades([entry.trades for entry in page]), page[-1].seq
        found.append(trades.filter((pl.col("ts_ms") // MINUTE_MS * MINUTE_MS).is_in(opens.implode())))
    return pl.concat(found)


def _made(day: Packed | None, waiting: pl.DataFrame, from_ms: int, end_ms: int) -> pl.DataFrame:
    """Candles of the trades of a span."""
    some = waiting.filter(pl.col("ts_ms").is_between(from_ms, end_ms, closed="left"))
    trades = united(day.read(list(TRADES), from_ms, end_ms) if day else None, some)
    return bulk.candles(trades, MINUTE, 0)
