"""The values of one indicator, for every bar."""

from collections.abc import Mapping

import numpy as np

from common.indicators.anchors import anchors_of
from common.indicators.bars import IndicatorBars
from common.indicators.engine import Floats
from common.indicators.ids import PATH_BARS, Indicator
from common.indicators.kinds import IndicatorInputs
from common.market.coding.packed import Ints

# Of a path: two starts agree where they come to the same, relative to the value.
SETTLED = 1e-10


def values_of(bars: IndicatorBars, indicator: Indicator) -> Mapping[str, Floats]:
    """Each output by name, NaN where it is not defined: before its first bar, and where its formula is 0/0."""
    kind = indicator.kind
    if not len(bars):
        return {name: np.zeros(0) for name in kind.outputs}
    inputs = IndicatorInputs(bars, indicator.source, indicator.numbers, indicator.warmup, anchors(bars, indicator))
    return dict(zip(kind.outputs, kind.compute(inputs), strict=False))


def anchors(bars: IndicatorBars, indicator: Indicator) -> Ints:
    """Since when the sum of each bar runs; of an indicator without an anchor since 0."""
    if indicator.anchor:
        return anchors_of(bars.opens_ms, indicator.anchor, bars.sessions)
    return np.zeros(len(bars), np.int64)


def is_settled(bars: IndicatorBars, indicator: Indicator, shown: int) -> bool:
    """Whether a path that begins later comes to the same in all bars from the position `shown` on.

    No number of bars is enough for every path: so it is tried.
    """
    later = (shown - (indicator.warmup - PATH_BARS)) // 2
    if later <= 0:
        return False
    one, other = values_of(bars, indicator), values_of(bars.since(later), indicator)
    return all(
        np.allclose(values[shown:], other[name][shown - later :], rtol=SETTLED, atol=0, equal_nan=True)
        for name, values in one.items()
    )
