"""Candles to a coarser timeframe, by the algebra of Candle.merge."""

import numpy as np
import numpy.typing as npt
import polars as pl

from common.frames.schema import CANDLES, LOTS, conform
from common.frames.spans import held, span_open, span_opens
from common.market.timeframe import Timeframe

MAX_INT64 = (1 << 63) - 1
_FIRST = ("open_ticks", "first_ts_ms", "first_id")
_LAST = ("close_ticks", "last_ts_ms", "last_id")


def resample(candles: pl.DataFrame, timeframe: Timeframe) -> pl.DataFrame:
    """Merge candles into spans of `timeframe`: a CANDLES frame, ascending, without empty spans.

    Candles that open outside every session are left out.

    The candles may come in any order, and several of them may share a span (two sources of one minute): open and
    close are decided by the order keys, as in Candle.merge. Each must lie within one span of `timeframe`. In the
    usual case, one candle per minute in ascending order, nothing is sorted.
    """
    candles = held(candles, "open_ms", timeframe)
    ordered = _ascending(candles["first_ts_ms"]) and _ascending(candles["last_ts_ms"])
    if ordered and not candles.is_empty():
        opens = candles.select(span_open(pl.col("open_ms"), timeframe)).to_series().to_numpy()
        merged = _runs_merged(candles, opens)
        if merged is not None:
            return merged
    candles = candles.sort("first_ts_ms", "first_id")
    # A candle lies within its span, so the order of the first keys is the order of the spans.
    spans = candles.group_by(span_open(pl.col("open_ms"), timeframe), maintain_order=True)
    sums = spans.agg(
        pl.col(_FIRST).first(),
        pl.col(_LAST).sort_by("last_ts_ms", "last_id").last(),
        pl.col("high_ticks").max(),
        pl.col("low_ticks").min(),
        pl.col(LOTS).cast(pl.Int128).sum(),
        pl.col("turnover", "trades", "rev").sum(),
        pl.col("sources").bitwise_or(),
    )
    return conform(sums, CANDLES)


def _runs_merged(candles: pl.DataFrame, opens: npt.NDArray[np.int64]) -> pl.DataFrame | None:
    """Merge candles in order, of which each run of equal opens is one span: three times as fast as by groups.

    None if a sum might not fit 64 bits.
    """
    starts = np.flatnonzero(np.concatenate([[True], opens[1:] != opens[:-1]]))
    ends = np.append(starts[1:], len(opens)) - 1
    most = MAX_INT64 // int((ends - starts).max() + 1)
    greatest = candles.select(pl.max_horizontal(pl.col(*LOTS, "turnover").cast(pl.Int128).abs().max())).item()
    if greatest > most:
        return None
    columns: dict[str, npt.NDArray[np.generic]] = {"open_ms": opens[starts]}
    columns |= {name: candles[name].to_numpy()[starts] for name in _FIRST}
    columns |= {name: candles[name].to_numpy()[ends] for name in _LAST}
    columns["high_ticks"] = np.maximum.reduceat(candles["high_ticks"].to_numpy(), starts)
    columns["low_ticks"] = np.minimum.reduceat(candles["low_ticks"].to_numpy(), starts)
    for name in (*LOTS, "turnover", "trades", "rev"):
        columns[name] = np.add.reduceat(candles[name].cast(pl.Int64).to_numpy(), starts)
    columns["sources"] = np.bitwise_or.reduceat(candles["sources"].to_numpy(), starts)
    return conform(pl.DataFrame({name: columns[name] for name in CANDLES}), CANDLES)


def fill_flat(frame: pl.DataFrame, timeframe: Timeframe, start_ms: int, end_ms: int) -> pl.DataFrame:
    """Return the candles that open in `[start_ms, end_ms)`, and a flat one for every span without trades.

    `frame` is ascending, as from `resample`. A flat candle is the previous close four times, with volume 0, rev 0,
    and the previous candle's last key and sources, so that nothing simulated is followed by something live. It is
    for showing: merged, it would count as trades. Candles before `start_ms` only lend their close. Before the
    first candle there is nothing to repeat, so nothing is filled. The caller bounds the number of spans.
    """
    if frame.is_empty():
        return frame
    spans = span_opens(timeframe, max(start_ms, frame["open_ms"][0]), end_ms)
    previous = frame.select("open_ms", *(pl.col(source).alias(name) for name, source in _FLAT.items()))
    flat = spans.join(frame, on="open_ms", how="anti").join_asof(previous, on="open_ms")
    zeros = [pl.lit(0, dtype).alias(name) for name, dtype in CANDLES.items() if name not in flat.columns]
    kept = frame.filter(pl.col("open_ms").is_between(start_ms, end_ms, closed="left"))
    return pl.concat([kept, conform(flat.with_columns(zeros), CANDLES)]).sort("open_ms")


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


def _ascending(series: pl.Series) -> bool:
    """Strictly: two equal times leave the decision to the ids."""
    values = series.to_numpy()
    return bool((values[1:] > values[:-1]).all())
