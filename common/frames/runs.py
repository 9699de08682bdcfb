"""Runs of neighbouring rows, and what is made of each: three times as fast as by groups."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from common.market.coding.packed import Ints

Values = npt.NDArray[Any]

MAX_INT64 = (1 << 63) - 1
_HALF = 32
_LOW_HALF = (1 << _HALF) - 1


@dataclass(frozen=True, slots=True)
class Runs:
    """Where each begins, and its last row."""

    starts: npt.NDArray[np.intp]
    lasts: npt.NDArray[np.intp]
    # Rows of the longest.
    longest: int

    @classmethod
    def of(cls, names: Values) -> "Runs":
        """Runs of equal names, of at least one row."""
        edges = np.flatnonzero(names[1:] != names[:-1])
        starts, lasts = np.append(-1, edges) + 1, np.append(edges, len(names) - 1)
        return cls(starts, lasts, int((lasts - starts).max()) + 1)

    def reduced(self, function: np.ufunc, values: Values) -> Values:
        """A new array: Polars makes columns of arrays without copying them."""
        found: Values = values.copy() if self.longest == 1 else function.reduceat(values, self.starts)
        return found

    def sums(self, values: Ints, step: int = 1, greatest: int | None = None) -> pl.Series:
        """The exact sum of each, times `step`: of 64 bits where these surely suffice, else of 128.

        `greatest`: what none of the values is beyond, either way, if that is known.
        """
        if self._fit(step, greatest) or self._fit(step, max(int(values.max()), -int(values.min()))):
            sums = self.reduced(np.add, values)
            return pl.Series(sums if step == 1 else sums * step)
        # Half of the bits at a time: neither sum leaves 64 bits, however many rows there are.
        halves = {"low": self.reduced(np.add, values & _LOW_HALF), "high": self.reduced(np.add, values >> _HALF)}
        whole = pl.col("high").cast(pl.Int128) * (1 << _HALF) + pl.col("low")
        return pl.DataFrame(halves).select(whole * pl.lit(step, pl.Int128)).to_series()

    def _fit(self, step: int, greatest: int | None) -> bool:
        return greatest is not None and self.longest * step * greatest <= MAX_INT64
