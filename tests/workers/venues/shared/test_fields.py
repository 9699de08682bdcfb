import re
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.errors import BadInput
from common.market import units
from common.market.builder.validity import TOO_FINE
from common.market.units import MAX_DECIMALS
from tests.kit.strategies import LAW
from workers.venues.shared.fields import (
    _REMEMBERED,
    TOO_GREAT,
    BadField,
    Decimals,
    epoch_ms,
    exact_json,
    scaled,
    time_ms,
)

NUMBER = re.compile(r"(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?", re.ASCII)
NUMBERS = st.from_regex(r"(0|[1-9][0-9]{0,20})(\.[0-9]{1,20})?([eE][+-]?[0-9]{1,2})?", fullmatch=True)


@LAW
@given(NUMBERS, st.integers(0, MAX_DECIMALS))
def test_a_number_is_read_as_units_reads_it(text: str, places: int) -> None:
    decimals = Decimals(places, "bad", 0)
    try:
        expected = units.parse(text, places)
    except BadInput:
        with pytest.raises(BadField):
            decimals[text]
        return
    if expected >= 1 << 63:
        with pytest.raises(BadField) as caught:
            decimals[text]
        assert caught.value.reason == TOO_GREAT
    else:
        assert decimals[text] == expected == decimals[text]


@LAW
@given(st.text(max_size=12) | st.text("0123456789.eE+-_", max_size=6), st.sampled_from((0, 1, 4)))
def test_nothing_else_is_a_number(text: str, places: int) -> None:
    try:
        value = Decimals(places, "bad", 0)[text]
    except BadField:
        return
    assert Decimal(text).scaleb(places) == value and NUMBER.fullmatch(text)


def test_what_is_remembered_is_bounded_and_never_wrong() -> None:
    decimals = Decimals(2, "bad", 0)
    for number in range(3 * _REMEMBERED):
        assert decimals[f"{number}.5"] == number * 100 + 50
    assert len(decimals) <= _REMEMBERED


def test_why_a_number_is_refused() -> None:
    decimals = Decimals(2, "bad", 1)
    reasons = {"0": "bad", "0.001": TOO_FINE, "92233720368547758.08": TOO_GREAT, "1e-1000": "bad", "x": "bad"}
    for text, reason in reasons.items():
        with pytest.raises(BadField) as caught:
            decimals[text]
        assert caught.value.reason == reason


@LAW
@given(st.integers(1_000_000, 8_000_000_000_000_000), st.integers(0, 9))
def test_a_time_is_cut_to_milliseconds(us: int, digits: int) -> None:
    moment = datetime.fromtimestamp(us // 1_000_000, UTC)
    fraction = f".{us % 1_000_000 * 1_000:09}"[: digits + 1] if digits else ""
    kept_ms = int((fraction[1:4] or "0").ljust(3, "0"))
    assert time_ms(f"{moment:%Y-%m-%dT%H:%M:%S}{fraction}Z") == us // 1_000_000 * 1_000 + kept_ms


@pytest.mark.parametrize(
    ("text", "expected_ms"),
    [
        ("1618678142.557535", 1_618_678_142_557),
        ("1618678142", 1_618_678_142_000),
        ("1618678142.5", 1_618_678_142_500),
        # Written by way of a float: .708 and .7079999 are one time.
        ("1695628177.7079999", 1_695_628_177_708),
        ("1695628177.7079994", 1_695_628_177_707),
        ("1695628177.9999999", 1_695_628_178_000),
    ],
)
def test_seconds_since_1970_are_cut_to_milliseconds(text: str, expected_ms: int) -> None:
    assert epoch_ms(text) == expected_ms


def test_a_sum_is_rounded_where_it_was_summed_in_floats() -> None:
    assert scaled("0.30000000000000004", 8) == 30_000_000
    assert scaled("1014230.55", 16) == 10_142_305_500_000_000_000_000
    for text in ("NaN", "-1", "1e500", "", "1e99"):
        with pytest.raises(BadField):
            scaled(text, 8)


def test_json_keeps_every_digit_of_a_number() -> None:
    assert exact_json(b'{"a":0.10000000,"b":[1,1.0,"x"]}') == {"a": "0.10000000", "b": [1, "1.0", "x"]}
    for frame in (b"", b"NaN", b"-Infinity", b"[" * 100_000, b"\xff", "{", "9" * 5_000):
        with pytest.raises(ValueError):
            exact_json(frame)
