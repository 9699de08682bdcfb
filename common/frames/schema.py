"""The columns of every frame here. Integers only: ms, ticks, lots, and turnover in ticks x lots.

Lots are 64 bits wide, but a sum of them need not fit: it is taken in 128 bits and narrowed with a check, for a
64-bit sum in Polars wraps to a negative number without a word.
"""

import polars as pl

from common.errors import BadInput

TRADES = pl.Schema(
    {
        "ts_ms": pl.Int64,
        "id": pl.Int64,
        "price_ticks": pl.Int64,
        "size_lots": pl.Int64,
        "side": pl.UInt8,
    }
)

# The fields of common.market.candle.Candle, in its order.
CANDLES = pl.Schema(
    {
        "open_ms": pl.Int64,
        "open_ticks": pl.Int64,
        "high_ticks": pl.Int64,
        "low_ticks": pl.Int64,
        "close_ticks": pl.Int64,
        "volume_lots": pl.Int64,
        "buy_lots": pl.Int64,
        "sell_lots": pl.Int64,
        "turnover": pl.Int128,
        "trades": pl.Int64,
        "first_ts_ms": pl.Int64,
        "first_id": pl.Int64,
        "last_ts_ms": pl.Int64,
        "last_id": pl.Int64,
        "rev": pl.Int64,
        "sources": pl.UInt8,
        "delta_min_lots": pl.Int64,
        "delta_max_lots": pl.Int64,
    }
)
# The two columns that may have nulls: the range of the running delta is not known of every candle.
DELTA_RANGE = ("delta_min_lots", "delta_max_lots")
LOTS = ("volume_lots", "buy_lots", "sell_lots")
# By which candles of one span are put in order.
ORDER_KEYS = ("first_ts_ms", "first_id", "last_ts_ms", "last_id")
# What order flow is made of: all but the order keys, for readers that have the candles in order.
FLOW = pl.Schema({name: dtype for name, dtype in CANDLES.items() if name not in ORDER_KEYS})
# What is shown of a candle.
SHOWN = pl.Schema({name: dtype for name, dtype in FLOW.items() if name not in DELTA_RANGE})

# One row per price level (or row of levels) and candle: common.market.footprint.Row, with its candle's open.
LEVELS = pl.Schema(
    {
        "open_ms": pl.Int64,
        "price_ticks": pl.Int64,
        "buy_lots": pl.Int64,
        "sell_lots": pl.Int64,
        "unknown_lots": pl.Int64,
        "buy_trades": pl.Int64,
        "sell_trades": pl.Int64,
        "unknown_trades": pl.Int64,
    }
)
# By side code (common.market.trade).
LEVEL_LOTS = ("buy_lots", "sell_lots", "unknown_lots")
LEVEL_TRADES = ("buy_trades", "sell_trades", "unknown_trades")


def conform(frame: pl.DataFrame, schema: pl.Schema) -> pl.DataFrame:
    """Return the columns of `schema`, in its order and widths; BadInput where a sum does not fit them."""
    have = dict(zip(frame.columns, frame.dtypes, strict=True))
    if list(have.items()) == list(schema.items()):
        return frame
    try:
        # Only what differs is cast: an expression costs as much as copying thousands of rows.
        return frame.select(name if have[name] == dtype else pl.col(name).cast(dtype) for name, dtype in schema.items())
    except pl.exceptions.InvalidOperationError:
        raise BadInput("one span holds more than 2**63 - 1 lots, expected a shorter timeframe") from None
