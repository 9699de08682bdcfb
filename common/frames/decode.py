"""Packed bytes (common.market.codec) to frames. Rows come in the order of the members."""

import numpy as np
import numpy.typing as npt
import polars as pl

from common.frames.schema import CANDLES, LEVEL_LOTS, LEVEL_TRADES, LEVELS, TRADES
from common.market import codec

# The two structs of the codec as numpy sees them; a test holds them equal, field by field.
PACKED_CANDLE = np.dtype(
    [
        ("open_ms", "<i8"),
        ("open_ticks", "<i8"),
        ("high_ticks", "<i8"),
        ("low_ticks", "<i8"),
        ("close_ticks", "<i8"),
        ("volume_lots", "<u8"),
        ("buy_lots", "<u8"),
        ("sell_lots", "<u8"),
        ("turnover_low", "<u8"),
        ("turnover_high", "<i8"),
        ("first_id", "<i8"),
        ("last_id", "<i8"),
        ("first_after_ms", "<u4"),
        ("last_after_ms", "<u4"),
        ("trades", "<u4"),
        ("rev", "<u4"),
        ("sources", "u1"),
        ("padding", "V7"),
    ]
)
FOOTPRINT_HEAD = np.dtype(
    [
        ("shape", "<u4"),
        ("levels", "<u4"),
        ("open_ms", "<i8"),
        ("lowest", "<i8"),
        ("price_step", "<u8"),
        ("lot_step", "<u8"),
    ]
)

_AS_THEY_ARE = [name for name in CANDLES if name in (PACKED_CANDLE.names or ()) and name != "sources"]

Ints = npt.NDArray[np.int64]


def candles(members: list[bytes]) -> pl.DataFrame:
    """Decode packed candles into a CANDLES frame."""
    packed = np.frombuffer(b"".join(members), PACKED_CANDLE)
    assert len(packed) == len(members)
    # A copy per field, widened on the way: Polars needs whole columns, and each of its expressions has its price.
    columns: dict[str, Ints | pl.Series] = {name: packed[name].astype(np.int64) for name in _AS_THEY_ARE}
    columns["first_ts_ms"] = packed["open_ms"] + packed["first_after_ms"]
    columns["last_ts_ms"] = packed["open_ms"] + packed["last_after_ms"]
    columns["turnover"] = _turnover(packed)
    columns["sources"] = np.ascontiguousarray(packed["sources"])
    return pl.DataFrame({name: columns[name] for name in CANDLES})


def footprints(members: list[bytes]) -> pl.DataFrame:
    """Decode packed footprints into a LEVELS frame, each from its lowest price up."""
    if not members:
        return LEVELS.to_frame()
    size = FOOTPRINT_HEAD.itemsize
    heads = np.frombuffer(b"".join([member[:size] for member in members]), FOOTPRINT_HEAD)
    parts, positions = [], []
    for shape in np.unique(heads["shape"]):
        chosen = np.flatnonzero(heads["shape"] == shape)
        rows = b"".join([members[at][size:] for at in chosen])
        parts.append(_levels(int(shape), heads[chosen], rows))
        positions.append(np.repeat(chosen, heads["levels"][chosen]))
    order = np.argsort(np.concatenate(positions), kind="stable")
    columns = np.concatenate(parts, axis=1)
    return pl.DataFrame({name: column[order] for name, column in zip(LEVELS, columns, strict=True)})


def trades(blobs: list[bytes]) -> pl.DataFrame:
    """Decode packed batches of trades into one TRADES frame."""
    if not blobs:
        return TRADES.to_frame()
    columns = np.concatenate([_numbers(blob) for blob in blobs], axis=1)
    sides = b"".join([blob[codec.TRADES_HEAD.size + 32 * _count(blob) :] for blob in blobs])
    names = list(TRADES)
    frame = pl.DataFrame(dict(zip(names[:4], columns, strict=True)))
    return frame.with_columns(pl.Series(names[4], np.frombuffer(sides, np.uint8)))


def _levels(shape: int, heads: npt.NDArray[np.void], rows: bytes) -> Ints:
    """Decode footprints of one shape: an array of one line per column of LEVELS."""
    sides = codec.sides_of(shape)
    names = ["step", *(LEVEL_LOTS[side] for side in sides), *(LEVEL_TRADES[side] for side in sides)]
    formats = ["<" + code for code in codec.row_format(shape)]
    packed = np.frombuffer(rows, np.dtype(list(zip(names, formats, strict=True))))
    of_level = np.repeat(heads, heads["levels"])
    assert len(packed) == len(of_level)
    columns = dict.fromkeys(LEVELS, np.zeros(len(packed), np.int64))
    columns["open_ms"] = of_level["open_ms"]
    columns["price_ticks"] = of_level["lowest"] + _signed(packed["step"] * of_level["price_step"])
    for side in sides:
        columns[LEVEL_LOTS[side]] = _signed(packed[LEVEL_LOTS[side]] * of_level["lot_step"])
        columns[LEVEL_TRADES[side]] = _signed(packed[LEVEL_TRADES[side]])
    return np.stack([columns[name] for name in LEVELS])


def _signed(values: npt.NDArray[np.unsignedinteger]) -> Ints:
    """Every packed value is below 2**63 (common.market.builder refuses more), so nothing is lost."""
    return values.astype(np.int64)


def _turnover(packed: npt.NDArray[np.void]) -> pl.Series:
    limbs = {name: np.ascontiguousarray(packed[name]) for name in ("turnover_low", "turnover_high")}
    high, low = pl.col("turnover_high").cast(pl.Int128), pl.col("turnover_low")
    return pl.DataFrame(limbs).select(high * (1 << 64) + low).to_series()


def _count(blob: bytes) -> int:
    (count,) = codec.TRADES_HEAD.unpack_from(blob)
    return int(count)


def _numbers(blob: bytes) -> Ints:
    count = _count(blob)
    return np.frombuffer(blob, "<i8", 4 * count, codec.TRADES_HEAD.size).reshape(4, count)
