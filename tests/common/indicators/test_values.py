"""Laws of all indicators: of starts, scales, and of what is not there."""

import numpy as np
import polars as pl
import pytest

from common.indicators.bars import IndicatorBars
from common.indicators.ids import PATH_BARS, Indicator, parse
from common.indicators.table import KINDS
from common.indicators.values import is_settled, values_of
from common.market.scale import Scale
from tests.kit.indicators import bars_frame, random_bars, random_frame

EACH = [parse(name) for name in KINDS]
MORE = [parse(text) for text in ("RSI_14_hl2", "EMA_9_volume", "VWAP_all_2", "MACD_5_35_5", "SMA_1", "AD_week")]
# Told in prices, and in sizes; all others are ratios, or whatever they are taken of.
IN_PRICES = {"SMA", "EMA", "WMA", "HMA", "VWMA", "DEMA", "TEMA", "RMA", "KAMA", "MACD", "ATR", "KC", "DONCHIAN"}
IN_PRICES |= {"STDDEV", "SUPERTREND", "SAR", "ICHIMOKU", "MOM", "AO", "VWAP", "VWAP_hlc3", "BBANDS"}
IN_SIZES = {"OBV", "CVD", "AD", "ADOSC"}
# What crosses zero is exact in units of its own: of the close, or of the sizes that are added up.
ROOM = {"ADOSC": 1e-4}


def named(indicator: Indicator) -> str:
    return indicator.asked


@pytest.mark.parametrize("indicator", [*EACH, *MORE], ids=named)
def test_values_are_as_many_as_bars_and_begin_where_the_table_says(indicator: Indicator) -> None:
    frame = random_frame(5, 300).filter(pl.col("volume_lots") > 0, pl.col("high_ticks") > pl.col("low_ticks"))
    values = values_of(IndicatorBars.of(frame, Scale(2, 3)), indicator)
    for name, first in zip(indicator.kind.outputs, indicator.kind.first_of(indicator.numbers), strict=False):
        if name in values:
            assert len(values[name]) == len(frame)
            assert np.flatnonzero(~np.isnan(values[name]))[0] == first, name
            assert not np.isnan(values[name][first:]).any(), name


@pytest.mark.parametrize("indicator", [each for each in [*EACH, *MORE] if each.kind.memory != "anchored"], ids=named)
@pytest.mark.parametrize("seed", [1, 2])
def test_two_starts_agree_once_they_are_warm(indicator: Indicator, seed: int) -> None:
    bars = random_bars(seed, 1_500)
    later = 1_500 - indicator.warmup - 200
    assert indicator.kind.memory != "path" or is_settled(bars, indicator, 1_300)
    one, other = values_of(bars, indicator), values_of(bars.since(later), indicator)
    room = 1e-9 * bars.close.max() if indicator.name in IN_PRICES else ROOM.get(indicator.name, 1e-9)
    for name, values in one.items():
        some = slice(1_500 - 200, None)
        theirs = other[name][some.start - later :]
        np.testing.assert_allclose(theirs, values[some], rtol=1e-9, atol=room, err_msg=name)


@pytest.mark.parametrize("indicator", [each for each in [*EACH, *MORE] if each.kind.memory != "anchored"], ids=named)
@pytest.mark.parametrize("begins", [0, 37, 500])
def test_two_starts_agree_in_every_digit_once_all_is_read(indicator: Indicator, begins: int) -> None:
    """So a stream may begin anywhere, and an answer with any range: a bar has one value."""
    bars = random_bars(3, 2_500)
    later = 2_500 - indicator.lead - 200
    one, other = values_of(bars.since(begins), indicator), values_of(bars.since(later), indicator)
    for name, values in one.items():
        assert np.array_equal(values[-200:], other[name][-200:], equal_nan=True), name


@pytest.mark.parametrize("indicator", EACH, ids=named)
def test_the_scale_of_prices_and_sizes_does_not_matter(indicator: Indicator) -> None:
    frame = random_frame(3, 400)
    plain = values_of(IndicatorBars.of(frame, Scale(2, 3)), indicator)
    for scale in (Scale(8, 3), Scale(2, 12), Scale(0, 0)):
        times = 1.0
        if indicator.name in IN_PRICES:
            times = 10.0 ** (2 - scale.price_decimals)
        if indicator.name in IN_SIZES:
            times = 10.0 ** (3 - scale.size_decimals)
        for name, values in values_of(IndicatorBars.of(frame, scale), indicator).items():
            same = 1.0 if name in ("SUPERTd", "SARd", "BBB", "BBP") else times
            np.testing.assert_allclose(values, plain[name] * same, rtol=1e-7, atol=1e-7 * same, err_msg=str(scale))


def test_huge_prices_are_as_exact_as_small_ones() -> None:
    frame = random_frame(3, 400, base=10**12)
    small = values_of(IndicatorBars.of(frame, Scale(12, 0)), parse("RSI_14"))["value"]
    large = values_of(IndicatorBars.of(frame, Scale(0, 0)), parse("RSI_14"))["value"]
    np.testing.assert_allclose(large, small, rtol=1e-12)


