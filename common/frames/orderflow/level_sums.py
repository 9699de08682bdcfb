"""What a bar keeps of its levels whatever height its rows have: their moments, and both of its ends.

A LEVEL_SUMS frame has one row a bar. Such rows of parts of a bar, in any order, make that of the whole.
"""

from collections.abc import Iterator, Mapping
from functools import reduce
from itertools import groupby
from math import gcd
from typing import Any

import numpy as np
import polars as pl

from common.frames.runs import Runs, Values
from common.frames.schema import LEVEL_LOTS, LEVEL_TRADES, conform
from common.frames.spans import held, opens_of
from common.market.orderflow.vwap import Moments
from common.market.timeframes.timeframe import Timeframe

LEVEL_SUMS = pl.Schema(
    {
        "open_ms": pl.Int64,
        # The lowest and the highest price that was traded at, and what was bought and sold there.
        "low_ticks": pl.Int64,
        "low_buy_lots": pl.Int64,
        "low_sell_lots": pl.Int64,
        "high_ticks": pl.Int64,
        "high_buy_lots": pl.Int64,
        "high_sell_lots": pl.Int64,
        # What all prices are multiples of.
        "step_ticks": pl.Int64,
        **dict.fromkeys((*LEVEL_LOTS, *LEVEL_TRADES), pl.Int64),
        # Of prices about the lowest one: sums of price x lots, and of price x price x lots, null beyond 128 bits.
        "first_moment": pl.Int128,
        "second_moment": pl.Int128,
    }
)
_SUMMED = (*LEVEL_LOTS, *LEVEL_TRADES)
# Of 64 bits, with room for what a sum of doubles is off.
_MAX_SUM = float(1 << 62)
MAX_INT128 = (1 << 127) - 1
Fields = dict[str, Any]


def level_sums(frame: pl.DataFrame, timeframe: Timeframe) -> pl.DataFrame:
    """Sum a LEVELS frame of minutes, or a LEVEL_SUMS frame, into spans of `timeframe`: ascending.

    What opens outside every session is left out.
    """
    frame = held(frame, "open_ms", timeframe)
    if frame.is_empty():
        return LEVEL_SUMS.to_frame()
    if not frame["open_ms"].is_sorted():
        frame = frame.sort("open_ms", maintain_order=True)
    opens = opens_of(frame["open_ms"].to_numpy(), timeframe)
    return _of_levels(frame, opens) if "price_ticks" in frame.columns else _merged(frame, opens)


def _of_levels(levels: pl.DataFrame, opens: Values) -> pl.DataFrame:
    runs, price = Runs.of(opens), levels["price_ticks"].to_numpy()
    low, high = runs.reduced(np.minimum, price), runs.reduced(np.maximum, price)
    counts = runs.lasts - runs.starts + 1
    at_low, at_high = price == np.repeat(low, counts), price == np.repeat(high, counts)
    columns: dict[str, Values | pl.Series] = {"open_ms": opens[runs.starts], "low_ticks": low, "high_ticks": high}
    for name in ("buy_lots", "sell_lots"):
        lots = levels[name].to_numpy()
        columns[f"low_{name}"] = runs.sums(np.where(at_low, lots, 0))
        columns[f"high_{name}"] = runs.sums(np.where(at_high, lots, 0))
    columns["step_ticks"] = runs.reduced(np.gcd, price)
    columns |= {name: runs.sums(levels[name].to_numpy()) for name in _SUMMED}
    away = price - np.repeat(low, counts)
    columns |= dict(zip(("first_moment", "second_moment"), _moments(levels, away, runs), strict=True))
    return conform(pl.DataFrame({name: columns[name] for name in LEVEL_SUMS}), LEVEL_SUMS)


def _moments(levels: pl.DataFrame, away: Values, runs: Runs) -> Iterator[pl.Series]:
    buy, sell, unknown = (levels[name].to_numpy() for name in LEVEL_LOTS)
    lots: Values = buy.astype(np.float64) + sell + unknown
    if np.add.reduceat(lots * away * away, runs.starts).max() < _MAX_SUM:
        lots = buy + sell + unknown
    else:
        # Python's integers.
        lots, away = buy.astype(object) + sell + unknown, away.astype(object)
    first = lots * away
    for products in (first, first * away):
        sums = np.add.reduceat(products, runs.starts)
        yield pl.Series(list(map(_narrowed, sums)) if sums.dtype == object else sums, dtype=pl.Int128)


def _merged(sums: pl.DataFrame, opens: Values) -> pl.DataFrame:
    """Of a few bars that came in parts: one by one."""
    rows = zip(opens.tolist(), sums.iter_rows(named=True), strict=True)
    whole = [
        reduce(_plus, (dict(part) for _, part in parts)) | {"open_ms": open_ms}
        for open_ms, parts in groupby(rows, lambda row: row[0])
    ]
    return pl.DataFrame(whole, LEVEL_SUMS)


def _plus(one: Fields, other: Fields) -> Fields:
    whole = {name: one[name] + other[name] for name in _SUMMED}
    whole["step_ticks"] = gcd(one["step_ticks"], other["step_ticks"])
    for end, pick in (("low", min), ("high", max)):
        price = whole[f"{end}_ticks"] = pick(one[f"{end}_ticks"], other[f"{end}_ticks"])
        for name in (f"{end}_buy_lots", f"{end}_sell_lots"):
            whole[name] = sum(part[name] for part in (one, other) if part[f"{end}_ticks"] == price)
    both = moments(one, whole["low_ticks"]).plus(moments(other, whole["low_ticks"]))
    return whole | {"first_moment": both.first, "second_moment": _narrowed(both.second)}


def _narrowed(moment: int | None) -> int | None:
    """None where it does not fit 128 bits: it is not known, and neither is that of any longer bar."""
    return moment if moment is not None and moment <= MAX_INT128 else None


def moments(sums: Mapping[str, Any], about_ticks: int) -> Moments:
    """Those of a row of the frame, of prices about another one."""
    volume = sum(sums[name] for name in LEVEL_LOTS)
    of_low = Moments(volume, sums["first_moment"], sums["second_moment"])
    return of_low.shifted(sums["low_ticks"] - about_ticks)
