"""Runs of neighbouring rows, and what is made of each: three times as fast as by groups."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from common.market.coding.packed import Ints

Values = npt.NDArray[Any]
Places = npt.NDArray[np.intp] | Ints

MAX_INT64 = (1 << 63) - 1
_HALF = 32
_LOW_HALF = (1 << _HALF) - 1


@dataclass(frozen=True, slots=True)
class Runs:
    """Where each begins, and its last row."""

    starts: Places
    lasts: Places
    # Rows of the longest.
    longest: int

    @classmethod
    def of(cls, names: Values) -> "Runs":
        """Runs of equal names, of at least one row."""
        return cls.at(np.append(-1, np.flatnonzero(names[1:] != names[:-1])) + 1, len(names))

    @classmethod
    def at(cls, starts: Places, rows: int) -> "Runs":
        """Runs that begin there, of so many rows in all."""
        lasts = np.append(starts[1:], rows) - 1
        return cls(starts, lasts, int((lasts - starts).max()) + 1)

    def first(self, values: Values) -> Values:
        return values.copy() if self.longest == 1 else values[self.starts]

    def last(self, values: Values) -> Values:
        return values.copy() if self.longest == 1 else values[self.lasts]

    def reduced(self, function: np.ufunc, values: Values) -> Values:
        """A new array, as all here are: Polars makes columns of arrays without copying them."""
        is_one_number, found = not values.strides[0], values[:0]
        if self.longest == 1:
            found = values.copy()
        elif is_one_number and function is np.add:
            found = values[0] * (self.lasts - self.starts + 1)
        else:
            found = values[self.starts] if is_one_number else function.reduceat(values, self.starts)
        return found

    def sums(self, values: Ints, step: int = 1, greatest: int | None = None) -> Values | pl.Series:
        """The exact sum of each, times `step`: of 64 bits where these surely suffice, else of 128.

        `greatest`: what none of the values is beyond, either way, if that is known.
        """
        if self._fit(step, greatest) or self._fit(step, max(int(values.max()), -int(values.min()))):
            sums = self.reduced(np.add, values)
            return sums if step == 1 else sums * step
        # Half of the bits at a time: neither sum leaves 64 bits, however many rows there are.
        low, high = (self.reduced(np.add, half) for half in (values & _LOW_HALF, values >> _HALF))
        return (_wide(high) * _wide([1 << _HALF]) + _wide(low)) * _wide([step])

    def _fit(self, step: int, greatest: int | None) -> bool:
        return greatest is not None and self.longest * step * greatest <= MAX_INT64


def _wide(values: Values | list[int]) -> pl.Series:
    return pl.Series(values).cast(pl.Int128)
