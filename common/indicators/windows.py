"""Windows of n values: those of bar i are of i-n+1 to i. NaN before the first, and where a value of theirs is.

Each is worked out of its own n values in the same order, wherever the values begin: so a bar has one value, in every
digit. A sum that runs on from bar to bar would have another one for every bar it could have begun with. Windows of n
are put together of windows half as long.
"""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from common.indicators.engine import Floats, output_of

Flags = npt.NDArray[np.bool_]


def padded(values: Floats, length: int) -> Floats:
    """With NaN before them, so that they are as many as bars."""
    return np.concatenate([np.full(length - len(values), np.nan), values])


# Two windows beside each other as one: the older, the newer, and their lengths.
Join = Callable[[Floats, Floats, int, int], Floats]


def _joined(values: Floats, n: int, join: Join) -> Floats:
    """Of each window of n, along the last axis, without those that begin before the first value."""
    count = values.shape[-1] - n + 1
    if count <= 0:
        return values[..., :0]
    windows, length = values, 1
    found, covered = values[..., :count], n & 1
    while True:
        if n & length and length > 1:
            beside = windows[..., covered : covered + count]
            found = join(found, beside, covered, length) if covered else beside
            covered += length
        if covered == n:
            return found
        windows = join(windows[..., :-length], windows[..., length:], length, length)
        length *= 2


def total(values: Floats, n: int) -> Floats:
    """Sums."""
    return padded(_joined(values, n, lambda older, newer, _, __: older + newer), len(values))


def weighted(values: Floats, n: int) -> Floats:
    """Means with the weights 1 to n, the newest with n."""

    def join(older: Floats, newer: Floats, before: int, _: int) -> Floats:
        """Of sums, and weighted sums."""
        found: Floats = older + newer
        found[1] += before * newer[0]
        return found

    sums = _joined(np.stack([values, values]), n, join)[1]
    return padded(sums / (n * (n + 1) / 2), len(values))


def deviation(values: Floats, n: int) -> Floats:
    """Population deviations. Of whole numbers, for their sums are exact, and do not cancel out."""

    def join(older: Floats, newer: Floats, before: int, after: int) -> Floats:
        """Of sums, and sums of squares of the distances from the mean."""
        found: Floats = older + newer
        apart = older[0] * after - newer[0] * before
        found[1] += apart * apart / (before * after * (before + after))
        return found

    squares = _joined(np.stack([values, np.zeros(len(values))]), n, join)[1]
    return padded(np.sqrt(squares / n), len(values))


def mean_distance(values: Floats, means: Floats, n: int) -> Floats:
    """How far the values of a window are from its mean, in the mean."""
    middles = means[n - 1 :]
    found = np.zeros(len(middles))
    for at in range(n):
        found += np.abs(values[at : at + len(middles)] - middles)
    return padded(found / n, len(values))


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
