"""The range of the running delta over whole columns: of trades, and of candles that follow each other.

Equal to Candle.merge of the same trades or candles in the order of time (laws under test): a range is null where that
of one candle is, or where two of a span overlap. Candles without order keys come in the order of their trades.
"""

from collections.abc import Mapping

import numpy as np
import polars as pl

from common.frames.runs import MAX_INT64, Runs, Values
from common.frames.schema import DELTA_RANGE
from common.market.coding.packed import Ints

# How the lots of each side count.
_SIGN = np.array([1, -1, 0], np.int64)
_DELTA = pl.col("buy_lots").cast(pl.Int128) - pl.col("sell_lots")
_KEYS = ("first_ts_ms", "first_id", "last_ts_ms", "last_id")


def of_trades(runs: Runs, lots: Ints, sides: Values) -> Mapping[str, Values]:
    """Of the trades of each run, in order. No sum of the lots of a run is beyond 64 bits."""
    signed = lots * _SIGN[sides]
    sums = np.cumsum(signed)
    return dict(zip(DELTA_RANGE, _ranges(runs, sums - signed, sums, sums), strict=True))


def of_candles(runs: Runs, candles: pl.DataFrame) -> Mapping[str, Values | pl.Series] | None:
    """Of the candles of each run, in order. None where sums may leave 64 bits."""
    if runs.longest == 1:
        return {name: candles[name] for name in DELTA_RANGE}
    bought, sold = (candles[name].to_numpy() for name in ("buy_lots", "sell_lots"))
    if (int(bought.max()) + int(sold.max())) * runs.longest > MAX_INT64:
        return None
    delta, unknown = bought - sold, candles[DELTA_RANGE[0]].is_null().to_numpy() | _overlaps(candles, runs)
    before = np.cumsum(delta) - delta
    least, greatest = (candles[name].fill_null(0).to_numpy() for name in DELTA_RANGE)
    found = zip(DELTA_RANGE, _ranges(runs, before, before + least, before + greatest), strict=True)
    is_unknown = np.logical_or.reduceat(unknown, runs.starts)
    if not is_unknown.any():
        return dict(found)
    masked = pl.DataFrame(dict(found)).with_columns(pl.Series("unknown", is_unknown))
    columns = masked.select(pl.when(~pl.col("unknown")).then(pl.col(name)).alias(name) for name in DELTA_RANGE)
    return {name: columns[name] for name in DELTA_RANGE}


def in_groups(*, keyed: bool) -> dict[str, pl.Expr]:
    """The same as expressions over groups of candles in order, in 128 bits."""
    is_known = pl.col(DELTA_RANGE[0]).null_count() == 0
    if keyed:
        first, first_id, last, last_id = map(pl.col, _KEYS)
        follows = (first > last.shift()) | ((first == last.shift()) & (first_id > last_id.shift()))
        is_known &= follows.fill_null(value=True).all()
    before = _DELTA.cum_sum() - _DELTA
    ends = (before + pl.col(DELTA_RANGE[0])).min(), (before + pl.col(DELTA_RANGE[1])).max()
    return {name: pl.when(is_known).then(end) for name, end in zip(DELTA_RANGE, ends, strict=True)}


def of_sorted_trades(delta: pl.Expr) -> dict[str, pl.Expr]:
    """The same of trades in order, of which `delta` is what each adds."""
    sums = delta.cast(pl.Int128).cum_sum()
    return dict(zip(DELTA_RANGE, (sums.min(), sums.max()), strict=True))


def _ranges(runs: Runs, before: Ints, lows: Ints, highs: Ints) -> tuple[Values, Values]:
    """`lows`, `highs`: as sums from the first row of all. They wrap, and are exact once what came before is taken."""
    begins = np.repeat(before[runs.starts], runs.lasts - runs.starts + 1)
    return np.minimum.reduceat(lows - begins, runs.starts), np.maximum.reduceat(highs - begins, runs.starts)


def _overlaps(candles: pl.DataFrame, runs: Runs) -> Values:
    """Whether a candle does not come after the one before it, of the same run."""
    found = np.zeros(len(candles), np.bool_)
    if "first_ts_ms" in candles.columns:
        first, first_id, last, last_id = (candles[name].to_numpy() for name in _KEYS)
        is_equal = first[1:] == last[:-1]
        found[1:] = (first[1:] < last[:-1]) | (is_equal & (first_id[1:] <= last_id[:-1]))
    found[runs.starts] = False
    return found
