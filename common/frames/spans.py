"""Spans of a timeframe over whole columns: the arithmetic of Timeframe.open_of, with the same anchors."""

import polars as pl

from common.market.timeframe import Timeframe


def span_open(ts_ms: pl.Expr, timeframe: Timeframe) -> pl.Expr:
    """Return the open of the span that holds `ts_ms`, in ms UTC."""
    if timeframe.fixed_ms is None:
        return _month_open(_month_index(ts_ms) // timeframe.n * timeframe.n)
    return ts_ms - (ts_ms - timeframe.offset_ms) % timeframe.fixed_ms


def span_opens(timeframe: Timeframe, start_ms: int, end_ms: int) -> pl.DataFrame:
    """Return every span open in `[start_ms, end_ms)` as a column `open_ms`. The caller bounds their number."""
    first = timeframe.open_of(start_ms)
    if first < start_ms:
        first = timeframe.next_open(first)
    if timeframe.fixed_ms is not None:
        return pl.select(open_ms=pl.int_range(first, max(first, end_ms), timeframe.fixed_ms, dtype=pl.Int64))
    indices = pl.select(_month_index(pl.lit(pl.Series([first, max(first, end_ms)])))).to_series()
    months = pl.int_range(indices[0], indices[1] + 1, timeframe.n, dtype=pl.Int64)
    return pl.select(open_ms=_month_open(months)).filter(pl.col("open_ms") < end_ms)


def _month_index(ts_ms: pl.Expr) -> pl.Expr:
    """Months since the year 0."""
    moment = ts_ms.cast(pl.Datetime("ms"))
    return moment.dt.year().cast(pl.Int64) * 12 + moment.dt.month() - 1


def _month_open(index: pl.Expr) -> pl.Expr:
    return pl.datetime(index // 12, index % 12 + 1, 1, time_unit="ms").cast(pl.Int64)
