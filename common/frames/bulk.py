"""Trades to candles and footprints, whole columns at a time: imports and archives.

Equal to the incremental Builder on the same trades, in any order (a law under test), with `rev` 0. The trades
must be valid and each there once: refusing is the Builder's work.
"""

import polars as pl

from common.frames.schema import CANDLES, LEVEL_LOTS, LEVEL_TRADES, LEVELS, conform
from common.frames.spans import span_open
from common.market.timeframe import MINUTE, Timeframe
from common.market.trade import BUY, SELL

_FIRST = (pl.col("price_ticks").alias("open_ticks"), pl.col("ts_ms").alias("first_ts_ms"), pl.col("id").alias("first_id"))
_LAST = (pl.col("price_ticks").alias("close_ticks"), pl.col("ts_ms").alias("last_ts_ms"), pl.col("id").alias("last_id"))
_LOTS = pl.col("size_lots").cast(pl.Int128)


def candles(trades: pl.DataFrame, timeframe: Timeframe, sources: int) -> pl.DataFrame:
    """Build a CANDLES frame, ascending, of a TRADES frame. `sources`: where they came from, as bits."""
    if not (trades["ts_ms"].is_sorted() and trades["id"].is_sorted()):
        trades = trades.sort("ts_ms", "id")
    spans = trades.group_by(open_ms=span_open(pl.col("ts_ms"), timeframe).set_sorted(), maintain_order=True)
    built = spans.agg(
        *(column.first() for column in _FIRST),
        *(column.last() for column in _LAST),
        high_ticks=pl.col("price_ticks").max(),
        low_ticks=pl.col("price_ticks").min(),
        volume_lots=_LOTS.sum(),
        buy_lots=_of_side(BUY).sum(),
        sell_lots=_of_side(SELL).sum(),
        turnover=(pl.col("price_ticks") * _LOTS).sum(),
        trades=pl.len(),
    )
    return conform(built.with_columns(rev=0, sources=sources), CANDLES)


def footprints(trades: pl.DataFrame, timeframe: Timeframe = MINUTE) -> pl.DataFrame:
    """Build a LEVELS frame of a TRADES frame, by open and then price, both ascending."""
    levels = trades.group_by(span_open(pl.col("ts_ms"), timeframe).alias("open_ms"), "price_ticks").agg(
        *(_of_side(side).sum().alias(name) for side, name in enumerate(LEVEL_LOTS)),
        *((pl.col("side") == side).sum().alias(name) for side, name in enumerate(LEVEL_TRADES)),
    )
    return conform(levels.sort("open_ms", "price_ticks"), LEVELS)


def minutes(trades: pl.DataFrame, sources: int) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Build minute candles and their footprints: what the store keeps."""
    return candles(trades, MINUTE, sources), footprints(trades)


def _of_side(side: int) -> pl.Expr:
    return _LOTS.filter(pl.col("side") == side)
