"""Frames of the project to the archive's columns and back: times, decimals and names instead of integers.

Prices and sizes are DECIMAL(19, decimals), which holds any 64-bit count of ticks or lots, so all files of a symbol have
one schema; and whatever the decimals of two symbols, a type of at most 38 digits holds both. Compressed it is as small,
and as fast to read, as DECIMAL(18) in 64 bits (measured). Turnover needs all 38.
"""

import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

import polars as pl

from common.archive.series import ArchiveSeries
from common.errors import BadInput
from common.frames.text import DECIMAL_DIGITS, decimal
from common.market.coding.codec import UNKNOWN_LOTS
from common.market.scale import Scale
from common.market.trade import SIDE_NAMES

TIME = pl.Datetime("ms", "UTC")
SIDE = pl.Enum(SIDE_NAMES)
_INT64_DIGITS = 19


def table_schema(series: ArchiveSeries, scale: Scale, version: int) -> pl.Schema:
    """Return names and types of the archive's columns, in the order of the frame's."""
    return pl.Schema({series.columns[name]: _dtype(series, name, scale) for name in series.names(version)})


@contextmanager
def table_of(series: ArchiveSeries, symbol: str, scale: Scale, frame: pl.DataFrame) -> Iterator[pl.LazyFrame]:
    """Yield a frame of the series, or of an earlier version, with the archive's columns, made when asked for its rows.

    BadInput where a value has no place in them.
    """
    try:
        yield frame.lazy().select(
            _outside(name, _dtype(series, name, scale)).alias(series.columns[name]) for name in frame.columns
        )
    except (pl.exceptions.InvalidOperationError, pl.exceptions.OutOfBoundsError) as error:
        raise BadInput(f"{series.name} of {symbol} hold a value out of bounds: {error}") from None


def frame_of(series: ArchiveSeries, table: pl.LazyFrame, columns: Sequence[str], version: int) -> pl.DataFrame:
    """Return some columns of a frame of the series, out of a table with the archive's columns of that version."""
    # Beside the table's own: a null that is selected alone is one row, however many there are.
    lacking = [name for name in columns if name not in series.names(version)]
    table = table.with_columns(pl.lit(None, series.schema[name]).alias(series.columns[name]) for name in lacking)
    physical = {name: pl.col(series.columns[name]).to_physical() for name in columns}
    rows = table.select(column.cast(series.schema[name]).alias(name) for name, column in physical.items())
    # Bit by bit: the table's decimals take twice the room of the frame's integers.
    return rows.collect(engine="streaming")


def checksum(columns: Iterable[pl.Series]) -> str:
    """Return the CRC-32 (hex) of a frame's columns one after the other, as little-endian integers.

    A null counts as the least of 64 bits.
    """
    found = 0
    for column in columns:
        for part in _halves(column) if column.dtype == pl.Int128 else [_filled(column)]:
            found = zlib.crc32(part.to_numpy().data, found)
    return f"{found:08x}"


def _dtype(series: ArchiveSeries, name: str, scale: Scale) -> pl.DataType:
    if name.endswith("_ms"):
        return TIME
    if name.endswith("_ticks"):
        return pl.Decimal(_INT64_DIGITS, scale.price_decimals)
    if name.endswith("_lots"):
        return pl.Decimal(_INT64_DIGITS, scale.size_decimals)
    if name == "turnover":
        return pl.Decimal(DECIMAL_DIGITS, scale.price_decimals + scale.size_decimals)
    return SIDE if name == "side" else series.schema[name]


def _outside(name: str, dtype: pl.DataType) -> pl.Expr:
    if isinstance(dtype, pl.Decimal):
        return decimal(name, dtype.scale).cast(dtype)
    if isinstance(dtype, pl.Enum):
        return pl.lit(pl.Series(SIDE_NAMES, dtype=SIDE)).gather(name)
    return pl.col(name).cast(dtype)


def _filled(column: pl.Series) -> pl.Series:
    return column.fill_null(UNKNOWN_LOTS) if column.null_count() else column


def _halves(column: pl.Series) -> list[pl.Series]:
    """The low 64 bits of every value, and the high ones: numpy knows no 128."""
    low = (pl.first() % (1 << 64)).cast(pl.UInt64).alias("low")
    high = (pl.first() // (1 << 64)).cast(pl.Int64).alias("high")
    return column.to_frame().select(low, high).get_columns()
