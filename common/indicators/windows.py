"""Windows of n values: those of bar i are of i-n+1 to i. NaN before the first, and where a value of theirs is."""

import numpy as np
import numpy.typing as npt

from common.indicators.engine import Floats, output_of

Flags = npt.NDArray[np.bool_]


def padded(values: Floats, length: int) -> Floats:
    """With NaN before them, so that they are as many as bars."""
    return np.concatenate([np.full(length - len(values), np.nan), values])


def total(values: Floats, n: int) -> Floats:
    """Sums, each added up in the same order: so a value does not depend on where the values begin."""
    count = len(values) - n + 1
    if count <= 0:
        return np.full(len(values), np.nan)
    found = values[:count].copy()
    for at in range(1, n):
        found += values[at : at + count]
    return padded(found, len(values))


def mean(values: Floats, n: int) -> Floats:
    return total(values, n) / n


def highest(values: Floats, n: int) -> Floats:
    return _extreme(values, n, "MAX")


def lowest(values: Floats, n: int) -> Floats:
    return _extreme(values, n, "MIN")


def _extreme(values: Floats, n: int, function: str) -> Floats:
    if n == 1:
        return values
    begin = first_known(values)
    return padded(output_of(function, np.ascontiguousarray(values[begin:]), n), len(values))


def first_known(values: Floats) -> int:
    """Where the first value is that is not NaN; behind the last one, if none is."""
    if len(values) and not np.isnan(values[0]):
        return 0
    found = np.flatnonzero(~np.isnan(values))
    return int(found[0]) if len(found) else len(values)


def chained(function: str, values: Floats, n: int) -> Floats:
    """A function of values that begin with NaN: seeded by the first of them that are known."""
    begin = first_known(values)
    return padded(output_of(function, np.ascontiguousarray(values[begin:]), n), len(values))


def flat(values: Floats, n: int) -> Flags:
    """Whether all values of the window are equal."""
    return np.asarray(highest(values, n) == lowest(values, n))


def without(values: Floats, undefined: Flags) -> Floats:
    """NaN where the formula is 0/0, whatever the engine says there."""
    return np.where(undefined, np.nan, values)


def ratio(above: Floats, below: Floats) -> Floats:
    """NaN where nothing is divided by nothing."""
    return np.asarray(np.divide(above, below, out=np.full(len(above), np.nan), where=below != 0))


def changes(values: Floats) -> Floats:
    """From each one before; of the first 0."""
    return np.diff(values, prepend=values[:1])


def at_rest(moved: Flags, within: int) -> Flags:
    """Whether nothing has moved in so many bars, or since the first one.

    `within`: a recursion's warm-up. So it is the same whatever bar an answer begins with.
    """
    at = np.arange(len(moved))
    last = np.maximum.accumulate(np.where(moved, at, -within))
    return np.asarray(at - last >= within)
