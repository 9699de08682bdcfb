"""Trades to candles and footprints, whole columns at a time: imports and archives.

Equal to the incremental Builder on the same trades, in any order (a law under test), with `rev` 0. The trades
must be valid and each there once: refusing is the Builder's work. Trades outside every session are left out.
"""

from collections.abc import Iterable

import numpy as np
import polars as pl

from common.frames import running_delta
from common.frames.places import PricePlaces, sums
from common.frames.runs import MAX_INT64, Runs
from common.frames.schema import CANDLES, LEVEL_LOTS, LEVEL_TRADES, LEVELS, TRADES, conform
from common.frames.spans import held, opens_of, span_open
from common.market.timeframes.timeframe import MINUTE, Timeframe
from common.market.trade import BUY, SELL

_TURNOVER = pl.col("price_ticks").cast(pl.Int128) * pl.col("size_lots")


def candles(trades: pl.DataFrame, timeframe: Timeframe, sources: int) -> pl.DataFrame:
    """Build a CANDLES frame, ascending, of a TRADES frame. `sources`: where they came from, as bits."""
    trades = held(trades, "ts_ms", timeframe)
    if not (trades["ts_ms"].is_sorted() and trades["id"].is_sorted()):
        trades = trades.sort("ts_ms", "id")
    summed = _summed(trades, timeframe, sources) if len(trades) else None
    return _grouped_candles(trades, timeframe, sources) if summed is None else summed


def _summed(trades: pl.DataFrame, timeframe: Timeframe, sources: int) -> pl.DataFrame | None:
    """Of trades in order, those of a span are one run: twice as fast as by groups. None where 64 bits may not do."""
    ts_ms, ids, prices, lots, sides = (trades[name].to_numpy() for name in TRADES)
    opens = opens_of(ts_ms, timeframe)
    runs, greatest = Runs.of(opens), int(lots.max())
    if greatest * runs.longest > MAX_INT64 or greatest * int(prices.max()) > MAX_INT64:
        return None
    columns = {
        "open_ms": runs.first(opens),
        "open_ticks": runs.first(prices),
        "high_ticks": runs.reduced(np.maximum, prices),
        "low_ticks": runs.reduced(np.minimum, prices),
        "close_ticks": runs.last(prices),
        "volume_lots": runs.sums(lots),
        "buy_lots": runs.sums(lots * (sides == BUY)),
        "sell_lots": runs.sums(lots * (sides == SELL)),
        "turnover": runs.sums(prices * lots),
        "trades": runs.lasts - runs.starts + 1,
        "first_ts_ms": runs.first(ts_ms),
        "first_id": runs.first(ids),
        "last_ts_ms": runs.last(ts_ms),
        "last_id": runs.last(ids),
        **running_delta.of_trades(runs, lots, sides),
    }
    return conform(pl.DataFrame(columns).with_columns(rev=0, sources=sources), CANDLES)


def _grouped_candles(trades: pl.DataFrame, timeframe: Timeframe, sources: int) -> pl.DataFrame:
    # Columns computed ahead of the grouping: twice as fast as filtering within each group.
    columns = trades.select(
        "ts_ms",
        "id",
        "price_ticks",
        span_open(pl.col("ts_ms"), timeframe).set_sorted().alias("open_ms"),
        *_by_side("size_lots", {BUY: "buy_lots", SELL: "sell_lots"}),
        volume_lots="size_lots",
        turnover=_TURNOVER,
    )
    spans = columns.group_by("open_ms", maintain_order=True)
    built = spans.agg(
        *(pl.first(column).alias(name) for name, column in _FIRST.items()),
        *(pl.last(column).alias(name) for name, column in _LAST.items()),
        pl.col("volume_lots", "buy_lots", "sell_lots").cast(pl.Int128).sum(),
        pl.col("turnover").sum(),
        high_ticks=pl.max("price_ticks"),
        low_ticks=pl.min("price_ticks"),
        trades=pl.len(),
        **running_delta.of_sorted_trades(pl.col("buy_lots") - pl.col("sell_lots")),
    )
    return conform(built.with_columns(rev=0, sources=sources), CANDLES)


def footprints(trades: pl.DataFrame, timeframe: Timeframe = MINUTE) -> pl.DataFrame:
    """Build a LEVELS frame of a TRADES frame, by open and then price, both ascending."""
    trades = held(trades, "ts_ms", timeframe)
    dense = _counted(trades, timeframe) if len(trades) else None
    return _grouped(trades, timeframe) if dense is None else dense


def _counted(trades: pl.DataFrame, timeframe: Timeframe) -> pl.DataFrame | None:
    """Sum into one place per price between a span's lowest and highest: seven times as fast as by groups.

    None where that would be many more places than trades, or a sum might not fit 64 bits.
    """
    if not trades["ts_ms"].is_sorted():
        trades = trades.sort("ts_ms")
    opens = opens_of(trades["ts_ms"].to_numpy(), timeframe)
    prices, sizes, sides = (trades[name].to_numpy() for name in ("price_ticks", "size_lots", "side"))
    places = PricePlaces.of(opens, prices)
    if places is None or int(sizes.max()) > MAX_INT64 // len(trades):
        return None
    at, count = places.of_row * len(LEVEL_LOTS) + sides, places.count * len(LEVEL_LOTS)
    shape = (-1, len(LEVEL_LOTS))
    counts, lots = np.bincount(at, minlength=count).reshape(shape), sums(sizes, at, count)
    rows = np.flatnonzero(counts.any(axis=1))
    columns = dict(zip(("open_ms", "price_ticks"), places.named(rows), strict=True))
    columns |= dict(zip(LEVEL_LOTS, lots.reshape(shape)[rows].T.copy(), strict=True))
    columns |= dict(zip(LEVEL_TRADES, counts[rows].T.copy(), strict=True))
    return conform(pl.DataFrame(columns), LEVELS)


def _grouped(trades: pl.DataFrame, timeframe: Timeframe) -> pl.DataFrame:
    open_ms = span_open(pl.col("ts_ms"), timeframe).alias("open_ms")
    # First by side: that leaves few rows to spread over the columns of the sides.
    sums = trades.group_by(open_ms, "price_ticks", "side").agg(
        lots=pl.col("size_lots").cast(pl.Int128).sum(), trades=pl.len()
    )
    spread = sums.select(
        "open_ms",
        "price_ticks",
        *_by_side("lots", dict(enumerate(LEVEL_LOTS))),
        *_by_side("trades", dict(enumerate(LEVEL_TRADES))),
    )
    levels = spread.group_by("open_ms", "price_ticks").agg(pl.all().sum())
    return conform(levels.sort("open_ms", "price_ticks"), LEVELS)


def minutes(trades: pl.DataFrame, sources: int) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Build minute candles and their footprints: what the store keeps."""
    return candles(trades, MINUTE, sources), footprints(trades)


def _by_side(column: str, names: dict[int, str]) -> Iterable[pl.Expr]:
    """Return per side code a column that holds `column` where the side is that one, else 0."""
    return (pl.when(pl.col("side") == side).then(column).otherwise(0).alias(name) for side, name in names.items())


_FIRST = {"open_ticks": "price_ticks", "first_ts_ms": "ts_ms", "first_id": "id"}
_LAST = {"close_ticks": "price_ticks", "last_ts_ms": "ts_ms", "last_id": "id"}
