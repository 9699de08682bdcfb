"""How fast prices move, and where they are within their range."""

import numpy as np

from common.indicators.engine import Floats, output_of, outputs_of
from common.indicators.kinds import CLOSE_FIRST, VALUE, IndicatorInputs, IndicatorKind, Numbers, length
from common.indicators.warmup import Leg, ema, rma
from common.indicators.windows import (
    at_rest,
    chained,
    changes,
    flat,
    highest,
    lowest,
    mean,
    mean_distance,
    ratio,
    total,
    without,
)


def _rsi(given: IndicatorInputs) -> list[Floats]:
    found = output_of("RSI", given.source, given.lengths[0])
    return [without(found, at_rest(changes(given.source) != 0, given.warmup))]


def _stochastic(values: Floats, high: Floats, low: Floats, n: int) -> Floats:
    """Where a value is between the lowest and the highest of n, in percent."""
    above, below = highest(high, n), lowest(low, n)
    return 100 * ratio(values - below, above - below)


def _stoch(given: IndicatorInputs) -> list[Floats]:
    (k, d, smooth), bars = given.lengths, given.bars
    fast = mean(_stochastic(bars.close, bars.high, bars.low, k), smooth)
    return [fast, mean(fast, d)]


def _stoch_rsi(given: IndicatorInputs) -> list[Floats]:
    n, r, k, d = given.lengths
    rsi = without(output_of("RSI", given.source, r), at_rest(changes(given.source) != 0, given.warmup))
    # Where RSI is not defined, its window is not either.
    known = np.where(np.isnan(rsi), 0.0, rsi)
    raw = without(_stochastic(known, known, known, n), total(np.isnan(rsi).astype(np.float64), n) != 0)
    fast = mean(raw, k)
    return [fast, mean(fast, d)]


def _cci(given: IndicatorInputs) -> list[Floats]:
    (n,), bars = given.lengths, given.bars
    typical = bars.typical
    means = mean(typical, n)
    found = ratio(typical - means, 0.015 * mean_distance(typical, means, n))
    return [without(found, flat(typical, n))]


def _willr(given: IndicatorInputs) -> list[Floats]:
    (n,), bars = given.lengths, given.bars
    undefined = highest(bars.high, n) == lowest(bars.low, n)
    return [without(output_of("WILLR", bars.high, bars.low, bars.close, n), undefined)]


def _roc(given: IndicatorInputs) -> list[Floats]:
    (n,) = given.lengths
    before = np.concatenate([np.ones(min(n, len(given.source))), given.source[:-n]])
    return [without(output_of("ROC", given.source, n), before == 0)]


def _mom(given: IndicatorInputs) -> list[Floats]:
    return [output_of("MOM", given.source, given.lengths[0])]


def _ao(given: IndicatorInputs) -> list[Floats]:
    middles, (fast, slow) = given.bars.source("hl2"), given.lengths
    return [mean(middles, fast) - mean(middles, slow)]


def _tsi(given: IndicatorInputs) -> list[Floats]:
    slow, fast, signal = given.lengths
    line = output_of("TSI", given.source, slow, fast)
    resting = at_rest(changes(given.source) != 0, given.warmup)
    return [without(each, resting) for each in (line, chained("EMA", line, signal))]


def _ultosc(given: IndicatorInputs) -> list[Floats]:
    bars = given.bars
    undefined = total(bars.true_range, min(given.lengths)) == 0
    return [without(output_of("ULTOSC", bars.high, bars.low, bars.close, *given.lengths), undefined)]


def _cmo(given: IndicatorInputs) -> list[Floats]:
    (n,) = given.lengths
    return [without(output_of("CMOU", given.source, n), flat(given.source, n + 1))]


def _aroon(given: IndicatorInputs) -> list[Floats]:
    down, up = outputs_of("AROON", given.bars.high, given.bars.low, given.lengths[0])
    return [down, up, up - down]


def _stoch_first(numbers: Numbers) -> tuple[int, ...]:
    k, d, smooth = map(int, numbers)
    return k + smooth - 2, k + smooth + d - 3


def _stoch_rsi_first(numbers: Numbers) -> tuple[int, ...]:
    n, r, k, d = map(int, numbers)
    return r + n + k - 2, r + n + k + d - 3


def _tsi_first(numbers: Numbers) -> tuple[int, ...]:
    slow, fast, signal = map(int, numbers)
    return slow + fast - 1, slow + fast + signal - 2


