"""Points of control, value areas, imbalances and nodes of rows: each by a worked example, and by a law."""

import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.frames.orderflow.imbalance import ImbalanceRule, one_sided, runs_of
from common.frames.orderflow.nodes import nodes
from common.frames.orderflow.poc import poc_at, prices_at
from common.frames.orderflow.rows import RowColumns
from common.frames.orderflow.touches import Traded
from common.frames.orderflow.value_area import AreaRule, value_areas
from common.market.footprint import Footprint, Level
from tests.kit import orderflow_oracle as oracle
from tests.kit.frames import levels_frame
from tests.kit.strategies import LAW

RULES: tuple[AreaRule, ...] = ("standard", "tradingview", "two")
LOTS = st.one_of(st.integers(0, 4), st.integers(0, 60), st.integers(0, 1 << 61))
LEVEL = st.tuples(LOTS, LOTS, LOTS).map(lambda lots: [*lots, 1, 1, 1])
# Few prices, so that there are ties, rows beside each other and gaps.
BAR = st.dictionaries(st.integers(-12, 25), LEVEL, min_size=1, max_size=14)
BARS = st.lists(BAR, min_size=1, max_size=5)
HEIGHTS = st.sampled_from([1, 1, 3])


def columns(bars: list[dict[int, Level]], height: int = 1) -> RowColumns:
    """Each bar has its rows by number: their prices are multiples of the height."""
    footprints = (Footprint({row * height: level for row, level in bar.items()}) for bar in bars)
    return RowColumns.of(levels_frame(enumerate(footprints)), height)


def bought(**totals: int) -> dict[int, Level]:
    return {int(row[1:]): [lots, 0, 0, 1, 0, 0] for row, lots in totals.items()}


def row_of_totals(lowest: int, *totals: int) -> dict[int, Level]:
    return {lowest + at: [lots, 0, 0, 1, 0, 0] for at, lots in enumerate(totals)}


def area(bar: dict[int, Level], share_bp: int = 7_000, rule: AreaRule = "standard") -> tuple[int, int] | None:
    rows = columns([bar])
    low, high, has = value_areas(rows, poc_at(rows), share_bp, rule)
    return (int(low[0]), int(high[0])) if has[0] else None


E1 = row_of_totals(100, 5, 20, 40, 60, 35, 30, 10)
E2 = row_of_totals(10, 20, 30, 30, 20, 10)
E3 = bought(p100=4, p101=10, p102=1, p500=6)
DIAGONAL = {0: [30, 10], 1: [5, 50], 2: [60, 6], 4: [20, 1]}


def test_of_two_rows_of_most_volume_the_one_nearer_to_the_middle() -> None:
    rows = columns([E2, row_of_totals(10, 0, 0), row_of_totals(5, 7)])
    assert poc_at(rows).tolist() == [2, -1, 7]
    assert prices_at(rows, poc_at(rows))[[0, 2]].tolist() == [12, 5]


def test_the_point_of_control_may_be_that_of_delta_or_of_trades() -> None:
    rows = columns([{1: [9, 9, 0, 1, 1, 0], 2: [0, 5, 0, 0, 1, 0], 3: [1, 1, 1, 2, 2, 2]}])
    assert [int(rows.price[poc_at(rows, of)[0]]) for of in ("volume", "delta", "trades")] == [1, 2, 3]


@pytest.mark.parametrize(
    ("bar", "expected"), [(E1, [(102, 105), (102, 104), (101, 105)]), (E2, [(11, 13), (11, 12), (10, 12)])]
)
def test_value_areas_of_worked_examples(bar: dict[int, Level], expected: list[tuple[int, int]]) -> None:
    assert [area(bar, rule=rule) for rule in RULES] == expected


def test_a_far_row_is_not_annexed_however_far_it_is() -> None:
    far = bought(p100=4, p101=10, p102=1, p1000000000=6)
    began_s = time.thread_time()
    assert area(E3) == area(far) == (100, 102)
    assert area(far, 10_000) == (100, 1_000_000_000)
    assert time.thread_time() - began_s < 0.5
    assert area(E3, rule="tradingview") == (100, 101)
    assert area(E3, 10_000) == (100, 500)
    assert area(E3, 0) == (101, 101)
    assert area(far, rule="tradingview") is None


def test_a_bar_without_volume_has_no_area() -> None:
    assert [area(row_of_totals(1, 0, 0), rule=rule) for rule in RULES] == [None] * 3


def test_diagonal_imbalances_of_a_worked_example() -> None:
    rows = columns([{row: [*lots, 0, 1, 1, 0] for row, lots in DIAGONAL.items()}])

    def flagged(rule: ImbalanceRule) -> list[list[int]]:
        return [rows.price[flags].tolist() for flags in rule.flags(rows)]

    assert flagged(ImbalanceRule()) == [[4], [2]]
    assert flagged(ImbalanceRule(zeros="ignore")) == [[], []]
    assert flagged(ImbalanceRule(100)) == [[2, 4], [0, 2]]
    three = columns([{0: [0, 10, 0, 0, 1, 0], 1: [30, 0, 0, 1, 0, 0]}])
    assert [bool(ImbalanceRule(percent).flags(three)[0][1]) for percent in (300, 301)] == [True, False]
    assert not ImbalanceRule(min_lots=31).flags(three)[0].any()


