"""Candles to a coarser timeframe, by the algebra of Candle.merge."""

import numpy as np
import numpy.typing as npt
import polars as pl

from common.frames import running_delta
from common.frames.runs import Runs, Values
from common.frames.schema import DELTA_RANGE, LOTS, conform
from common.frames.spans import held, opens_of, span_open, span_opens
from common.market.timeframes.timeframe import Timeframe

_FIRST = ("open_ticks", "first_ts_ms", "first_id")
_LAST = ("close_ticks", "last_ts_ms", "last_id")
_REDUCTIONS: dict[np.ufunc, tuple[str, ...]] = {
    np.maximum: ("high_ticks",),
    np.minimum: ("low_ticks",),
    np.add: ("trades", "rev"),
    np.bitwise_or: ("sources",),
}


def resample(candles: pl.DataFrame, timeframe: Timeframe) -> pl.DataFrame:
    """Merge candles into spans of `timeframe`: a frame of the same columns, ascending, without empty spans.

    Candles that open outside every session are left out. Each of the others must lie within one span of `timeframe`.

    With order keys (a CANDLES frame) the candles may come in any order, and several of them may share a span (two
    sources of one minute): open and close are decided by the keys, as in Candle.merge. Without (SHOWN), by the opens,
    and of equal ones by the order they come in: that of the trades in them, if they don't overlap. In the usual case,
    one candle per minute in ascending order, nothing is sorted.
    """
    candles = held(candles, "open_ms", timeframe)
    if candles.is_empty():
        return candles
    keyed = "first_ts_ms" in candles.columns
    if _in_order(candles, keyed):
        merged = _runs_merged(candles, opens_of(candles["open_ms"].to_numpy(), timeframe))
        if merged is not None:
            return merged
    candles = candles.sort(["first_ts_ms", "first_id"] if keyed else "open_ms", maintain_order=True)
    # A candle lies within its span, so the order of the first keys is the order of the spans.
    spans = candles.group_by(span_open(pl.col("open_ms"), timeframe), maintain_order=True)
    last = pl.col(_among(candles, _LAST))
    sums = spans.agg(
        pl.col(_among(candles, _FIRST)).first(),
        (last.sort_by("last_ts_ms", "last_id") if keyed else last).last(),
        pl.col("high_ticks").max(),
        pl.col("low_ticks").min(),
        pl.col(LOTS).cast(pl.Int128).sum(),
        pl.col("turnover", "trades", "rev").sum(),
        pl.col("sources").bitwise_or(),
        **(running_delta.in_groups(keyed=keyed) if _has_delta_range(candles) else {}),
    )
    return conform(sums, candles.schema)


def _runs_merged(candles: pl.DataFrame, opens: npt.NDArray[np.int64]) -> pl.DataFrame | None:
    """Merge candles in order, of which each run of equal opens is one span.

    None if a turnover, or a running delta, may not fit 64 bits.
    """
    turnover = candles["turnover"].cast(pl.Int64, strict=False)
    if turnover.null_count():
        return None
    runs = Runs.of(opens)
    ranges = running_delta.of_candles(runs, candles) if _has_delta_range(candles) else {}
    if ranges is None:
        return None
    apart = ("open_ms", "turnover", *DELTA_RANGE)
    found = {name: candles[name].to_numpy() for name in candles.columns if name not in apart}
    merged: dict[str, Values | pl.Series] = {"open_ms": opens[runs.starts]}
    merged |= {name: runs.first(found[name]) for name in _among(candles, _FIRST)}
    merged |= {name: runs.last(found[name]) for name in _among(candles, _LAST)}
    merged |= {name: runs.reduced(function, found[name]) for function, names in _REDUCTIONS.items() for name in names}
    merged |= {name: runs.sums(found[name]) for name in LOTS}
    merged["turnover"] = runs.sums(turnover.to_numpy())
    merged |= ranges
    return conform(pl.DataFrame(merged), candles.schema)


def fill_flat(frame: pl.DataFrame, timeframe: Timeframe, start_ms: int, end_ms: int) -> pl.DataFrame:
    """Return the candles that open in `[start_ms, end_ms)`, and a flat one for every span without trades.

    `frame` is ascending, as from `resample`, with order keys or without. A flat candle is the previous close four
    times, with volume 0, rev 0, and the previous candle's last key and sources, so that nothing simulated is followed
    by something live. It is for showing: merged, it would count as trades. Candles before `start_ms` only lend their
    close. Before the first candle there is nothing to repeat, so nothing is filled. The caller bounds the number of
    spans.
    """
    if frame.is_empty():
        return frame
    spans = span_opens(timeframe, max(start_ms, frame["open_ms"][0]), end_ms)
    taken = (pl.col(source).alias(name) for name, source in _FLAT.items() if name in frame.columns)
    previous = frame.select("open_ms", *taken)
    flat = spans.join(frame, on="open_ms", how="anti").join_asof(previous, on="open_ms")
    rest = {name: dtype for name, dtype in frame.schema.items() if name not in flat.columns}
    # Without a trade there is no running delta.
    zeros = [pl.lit(None if name in DELTA_RANGE else 0, dtype).alias(name) for name, dtype in rest.items()]
    kept = frame.filter(pl.col("open_ms").is_between(start_ms, end_ms, closed="left"))
    return pl.concat([kept, conform(flat.with_columns(zeros), frame.schema)]).sort("open_ms")


# What a flat candle takes from the candle before it; the rest is 0.
_FLAT = {
    "open_ticks": "close_ticks",
    "high_ticks": "close_ticks",
    "low_ticks": "close_ticks",
    "close_ticks": "close_ticks",
    "first_ts_ms": "last_ts_ms",
    "first_id": "last_id",
    "last_ts_ms": "last_ts_ms",
    "last_id": "last_id",
    "sources": "sources",
}


def _has_delta_range(candles: pl.DataFrame) -> bool:
    return DELTA_RANGE[0] in candles.columns


def _among(candles: pl.DataFrame, names: tuple[str, ...]) -> list[str]:
    return [name for name in names if name in candles.columns]


def _in_order(candles: pl.DataFrame, keyed: bool) -> bool:
    if not keyed:
        return candles["open_ms"].is_sorted()
    return _ascending(candles["first_ts_ms"]) and _ascending(candles["last_ts_ms"])


def _ascending(series: pl.Series) -> bool:
    """Strictly: two equal times leave the decision to the ids."""
    values = series.to_numpy()
    return bool((values[1:] > values[:-1]).all())
