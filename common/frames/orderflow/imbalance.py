"""Rows where one side outweighs the other diagonally, stacks of them, and rows that only one side traded at.

What lifts the offer at a row is held against what hits the bid one row below; what hits the bid against what lifts the
offer one row above.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from common.frames.orderflow.rows import RowColumns
from common.frames.runs import Values
from common.market.coding.packed import Ints

Zeros = Literal["count", "ignore"]
Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class ImbalanceRule:
    """`percent` of the other side, 100 or more; `min_lots`: less is none; `zeros`: whether a side of 0 counts."""

    percent: int = 300
    min_lots: int = 0
    zeros: Zeros = "count"

    def flags(self, rows: RowColumns) -> tuple[Flags, Flags]:
        """Return which rows have too much bought, and which too much sold. Both may be."""
        sold_below, bought_above = np.zeros_like(rows.sell), np.zeros_like(rows.buy)
        above = np.flatnonzero(rows.is_next)
        sold_below[above], bought_above[above - 1] = rows.sell[above - 1], rows.buy[above]
        bought, sold = self._outweighs(rows.buy, sold_below), self._outweighs(rows.sell, bought_above)
        # Beyond the ends of a bar there is nothing to be outweighed.
        bought[rows.starts], sold[rows.lasts] = False, False
        return bought, sold

    def _outweighs(self, lots: Values, others: Values) -> Flags:
        found = (lots > 0) & (100 * lots >= self.percent * others) & (lots >= self.min_lots)
        if self.zeros == "ignore":
            found = found & (others > 0)
        return found.astype(np.bool_)


@dataclass(frozen=True, slots=True, eq=False)
class RowRuns:
    """Rows of one bar, one above the other: from row `first` to row `last` of the columns."""

    first: Ints
    last: Ints

    def __len__(self) -> int:
        return len(self.first)

    def counts(self) -> Ints:
        return self.last - self.first + 1


def runs_of(rows: RowColumns, flags: Flags, least: int) -> RowRuns:
    """Runs of at least so many flagged rows, none missing between them."""
    goes_on = np.zeros(len(rows), np.bool_)
    goes_on[1:] = flags[1:] & flags[:-1]
    goes_on &= rows.is_next
    first = np.flatnonzero(flags & ~goes_on)
    last = np.flatnonzero(flags & ~np.append(goes_on[1:], False))
    enough = last - first + 1 >= least
    return RowRuns(first[enough], last[enough])


def one_sided(rows: RowColumns) -> tuple[Flags, Flags]:
    """Return which rows inside their bars nobody bought at, and which nobody sold at, though they were traded at."""
    inside = (rows.total > 0).astype(np.bool_)
    inside[rows.starts], inside[rows.lasts] = False, False
    return inside & (rows.buy == 0).astype(np.bool_), inside & (rows.sell == 0).astype(np.bool_)
