"""Which trades of an import count: those that are valid, and not applied yet."""

from collections.abc import Iterable

import numpy as np
import polars as pl

from common.market.builder import validity
from common.market.builder.coverage import TOO_MANY_HOLES
from common.market.builder.id_coverage import IdCoverage
from common.market.builder.spans import IdSpan
from common.market.trade import MAX_ID, MAX_LOTS, MAX_TICKS, MAX_TS_MS, MIN_TS_MS
from workers.imports.day import Day


def uncovered(trades: pl.DataFrame, seen: IdCoverage) -> tuple[pl.DataFrame, pl.DataFrame, list[IdSpan]]:
    """Return the trades that no span holds, each id once, the others, and the spans that the first ones make."""
    ids, again = trades["id"].to_numpy(), trades.clear()
    if not (np.diff(ids) == 1).all():
        order = np.argsort(ids, kind="stable")
        is_first = np.diff(ids[order], prepend=-1) != 0
        trades, again = trades[order[is_first]], trades[order[~is_first]]
        ids = trades["id"].to_numpy()
    first, last = (np.asarray(column, np.int64) for column in seen.columns())
    if len(first):
        at = np.searchsorted(first, ids, "right") - 1
        covered = (at >= 0) & (ids <= last[at])
        if covered.any():
            again = pl.concat([trades.filter(pl.Series(covered)), again])
            trades = trades.filter(pl.Series(~covered))
            ids = trades["id"].to_numpy()
    if not len(ids):
        return trades, again, []
    starts = np.flatnonzero(np.diff(ids, prepend=ids[:1] - 2) != 1)
    ends = np.append(starts[1:], len(ids)) - 1
    ts_ms = trades["ts_ms"].to_numpy()
    columns = (ids[starts], ids[ends], ts_ms[starts], ts_ms[ends])
    return trades, again, [IdSpan(*row) for row in zip(*(column.tolist() for column in columns), strict=True)]


def left_out(trades: pl.DataFrame, kept: pl.DataFrame) -> pl.DataFrame:
    """The trades that are not among those kept, which have each id once, its first one."""
    if len(kept) == len(trades):
        return trades.clear()
    is_kept = pl.col("id").is_first_distinct() & pl.col("id").is_in(kept["id"].implode())
    return trades.filter(~is_kept)


def without(trades: pl.DataFrame, refused: Iterable[IdSpan], day: Day) -> pl.DataFrame:
    """Leave out the trades of spans for whose holes there is no room; both ascend by id."""
    ids, kept = trades["id"].to_numpy(), np.ones(len(trades), np.bool_)
    for span in refused:
        kept[np.searchsorted(ids, span.first) : np.searchsorted(ids, span.last, "right")] = False
    day.refuse(TOO_MANY_HOLES, int((~kept).sum()))
    return trades.filter(pl.Series(kept))


def are_valid(trades: pl.DataFrame, now_ms: int) -> bool:
    return not trades.select(pl.any_horizontal(*_reasons(now_ms).values()).any()).item()


def valid(trades: pl.DataFrame, now_ms: int, day: Day) -> pl.DataFrame:
    """Refuse what the Builder refuses, and count it by the same reasons, the first that holds."""
    reasons = _reasons(now_ms)
    named = [pl.when(wrong).then(pl.lit(reason)) for reason, wrong in reasons.items()]
    reason = trades.select(pl.coalesce(*named)).to_series()
    for name, group in zip(reasons, (reason == name for name in reasons), strict=True):
        day.refuse(name, int(group.sum()))
    return trades.filter(reason.is_null())


def _reasons(now_ms: int) -> dict[str, pl.Expr]:
    return {
        validity.BAD_TIME: ~pl.col("ts_ms").is_between(MIN_TS_MS, MAX_TS_MS, closed="left"),
        validity.FUTURE: pl.col("ts_ms") >= now_ms + validity.MAX_AHEAD_MS,
        validity.BAD_ID: ~pl.col("id").is_between(0, MAX_ID),
        validity.BAD_PRICE: ~pl.col("price_ticks").is_between(1, MAX_TICKS, closed="left"),
        validity.BAD_SIZE: ~pl.col("size_lots").is_between(0, MAX_LOTS, closed="left"),
    }