def test_a_stack_ends_at_an_empty_row_and_at_a_row_without_a_flag() -> None:
    rows = columns([row_of_totals(101, 1, 1, 1) | row_of_totals(105, 1, 1), row_of_totals(107, 1)])
    flags = np.ones(len(rows), np.bool_)
    found = runs_of(rows, flags, 3)
    assert (rows.price[found.first].tolist(), found.counts().tolist()) == ([101], [3])
    assert rows.price[runs_of(rows, flags, 1).first].tolist() == [101, 105, 107]
    flags[1] = False
    assert not len(runs_of(rows, flags, 3))


def test_zero_prints_lie_inside_a_bar() -> None:
    rows = columns(
        [
            {
                1: [0, 5, 0, 0, 1, 0],
                2: [0, 5, 0, 0, 1, 0],
                3: [4, 0, 0, 1, 0, 0],
                4: [0, 0, 0, 1, 0, 0],
                5: [1, 0, 0, 1, 0, 0],
            }
        ]
    )
    not_bought, not_sold = one_sided(rows)
    assert (rows.price[not_bought].tolist(), rows.price[not_sold].tolist()) == ([2], [3])


def test_nodes_of_a_worked_example() -> None:
    rows = columns([row_of_totals(0, 1, 5, 5, 2, 7, 3)])
    assert nodes(rows, 1) == ([1, 4], [3])
    assert nodes(rows, 1, min_share_bp=8_000) == ([4], [3])
    assert nodes(columns([row_of_totals(3, 9)]), 5) == ([3], [])


@LAW
@given(BARS, HEIGHTS)
def test_points_of_control_are_those_of_single_bars(bars: list[dict[int, Level]], height: int) -> None:
    rows = columns(bars, height)
    found = [None if at < 0 else int(rows.price[at]) // height for at in poc_at(rows)]
    assert found == [oracle.poc({row: sum(level[:3]) for row, level in bar.items()}) for bar in bars]


@LAW
@given(BARS, HEIGHTS, st.one_of(st.just(7_000), st.integers(0, 10_000)), st.sampled_from(RULES))
def test_areas_are_what_growing_row_by_row_makes_them(
    bars: list[dict[int, Level]], height: int, share_bp: int, rule: AreaRule
) -> None:
    rows = columns(bars, height)
    low, high, has = value_areas(rows, poc_at(rows), share_bp, rule)
    found = [
        (int(a) // height, int(b) // height) if there else None for a, b, there in zip(low, high, has, strict=True)
    ]
    totals = [{row: sum(level[:3]) for row, level in bar.items()} for bar in bars]
    assert found == [oracle.value_area(each, share_bp, rule) for each in totals]


@LAW
@given(BARS, HEIGHTS, st.sampled_from([100, 150, 300]), st.integers(0, 5), st.sampled_from(["count", "ignore"]))
def test_imbalances_and_stacks_are_those_of_single_rows(
    bars: list[dict[int, Level]], height: int, percent: int, min_lots: int, zeros: str
) -> None:
    rows = columns(bars, height)
    rule = ImbalanceRule(percent, min_lots, "count" if zeros == "count" else "ignore")
    flags = rule.flags(rows)
    for at, bar in enumerate(bars):
        expected = oracle.imbalances(bar, percent, min_lots, rule.zeros)
        for side in (0, 1):
            of_bar = rows.bars == at
            assert set((rows.price[of_bar & flags[side]] // height).tolist()) == expected[side]
            runs = runs_of(rows, flags[side] & of_bar, 2)
            told = zip(rows.price[runs.first] // height, rows.price[runs.last] // height, runs.counts(), strict=True)
            assert list(told) == oracle.stacks(expected[side], 2)


@LAW
@given(BAR, st.integers(1, 4))
def test_nodes_are_what_looking_at_each_row_finds(bar: dict[int, Level], sensitivity: int) -> None:
    totals = {row: sum(level[:3]) for row, level in bar.items()}
    assert nodes(columns([bar]), sensitivity) == oracle.nodes(totals, sensitivity)


RANGES = st.lists(st.tuples(st.integers(0, 30), st.integers(0, 4)).map(lambda at: (at[0], at[0] + at[1])), max_size=70)


@LAW
@given(RANGES, st.lists(st.tuples(st.integers(0, 75), st.integers(0, 34), st.integers(0, 3)), max_size=10))
def test_the_first_touch_is_found_as_by_looking_at_each_candle(
    candles: list[tuple[int, int]], asked: list[tuple[int, int, int]]
) -> None:
    lows, highs = (np.array([each[side] for each in candles], np.int64) for side in (0, 1))
    traded = Traded.of(lows, highs)
    since, bottom, above = (np.array([each[at] for each in asked], np.int64) for at in range(3))
    found = traded.first(since, bottom, bottom + above)
    assert found.tolist() == [oracle.first_touch(candles, a, b, b + c) for a, b, c in asked]
    assert traded.first_at_or_below(since, bottom).tolist() == [
        oracle.first_touch(candles, a, -1, b) for a, b, _ in asked
    ]
    assert traded.first_at_or_above(since, bottom).tolist() == [
        oracle.first_touch(candles, a, b, 99) for a, b, _ in asked
    ]
