"""What became of a price, or a range of them, since its bar: open, touched when, filled when."""

from dataclasses import dataclass

import numpy as np
import polars as pl

from common.frames.orderflow.touches import NEVER, Traded
from common.frames.spans import opens_of
from common.market.coding.packed import Ints
from common.market.timeframes.timeframe import Timeframe


@dataclass(frozen=True, slots=True)
class PriceState:
    """In ms, the opens of the candles that did it; None: none yet."""

    touched_ms: int | None
    filled_ms: int | None

    @property
    def word(self) -> str:
        if self.filled_ms is not None:
            return "filled"
        return "open" if self.touched_ms is None else "touched"


@dataclass(frozen=True, slots=True, eq=False)
class LaterCandles:
    """Candles, minutes or others as short, which what came before them is held against."""

    open_ms: Ints
    # Of the bars that they lie in.
    bar_ms: Ints
    traded: Traded

    @classmethod
    def of(cls, candles: pl.DataFrame, timeframe: Timeframe) -> "LaterCandles":
        """`candles`: ascending, with `low_ticks` and `high_ticks`; `timeframe`: of the bars."""
        opens = candles["open_ms"].to_numpy()
        traded = Traded.of(candles["low_ticks"].to_numpy(), candles["high_ticks"].to_numpy())
        return cls(opens, opens_of(opens, timeframe) if len(opens) else opens, traded)

    def states(self, bar_ms: Ints, bottom: Ints, top: Ints, *, from_above: bool) -> list[PriceState]:
        """Of ranges of prices in these bars, from the next bar on: both ends of a range are included.

        Touched by the first candle that traded in it. Filled by the first that traded at its far end or beyond:
        `from_above`, at the bottom or lower, else at the top or higher.
        """
        since = np.searchsorted(self.bar_ms, bar_ms, "right")
        touched = self.traded.first(since, bottom, top)
        if from_above:
            filled = self.traded.first_at_or_below(since, bottom)
        else:
            filled = self.traded.first_at_or_above(since, top)
        return list(map(PriceState, self._times(touched), self._times(filled)))

    def _times(self, at: Ints) -> list[int | None]:
        return [None if place == NEVER else int(self.open_ms[place]) for place in at.tolist()]