@pytest.mark.parametrize("indicator", [*EACH, *MORE], ids=named)
@pytest.mark.parametrize("count", [0, 1, 2, 5])
def test_few_bars_have_few_values_and_no_errors(indicator: Indicator, count: int) -> None:
    frame = random_frame(4, count)
    for name, values in values_of(IndicatorBars.of(frame, Scale(2, 3)), indicator).items():
        assert len(values) == count
        first = indicator.kind.first_of(indicator.numbers)[indicator.kind.outputs.index(name)]
        assert np.isnan(values[:first]).all()
        assert np.isfinite(values[~np.isnan(values)]).all()


UNDEFINED = {
    "RSI": ["value"],
    "STOCH": ["STOCHk", "STOCHd"],
    "STOCHRSI": ["STOCHRSIk", "STOCHRSId"],
    "WILLR": ["value"],
    "BBANDS": ["BBP"],
    "CCI": ["value"],
    "MFI": ["value"],
    "CMO": ["value"],
    "VORTEX": ["VTXP", "VTXM"],
    "ULTOSC": ["value"],
    "TSI": ["TSI", "TSIs"],
    "ADX": ["ADX", "DMP", "DMN"],
    "SAR": ["SARd"],
}


@pytest.mark.parametrize("indicator", EACH, ids=named)
def test_on_a_flat_market_what_is_0_of_0_is_not_known(indicator: Indicator) -> None:
    flat = [1_000] * 200
    values = values_of(IndicatorBars.of(bars_frame(flat, flat, flat, flat, [5] * 200), Scale(2, 3)), indicator)
    for name, found in values.items():
        if name in UNDEFINED.get(indicator.name, ()):
            assert np.isnan(found).all(), name
        else:
            assert np.isfinite(found[indicator.first :]).all(), name


@pytest.mark.parametrize("text", ["VWAP_all", "VWAP_hlc3_all", "VWMA_14", "CMF_20", "MFI_14", "VWAP_all_2"])
def test_without_volume_its_means_are_not_known(text: str) -> None:
    frame = random_frame(2, 60).with_columns(
        pl.col("volume_lots") * 0, pl.col("buy_lots") * 0, pl.col("sell_lots") * 0, pl.col("turnover") * 0
    )
    for values in values_of(IndicatorBars.of(frame, Scale(2, 3)), parse(text)).values():
        assert np.isnan(values).all()


@pytest.mark.parametrize("indicator", [*EACH, *MORE], ids=named)
def test_the_future_changes_nothing(indicator: Indicator) -> None:
    frame, count = random_frame(6, 500), 300
    shuffled = frame[count:].sample(fraction=1.0, shuffle=True, seed=1).with_columns(frame[count:]["open_ms"])
    one = values_of(IndicatorBars.of(frame, Scale(2, 3)), indicator)
    other = values_of(IndicatorBars.of(pl.concat([frame[:count], shuffled]), Scale(2, 3)), indicator)
    for name, values in one.items():
        assert np.array_equal(values[:count], other[name][:count], equal_nan=True), name


def test_sums_begin_again_with_their_anchor() -> None:
    hour_ms = 3_600_000
    flat = [100] * 48
    frame = bars_frame(flat, flat, flat, flat, range(1, 49), start_ms=1_700_006_400_000, step_ms=hour_ms)
    bars = IndicatorBars.of(frame, Scale(0, 0))
    days = frame["open_ms"].to_numpy() // 86_400_000
    delta = frame["buy_lots"].to_numpy() - frame["sell_lots"].to_numpy()
    expected = [delta[: at + 1][days[: at + 1] == days[at]].sum() for at in range(48)]
    found = values_of(bars, parse("CVD"))
    assert found["CVD"].tolist() == expected
    assert found["delta"].tolist() == delta.tolist()
    assert values_of(bars, parse("CVD_all"))["CVD"].tolist() == delta.cumsum().tolist()
    assert values_of(bars, parse("OBV"))["value"].tolist() == [0.0] * 48
    assert values_of(bars, parse("VWAP"))["value"].tolist() == [100.0] * 48
    since = values_of(bars, parse("CVD_2023-11-16"))["CVD"]
    assert np.isnan(since[days < 19_677]).all() and not np.isnan(since[days >= 19_677]).any()


def test_a_path_says_whether_it_is_settled() -> None:
    indicator = parse("SUPERTREND_10_3")
    bars = random_bars(1, 2_000)
    assert is_settled(bars, indicator, 1_500)
    assert not is_settled(bars, indicator, indicator.warmup - PATH_BARS)
    # One that only rises never flips, and its band remembers the first bar there is.
    rise = list(range(1_000_000, 1_000_000 + 60_000, 100))
    rising = bars_frame(rise, rise, rise, rise, [1] * 600)
    assert not is_settled(IndicatorBars.of(rising[:560], Scale(2, 3)), parse("SAR_0.0001_0.2"), 520)
