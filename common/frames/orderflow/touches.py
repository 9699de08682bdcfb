"""When prices were first traded at again: of many ranges of prices and many candles at once.

A tree of ranges over the candles: a step goes past the widest stretch that surely stays away, so a range that is not
touched for a year costs as little as one that is touched at once.
"""

from dataclasses import dataclass

import numpy as np

from common.frames.runs import Values
from common.market.coding.packed import Ints

NEVER = -1
_LOWEST, _HIGHEST = -(1 << 62), 1 << 62


@dataclass(frozen=True, slots=True, eq=False)
class Traded:
    """From which price to which each candle traded, and over stretches of 2, 4, 8, ... of them."""

    count: int
    lows: list[Ints]
    highs: list[Ints]

    @classmethod
    def of(cls, low_ticks: Ints, high_ticks: Ints) -> "Traded":
        lows, highs = [low_ticks], [high_ticks]
        while len(lows[-1]) > 1:
            lows.append(np.minimum.reduceat(lows[-1], np.arange(0, len(lows[-1]), 2)))
            highs.append(np.maximum.reduceat(highs[-1], np.arange(0, len(highs[-1]), 2)))
        return cls(len(low_ticks), lows, highs)

    def first(self, since: Ints, bottom: Ints, top: Ints) -> Ints:
        """Return the first candle from `since` on that traded between bottom and top, both included; else NEVER."""
        at, level = since.astype(np.int64), np.zeros(len(since), np.int64)
        found = np.full(len(since), NEVER, np.int64)
        open_ = np.flatnonzero(at < self.count)
        while len(open_):
            here, deep = at[open_], level[open_]
            meets = self._may_meet(here, deep, bottom[open_], top[open_])
            is_leaf = deep == 0
            found[open_[meets & is_leaf]] = here[meets & is_leaf]
            level[open_] = np.where(meets, deep - 1, deep)
            past = ~meets
            # Past it, and up where a wider stretch begins.
            after = ((here[past] >> deep[past]) + 1) << deep[past]
            at[open_[past]] = after
            wider = ((after >> deep[past]) & 1 == 0) & (deep[past] + 1 < len(self.lows))
            level[open_[past]] = deep[past] + wider
            open_ = open_[~(meets & is_leaf) & (at[open_] < self.count)]
        return found

    def _may_meet(self, at: Ints, level: Ints, bottom: Ints, top: Ints) -> Values:
        meets = np.zeros(len(at), np.bool_)
        for deep in np.unique(level).tolist():
            some = np.flatnonzero(level == deep)
            place = at[some] >> deep
            meets[some] = (self.lows[deep][place] <= top[some]) & (self.highs[deep][place] >= bottom[some])
        return meets

    def first_at_or_below(self, since: Ints, price: Ints) -> Ints:
        return self.first(since, np.full(len(price), _LOWEST), price)

    def first_at_or_above(self, since: Ints, price: Ints) -> Ints:
        return self.first(since, price, np.full(len(price), _HIGHEST))
