import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from common.frames.orderflow.tpo import TpoProfile, initial_balance, letter
from tests.kit.strategies import LAW

BRACKETS = [(100, 103), (102, 104), (103, 104), (101, 102)]
RANGES = st.lists(
    st.tuples(st.integers(-9, 20), st.integers(0, 8)).map(lambda at: (at[0], at[0] + at[1])), min_size=1, max_size=8
)


def profile(ranges: list[tuple[int, int]], row_ticks: int = 1) -> TpoProfile:
    low, high = (np.array([each[side] for each in ranges], np.int64) for side in (0, 1))
    return TpoProfile.of(np.arange(len(ranges)), low, high, row_ticks)


def test_a_worked_example() -> None:
    found = profile(BRACKETS)
    assert (found.lowest, found.counts.tolist()) == (100, [1, 2, 3, 3, 2])
    assert list(found.rows())[2] == (102, 3, "ABD")
    assert found.area(7_000, "standard") == (102, (101, 103))
    assert found.area(7_000, "two") == (102, (102, 104))
    assert initial_balance([0, 1, 2, 3], [100, 102, 103, 101], [103, 104, 104, 102], 30) == (100, 104)
    assert (found.single_prints(), found.tails(), found.poor_ends()) == ([], (None, None), (False, True))


def test_single_prints_lie_inside_and_tails_at_the_ends() -> None:
    found = profile([(0, 4), (3, 4), (5, 6), (7, 9), (8, 9), (10, 12)])
    assert found.counts.tolist() == [1, 1, 1, 2, 2, 1, 1, 1, 2, 2, 1, 1, 1]
    assert found.single_prints() == [(5, 7)]
    assert found.tails() == ((0, 2), (10, 12))
    alone = profile([(0, 4)])
    assert (alone.single_prints(), alone.tails()) == ([], ((0, 4), (0, 4)))


def test_letters_go_on_after_the_alphabet() -> None:
    assert [letter(at) for at in (0, 25, 26, 51, 52, 53, 77, 78)] == ["A", "Z", "a", "z", "AA", "AB", "AZ", "BA"]


def test_the_first_hour_is_known_once_it_has_trades() -> None:
    assert initial_balance([2, 3], [1, 2], [3, 4], 30) is None
    assert initial_balance([1, 2], [5, 1], [7, 9], 30) == (5, 7)


@LAW
@given(RANGES, st.sampled_from([1, 3]))
def test_counts_are_those_of_marking_row_by_row(ranges: list[tuple[int, int]], row_ticks: int) -> None:
    found = profile(ranges, row_ticks)
    for price, count, letters in found.rows():
        marked = [at for at, (low, high) in enumerate(ranges) if low < price + row_ticks and high >= price]
        assert (count, letters) == (len(marked), "".join(map(letter, marked)))
    assert found.lowest == min(low for low, _ in ranges) // row_ticks * row_ticks
