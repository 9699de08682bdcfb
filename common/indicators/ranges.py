"""How far prices range, and channels around them."""

from common.indicators.engine import Floats, output_of
from common.indicators.kinds import CLOSE_FIRST, VALUE, IndicatorInputs, IndicatorKind, Numbers, factor, length
from common.indicators.warmup import Leg, ema, rma
from common.indicators.windows import deviation, flat, highest, lowest, ratio, total, without


def _atr(given: IndicatorInputs) -> list[Floats]:
    bars = given.bars
    return [output_of("ATR", bars.high, bars.low, bars.close, given.lengths[0])]


def _natr(given: IndicatorInputs) -> list[Floats]:
    return [100 * ratio(_atr(given)[0], given.bars.close)]


def _bbands(given: IndicatorInputs) -> list[Floats]:
    values, (whole, unit) = given.source, given.bars.whole(given.of)
    n, times = given.lengths[0], given.numbers[1]
    middle, away = total(whole, n) / (n * unit), times * deviation(whole, n) / unit
    lower, upper = middle - away, middle + away
    width = upper - lower
    place = without(ratio(values - lower, width), flat(values, n))
    return [lower, middle, upper, 100 * ratio(width, middle), place]


def _kc(given: IndicatorInputs) -> list[Floats]:
    bars, (n, times, of_range) = given.bars, given.numbers
    middle = output_of("EMA", bars.close, int(n))
    away = times * output_of("ATR", bars.high, bars.low, bars.close, int(of_range))
    return [middle - away, middle, middle + away]


def _donchian(given: IndicatorInputs) -> list[Floats]:
    (n,) = given.lengths
    lower, upper = lowest(given.bars.low, n), highest(given.bars.high, n)
    return [lower, (lower + upper) / 2, upper]


def _stddev(given: IndicatorInputs) -> list[Floats]:
    whole, unit = given.bars.whole(given.of)
    return [deviation(whole, given.lengths[0]) / unit]


def _range_legs(numbers: Numbers) -> list[Leg]:
    return [Leg((rma(numbers[0]),), int(numbers[0]))]


def _kc_first(numbers: Numbers) -> tuple[int, ...]:
    n, _, of_range = map(int, numbers)
    outer = max(n - 1, of_range)
    return outer, n - 1, outer


def _kc_legs(numbers: Numbers) -> list[Leg]:
    n, _, of_range = numbers
    return [Leg((ema(n),), int(n) - 1), Leg((rma(of_range),), int(of_range))]


RANGES = (
    IndicatorKind(
        "ATR",
        "RMA_n of the true range, which begins with bar 1",
        (length(14),),
        VALUE,
        "recursive",
        lambda numbers: (int(numbers[0]),),
        _atr,
        legs_of=_range_legs,
    ),
    IndicatorKind(
        "NATR",
        "100 ATR_n/c",
        (length(14),),
        VALUE,
        "recursive",
        lambda numbers: (int(numbers[0]),),
        _natr,
        legs_of=_range_legs,
    ),
    IndicatorKind(
        "BBANDS",
        "M = mean of n, s the population deviation: M -+ k s; BBB = 100 (U-L)/M, BBP = (c-L)/(U-L)",
        (length(20, min_value=2), factor(2, "multiplier")),
        ("BBL", "BBM", "BBU", "BBB", "BBP"),
        "window",
        lambda numbers: (int(numbers[0]) - 1,) * 5,
        _bbands,
        sources=CLOSE_FIRST,
    ),
    IndicatorKind(
        "KC",
        "EMA_n(c) -+ m ATR_range",
        (length(20), factor(2, "multiplier"), length(10, "range")),
        ("KCL", "KCB", "KCU"),
        "recursive",
        _kc_first,
        _kc,
        legs_of=_kc_legs,
    ),
    IndicatorKind(
        "DONCHIAN",
        "lowest low of n, the middle, highest high of n",
        (length(20),),
        ("DCL", "DCM", "DCU"),
        "window",
        lambda numbers: (int(numbers[0]) - 1,) * 3,
        _donchian,
    ),
    IndicatorKind(
        "STDDEV",
        "population deviation of n",
        (length(20, min_value=2),),
        VALUE,
        "window",
        lambda numbers: (int(numbers[0]) - 1,),
        _stddev,
        sources=CLOSE_FIRST,
    ),
)
