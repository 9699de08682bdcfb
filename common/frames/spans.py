"""Spans of a timeframe over whole columns: the arithmetic of Timeframe.open_of, with the same anchors."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from common.market.timeframes.session import Sessions
from common.market.timeframes.timeframe import DAY_MS, MINUTE_MS, Timeframe, day_of

Times = npt.NDArray[np.int64]
MONTHS_TO_1970 = 1970 * 12


def span_open(ts_ms: pl.Expr, timeframe: Timeframe) -> pl.Expr:
    """Return the open of the span that holds `ts_ms`, in ms UTC, as Timeframe.open_of."""
    if timeframe.sessions:
        return _mapped(ts_ms, partial(_opens_of, timeframe, timeframe.sessions))
    if timeframe.fixed_ms is None:
        return _month_open(_month_index(ts_ms) // timeframe.n * timeframe.n)
    return ts_ms - (ts_ms - timeframe.offset_ms) % timeframe.fixed_ms


def opens_of(times: Times, timeframe: Timeframe) -> Times:
    """The same for an array, without the price of a query."""
    if timeframe.sessions:
        return _opens_of(timeframe, timeframe.sessions, times)
    if timeframe.fixed_ms is not None:
        # Of division and remainder by a number, numpy has only made the former fast.
        return (times - timeframe.offset_ms) // timeframe.fixed_ms * timeframe.fixed_ms + timeframe.offset_ms
    months = times.astype("datetime64[ms]").astype("datetime64[M]").astype(np.int64) + MONTHS_TO_1970
    first = months // timeframe.n * timeframe.n - MONTHS_TO_1970
    found: Times = first.astype("datetime64[M]").astype("datetime64[ms]").astype(np.int64)
    return found


def span_end(ts_ms: pl.Expr, timeframe: Timeframe) -> pl.Expr:
    """Return the end of the span that holds `ts_ms`, as Timeframe.next_open of its open."""
    if timeframe.fixed_ms is not None:
        return span_open(ts_ms, timeframe) + timeframe.fixed_ms
    if timeframe.sessions:
        return _mapped(ts_ms, partial(_ends_of, timeframe))
    return _month_open(_month_index(ts_ms) // timeframe.n * timeframe.n + timeframe.n)


def ends_of(opens: Times, timeframe: Timeframe) -> Times:
    """The same for an array of opens."""
    if timeframe.fixed_ms is not None:
        return opens + timeframe.fixed_ms
    return pl.DataFrame({"open_ms": opens}).select(span_end(pl.col("open_ms"), timeframe)).to_series().to_numpy()


def held(frame: pl.DataFrame, column: str, timeframe: Timeframe) -> pl.DataFrame:
    """Return the rows whose time some span holds: all, without sessions."""
    kept = inside(frame[column].to_numpy(), timeframe)
    return frame if kept is None else frame.filter(pl.Series(kept))


def inside(times: Times, timeframe: Timeframe) -> npt.NDArray[np.bool_] | None:
    """Which times some span holds. None: all."""
    if timeframe.sessions is None:
        return None
    sessions = timeframe.sessions
    at = _at(sessions, times)
    found: npt.NDArray[np.bool_] = (_column(sessions.opens)[at] <= times) & (times < _column(sessions.ends)[at])
    return None if found.all() else found


def is_of_steps(timeframe: Timeframe, step_ms: int) -> bool:
    """Whether its spans are made of steps, which divide a day; of sessions, where these are (`uneven_days`)."""
    return timeframe.of_days or timeframe.longest_ms % step_ms == 0


def uneven_days(timeframe: Timeframe, step_ms: int, from_ms: int, to_ms: int) -> set[int]:
    """UTC days with a time of `[from_ms, to_ms)` that hold a step in which a span, or a session, begins or ends."""
    sessions = timeframe.sessions
    if sessions is None:
        return set()
    some = slice(sessions.at(from_ms), sessions.at(to_ms) + 1)
    opens, ends = _column(sessions.opens)[some], _column(sessions.ends)[some]
    found = set(map(day_of, ends[ends % step_ms != 0].tolist()))
    # Spans are counted from the open.
    for at in np.flatnonzero(opens % step_ms).tolist():
        found.update(range(day_of(int(opens[at])), int(ends[at]), DAY_MS))
    return found


def span_opens(timeframe: Timeframe, start_ms: int, end_ms: int) -> pl.DataFrame:
    """Return every span open in `[start_ms, end_ms)` as a column `open_ms`. The caller bounds their number."""
    first = timeframe.open_of(start_ms)
    if first < start_ms:
        first = timeframe.open_of(timeframe.next_open(first))
    if timeframe.sessions:
        opens = _opens_between(timeframe, timeframe.sessions, first, end_ms)
        return pl.DataFrame({"open_ms": opens}, schema={"open_ms": pl.Int64})
    if timeframe.fixed_ms is not None:
        return pl.select(open_ms=pl.int_range(first, max(first, end_ms), timeframe.fixed_ms, dtype=pl.Int64))
    indices = pl.select(_month_index(pl.lit(pl.Series([first, max(first, end_ms)])))).to_series()
    months = pl.int_range(indices[0], indices[1] + 1, timeframe.n, dtype=pl.Int64)
    return pl.select(open_ms=_month_open(months)).filter(pl.col("open_ms") < end_ms)


def _opens_of(timeframe: Timeframe, sessions: Sessions, times: Times) -> Times:
    at = _at(sessions, times)
    if timeframe.unit in "dwM":
        return _column(sessions.opens)[_first_days(timeframe, sessions, at)]
    opens = _column(sessions.opens)[at]
    length_ms = timeframe.longest_ms
    last = (_column(_bars_end(timeframe, sessions))[at] - opens - 1) // length_ms
    found: Times = opens + np.minimum(np.maximum(times - opens, 0) // length_ms, last) * length_ms
    return found


def _ends_of(timeframe: Timeframe, times: Times) -> Times:
    opens = pl.DataFrame({"ts_ms": times}).select(span_open(pl.col("ts_ms"), timeframe)).to_series().to_numpy()
    spans, places = np.unique(opens, return_inverse=True)
    return np.array([timeframe.next_open(int(open_ms)) for open_ms in spans], np.int64)[places]


def _opens_between(timeframe: Timeframe, sessions: Sessions, first: int, end_ms: int) -> Times:
    """Every open in `[first, end_ms)`, itself an open."""
    days = np.arange(sessions.at(first), sessions.at(max(first, end_ms)) + 1)
    if timeframe.unit in "dwM":
        found = np.unique(_column(sessions.opens)[_first_days(timeframe, sessions, days)])
    else:
        length_ms, opens = timeframe.longest_ms, _column(sessions.opens)[days]
        counts = (_column(_bars_end(timeframe, sessions))[days] - opens - 1) // length_ms + 1
        numbers = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        found = np.repeat(opens, counts) + numbers * length_ms
    return found[(found >= first) & (found < end_ms)]


def _first_days(timeframe: Timeframe, sessions: Sessions, at: Times) -> Times:
    """The first trading day of the span that the one at each position is in."""
    if timeframe.unit == "d":
        first: Times = np.maximum(at - (at - sessions.origin) % timeframe.n, 0)
        return first
    dates = pl.DataFrame({"label": _column(sessions.labels)[at]}, schema={"label": pl.Int64})
    opens = dates.select(span_open(pl.col("label"), replace(timeframe, sessions=None))).to_series()
    return np.searchsorted(_column(sessions.labels), opens.to_numpy(), "left")


def _bars_end(timeframe: Timeframe, sessions: Sessions) -> Any:
    return sessions.ends if timeframe.longest_ms <= MINUTE_MS else sessions.closes


def _at(sessions: Sessions, times: Times) -> Times:
    """As Sessions.at. Only sessions of these times are searched: there are 280 years of them."""
    if not len(times):
        return times
    first, last = sessions.at(int(times.min())), sessions.at(int(times.max()))
    return first + np.searchsorted(_column(sessions.ends)[first:last], times, "right")


def _column(values: Any) -> Times:
    """The array itself, not a copy."""
    return np.frombuffer(values, np.int64)


def _mapped(ts_ms: pl.Expr, function: Callable[[Times], Times]) -> pl.Expr:
    return ts_ms.map_batches(lambda times: pl.Series(function(times.to_numpy()), dtype=pl.Int64), pl.Int64)


def _month_index(ts_ms: pl.Expr) -> pl.Expr:
    """Months since the year 0."""
    moment = ts_ms.cast(pl.Datetime("ms"))
    return moment.dt.year().cast(pl.Int64) * 12 + moment.dt.month() - 1


def _month_open(index: pl.Expr) -> pl.Expr:
    return pl.datetime(index // 12, index % 12 + 1, 1, time_unit="ms").cast(pl.Int64)
