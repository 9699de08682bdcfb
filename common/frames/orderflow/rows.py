"""Rows of many bars as columns."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import polars as pl

from common.frames.runs import Values
from common.frames.schema import LEVEL_LOTS, LEVEL_TRADES
from common.market.coding.packed import Ints

# What lots are multiplied by, at most: an imbalance in percent, or basis points.
MAX_FACTOR = 100_000
_MAX_SUM = (1 << 62) // MAX_FACTOR


@dataclass(frozen=True, eq=False)
class RowColumns:
    """Printed rows of bars, by bar and then from the lowest up; rows between them are there, and empty.

    Each bar has a row at least. Lots are of 64 bits or, where those might not suffice, Python's integers.
    """

    # Where each bar begins.
    starts: Ints
    open_ms: Ints
    price: Ints
    row_ticks: int
    buy: Values
    sell: Values
    unknown: Values
    # Trades of all sides.
    trades: Ints

    @classmethod
    def of(cls, levels: pl.DataFrame, row_ticks: int) -> "RowColumns":
        """Of a LEVELS frame, ascending, whose rows are so high."""
        opens = levels["open_ms"].to_numpy()
        starts = np.flatnonzero(np.diff(opens, prepend=opens[:1] - 1))
        lots: list[Values] = [levels[name].to_numpy() for name in LEVEL_LOTS]
        if not _fits(lots, starts):
            lots = [column.astype(object) for column in lots]
        buy, sell, unknown = lots
        bought, sold, others = (levels[name].to_numpy() for name in LEVEL_TRADES)
        price, trades = levels["price_ticks"].to_numpy(), bought + sold + others
        return cls(starts, opens[starts], price, row_ticks, buy, sell, unknown, trades)

    def bar(self, at: int) -> "RowColumns":
        """One of the bars alone."""
        some = slice(int(self.starts[at]), int(self.lasts[at]) + 1)
        columns = (self.buy[some], self.sell[some], self.unknown[some], self.trades[some])
        return RowColumns(np.zeros(1, np.int64), self.open_ms[at : at + 1], self.price[some], self.row_ticks, *columns)

    def __len__(self) -> int:
        return len(self.price)

    @cached_property
    def bars(self) -> Ints:
        """The bar of each row."""
        return np.repeat(np.arange(len(self.starts)), np.diff(self.starts, append=len(self)))

    @cached_property
    def lasts(self) -> Ints:
        """The highest row of each bar."""
        return np.append(self.starts[1:], len(self))[: len(self.starts)] - 1

    @cached_property
    def total(self) -> Values:
        return self.buy + self.sell + self.unknown

    @cached_property
    def is_next(self) -> Values:
        """Whether a row is the one right above the row before it, of the same bar."""
        found = np.zeros(len(self), np.bool_)
        found[1:] = np.diff(self.price) == self.row_ticks
        found[self.starts] = False
        return found

    def sums(self, values: Values) -> Values:
        """Of each bar."""
        return np.add.reduceat(values, self.starts) if len(values) else values


def _fits(lots: list[Values], starts: Ints) -> bool:
    if not len(starts):
        return True
    total = np.sum([column.astype(np.float64) for column in lots], axis=0)
    return bool(np.add.reduceat(total, starts).max() < _MAX_SUM)
