"""How many bars are read before the first one shown: the published table."""

import pytest

from common.indicators.ids import parse
from common.indicators.warmup import settled_after


@pytest.mark.parametrize(
    ("indicator", "leg", "at_9", "at_12", "warmup"),
    [
        ("EMA_9", 0, 93, 124, 133),
        ("EMA_21", 0, 218, 290, 311),
        ("EMA_50", 0, 519, 691, 741),
        ("EMA_200", 0, 2073, 2764, 2964),
        ("RSI_14", 0, 280, 373, 388),
        ("ATR_14", 0, 280, 373, 388),
        ("NATR_14", 0, 280, 373, 388),
        ("ATR_10", 0, 197, 263, 274),
        ("ADX_14", 0, 323, 420, 448),
        ("MACD_12_26_9", 0, 270, 360, 386),
        ("MACD_12_26_9", 1, 275, 365, 399),
        ("DEMA_20", 0, 239, 311, 350),
        ("TEMA_20", 0, 266, 340, 398),
        ("TRIX_18_1", 0, 239, 306, 359),
        ("TSI_25_13", 0, 268, 354, 392),
        ("ADOSC_3_10", 0, 104, 138, 148),
        ("STOCHRSI_14", 0, 280, 373, 405),
    ],
)
def test_the_weight_that_is_left(indicator: str, leg: int, at_9: int, at_12: int, warmup: int) -> None:
    found = parse(indicator)
    one = found.kind.legs(found.numbers)[leg]
    assert (settled_after(one.poles, 1e-9), settled_after(one.poles)) == (at_9, at_12)
    assert one.warmup == warmup <= found.warmup


def test_windows_read_what_they_hold_and_anchors_from_there_on() -> None:
    warmups = {name: parse(name).warmup for name in ("SMA_20", "STOCH_14_3_3", "ICHIMOKU", "VWAP", "SUPERTREND")}
    assert warmups == {"SMA_20": 19, "STOCH_14_3_3": 17, "ICHIMOKU": 51, "VWAP": 0, "SUPERTREND": 274 + 250}
