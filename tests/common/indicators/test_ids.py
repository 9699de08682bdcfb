"""What an id says, and what is refused."""

import pytest

from common.errors import BadInput
from common.indicators.ids import parse
from common.indicators.table import KINDS


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("RSI", "RSI_14"),
        ("rsi_9", "RSI_9"),
        ("MACD", "MACD_12_26_9"),
        ("MACD_5_35", "MACD_5_35_9"),
        ("BBANDS_20_2.0", "BBANDS_20_2"),
        ("bb_20_2.50", "BBANDS_20_2.5"),
        ("EMA_20_HL2", "EMA_20_hl2"),
        ("EMA_20_close", "EMA_20"),
        ("SUPERT_10_3", "SUPERTREND_10_3"),
        ("PSAR", "SAR_0.02_0.2"),
        ("SMMA_7", "RMA_7"),
        ("VWAP", "VWAP_session"),
        ("VWAP_day", "VWAP_session"),
        ("VWAP_session_2", "VWAP_session_2"),
        ("VWAP_hlc3", "VWAP_hlc3_session"),
        ("VWAP_hlc3_all", "VWAP_hlc3_all"),
        ("OBV_2025-01-12", "OBV_2025-01-12"),
        ("CVD_week", "CVD_week"),
    ],
)
def test_an_id_has_one_canonical_spelling(text: str, canonical: str) -> None:
    found = parse(text)
    assert found.asked == text
    assert found.canonical == canonical
    assert parse(canonical).canonical == canonical


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("RSX_14", "there is no indicator 'RSX', expected one such as RSI"),
        ("", "there is no indicator ''"),
        ("SMA_0", "length of 'SMA_0' is 0, expected 1 to 1000"),
        ("SMA_1001", "expected 1 to 1000"),
        ("SMA_2.5", "expected a whole number"),
        ("SMA_20_2", "has 2 numbers, expected SMA_length, and one of close, open"),
        ("BBANDS_20_0", "multiplier of 'BBANDS_20_0' is 0, expected more than 0 to 100"),
        ("BBANDS_1_2", "expected 2 to 1000"),
        ("MACD_26_12_9", "fast of 'MACD_26_12_9' is not less than slow"),
        ("RSI_14_hlc4", "'hlc4'"),
        ("ATR_14_open", "'open', expected ATR_length"),
        ("RSI_14_week", "'week'"),
        ("OBV_2025-13-01", "'2025-13-01', expected OBV, and session, week, month, all or a day"),
        ("RSI_1000", "looks back 28619 bars or more, expected at most 20000"),
        ("RSI__14", "''"),
        ("RSI_-1", "'-1'"),
        ("RSI_nan", "'nan'"),
        ("X" * 41, "expected at most 40 characters"),
    ],
)
def test_what_an_id_can_not_say_is_refused_in_a_sentence(text: str, sentence: str) -> None:
    with pytest.raises(BadInput) as refused:
        parse(text)
    assert sentence in str(refused.value)


def test_the_table_has_all_43() -> None:
    assert len(KINDS) == 43
    assert all(parse(name).kind is kind for name, kind in KINDS.items())
