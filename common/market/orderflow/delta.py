"""The running delta of a bar: what was bought less what was sold, after each trade, and the least and most of that.

A monoid, which is not commutative: parts of a bar are combined in order of time (`ts_ms`, then id). Ranges of minutes
make those of any timeframe, however the trades were cut into minutes.
"""

from collections.abc import Iterable
from functools import reduce
from itertools import accumulate
from typing import NamedTuple

# Beyond every running sum: a day of the largest trades has fewer lots.
_BEYOND = 1 << 126


class DeltaRange(NamedTuple):
    """Lots. The empty start does not count: the first running sum is the first trade's."""

    delta_lots: int
    min_lots: int
    max_lots: int

    @property
    def is_empty(self) -> bool:
        """Whether there was no trade: then it has no least and no most."""
        return self.min_lots > self.max_lots


# Neutral on both sides of `then`.
NO_TRADES = DeltaRange(0, _BEYOND, -_BEYOND)


def of_trade(signed_lots: int) -> DeltaRange:
    """`signed_lots`: bought is positive, sold negative; 0 where the side is unknown, which is a trade all the same."""
    return DeltaRange(signed_lots, signed_lots, signed_lots)


def of_trades(signed_lots: Iterable[int]) -> DeltaRange:
    """Those of a bar in order of time, each as `of_trade` takes it."""
    running = list(accumulate(signed_lots))
    return DeltaRange(running[-1], min(running), max(running)) if running else NO_TRADES


def then(earlier: DeltaRange | None, later: DeltaRange | None) -> DeltaRange | None:
    """Combine two parts of a bar. None is a range that is not known, and so is everything it is a part of."""
    if earlier is None or later is None:
        return None
    before = earlier.delta_lots
    return DeltaRange(
        before + later.delta_lots,
        min(earlier.min_lots, before + later.min_lots),
        max(earlier.max_lots, before + later.max_lots),
    )


def combined(parts: Iterable[DeltaRange | None]) -> DeltaRange | None:
    """All parts of a bar, in order of time."""
    whole: DeltaRange | None = NO_TRADES
    return reduce(then, parts, whole)
