"""The expected values of 17 indicators over two years of days, from the first bar on."""

from pathlib import Path

import numpy as np
import pytest

from common.indicators.bars import IndicatorBars
from common.indicators.ids import parse
from common.indicators.values import values_of
from tests.golden import data
from tests.kit.indicators import daily_bars, expected_values

# By file: the id, and where each output is.
FILES = {
    "adx": ("ADX_14", {"ADX": "adx", "DMP": "pdi", "DMN": "mdi"}),
    "atr": ("ATR_14", {"value": "atr"}),
    "bb": ("BBANDS_20_2", {"BBL": "lowerBand", "BBM": "sma", "BBU": "upperBand", "BBP": "percentB"}),
    "cci": ("CCI_20", {"value": "cci"}),
    "dema": ("DEMA_14", {"value": "dema"}),
    "ema": ("EMA_20", {"value": "ema"}),
    "macd": ("MACD_12_26_9", {"MACD": "macd", "MACDs": "signal", "MACDh": "histogram"}),
    "mfi": ("MFI_14", {"value": "mfi"}),
    "obv": ("OBV_all", {"value": "obv"}),
    "rsi": ("RSI_14", {"value": "rsi"}),
    "sma": ("SMA_20", {"value": "sma"}),
    "stoch": ("STOCH_14_3_3", {"STOCHk": "k", "STOCHd": "d"}),
    "supertrend": ("SUPERTREND_10_3", {"SUPERT": "superTrend"}),
    "tema": ("TEMA_20", {"value": "tema"}),
    "vwap": ("VWAP_hlc3_all", {"value": "vwap"}),
    "vwma": ("VWMA_14", {"value": "vwma"}),
    "wma": ("WMA_14", {"value": "wma"}),
}
# Expected values that seed all their means with the same bars: they begin earlier, and come to within 1e-9 by then.
AGREE_FROM = {"dema": 117, "tema": 213}


@pytest.fixture(scope="module")
def folder() -> Path:
    return data.folder() / "indicators_spy"


@pytest.fixture(scope="module")
def bars(folder: Path) -> IndicatorBars:
    return daily_bars(folder)


def test_each_file_has_its_indicator(folder: Path) -> None:
    assert {path.stem for path in (folder / "expected").glob("*.json")} == set(FILES)


@pytest.mark.parametrize("name", FILES)
def test_values_are_the_expected_ones(name: str, folder: Path, bars: IndicatorBars) -> None:
    indicator, outputs = FILES[name]
    rows, values = expected_values(folder, name), values_of(bars, parse(indicator))
    since, tolerance = AGREE_FROM.get(name, 0), 1e-9 if name in AGREE_FROM else 2e-11
    for output, key in outputs.items():
        expected = np.array([np.nan if row[key] is None else row[key] for row in rows], np.float64)
        np.testing.assert_allclose(values[output][since:], expected[since:], rtol=tolerance, atol=1e-11, err_msg=output)


def test_the_direction_of_a_supertrend_is_the_band_it_is_at(folder: Path, bars: IndicatorBars) -> None:
    rows = expected_values(folder, "supertrend")
    directions = values_of(bars, parse("SUPERTREND_10_3"))["SUPERTd"]
    for row, direction in zip(rows, directions, strict=True):
        if row["superTrend"] is not None:
            assert direction == (1 if row["upperBand"] is None else -1)
