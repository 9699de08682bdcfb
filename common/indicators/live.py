"""Values of a bar that still grows: what history answers of the same bars, by the same code.

A series holds the closed bars from its start. A growing bar is looked at (`peek`) and leaves nothing behind; a closed
one is added (`update`). An amendment of an older bar is a series that is opened again. So a live value is that of
history bit for bit, whatever computes it.
"""

from collections.abc import Mapping

import polars as pl

from common.indicators.bars import IndicatorBars
from common.indicators.engine import Floats
from common.indicators.ids import Indicator
from common.indicators.values import values_of
from common.market.scale import Scale
from common.market.timeframes.session import Sessions


class LiveIndicators:
    """Those of one symbol and timeframe, over one frame. `closed`: as of IndicatorBars, from its start on."""

    def __init__(self, closed: pl.DataFrame, scale: Scale, sessions: Sessions | None = None) -> None:
        self._closed, self._scale, self._sessions = closed.clone(), scale, sessions

    def update(self, bar: pl.DataFrame) -> None:
        """Add a closed bar: a frame of one row."""
        self._closed.extend(bar)

    def peek(self, bar: pl.DataFrame, indicators: list[Indicator]) -> list[Mapping[str, float]]:
        """The values of a growing bar; NaN where not defined."""
        return self._newest(pl.concat([self._closed, bar]), indicators)

    def newest(self, indicators: list[Indicator]) -> list[Mapping[str, float]]:
        """Those of the last closed bar."""
        return self._newest(self._closed, indicators)

    def _newest(self, frame: pl.DataFrame, indicators: list[Indicator]) -> list[Mapping[str, float]]:
        bars = IndicatorBars.of(frame, self._scale, self._sessions)
        return [{name: _last(values) for name, values in values_of(bars, each).items()} for each in indicators]


def _last(values: Floats) -> float:
    return float(values[-1]) if len(values) else float("nan")
