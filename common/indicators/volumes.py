"""Prices weighted with what was traded at them, by windows and recursions."""

import numpy as np

from common.indicators.bars import IndicatorBars
from common.indicators.engine import Floats, output_of
from common.indicators.kinds import VALUE, IndicatorInputs, IndicatorKind, Numbers, length
from common.indicators.warmup import Leg, ema
from common.indicators.windows import changes, ratio, total, without


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
    rises, flows = changes(typical), typical * bars.volume
    up, down = (total(np.where(moved, flows, 0.0), n) for moved in (rises > 0, rises < 0))
    # Bar 0 has none before it.
    return [without(100 * ratio(up, up + down), np.arange(len(typical)) < n)]


def _cmf(given: IndicatorInputs) -> list[Floats]:
    (n,), bars = given.lengths, given.bars
    return [ratio(total(flow_of(bars), n), total(bars.volume, n))]


def _adosc(given: IndicatorInputs) -> list[Floats]:
    fast, slow = given.lengths
    flows = flow_of(given.bars)
    return [_lag(flows, slow) - _lag(flows, fast)]


def _lag(flows: Floats, n: int) -> Floats:
    """By how much the sum S of flows is ahead of its EMA_n. The sum itself would have other digits for every bar that
    it begins with; but S - EMA_n(S) is (n-1)/2 EMA_n(flows), once it begins with the same value."""
    if n == 1 or len(flows) < n:
        return np.full(len(flows), 0.0 if n == 1 else np.nan)
    seed = float(np.arange(n) @ flows[:n]) / n
    begun = flows.copy()
    begun[:n] = seed * 2 / (n - 1)
    return (n - 1) / 2 * output_of("EMA", begun, n)


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
