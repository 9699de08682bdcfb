"""Small pure functions of order flow: ratios, rows, VWAP, anchors and the choice of a width."""

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.errors import BadInput
from common.market.orderflow.anchors import Anchor
from common.market.orderflow.ratios import basis_points
from common.market.orderflow.rows import first_height, height_for, lowest_offset, row_at, sticky_height
from common.market.orderflow.viewport import choose_width
from common.market.orderflow.vwap import NO_VOLUME, Moments, deviation, mean
from common.market.timeframes.periods import DAY, MONTH, WEEK
from common.market.timeframes.timeframe import MINUTE_MS
from tests.kit.orderflow_oracle import moments_of
from tests.kit.strategies import LAW

ROW_TICKS = st.one_of(st.integers(1, 12), st.integers(1, 10_000))
Levels = list[tuple[int, int]]
LEVELS = st.lists(st.tuples(st.integers(1, 1 << 50), st.integers(0, 1 << 50)), max_size=20)
LADDER = (50, 100, 250, 1_000, 5_000, 30_000)


@pytest.mark.parametrize(("part", "whole", "expected"), [(-3, 8, -3750), (1, 3, 3333), (2, 3, 6667), (5, 0, None)])
def test_basis_points_are_rounded_half_away_from_zero(part: int, whole: int, expected: int | None) -> None:
    assert basis_points(part, whole) == expected
    assert basis_points(1, 20_000) == 1
    assert basis_points(-1, 20_000) == -1


def test_rows_hold_the_ticks_they_should() -> None:
    assert [tick for tick in range(-20, 20) if row_at(tick, 5, "nearest") == 0] == [-2, -1, 0, 1, 2]
    assert [tick for tick in range(-20, 20) if row_at(tick, 10, "nearest") == 0] == list(range(-4, 6))
    assert row_at(row_at(7, 5, "nearest"), 10, "nearest") == 0
    assert row_at(7, 10, "nearest") == 10
    assert (lowest_offset(5, "nearest"), lowest_offset(10, "nearest"), lowest_offset(10, "floor")) == (-2, -4, 0)


@LAW
@given(st.integers(-(10**6), 10**6), ROW_TICKS, st.integers(1, 12))
def test_floor_rows_nest_and_nearest_rows_are_nearest(price: int, row: int, times: int) -> None:
    assert row_at(row_at(price, row, "floor"), row * times, "floor") == row_at(price, row * times, "floor")
    multiples = (row_at(price, row, "floor") + away * row for away in (0, 1))
    assert row_at(price, row, "nearest") == min(multiples, key=lambda multiple: (abs(multiple - price), multiple))
    for align in ("nearest", "floor"):
        lowest = row_at(price, row, align) + lowest_offset(row, align)
        assert lowest <= price < lowest + row


def test_a_row_is_the_least_of_round_heights_that_suffices() -> None:
    assert height_for(730, 20) == 50
    assert height_for(730, 20, step_ticks=25) == 50
    assert height_for(1, 20) == 1
    assert first_height(6_180_000) == 100
    assert first_height(12) == 1
    assert first_height(6_180_000, step_ticks=250) == 250


def test_a_height_is_held_until_it_makes_too_many_rows_or_too_few() -> None:
    assert [sticky_height(50, ticks, 20) for ticks in (250, 730, 1_000)] == [50, 50, 50]
    assert sticky_height(50, 1_001, 20) == 100
    assert sticky_height(50, 200, 20) == 10


def test_the_mean_and_its_deviation_of_a_worked_example() -> None:
    levels = [(100, 10), (102, 20), (104, 10)]
    moments = moments_of(levels)
    assert (moments, moments.spread) == ((40, 4_080, 416_240), 3_200)
    assert (mean(moments, 0), deviation(moments, 4)) == (102, 14_142)
    assert moments_of(levels, 100).spread == 3_200
    assert moments_of(levels, 100).shifted(100) == moments
    assert deviation(moments.plus(Moments(1, 100, None))) is None
    assert (mean(NO_VOLUME), deviation(NO_VOLUME)) == (None, None)


@LAW
@given(LEVELS, LEVELS, st.integers(0, 1 << 50))
def test_moments_merge_and_shift_without_loss(
    some: list[tuple[int, int]], more: list[tuple[int, int]], by: int
) -> None:
    whole = moments_of(some + more)
    assert moments_of(some).plus(moments_of(more)) == whole
    assert moments_of(some + more, by).shifted(by) == whole
    assert whole.spread is not None and whole.spread >= 0
    if whole.volume:
        found = deviation(whole, 2)
        assert found is not None
        # Half a unit around the root, by whole numbers.
        assert (2 * found - 1) ** 2 <= 4 * whole.spread * 10**4 // whole.volume**2 + 1 or found == 0
        assert 4 * whole.spread * 10**4 // whole.volume**2 < (2 * found + 1) ** 2


def test_an_anchor_is_a_word_or_a_minute() -> None:
    assert [Anchor.parse(word).period(None) for word in ("session", "day", "week", "month")] == [DAY, DAY, WEEK, MONTH]
    assert Anchor.parse("start").period(None) is None
    assert Anchor.parse("120000") == Anchor(None, 120_000)
    for wrong in ("", "year", "-60000", "61000", "1e6", "٣"):
        with pytest.raises(BadInput, match="anchor is"):
            Anchor.parse(wrong)


@pytest.mark.parametrize(
    ("span_ms", "expected_ms"),
    [(10 * MINUTE_MS, 5_000), (2 * MINUTE_MS, 1_000), (30_000, 250), (60 * MINUTE_MS, 30_000)],
)
def test_the_width_of_which_a_slot_is_nearest_to_eight_pixels(span_ms: int, expected_ms: int) -> None:
    assert choose_width(LADDER, span_ms, 1_200) == expected_ms


def test_no_width_flaps_while_the_span_shrinks() -> None:
    span_ms, width_ms, changes = 3_600_000.0, None, []
    while span_ms > 10_000:
        chosen = choose_width(LADDER, int(span_ms), 1_200, width_ms)
        if chosen != width_ms:
            changes.append(chosen)
        width_ms, span_ms = chosen, span_ms * 0.99
    assert changes == sorted(changes, reverse=True)
    assert len(changes) == len(set(changes))


def test_the_choice_is_that_of_logarithms() -> None:
    rng = random.Random(1)
    for _ in range(500):
        span_ms, px = rng.randint(1_000, 10_000_000), rng.randint(100, 4_000)
        chosen = choose_width(LADDER, span_ms, px)
        away = [abs(math.log(width * px / span_ms / 8)) for width in LADDER]
        assert away[LADDER.index(chosen)] <= min(away) + 1e-9
