"""Trades from Parquet, by columns: exact integers from whatever type the writer chose, and no loop per row."""

from collections.abc import Iterator
from pathlib import Path

import polars as pl

from common.errors import BadInput
from common.market.instrument import Instrument
from common.market.trade import SIDE_CODES, Trades
from workers.recordings.base import COLUMNS, SIDES, Bad, Chunk

CHUNK_ROWS = 262_144

# A float price is as near to its decimal as a float can be; further off, it has more decimals than it may.
_FLOAT_TOLERANCE = 1e-6
_FLOAT_EPSILON = 2.0**-50


def parquet_chunks(path: Path, instrument: Instrument, skip_bad: bool, first: int) -> Iterator[Chunk]:
    try:
        scan = pl.scan_parquet(path)
        schema = scan.collect_schema()
        height = scan.select(pl.len()).collect().item()
    except pl.exceptions.PolarsError as error:
        raise BadInput(f"{path} is not a Parquet file that can be read: {error}") from error
    for name in COLUMNS:
        if name not in schema:
            raise BadInput(f"{path} has no column {name!r}, expected {', '.join(COLUMNS)}")
    parsed = scan.with_columns(
        _whole("ts_ms", schema["ts_ms"]),
        _whole("id", schema["id"]),
        _scaled("price", schema["price"], instrument.price_decimals),
        _scaled("size", schema["size"], instrument.size_decimals),
        pl.col("side").cast(pl.String).replace_strict(SIDE_CODES, default=None, return_dtype=pl.UInt8).alias("#side"),
    )
    for offset in range(first * CHUNK_ROWS, height, CHUNK_ROWS):
        bad = Bad(path, skip_bad)
        frame = _without_bad(parsed.slice(offset, CHUNK_ROWS).collect(), instrument, bad, offset)
        yield Chunk(_trades(frame), bad.count, min(1.0, (offset + CHUNK_ROWS) / height))


def _whole(name: str, dtype: pl.DataType) -> pl.Expr:
    column = pl.col(name)
    if isinstance(dtype, pl.Datetime):
        column = column.dt.epoch("ms")
    return column.cast(pl.Int64, strict=False).alias(f"#{name}")


def _scaled(name: str, dtype: pl.DataType, decimals: int) -> pl.Expr:
    """The column in units of 10**-decimals; null where it does not fit exactly."""
    column, scaled = pl.col(name), pl.lit(None)
    if dtype.is_integer():
        scaled = column.cast(pl.Int128) * 10**decimals
    elif dtype.is_float():
        product = column * 10.0**decimals
        whole = product.round()
        tolerance = pl.max_horizontal(pl.lit(_FLOAT_TOLERANCE), product.abs() * _FLOAT_EPSILON)
        scaled = pl.when((product - whole).abs() <= tolerance).then(whole).otherwise(None)
    else:
        # Text, or a decimal of some other scale. 18 decimals is more than an instrument may have.
        exact = column.cast(pl.Decimal(38, 18), strict=False)
        product = exact * pl.lit(10**decimals).cast(pl.Decimal(38, 0))
        scaled = pl.when(product == product.round()).then(product).otherwise(None)
    return scaled.cast(pl.Int64, strict=False).alias(f"#{name}")


def _without_bad(frame: pl.DataFrame, instrument: Instrument, bad: Bad, offset: int) -> pl.DataFrame:
    """Drop the rows with a field that could not be read; the first of them is what an error names."""
    parsed = [name for name in frame.columns if name.startswith("#")]
    wrong: pl.Series = frame.select(pl.any_horizontal(pl.col(parsed).is_null())).to_series()
    if not wrong.any():
        return frame
    expected = {
        "#ts_ms": "a whole number of ms",
        "#id": "a whole number",
        "#price": f"a number of at most {instrument.price_decimals} decimals",
        "#size": f"a number of at most {instrument.size_decimals} decimals",
        "#side": SIDES,
    }
    for row in wrong.arg_true().to_list():
        name = next(name for name in parsed if frame[name][row] is None)
        value = frame[name[1:]][row]
        bad.line(f"row {offset + row + 1}", f"{name[1:]} {value!r}, expected {expected[name]}")
    return frame.filter(~wrong)


def _trades(frame: pl.DataFrame) -> Trades:
    return Trades(
        frame["#ts_ms"].to_list(),
        frame["#id"].to_list(),
        frame["#price"].to_list(),
        frame["#size"].to_list(),
        frame["#side"].to_numpy().tobytes(),
    )
