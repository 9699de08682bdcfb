from hypothesis import given
from hypothesis import strategies as st

from common.market.orderflow.delta import NO_TRADES, DeltaRange, combined, of_trade, of_trades, then
from tests.kit.strategies import LAW

SIGNED = st.lists(st.one_of(st.integers(-20, 20), st.integers(-(1 << 62), 1 << 62)), max_size=30)
RANGES = st.one_of(SIGNED.map(of_trades), st.none())


def _brute(signed: list[int]) -> DeltaRange:
    sums = [sum(signed[: count + 1]) for count in range(len(signed))]
    return DeltaRange(sums[-1], min(sums), max(sums)) if sums else NO_TRADES


def test_two_minutes_of_five_trades_in_order_and_swapped() -> None:
    first, second = of_trades([5, -8, 2]), of_trades([4, -1])
    assert (first, second) == ((-1, -3, 5), (3, 3, 4))
    assert then(first, second) == (2, -3, 5)
    assert then(second, first) == (2, 0, 8)


def test_the_empty_start_does_not_count() -> None:
    assert of_trades([5, 3]) == (8, 5, 8)
    assert of_trades([-5, -3]) == (-8, -8, -5)


def test_a_trade_of_unknown_side_is_a_trade() -> None:
    assert of_trade(0) == of_trades([0]) == (0, 0, 0)
    assert of_trades([0, 5]) == (5, 0, 5)


def test_no_trade_has_no_range() -> None:
    assert of_trades([]) == combined([]) == NO_TRADES
    assert NO_TRADES.is_empty
    assert not of_trade(0).is_empty


def test_what_is_not_known_makes_the_whole_unknown() -> None:
    assert combined([of_trade(1), None, of_trade(1)]) is None
    assert then(None, NO_TRADES) is None


@LAW
@given(RANGES, RANGES, RANGES)
def test_it_is_associative_and_no_trade_is_neutral(a: DeltaRange | None, b: DeltaRange | None, c: DeltaRange) -> None:
    assert then(a, then(b, c)) == then(then(a, b), c)
    assert then(a, NO_TRADES) == a == then(NO_TRADES, a)


@LAW
@given(SIGNED, st.data())
def test_any_cut_into_minutes_equals_one_pass(signed: list[int], data: st.DataObject) -> None:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(signed)), max_size=5)))
    parts = [signed[start:end] for start, end in zip([0, *cuts], [*cuts, len(signed)], strict=True)]
    assert combined(map(of_trades, parts)) == of_trades(signed) == _brute(signed)
