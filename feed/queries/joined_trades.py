"""Trades of `GET /v1/trades/{symbol}` joined to orders, and only the large ones."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import polars as pl

from common.errors import BadInput
from common.frames.orderflow.joined import joined, joined_arrow, joined_csv, joined_json, orders_of
from common.frames.trades import trades_json
from common.market import units
from common.market.coding.packed import Ints
from common.market.instrument import Instrument
from feed.bars.page import More
from feed.wire.answers import TRADE_WRITERS, JsonWriter, TableWriters
from feed.wire.parameter_types import MAX_SHOWN, Parsed, Whole
from feed.wire.params import Given, Parameter

Take = Literal["newest", "oldest"]

# A longer pause no order of one client makes.
MAX_JOIN_MS = 60_000
ORDER_WRITERS: TableWriters = {"csv": joined_csv, "arrow": joined_arrow}


def _amount(text: str) -> str:
    """The size itself is read once the instrument is known: what is asked without it needs no look-up."""
    if not units.is_decimal(text) or text.startswith("-"):
        raise BadInput(f"min is {text[:MAX_SHOWN]!r}, expected a size")
    return text


JOIN_MS: Parameter[int | None] = Parameter(
    "join_ms", Whole(MAX_JOIN_MS, 0), None, "Joins trades that follow one another on one side, with no longer pause."
)
MIN: Parameter[str | None] = Parameter("min", Parsed(_amount), None, "Least size of a trade, or of joined ones.")


@dataclass(frozen=True, slots=True)
class Joining:
    """`join_ms`: the longest pause within an order; None: each trade is one. `min_size`: of an order that is told."""

    join_ms: int | None
    min_size: str

    @classmethod
    def of(cls, given: Given) -> "Joining | None":
        """None: trades are told as they are."""
        join_ms, min_size = given[JOIN_MS], given[MIN]
        return None if join_ms is None and min_size is None else cls(join_ms, min_size or "0")


@dataclass(frozen=True, slots=True, eq=False)
class ShownTrades:
    """Trades or orders, and how these are written. `more`: where whole orders go on."""

    rows: pl.DataFrame
    more: More | None
    json: JsonWriter
    tables: TableWriters


def shown_trades(
    trades: pl.DataFrame, joining: Joining | None, instrument: Instrument, *, is_full: bool, take: Take
) -> ShownTrades:
    """What is told of trades that were read. `is_full`: there may be more of them."""
    if joining is None:
        return ShownTrades(trades, None, trades_json, TRADE_WRITERS)
    least = instrument.size_lots(joining.min_size)
    whole = WholeOrders.of(trades, joining.join_ms, is_full=is_full, oldest_first=take == "oldest")
    if joining.join_ms is None:
        large = whole.trades.filter(pl.col("size_lots") >= least)
        return ShownTrades(large, whole.more, trades_json, TRADE_WRITERS)
    orders = joined(whole.trades, whole.starts).filter(pl.col("lots") >= least)
    return ShownTrades(orders, whole.more, joined_json, ORDER_WRITERS)


@dataclass(frozen=True, slots=True, eq=False)
class WholeOrders:
    """Trades of which every order is whole, and where each begins among them. `more`: where others go on."""

    trades: pl.DataFrame
    starts: Ints
    more: More | None

    @classmethod
    def of(cls, trades: pl.DataFrame, join_ms: int | None, *, is_full: bool, oldest_first: bool) -> "WholeOrders":
        """Of trades that were read. `is_full`: there may be more, at the end that was not asked for first."""
        starts = orders_of(trades, join_ms)
        if not is_full:
            return cls(trades, starts, None)
        cuts = _cuts(trades, starts)
        # Where all lies in one order, or in one ms, it can't be cut.
        if not len(cuts):
            return cls(trades, starts, None)
        cut = int(cuts[-1] if oldest_first else cuts[0])
        more = {"start" if oldest_first else "end": int(trades["ts_ms"][int(starts[cut])])}
        if oldest_first:
            return cls(trades[: int(starts[cut])], starts[:cut], more)
        return cls(trades[int(starts[cut]) :], starts[cut:] - starts[cut], more)


def _cuts(trades: pl.DataFrame, starts: Ints) -> Ints:
    """Orders, but the first, that begin in another ms than the one before them ends."""
    times = trades["ts_ms"].to_numpy()
    return 1 + np.flatnonzero(times[starts[1:]] > times[starts[1:] - 1])
