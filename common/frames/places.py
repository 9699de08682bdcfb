"""One place per price between a span's lowest and highest: what is summed there need not be sorted or hashed."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from common.market.coding.packed import Ints

# Places per row beyond which memory costs more than grouping.
MAX_PLACES = 8


@dataclass(frozen=True, slots=True)
class PricePlaces:
    """`of_row`: the place of each row, of `count` in all."""

    of_row: Ints
    count: int
    _opens: Ints
    _lowest: Ints
    _first: Ints
    _step: int

    @classmethod
    def of(cls, opens: Ints, prices: Ints, step: int = 1) -> "PricePlaces | None":
        """`opens` ascend, and prices are `step` apart. None: there would be many more places than rows."""
        starts = np.flatnonzero(np.diff(opens, prepend=opens[:1] - 1))
        lowest = np.minimum.reduceat(prices, starts)
        widths = (np.maximum.reduceat(prices, starts) - lowest) // step + 1
        if widths.sum(dtype=np.float64) > MAX_PLACES * len(prices):
            return None
        ends, rows = np.cumsum(widths), np.diff(starts, append=len(opens))
        first = ends - widths
        above = prices - np.repeat(lowest, rows)
        of_row = np.repeat(first, rows) + (above if step == 1 else above // step)
        return cls(of_row, int(ends[-1]), opens[starts], lowest, first, step)

    def named(self, places: Ints) -> tuple[Ints, Ints]:
        """Return the opens and prices of places, which ascend."""
        span = np.searchsorted(self._first, places, "right") - 1
        return self._opens[span], (places - self._first[span]) * self._step + self._lowest[span]


def sums(values: Ints, at: npt.NDArray[np.intp] | Ints, count: int) -> Ints:
    """Sum values into `count` places. The caller knows that each sum fits 64 bits."""
    found = np.zeros(count, np.int64)
    np.add.at(found, at, values)
    return found
