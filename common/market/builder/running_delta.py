"""The trades of the open minute, for the range of its running delta: one that comes out of order changes it as a whole.

In order, as nearly all trades come, the range grows with each (Candle.merge) and nothing is looked at here.
"""

from dataclasses import dataclass, field, replace
from itertools import chain

from common.market.candle import Candle
from common.market.trade import Trades


@dataclass(slots=True)
class OpenTrades:
    """`has_all`: no trade of the minute was applied by another process, before."""

    has_all: bool = True
    _runs: list[Trades] = field(default_factory=list)

    def add(self, run: Trades) -> None:
        self._runs.append(run)

    def clear(self) -> None:
        """The next minute begins."""
        self.has_all = True
        self._runs.clear()

    def with_range(self, candle: Candle) -> Candle:
        """The minute's candle as it is with the newest run; where it has no range now, that of all trades."""
        if candle.delta_min_lots is not None or not self.has_all:
            return candle
        # Kept in order: the next one out of order is nearly sorted.
        self._runs[:] = [Trades.of(chain.from_iterable(run.rows() for run in self._runs)).in_order()]
        sums = self._runs[0].sums()
        return replace(candle, delta_min_lots=sums.delta_min_lots, delta_max_lots=sums.delta_max_lots)
