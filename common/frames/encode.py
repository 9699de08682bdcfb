"""Frames to packed bytes (common.market.coding.codec), the inverse of decode: what a bulk import stores."""

from itertools import pairwise

import numpy as np
import polars as pl

from common.frames.schema import DELTA_RANGE, LEVELS
from common.market.coding.codec import UNKNOWN_LOTS
from common.market.coding.packed import PACKED_CANDLE, candle_members, pack_levels

_WIDTHS = {"<i8": pl.Int64, "<u8": pl.UInt64, "<u4": pl.UInt32, "|u1": pl.UInt8}


def candles(frame: pl.DataFrame) -> list[bytes]:
    """Pack a CANDLES frame, one member per row. A value that does not fit its field raises, as in the codec."""
    packed = np.zeros(len(frame), PACKED_CANDLE)
    limbs = frame.with_columns(
        turnover_low=pl.col("turnover") % (1 << 64),
        turnover_high=pl.col("turnover") // (1 << 64),
        first_after_ms=pl.col("first_ts_ms") - pl.col("open_ms"),
        last_after_ms=pl.col("last_ts_ms") - pl.col("open_ms"),
    ).with_columns(pl.col(DELTA_RANGE).fill_null(UNKNOWN_LOTS))
    for name in PACKED_CANDLE.names or ():
        if name != "padding":
            # Polars checks the range here; the assignment in numpy would wrap without a word.
            width = _WIDTHS[PACKED_CANDLE[name].str]
            packed[name] = limbs[name].cast(width).to_numpy()
    return candle_members(packed)


def footprints(levels: pl.DataFrame) -> list[bytes]:
    """Pack a LEVELS frame, by open and then price, one member per `open_ms`."""
    opens, *columns = (levels[name].to_numpy() for name in LEVELS)
    rows, cuts = np.column_stack(columns), np.flatnonzero(np.diff(opens)) + 1
    bounds = [0, *cuts.tolist(), len(opens)] if len(opens) else []
    return [pack_levels(int(opens[start]), rows[start:end]) for start, end in pairwise(bounds)]
