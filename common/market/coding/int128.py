"""Arithmetic on columns of 128 bits, which wrap: numpy knows 64."""

import numpy as np
import numpy.typing as npt

from common.market.coding.packed import Ints

Unsigned = npt.NDArray[np.uint64]
# The low half, and the high half with the sign.
Wide = tuple[Unsigned, Ints]

_LOW_32 = np.uint64((1 << 32) - 1)


def total(column: npt.NDArray[np.integer]) -> int:
    """The exact sum of a column: of 64-bit numbers it may take more."""
    low = int((column & column.dtype.type((1 << 32) - 1)).sum())
    return (int((column >> column.dtype.type(32)).sum()) << 32) + low


def multiply(a: Unsigned, b: Ints) -> Wide:
    unsigned = b.view(np.uint64)
    high = _high_half(a, unsigned).view(np.int64)
    # A negative number read as unsigned is 2**64 too large.
    return a * unsigned, high - np.where(b < 0, a.view(np.int64), 0)


def add(a: Wide, low: Ints, high: Ints) -> Wide:
    """Add a number of 64 bits, and `high` times 2**64."""
    unsigned = low.view(np.uint64)
    total = a[0] + unsigned
    return total, a[1] + high + (low >> 63) + (total < unsigned)


def scale(a: Wide, step: Unsigned) -> Wide:
    low, high = a
    return low * step, _high_half(low, step).view(np.int64) + high * step.view(np.int64)


def _high_half(a: Unsigned, b: Unsigned) -> Unsigned:
    """The upper 64 bits of a x b, of 32-bit halves as on paper."""
    half = np.uint64(32)
    a_low, a_high, b_low, b_high = a & _LOW_32, a >> half, b & _LOW_32, b >> half
    middle = a_high * b_low + ((a_low * b_low) >> half)
    other = a_low * b_high + (middle & _LOW_32)
    high: Unsigned = a_high * b_high + (middle >> half) + (other >> half)
    return high