def _tsi_legs(numbers: Numbers) -> list[Leg]:
    (slow, fast, signal), (first, signal_first) = numbers, _tsi_first(numbers)
    return [Leg((ema(slow), ema(fast)), first), Leg((ema(slow), ema(fast), ema(signal)), signal_first)]


MOMENTUM = (
    IndicatorKind(
        "RSI",
        "100 G/(G+L), G and L the RMA_n of gains and losses; null while no value differs from the one before",
        (length(14),),
        VALUE,
        "recursive",
        lambda numbers: (int(numbers[0]),),
        _rsi,
        legs_of=lambda numbers: [Leg((rma(numbers[0]),), int(numbers[0]))],
        sources=CLOSE_FIRST,
    ),
    IndicatorKind(
        "STOCH",
        "raw = 100 (c - lowest of k)/(highest - lowest of k), STOCHk its mean of smooth, STOCHd that one's mean of d",
        (length(14, "k"), length(3, "d"), length(3, "smooth")),
        ("STOCHk", "STOCHd"),
        "window",
        _stoch_first,
        _stoch,
    ),
    IndicatorKind(
        "STOCHRSI",
        "where RSI_rsi is within its range of length, in percent: the mean of k of it, and of d of that",
        (length(14), length(14, "rsi"), length(3, "k"), length(3, "d")),
        ("STOCHRSIk", "STOCHRSId"),
        "recursive",
        _stoch_rsi_first,
        _stoch_rsi,
        legs_of=lambda numbers: [Leg((rma(numbers[1]),), _stoch_rsi_first(numbers)[1])],
        sources=CLOSE_FIRST,
    ),
    IndicatorKind(
        "CCI",
        "(hlc3 - its mean of n)/(0.015 x mean distance from that mean)",
        (length(20, min_value=2),),
        VALUE,
        "window",
        lambda numbers: (int(numbers[0]) - 1,),
        _cci,
    ),
    IndicatorKind(
        "WILLR",
        "-100 (highest - c)/(highest - lowest) of n",
        (length(14),),
        VALUE,
        "window",
        lambda numbers: (int(numbers[0]) - 1,),
        _willr,
    ),
    IndicatorKind(
        "ROC",
        "100 (c/c[-n] - 1)",
        (length(10),),
        VALUE,
        "window",
        lambda numbers: (int(numbers[0]),),
        _roc,
        sources=CLOSE_FIRST,
    ),
    IndicatorKind(
        "MOM",
        "c - c[-n]",
        (length(10),),
        VALUE,
        "window",
        lambda numbers: (int(numbers[0]),),
        _mom,
        sources=CLOSE_FIRST,
    ),
    IndicatorKind(
        "AO",
        "mean of fast of hl2 - mean of slow",
        (length(5, "fast"), length(34, "slow", min_value=2)),
        VALUE,
        "window",
        lambda numbers: (int(numbers[1]) - 1,),
        _ao,
        fast_slow=(0, 1),
    ),
    IndicatorKind(
        "TSI",
        "100 EMA_fast(EMA_slow(dc))/EMA_fast(EMA_slow(|dc|)), dc = c - c[-1]; TSIs its EMA_signal",
        (length(25, "slow"), length(13, "fast"), length(13, "signal")),
        ("TSI", "TSIs"),
        "recursive",
        _tsi_first,
        _tsi,
        legs_of=_tsi_legs,
        sources=CLOSE_FIRST,
    ),
    IndicatorKind(
        "ULTOSC",
        "100 (4 a + 2 b + c)/7, each the sum of buying pressure by that of true range of its length",
        (length(7, "short"), length(14, "middle"), length(28, "long")),
        VALUE,
        "window",
        lambda numbers: (int(max(numbers)),),
        _ultosc,
    ),
    IndicatorKind(
        "CMO",
        "100 (U - D)/(U + D), plain sums of n gains and losses",
        (length(9, min_value=2),),
        VALUE,
        "window",
        lambda numbers: (int(numbers[0]),),
        _cmo,
        sources=CLOSE_FIRST,
    ),
    IndicatorKind(
        "AROON",
        "100 (n - bars since the lowest, highest of n+1 bars)/n; AROONOSC up - down",
        (length(14, min_value=2),),
        ("AROOND", "AROONU", "AROONOSC"),
        "window",
        lambda numbers: (int(numbers[0]),) * 3,
        _aroon,
    ),
)
