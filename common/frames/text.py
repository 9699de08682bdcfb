"""Scaled integers to the shortest decimal text, over whole columns: units.render for frames."""

from decimal import Decimal

import numpy as np
import numpy.typing as npt
import orjson
import polars as pl

# The widest that Polars and Arrow know. A turnover stays below: it has at most 36 decimals and 35 digits in all.
DECIMAL_DIGITS = 38

# Up to there each decimal is the shortest text of the float next to it.
_EXACT_FLOAT = 10**15
# From there down orjson writes floats with an exponent.
_PLAIN_DECIMALS = 5


def decimal(column: str | pl.Expr, decimals: int) -> pl.Expr:
    """Return the exact decimal of a column in units of 10**-decimals."""
    expr = pl.col(column) if isinstance(column, str) else column
    return expr.cast(pl.Decimal(DECIMAL_DIGITS, 0)) * pl.lit(Decimal(1).scaleb(-decimals))


def decimal_text(column: str | pl.Expr, decimals: int) -> pl.Expr:
    """Return the shortest text of a column in units of 10**-decimals."""
    text = decimal(column, decimals).cast(pl.String)
    return text.str.strip_chars_end("0").str.strip_chars_end(".") if decimals else text


def only_where(condition: pl.Expr, text: pl.Expr) -> pl.Expr:
    """Return `text` where the condition holds, else nothing."""
    return pl.when(condition).then(text).otherwise(pl.lit(""))


def decimals_json(values: npt.NDArray[np.int64], decimals: int) -> bytes:
    """Return the JSON array of integers in units of 10**-decimals: of each the shortest text of its decimal."""
    if decimals == 0:
        return orjson.dumps(np.ascontiguousarray(values), option=orjson.OPT_SERIALIZE_NUMPY)
    sizes = np.abs(values)
    least = 10 ** max(0, decimals - _PLAIN_DECIMALS)
    if not ((sizes >= least) & (sizes < _EXACT_FLOAT) | (values == 0)).all():
        texts = pl.select(text=decimal_text(pl.lit(pl.Series(values)), decimals))
        text: str = texts.select(pl.format("[{}]", pl.col("text").str.join(","))).item()
        return text.encode()
    # Twenty times as fast.
    floats = orjson.dumps(values / 10.0**decimals, option=orjson.OPT_SERIALIZE_NUMPY)
    return floats.replace(b".0,", b",").replace(b".0]", b"]")
