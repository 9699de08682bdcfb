"""Scaled integers to the shortest decimal text, over whole columns: units.render for frames."""

from decimal import Decimal

import polars as pl

# The widest that Polars and Arrow know. A turnover stays below: it has at most 36 decimals and 35 digits in all.
DECIMAL_DIGITS = 38


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
