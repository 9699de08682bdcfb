from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.errors import BadInput
from common.market.units import MAX_DECIMALS, parse, render
from tests.kit.strategies import LAW

DECIMALS = st.integers(0, MAX_DECIMALS)
VALUES = st.one_of(st.integers(-1_000, 1_000), st.integers(-(1 << 63), 1 << 63))


@LAW
@given(VALUES, DECIMALS)
def test_a_number_survives_its_text(value: int, decimals: int) -> None:
    assert parse(render(value, decimals), decimals) == value


@LAW
@given(VALUES, DECIMALS)
def test_the_text_is_the_shortest_of_the_exact_decimal(value: int, decimals: int) -> None:
    text = render(value, decimals)
    assert Decimal(text) == Decimal(value).scaleb(-decimals)
    assert not text.startswith(("00", "-00", "."))
    assert "." not in text or text[-1] not in "0."
    assert "e" not in text.lower()


@LAW
@given(VALUES, DECIMALS, st.integers(0, 5))
def test_zeros_at_the_end_change_nothing(value: int, decimals: int, zeros: int) -> None:
    text = render(value, decimals)
    padded = text + ("" if "." in text else ".") + "0" * zeros
    assert parse(padded, decimals) == value


@LAW
@given(st.floats(-1e15, 1e15), DECIMALS)
def test_the_text_of_a_double_is_read_as_it_is_written(value: float, decimals: int) -> None:
    exact = Decimal(repr(value)).scaleb(decimals)
    if exact == exact.to_integral_value() and abs(Decimal(repr(value)).adjusted()) <= 2 * MAX_DECIMALS:
        assert parse(repr(value), decimals) == int(exact)
    else:
        with pytest.raises(BadInput):
            parse(repr(value), decimals)


@pytest.mark.parametrize(
    ("text", "decimals", "value"),
    [
        ("61800.3", 2, 6_180_030),
        ("61800.30000000", 2, 6_180_030),
        ("0", 0, 0),
        (".5", 1, 5),
        ("5.", 1, 50),
        ("-.5", 1, -5),
        ("-0.0", 3, 0),
        (".0", 0, 0),
        ("-.0", 0, 0),
        ("-0", 0, 0),
        ("1e-05", 5, 1),
        ("1.5E+3", 0, 1_500),
        ("000012", 0, 12),
    ],
)
def test_the_usual_ways_to_write_a_number_are_read(text: str, decimals: int, value: int) -> None:
    assert parse(text, decimals) == value


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        " 5",
        "1_000",
        "１２",
        "-",
        ".",
        "-.",
        "abc",
        "1,5",
        "0x10",
        "nan",
        "inf",
        "-Infinity",
        "1e400",
        "1e-400",
        "1.2.3",
        "--1",
    ]
    + ["1e999999999999", "9" * 65, "½", "1.001", "1e-3"],
)
def test_what_is_no_number_of_two_decimals_is_refused(text: str) -> None:
    with pytest.raises(BadInput) as refused:
        parse(text, 2)
    assert len(str(refused.value)) < 120
