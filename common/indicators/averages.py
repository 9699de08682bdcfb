"""Moving averages."""

from collections.abc import Callable
from functools import partial
from math import isqrt

from common.indicators.engine import Floats, output_of
from common.indicators.kinds import (
    CLOSE_FIRST,
    VALUE,
    Compute,
    FirstOf,
    IndicatorInputs,
    IndicatorKind,
    Memory,
    NumberRule,
    Numbers,
    length,
)
from common.indicators.warmup import Leg, ema, rma
from common.indicators.windows import ratio, total, weighted


def _by_engine(function: str, given: IndicatorInputs) -> list[Floats]:
    return [output_of(function, given.source, given.lengths[0])]


def _kind(
    name: str,
    formula: str,
    default: int,
    first: Callable[[int], int],
    memory: Memory = "window",
    poles: Callable[[float], tuple[float, ...]] | None = None,
    min_value: int = 1,
    compute: Compute | None = None,
) -> IndicatorKind:
    """One of a single length. Without `compute` TA-Lib has it under the same name."""

    def first_of(numbers: Numbers) -> tuple[int, ...]:
        return (first(int(numbers[0])),)

    return IndicatorKind(
        name,
        formula,
        (length(default, min_value=min_value),),
        VALUE,
        memory,
        first_of,
        compute or partial(_by_engine, name),
        legs_of=_legs(poles, first_of) if poles else None,
        sources=CLOSE_FIRST,
    )


def _legs(poles: Callable[[float], tuple[float, ...]], first_of: FirstOf) -> Callable[[Numbers], list[Leg]]:
    return lambda numbers: [Leg(poles(numbers[0]), first_of(numbers)[0])]


def _sma(given: IndicatorInputs) -> list[Floats]:
    (n,), (whole, unit) = given.lengths, given.bars.whole(given.of)
    return [total(whole, n) / (n * unit)]


def _wma(given: IndicatorInputs) -> list[Floats]:
    return [weighted(given.source, given.lengths[0])]


def _hma(given: IndicatorInputs) -> list[Floats]:
    (n,), values = given.lengths, given.source
    return [weighted(2 * weighted(values, n // 2) - weighted(values, n), isqrt(n))]


def _vwma(given: IndicatorInputs) -> list[Floats]:
    (n,), volume = given.lengths, given.bars.volume
    return [ratio(total(given.source * volume, n), total(volume, n))]


def _kama(given: IndicatorInputs) -> list[Floats]:
    return [output_of("KAMA", given.source, given.lengths[0])]


AVERAGES = (
    _kind("SMA", "mean of the last n", 20, lambda n: n - 1, compute=_sma),
    _kind(
        "EMA",
        "x += 2/(n+1) (c - x), seeded with the mean of the first n",
        20,
        lambda n: n - 1,
        "recursive",
        lambda n: (ema(n),),
    ),
    _kind("WMA", "weights 1 to n, the newest heaviest", 14, lambda n: n - 1, compute=_wma),
    _kind(
        "HMA",
        "WMA of sqrt(n) of (2 WMA of n/2 - WMA of n)",
        14,
        lambda n: n + isqrt(n) - 2,
        min_value=2,
        compute=_hma,
    ),
    IndicatorKind(
        "VWMA",
        "sum(c v) / sum(v) of the last n; null without volume",
        (length(14),),
        VALUE,
        "window",
        lambda numbers: (int(numbers[0]) - 1,),
        _vwma,
        sources=CLOSE_FIRST,
    ),
    _kind(
        "DEMA",
        "2 e1 - e2, e2 the EMA of e1, each seeded with its own first n",
        14,
        lambda n: 2 * n - 2,
        "recursive",
        lambda n: (ema(n),) * 2,
    ),
    _kind(
        "TEMA",
        "3 e1 - 3 e2 + e3, each EMA seeded with its own first n",
        20,
        lambda n: 3 * n - 3,
        "recursive",
        lambda n: (ema(n),) * 3,
    ),
    _kind(
        "RMA",
        "x += 1/n (c - x), seeded with the mean of the first n: Wilder's mean",
        14,
        lambda n: n - 1,
        "recursive",
        lambda n: (rma(n),),
    ),
    IndicatorKind(
        "KAMA",
        "x += s^2 (c - x), s between 2/31 and 2/3 by the efficiency ratio of n bars",
        (length(10, min_value=2), NumberRule("fast", 2, 2, 2), NumberRule("slow", 30, 30, 30)),
        VALUE,
        "path",
        lambda numbers: (int(numbers[0]),),
        _kama,
        legs_of=lambda numbers: [Leg((), int(numbers[0]))],
        sources=CLOSE_FIRST,
    ),
)
