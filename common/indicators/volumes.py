"""Prices weighted with what was traded at them, by windows and recursions."""

import numpy as np

from common.indicators.bars import IndicatorBars
from common.indicators.engine import Floats, output_of
from common.indicators.kinds import VALUE, IndicatorInputs, IndicatorKind, Numbers, length
from common.indicators.warmup import Leg, ema
from common.indicators.windows import ratio, total, without


def flow_of(bars: IndicatorBars) -> Floats:
    """Volume, by where the close is within the bar: all of it at the high, less all of it at the low."""
    close, high, low, lots = (
        bars.frame[name].to_numpy() for name in ("close_ticks", "high_ticks", "low_ticks", "volume_lots")
    )
    place = ratio((2 * close - high - low).astype(np.float64), (high - low).astype(np.float64))
    return np.asarray(np.where(high == low, 0.0, place) * (lots / 10**bars.scale.size_decimals))


def _mfi(given: IndicatorInputs) -> list[Floats]:
    (n,), bars = given.lengths, given.bars
    typical = bars.typical
    flows = np.where(np.diff(typical, prepend=typical[:1]) != 0, typical * bars.volume, 0.0)
    return [without(output_of("MFI", bars.high, bars.low, bars.close, bars.volume, n), total(flows, n) == 0)]


def _cmf(given: IndicatorInputs) -> list[Floats]:
    (n,), bars = given.lengths, given.bars
    return [ratio(total(flow_of(bars), n), total(bars.volume, n))]


def _adosc(given: IndicatorInputs) -> list[Floats]:
    fast, slow = given.lengths
    line = np.cumsum(flow_of(given.bars))
    return [output_of("EMA", line, fast) - output_of("EMA", line, slow)]


def _adosc_legs(numbers: Numbers) -> list[Leg]:
    return [Leg((ema(numbers[1]),), int(numbers[1]) - 1)]


VOLUMES = (
    IndicatorKind(
        "MFI",
        "100 P/(P+N), money flow hlc3 v of the n bars with hlc3 above and below the one before",
        (length(14),),
        VALUE,
        "window",
        lambda numbers: (int(numbers[0]),),
        _mfi,
    ),
    IndicatorKind(
        "CMF",
        "sum(((c-l)-(h-c))/(h-l) v)/sum(v) of n; a bar of one price counts as 0",
        (length(20),),
        VALUE,
        "window",
        lambda numbers: (int(numbers[0]) - 1,),
        _cmf,
    ),
    IndicatorKind(
        "ADOSC",
        "EMA_fast - EMA_slow of the sum that AD is",
        (length(3, "fast"), length(10, "slow", min_value=2)),
        VALUE,
        "recursive",
        lambda numbers: (int(numbers[1]) - 1,),
        _adosc,
        legs_of=_adosc_legs,
        fast_slow=(0, 1),
    ),
)
