"""Packed bytes (common.market.coding.codec) to frames. Rows come in the order of the members."""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import polars as pl

from common.frames.schema import CANDLES, DELTA_RANGE, LEVELS, TRADES, conform
from common.market.coding import blocks, candle_blocks, codec, footprint_blocks
from common.market.coding.codec import UNKNOWN_LOTS
from common.market.coding.named import Values
from common.market.coding.packed import PACKED_CANDLE, Ints, candles_of, levels_of
from common.market.scale import Scales

_AS_THEY_ARE = [name for name in CANDLES if name in (PACKED_CANDLE.names or ()) and name != "sources"]


def candles(members: list[bytes], schema: pl.Schema = CANDLES) -> pl.DataFrame:
    """Decode packed candles into a CANDLES frame, or into those columns of one."""
    packed = candles_of(members)
    # A copy per field, widened on the way: Polars needs whole columns, and each of its expressions has its price.
    columns: dict[str, Values | pl.Series] = {name: packed[name].astype(np.int64) for name in _AS_THEY_ARE}
    columns["first_ts_ms"] = packed["open_ms"] + packed["first_after_ms"]
    columns["last_ts_ms"] = packed["open_ms"] + packed["last_after_ms"]
    columns["turnover"] = _turnover(packed)
    columns["sources"] = np.ascontiguousarray(packed["sources"])
    columns |= _known(columns)
    return pl.DataFrame({name: columns[name] for name in schema})


def footprints(members: list[bytes]) -> pl.DataFrame:
    """Decode packed footprints into a LEVELS frame, each from its lowest price up."""
    return pl.DataFrame(dict(zip(LEVELS, levels_of(members), strict=True)))


def sealed_candles(sealed: Sequence[bytes], schema: pl.Schema = CANDLES, scales: Scales | None = None) -> pl.DataFrame:
    """Decode sealed blocks (common.market.coding.candle_blocks) into a CANDLES frame, or into those columns of one.

    `scales`: as there.
    """
    halves = ["turnover_low", "turnover_high"] if "turnover" in schema else []
    columns = candle_blocks.columns(sealed, [*(name for name in schema if name != "turnover"), *halves], scales)
    whole: dict[str, Values | pl.Series] = {name: columns[name] for name in columns if name not in halves}
    whole |= _known(columns)
    if halves:
        whole["turnover"] = _turnover(columns)
    return conform(pl.DataFrame(whole), schema)


def sealed_footprints(sealed: Sequence[bytes], scales: Scales | None = None) -> pl.DataFrame:
    """Decode sealed blocks of footprints into a LEVELS frame."""
    return pl.DataFrame(footprint_blocks.levels(sealed, scales))


def trades(blobs: list[bytes]) -> pl.DataFrame:
    """Decode packed batches of trades into one TRADES frame."""
    if not blobs:
        return TRADES.to_frame()
    columns = np.concatenate([_numbers(blob) for blob in blobs], axis=1)
    sides = b"".join([blob[codec.TRADES_HEAD.size + 32 * _count(blob) :] for blob in blobs])
    names = list(TRADES)
    frame = pl.DataFrame(dict(zip(names[:4], columns, strict=True)))
    return frame.with_columns(pl.Series(names[4], np.frombuffer(sides, np.uint8)))


def _known(columns: Mapping[str, Values | pl.Series]) -> dict[str, Values | pl.Series]:
    """The range of the running delta, if it is among them, with nulls where it is not known."""
    return {name: nullable(columns[name]) for name in DELTA_RANGE if name in columns}


def nullable(lots: Values | pl.Series) -> pl.Series:
    """A column that has UNKNOWN_LOTS in the place of nulls."""
    column = pl.Series(lots)
    return column.replace(UNKNOWN_LOTS, None) if column.min() == UNKNOWN_LOTS else column


def _turnover(packed: npt.NDArray[np.void] | blocks.Columns) -> pl.Series:
    low, high = (np.ascontiguousarray(packed[name]) for name in ("turnover_low", "turnover_high"))
    signed = low.view(np.int64)
    if np.array_equal(high, signed >> 63):
        # It fits 64 bits, as nearly always.
        return pl.Series(signed).cast(pl.Int128)
    limbs = pl.DataFrame({"low": low, "high": high})
    return limbs.select(pl.col("high").cast(pl.Int128) * (1 << 64) + pl.col("low")).to_series()


def _count(blob: bytes) -> int:
    (count,) = codec.TRADES_HEAD.unpack_from(blob)
    return int(count)


def _numbers(blob: bytes) -> Ints:
    count = _count(blob)
    return np.frombuffer(blob, "<i8", 4 * count, codec.TRADES_HEAD.size).reshape(4, count)
