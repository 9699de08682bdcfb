"""Whether there is a trend, and which way."""

import numpy as np

from common.indicators.engine import Floats, output_of, outputs_of
from common.indicators.kinds import (
    CLOSE_FIRST,
    IndicatorInputs,
    IndicatorKind,
    Numbers,
    factor,
    length,
)
from common.indicators.warmup import Leg, ema, rma
from common.indicators.windows import at_rest, chained, highest, lowest, mean, ratio, total, without


def _macd(given: IndicatorInputs) -> list[Floats]:
    fast, slow, signal = given.lengths
    line = output_of("EMA", given.source, fast) - output_of("EMA", given.source, slow)
    signals = chained("EMA", line, signal)
    return [line, signals, line - signals]


def _ppo(given: IndicatorInputs) -> list[Floats]:
    fast, slow, signal = given.lengths
    base = output_of("EMA", given.source, slow)
    with np.errstate(divide="ignore", invalid="ignore"):
        line = 100 * (output_of("EMA", given.source, fast) / base - 1)
    line = np.where(np.isfinite(line), line, np.nan)
    is_whole = not np.isnan(line[slow - 1 :]).any()
    signals = chained("EMA", line, signal) if is_whole else np.full(len(line), np.nan)
    return [line, signals, line - signals]


def _signal_first(numbers: Numbers) -> tuple[int, ...]:
    _, slow, signal = map(int, numbers)
    return slow - 1, slow + signal - 2, slow + signal - 2


def _signal_legs(numbers: Numbers) -> list[Leg]:
    (_, slow, signal), (first, signal_first, _) = numbers, _signal_first(numbers)
    return [Leg((ema(slow),), first), Leg((ema(slow), ema(signal)), signal_first)]


def _adx(given: IndicatorInputs) -> list[Floats]:
    """From bar 1 on, for bar 0 has none before it. Each RMA is seeded with its own first n."""
    (n,), bars = given.lengths, given.bars
    if len(bars) < 2:
        return [np.full(len(bars), np.nan)] * 3
    rises, falls = np.diff(bars.high), -np.diff(bars.low)
    plus = np.where((rises > falls) & (rises > 0), rises, 0.0)
    minus = np.where((falls > rises) & (falls > 0), falls, 0.0)
    ranges = bars.true_range[1:]
    smooth = output_of("RMA", ranges, n)
    up, down = (100 * ratio(output_of("RMA", moves, n), smooth) for moves in (plus, minus))
    sums = up + down
    known = 100 * np.abs(up - down)
    directional = np.where(np.isnan(smooth), np.nan, np.where(sums > 0, ratio(known, sums), 0.0))
    found = [chained("RMA", directional, n), up, down]
    resting = at_rest(bars.true_range > 0, given.warmup)
    return [without(np.concatenate([[np.nan], each]), resting) for each in found]


def _supertrend(given: IndicatorInputs) -> list[Floats]:
    bars, (n, times) = given.bars, given.numbers
    line, trend = outputs_of("SUPERTREND", bars.high, bars.low, bars.close, int(n), times)
    return [line, without(trend.astype(np.float64), np.isnan(line))]


def _sar(given: IndicatorInputs) -> list[Floats]:
    """SARd: 1 while prices are above it. A bar of one price that is just there goes on as the one before."""
    bars = given.bars
    found = output_of("SAR", bars.high, bars.low, *given.numbers)
    sides = np.sign((bars.high + bars.low) / 2 - found)
    last = np.maximum.accumulate(np.where(sides != 0, np.arange(len(sides)), 0))
    return [found, without(sides[last], np.isnan(found))]


def _trix(given: IndicatorInputs) -> list[Floats]:
    n, signal = given.lengths
    line = output_of("TRIX", given.source, n)
    line = np.where(np.isfinite(line), line, np.nan)
    return [line, mean(line, signal)]


def _trix_first(numbers: Numbers) -> tuple[int, ...]:
    n, signal = map(int, numbers)
    return 3 * n - 2, 3 * n + signal - 3


def _vortex(given: IndicatorInputs) -> list[Floats]:
    (n,), bars = given.lengths, given.bars
    resting = total(bars.true_range, n) == 0
    return [without(each, resting) for each in outputs_of("VORTEX", bars.high, bars.low, bars.close, n)]


def _ichimoku(given: IndicatorInputs) -> list[Floats]:
    """Not shifted: a lagging span drawn in place would be tomorrow's close in today's row."""
    turn, base, span = (_middle(given, n) for n in given.lengths)
    return [turn, base, (turn + base) / 2, span, given.bars.close]


