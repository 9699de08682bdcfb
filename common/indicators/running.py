"""Sums since an anchor, of integers: exact, and divided once."""

from collections.abc import Iterator, Sequence
from itertools import accumulate
from math import sqrt

import numpy as np

from common.frames.orderflow.running import NO_ANCHOR
from common.indicators.engine import Floats
from common.indicators.kinds import VALUE, IndicatorInputs, IndicatorKind, NumberRule, Numbers
from common.indicators.volumes import flow_of

Ints = Sequence[int]


def _sums(given: IndicatorInputs, values: Sequence[int]) -> list[int]:
    """Of each bar, since its anchor."""
    found, total = list[int](), 0
    for starts, value in zip(given.starts.tolist(), values, strict=True):
        total = value if starts else total + value
        found.append(total)
    return found


def _told(given: IndicatorInputs, values: Iterator[float | None]) -> Floats:
    """NaN where not known, and before a date that sums begin with."""
    found = np.array([np.nan if each is None else each for each in values], np.float64)
    return np.where(given.anchors == NO_ANCHOR, np.nan, found)


def _column(given: IndicatorInputs, name: str) -> list[int]:
    found: list[int] = given.bars.frame[name].to_list()
    return found


def _vwap(given: IndicatorInputs) -> list[Floats]:
    turnovers, lots = _sums(given, _column(given, "turnover")), _sums(given, _column(given, "volume_lots"))
    unit = 10**given.bars.scale.price_decimals
    means = _told(given, (t / (v * unit) if v else None for t, v in zip(turnovers, lots, strict=True)))
    times = given.numbers[0]
    if not times:
        return [means]
    aways = times * _told(given, _deviations(given, turnovers, lots, 9 * unit * unit))
    return [means, means - aways, means + aways]


def _deviations(given: IndicatorInputs, turnovers: Ints, lots: Ints, units: int) -> Iterator[float | None]:
    """sqrt(sum(v (hlc3 - vwap)^2)/sum(v)). With p = 3 hlc3 in ticks it is (S2 V - 6 T S1 + 9 T^2)/(9 V^2)."""
    prices, volumes = _thirds(given), _column(given, "volume_lots")
    first = _sums(given, [p * v for p, v in zip(prices, volumes, strict=True)])
    second = _sums(given, [p * p * v for p, v in zip(prices, volumes, strict=True)])
    for s1, s2, t, v in zip(first, second, turnovers, lots, strict=True):
        yield sqrt((s2 * v - 6 * t * s1 + 9 * t * t) / (units * v * v)) if v else None


def _thirds(given: IndicatorInputs) -> list[int]:
    """h + l + c, in ticks."""
    high, low, close = (given.bars.frame[name].to_numpy() for name in ("high_ticks", "low_ticks", "close_ticks"))
    found: list[int] = (high + low + close).tolist()
    return found


def _vwap_of_typical(given: IndicatorInputs) -> list[Floats]:
    volumes = _column(given, "volume_lots")
    first = _sums(given, [p * v for p, v in zip(_thirds(given), volumes, strict=True)])
    lots, unit = _sums(given, volumes), 3 * 10**given.bars.scale.price_decimals
    return [_told(given, (p / (v * unit) if v else None for p, v in zip(first, lots, strict=True)))]


def _in_sizes(given: IndicatorInputs, lots: Sequence[int]) -> Floats:
    unit = 10**given.bars.scale.size_decimals
    return _told(given, (each / unit for each in lots))


def _obv(given: IndicatorInputs) -> list[Floats]:
    signs = np.sign(np.diff(given.bars.frame["close_ticks"].to_numpy(), prepend=0))
    steps = np.where(given.starts, 0, signs) * given.bars.frame["volume_lots"].to_numpy()
    return [_in_sizes(given, _sums(given, steps.tolist()))]


def _cvd(given: IndicatorInputs) -> list[Floats]:
    """`unknown` only where there is any."""
    bought, sold, all_lots = (_column(given, name) for name in ("buy_lots", "sell_lots", "volume_lots"))
    deltas = [b - s for b, s in zip(bought, sold, strict=True)]
    unknown = [v - b - s for v, b, s in zip(all_lots, bought, sold, strict=True)]
    found = [_in_sizes(given, _sums(given, deltas)), _in_sizes(given, deltas)]
    return [*found, _in_sizes(given, _sums(given, unknown))] if any(unknown) else found


def _ad(given: IndicatorInputs) -> list[Floats]:
    """Added up from each anchor on, in the order of time."""
    flows, starts = flow_of(given.bars).tolist(), np.flatnonzero(given.starts).tolist()
    sums = [accumulate(flows[at:to]) for at, to in zip(starts, [*starts[1:], len(flows)], strict=True)]
    return [_told(given, (each for some in sums for each in some))]


def _from_the_start(numbers: Numbers) -> tuple[int, ...]:
    return (0, 0, 0)


RUNNING = (
    IndicatorKind(
        "VWAP",
        "sum of turnover / sum of volume since the anchor; with k also VL, VU k deviations beside it",
        (NumberRule("k", 0, 0, 100, is_whole=False),),
        ("value", "VL", "VU"),
        "anchored",
        _from_the_start,
        _vwap,
        is_last_optional=True,
    ),
    IndicatorKind(
        "VWAP_hlc3",
        "sum(hlc3 v)/sum(v) over the bars since the anchor",
        (),
        VALUE,
        "anchored",
        _from_the_start,
        _vwap_of_typical,
    ),
    IndicatorKind(
        "OBV",
        "+ v if c > c[-1], - v if below; 0 at the anchor",
        (),
        VALUE,
        "anchored",
        _from_the_start,
        _obv,
    ),
    IndicatorKind(
        "CVD",
        "sum of what was bought less what was sold since the anchor; unknown: what neither side is known of",
        (),
        ("CVD", "delta", "unknown"),
        "anchored",
        _from_the_start,
        _cvd,
    ),
    IndicatorKind(
        "AD",
        "sum of ((c-l)-(h-c))/(h-l) v since the anchor",
        (),
        VALUE,
        "anchored",
        _from_the_start,
        _ad,
    ),
)
