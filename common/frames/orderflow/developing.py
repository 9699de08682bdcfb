"""Rows of a period so far: what the period's profile was at the end of each of its bars."""

import numpy as np
import polars as pl

from common.frames.schema import LEVEL_LOTS, LEVEL_TRADES, LEVELS
from common.market.coding.packed import Ints


def rows_so_far(levels: pl.DataFrame, periods: Ints) -> pl.DataFrame:
    """Return a LEVELS frame in which each bar has all rows of its period up to its own.

    `levels`: of bars, ascending; `periods`: when the period of each of its rows begins. Lots of a period must fit 64
    bits, as they do where its profile was made.
    """
    starts = np.flatnonzero(np.diff(periods, prepend=periods[:1] - 1))
    ends = np.append(starts[1:], len(periods))
    parts = [_of_period(levels[start:end]) for start, end in zip(starts.tolist(), ends.tolist(), strict=True)]
    return pl.concat(parts) if parts else LEVELS.to_frame()


def size_so_far(levels: pl.DataFrame, periods: Ints) -> int:
    """How many rows that are, at most."""
    rows = levels.select("open_ms", "price_ticks").with_columns(period=pl.Series(periods))
    counts = rows.group_by("period").agg(pl.col("open_ms").n_unique(), pl.col("price_ticks").n_unique())
    return int((counts["open_ms"] * counts["price_ticks"]).sum())


def _of_period(levels: pl.DataFrame) -> pl.DataFrame:
    opens, bar = np.unique(levels["open_ms"].to_numpy(), return_inverse=True)
    prices, row = np.unique(levels["price_ticks"].to_numpy(), return_inverse=True)
    # Each row is there from the first bar on that has it.
    first = np.full(len(prices), len(opens))
    np.minimum.at(first, row, bar)
    there = np.arange(len(opens))[:, None] >= first
    columns = {"open_ms": np.repeat(opens, there.sum(axis=1)), "price_ticks": np.nonzero(there)[1]}
    columns["price_ticks"] = prices[columns["price_ticks"]]
    for name in (*LEVEL_LOTS, *LEVEL_TRADES):
        table = np.zeros(there.shape, np.int64)
        table[bar, row] = levels[name].to_numpy()
        columns[name] = np.cumsum(table, axis=0)[there]
    return pl.DataFrame(columns, schema=LEVELS)
