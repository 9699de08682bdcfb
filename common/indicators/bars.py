"""What indicators are computed of."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import polars as pl

from common.indicators.engine import Floats
from common.market.coding.packed import Ints
from common.market.scale import Scale
from common.market.timeframes.session import Sessions

PriceSource = Literal["open", "high", "low", "close", "hl2", "hlc3", "ohlc4", "volume"]
# What is added up for each; their number is what that is divided by.
_WHOLE: Mapping[PriceSource, tuple[str, ...]] = {
    "open": ("open_ticks",),
    "high": ("high_ticks",),
    "low": ("low_ticks",),
    "close": ("close_ticks",),
    "hl2": ("high_ticks", "low_ticks"),
    "hlc3": ("high_ticks", "low_ticks", "close_ticks"),
    "ohlc4": ("open_ticks", "high_ticks", "low_ticks", "close_ticks"),
    "volume": ("volume_lots",),
}


@dataclass(frozen=True, slots=True, eq=False)
class IndicatorBars:
    """Bars, ascending: doubles of ticks and lots, exact to the last bit below 2**53, and the integers themselves.

    `frame`: with the columns of common.frames.schema.SHOWN. `sessions`: those of the market.
    """

    frame: pl.DataFrame
    scale: Scale
    sessions: Sessions | None
    opens_ms: Ints
    open: Floats
    high: Floats
    low: Floats
    close: Floats
    volume: Floats

    @classmethod
    def of(cls, frame: pl.DataFrame, scale: Scale, sessions: Sessions | None = None) -> "IndicatorBars":
        frame = frame.rechunk()

        def doubles(name: str, decimals: int) -> Floats:
            found: Floats = frame[name].to_numpy() / 10**decimals
            return found

        price, size = scale
        return cls(
            frame,
            scale,
            sessions,
            opens_ms=frame["open_ms"].to_numpy(),
            open=doubles("open_ticks", price),
            high=doubles("high_ticks", price),
            low=doubles("low_ticks", price),
            close=doubles("close_ticks", price),
            volume=doubles("volume_lots", size),
        )

    def __len__(self) -> int:
        return len(self.opens_ms)

    def source(self, name: PriceSource) -> Floats:
        if name in ("open", "high", "low", "close", "volume"):
            found: Floats = getattr(self, name)
            return found
        whole, unit = self.whole(name)
        return whole / unit

    def whole(self, name: PriceSource) -> tuple[Floats, int]:
        """Whole numbers, and what to divide them by: sums of them are exact."""
        first, *others = (self.frame[each].to_numpy() for each in _WHOLE[name])
        found = sum(others, first).astype(np.float64)
        decimals = self.scale.size_decimals if name == "volume" else self.scale.price_decimals
        return found, (1 + len(others)) * 10**decimals

    @property
    def typical(self) -> Floats:
        """hlc3."""
        return (self.high + self.low + self.close) / 3

    @property
    def true_range(self) -> Floats:
        """Of bar 0, which has none before it, 0."""
        before = self.close[:-1]
        highest, lowest = np.maximum(self.high[1:], before), np.minimum(self.low[1:], before)
        return np.concatenate([np.zeros(min(len(self), 1)), highest - lowest])

    def since(self, at: int) -> "IndicatorBars":
        """Those from a position on."""
        return replace(
            self,
            frame=self.frame.slice(at),
            opens_ms=self.opens_ms[at:],
            open=self.open[at:],
            high=self.high[at:],
            low=self.low[at:],
            close=self.close[at:],
            volume=self.volume[at:],
        )
