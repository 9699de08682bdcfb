"""The point of control: a bar's row of most volume."""

from typing import Literal

import numpy as np

from common.frames.orderflow.rows import RowColumns
from common.frames.runs import Values
from common.market.coding.packed import Ints

PocOf = Literal["volume", "delta", "trades"]


def weights(rows: RowColumns, of: PocOf) -> Values:
    """What a row is weighed by."""
    if of == "delta":
        return abs(rows.buy - rows.sell)
    return rows.trades if of == "trades" else rows.total


def poc_at(rows: RowColumns, of: PocOf = "volume") -> Ints:
    """Return where each bar's point of control is among the rows; -1: no row of it has any weight.

    The greatest; of equals the one nearest to the middle, half way between the bar's lowest row and its highest; of two
    equally near the lower.
    """
    if not len(rows):
        return np.zeros(0, np.int64)
    weight, bars = weights(rows, of), rows.bars
    most = np.maximum.reduceat(weight, rows.starts)
    at = np.flatnonzero(weight == most[bars])
    middle = rows.price[rows.starts] + rows.price[rows.lasts]
    away = np.abs(2 * rows.price[at] - middle[bars[at]])
    firsts = np.flatnonzero(np.diff(bars[at], prepend=-1))
    nearest = np.minimum.reduceat(away, firsts)
    best = at[away == nearest[bars[at]]]
    found: Ints = best[np.flatnonzero(np.diff(bars[best], prepend=-1))]
    found[(most == 0).astype(np.bool_)] = -1
    return found


def prices_at(rows: RowColumns, at: Ints) -> Ints:
    """The rows' prices, and of -1 any."""
    return rows.price[at] if len(rows) else at
