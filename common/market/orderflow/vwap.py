"""The mean price by volume since an anchor, and bands around it: exact sums, rounded once.

    S0 = sum of v     S1 = sum of p*v     S2 = sum of p*p*v          in lots, ticks, of every trade
    vwap = S1/S0      variance = S2/S0 - (S1/S0)^2 = D/S0^2          D = S0*S2 - S1^2

Sums merge in any order. About another price than 0 (`shifted`) D is the same, and the sums are shorter.
"""

from math import isqrt
from typing import NamedTuple

# Decimals of a tick that are told.
DECIMALS = 2


class Moments(NamedTuple):
    """S0, S1 and S2 of prices about some price. S2 is None where it is not known: then there are no bands."""

    volume: int
    first: int
    second: int | None

    def plus(self, other: "Moments") -> "Moments":
        second = None if self.second is None or other.second is None else self.second + other.second
        return Moments(self.volume + other.volume, self.first + other.first, second)

    def shifted(self, by_ticks: int) -> "Moments":
        """The same of prices that are `by_ticks` higher."""
        volume, first, second = self
        if second is not None:
            second += 2 * by_ticks * first + by_ticks * by_ticks * volume
        return Moments(volume, first + by_ticks * volume, second)

    @property
    def spread(self) -> int | None:
        """D: the variance times the square of the volume."""
        return None if self.second is None else self.volume * self.second - self.first * self.first


NO_VOLUME = Moments(0, 0, 0)


def mean(moments: Moments, decimals: int = DECIMALS) -> int | None:
    """Return the mean in units of 10**-decimals of a tick, rounded half up; None without volume."""
    volume, first, _ = moments
    return (2 * first * 10**decimals + volume) // (2 * volume) if volume else None


def deviation(moments: Moments, decimals: int = DECIMALS) -> int | None:
    """Return the standard deviation in units of 10**-decimals of a tick, rounded half up; None where not known."""
    spread = moments.spread
    if spread is None or not moments.volume:
        return None
    return (isqrt(4 * spread * 10 ** (2 * decimals) // (moments.volume * moments.volume)) + 1) // 2
