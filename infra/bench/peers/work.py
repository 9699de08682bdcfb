"""The work of which bars are made, and its rounds."""

import time
from collections.abc import Callable, Sized

import polars as pl

from infra.bench import year

ROUNDS = 15
YEAR_BARS = year.DAYS * 96


def minutes(days: int) -> pl.DataFrame:
    """Minutes of the year that ours is asked for; turnover is a decimal, which all of them know how to sum."""
    return year.minutes(days).with_columns(pl.col("turnover").cast(pl.Decimal(38, 0)))


def seconds_of(run: Callable[[], Sized], expected: int) -> list[float]:
    """Seconds of each round but the first, which brings things into memory. `expected`: how much each returns."""
    times_s = []
    for _ in range(ROUNDS):
        started_s = time.perf_counter()
        found = run()
        times_s.append(time.perf_counter() - started_s)
        assert len(found) == expected, f"{len(found)} bars, expected {expected}"
    return times_s[1:]
