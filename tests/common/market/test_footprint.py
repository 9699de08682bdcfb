from hypothesis import given
from hypothesis import strategies as st

from common.market.footprint import Footprint
from common.market.orderflow.rows import row_at
from common.market.trade import Trades
from tests.kit.strategies import LAW, PRICES, footprints, trades

ROW_TICKS = st.one_of(st.integers(1, 7), st.integers(1, 10_000))


def _of(whole: Trades) -> Footprint:
    footprint = Footprint()
    footprint.add(whole.price_ticks, whole.size_lots, whole.sides)
    return footprint


def _sums(footprint: Footprint) -> list[int]:
    return [sum(column) for column in zip(*footprint.levels.values(), strict=True)]


@LAW
@given(footprints(), footprints(), footprints())
def test_merge_is_associative_and_commutative(a: Footprint, b: Footprint, c: Footprint) -> None:
    assert a.merge(b).merge(c) == a.merge(b.merge(c))
    assert a.merge(b) == b.merge(a)


@LAW
@given(footprints(), footprints())
def test_merge_leaves_its_parts_as_they_were(a: Footprint, b: Footprint) -> None:
    before = [list(a.rows()), list(b.rows())]
    merged = a.merge(b)
    for price in merged.levels:
        merged.levels[price][0] += 1
    assert [list(a.rows()), list(b.rows())] == before


@LAW
@given(trades(), st.data())
def test_the_footprint_of_all_trades_is_the_sum_of_that_of_its_parts(whole: Trades, data: st.DataObject) -> None:
    cut = data.draw(st.integers(0, len(whole)))
    assert _of(whole[:cut]).merge(_of(whole[cut:])) == _of(whole)


@LAW
@given(trades())
def test_every_trade_is_in_one_level_by_its_price_and_side(whole: Trades) -> None:
    for row in _of(whole).rows():
        at_price = [t for t in whole.rows() if t.price_ticks == row.price_ticks]
        lots = [sum(t.size_lots for t in at_price if t.side == side) for side in range(3)]
        counts = [sum(t.side == side for t in at_price) for side in range(3)]
        assert [*row] == [row.price_ticks, *lots, *counts]
    assert set(_of(whole).levels) == set(whole.price_ticks)


@LAW
@given(PRICES, ROW_TICKS)
def test_a_price_belongs_to_the_nearest_row(price: int, row_ticks: int) -> None:
    row = row_at(price, row_ticks, "nearest")
    assert row % row_ticks == 0
    assert -row_ticks < 2 * (price - row) <= row_ticks


def test_a_price_between_two_rows_belongs_to_the_lower() -> None:
    assert [row_at(price, 10, "nearest") for price in (95, 96, 105, 106)] == [90, 100, 100, 110]
    assert [row_at(price, 5, "nearest") for price in (7, 8, 12, 13)] == [5, 10, 10, 15]


@LAW
@given(footprints(min_size=1), ROW_TICKS)
def test_rebin_keeps_every_sum(footprint: Footprint, row_ticks: int) -> None:
    rows = footprint.rebin(row_ticks)
    assert _sums(rows) == _sums(footprint)
    assert set(rows.levels) == {row_at(price, row_ticks, "nearest") for price in footprint.levels}
    assert footprint.rebin(1) == footprint


@LAW
@given(footprints(), footprints(), ROW_TICKS)
def test_rebin_and_merge_may_be_done_in_either_order(a: Footprint, b: Footprint, row_ticks: int) -> None:
    assert a.merge(b).rebin(row_ticks) == a.rebin(row_ticks).merge(b.rebin(row_ticks))


def test_rows_go_from_the_lowest_price_up() -> None:
    assert [row.price_ticks for row in _of(Trades([0] * 3, [1, 2, 3], [7, 3, 5], [1] * 3, bytes(3))).rows()] == [
        3,
        5,
        7,
    ]