def _middle(given: IndicatorInputs, n: int) -> Floats:
    return (highest(given.bars.high, n) + lowest(given.bars.low, n)) / 2


def _ichimoku_first(numbers: Numbers) -> tuple[int, ...]:
    turn, base, span = map(int, numbers)
    return turn - 1, base - 1, max(turn, base) - 1, span - 1, 0


def _ichimoku_shift(numbers: Numbers) -> dict[str, int]:
    bars = int(numbers[1]) - 1
    return {"ISA": bars, "ISB": bars, "ICS": -bars}


def _supertrend_legs(numbers: Numbers) -> list[Leg]:
    return [Leg((rma(numbers[0]),), int(numbers[0]))]


FAST_SLOW_SIGNAL = (length(12, "fast"), length(26, "slow", min_value=2), length(9, "signal"))

TRENDS = (
    IndicatorKind(
        "MACD",
        "EMA_fast - EMA_slow, each seeded with its own first values; MACDs its EMA_signal, MACDh the difference",
        FAST_SLOW_SIGNAL,
        ("MACD", "MACDs", "MACDh"),
        "recursive",
        _signal_first,
        _macd,
        legs_of=_signal_legs,
        sources=CLOSE_FIRST,
        fast_slow=(0, 1),
    ),
    IndicatorKind(
        "PPO",
        "100 (EMA_fast/EMA_slow - 1); PPOs its EMA_signal, PPOh the difference",
        FAST_SLOW_SIGNAL,
        ("PPO", "PPOs", "PPOh"),
        "recursive",
        _signal_first,
        _ppo,
        legs_of=_signal_legs,
        sources=CLOSE_FIRST,
        fast_slow=(0, 1),
    ),
    IndicatorKind(
        "ADX",
        "DMP, DMN = 100 RMA_n(+DM, -DM)/RMA_n(TR) from bar 1; DX = 100 |P-M|/(P+M), 0 of nothing; ADX = RMA_n(DX)",
        (length(14),),
        ("ADX", "DMP", "DMN"),
        "recursive",
        lambda numbers: (2 * int(numbers[0]) - 1, int(numbers[0]), int(numbers[0])),
        _adx,
        legs_of=lambda numbers: [Leg((rma(numbers[0]),) * 2, 2 * int(numbers[0]) - 1)],
    ),
    IndicatorKind(
        "SUPERTREND",
        "bands hl2 -+ m ATR_n that only tighten, flipped when c crosses; SUPERTd 1 up, -1 down",
        (length(10), factor(3, "multiplier")),
        ("SUPERT", "SUPERTd"),
        "path",
        lambda numbers: (int(numbers[0]),) * 2,
        _supertrend,
        legs_of=_supertrend_legs,
    ),
    IndicatorKind(
        "SAR",
        "Wilder's parabolic, by a step that grows by acceleration up to maximum; SARd 1 up, -1 down",
        (factor(0.02, "acceleration", 1), factor(0.2, "maximum", 1)),
        ("value", "SARd"),
        "path",
        lambda numbers: (1, 1),
        _sar,
        legs_of=lambda numbers: [Leg((), 1)],
    ),
    IndicatorKind(
        "TRIX",
        "100 x relative change of the EMA of the EMA of the EMA, all of n; TRIXs its mean of signal",
        (length(18), length(9, "signal")),
        ("TRIX", "TRIXs"),
        "recursive",
        _trix_first,
        _trix,
        legs_of=lambda numbers: [Leg((ema(numbers[0]),) * 3, _trix_first(numbers)[1])],
        sources=CLOSE_FIRST,
    ),
    IndicatorKind(
        "VORTEX",
        "sums of n of |h - l[-1]| and |l - h[-1]|, by that of the true range",
        (length(14, min_value=2),),
        ("VTXP", "VTXM"),
        "window",
        lambda numbers: (int(numbers[0]),) * 2,
        _vortex,
    ),
    IndicatorKind(
        "ICHIMOKU",
        "middles of the range of turn, base and span bars; ISA the mean of the first two; ICS c; none is shifted",
        (length(9, "turn"), length(26, "base"), length(52, "span")),
        ("ITS", "IKS", "ISA", "ISB", "ICS"),
        "window",
        _ichimoku_first,
        _ichimoku,
        shift_of=_ichimoku_shift,
    ),
)
