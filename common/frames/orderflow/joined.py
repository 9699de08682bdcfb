"""Trades of one order, joined: those that follow one another on one side, with no longer pause than so much.

A JOINED frame has one row an order: when its first and last trade were, their ids, and what they add up to.
"""

import io
from functools import lru_cache

import numpy as np
import polars as pl

from common.frames.runs import Runs
from common.frames.schema import conform
from common.frames.text import decimal, decimal_text
from common.market.coding.packed import Ints
from common.market.instrument import Instrument
from common.market.orderflow.vwap import DECIMALS
from common.market.trade import SIDE_NAMES

JOINED = pl.Schema(
    {
        "first_ms": pl.Int64,
        "last_ms": pl.Int64,
        "first_id": pl.Int64,
        "last_id": pl.Int64,
        "side": pl.UInt8,
        "lots": pl.Int128,
        "trades": pl.Int64,
        "low_ticks": pl.Int64,
        "high_ticks": pl.Int64,
        "turnover": pl.Int128,
    }
)
_SIDE = pl.lit(pl.Series(SIDE_NAMES)).gather("side")
# Rounded half up, in hundredths of a tick; null for prints of size 0.
_LOTS, _TURNOVER = pl.col("lots").cast(pl.Int128), pl.col("turnover")
_VWAP = pl.when(_LOTS > 0).then((2 * 10**DECIMALS * _TURNOVER + _LOTS) // (2 * _LOTS))


def orders_of(trades: pl.DataFrame, join_ms: int | None) -> Ints:
    """Return where each order begins among trades, which ascend by time and id. None: each trade is one."""
    if join_ms is None or trades.is_empty():
        return np.arange(len(trades))
    times, sides = trades["ts_ms"].to_numpy(), trades["side"].to_numpy()
    begins = np.append(True, (sides[1:] != sides[:-1]) | (np.diff(times) > join_ms))
    return np.flatnonzero(begins)


def joined(trades: pl.DataFrame, starts: Ints) -> pl.DataFrame:
    """Join the trades of each order."""
    if trades.is_empty():
        return JOINED.to_frame()
    runs, prices, lots = Runs.at(starts, len(trades)), trades["price_ticks"].to_numpy(), trades["size_lots"]
    turnover = (trades["price_ticks"].cast(pl.Int128) * lots.cast(pl.Int128)).cum_sum()
    before = turnover.shift(1, fill_value=0)
    first = trades[runs.starts.tolist()]
    found: pl.DataFrame = first.select(
        first_ms="ts_ms",
        last_ms=pl.Series(runs.last(trades["ts_ms"].to_numpy())),
        first_id="id",
        last_id=pl.Series(runs.last(trades["id"].to_numpy())),
        side="side",
        lots=pl.Series(runs.sums(lots.to_numpy())).cast(pl.Int128),
        trades=pl.Series(runs.lasts - runs.starts + 1),
        low_ticks=pl.Series(runs.reduced(np.minimum, prices)),
        high_ticks=pl.Series(runs.reduced(np.maximum, prices)),
        turnover=turnover.gather(runs.lasts) - before.gather(runs.starts),
    )
    return conform(found, JOINED)


def joined_json(orders: pl.DataFrame, instrument: Instrument) -> bytes:
    """Return the JSON array of orders."""
    text: str = orders.select(_json(instrument.price_decimals, instrument.size_decimals)).item()
    return text.encode()


def joined_csv(orders: pl.DataFrame, instrument: Instrument) -> bytes:
    """Return CSV with a header."""
    price, size = instrument.price_decimals, instrument.size_decimals
    return (
        orders.select(**_row(*(decimal_text(column, digits) for column, digits in _numbers(price, size))))
        .write_csv()
        .encode()
    )


def joined_arrow(orders: pl.DataFrame, instrument: Instrument) -> bytes:
    """Return an uncompressed Arrow IPC stream with the columns of the CSV: decimals as decimal128(38)."""
    price, size = instrument.price_decimals, instrument.size_decimals
    stream = io.BytesIO()
    orders.select(**_row(*(decimal(column, digits) for column, digits in _numbers(price, size)))).write_ipc_stream(
        stream, compression="uncompressed", compat_level=pl.CompatLevel.oldest()
    )
    return stream.getvalue()


def _numbers(price: int, size: int) -> list[tuple[pl.Expr, int]]:
    """Size, lowest and highest price, and the mean price by size."""
    prices = ((pl.col(name), price) for name in ("low_ticks", "high_ticks"))
    return [(pl.col("lots"), size), *prices, (_VWAP, price + DECIMALS)]


def _row(size: pl.Expr, low: pl.Expr, high: pl.Expr, vwap: pl.Expr) -> dict[str, pl.Expr]:
    times = {"ts_ms": pl.col("first_ms"), "last_ms": pl.col("last_ms")}
    ids = {"n": pl.col("trades"), "first_id": pl.col("first_id"), "last_id": pl.col("last_id")}
    return {**times, "size": size, "side": _SIDE, "low": low, "high": high, "vwap": vwap, **ids}


@lru_cache(64)
def _json(price: int, size: int) -> pl.Expr:
    lots, low, high, vwap = (decimal_text(column, digits) for column, digits in _numbers(price, size))
    order = pl.format(
        '{{"t":{first_ms},"to":{last_ms},"q":{},"side":"{}","n":{trades},"low":{},"high":{},"vwap":{}'
        ',"firstId":{first_id},"lastId":{last_id}}}',
        lots,
        _SIDE,
        low,
        high,
        vwap.fill_null("null"),
    )
    return pl.format("[{}]", order.str.join(","))
