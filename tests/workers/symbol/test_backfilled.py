"""How much of what is missing has been fetched."""

from hypothesis import given
from hypothesis import strategies as st

from workers.symbol.backfilled import Backfilled


def test_a_backfill_goes_from_nothing_to_all_and_the_next_one_begins_anew() -> None:
    meter = Backfilled()
    told = [meter.percent(missing, is_fetching=True) for missing in (200, 150, 1, 0)]
    assert told == ["0", "25", "99", "100"]
    assert meter.percent(0, is_fetching=False) == ""
    assert meter.percent(10, is_fetching=True) == "0"


def test_without_anything_missing_there_is_nothing_to_tell() -> None:
    assert Backfilled().percent(0, is_fetching=True) == ""


@given(st.lists(st.integers(0, 1 << 40)))
def test_it_is_a_percentage_and_never_falls_unless_more_is_missing(counts: list[int]) -> None:
    meter, before, was = Backfilled(), 0, 1 << 50
    for missing in counts:
        told = meter.percent(missing, is_fetching=True)
        if told:
            assert 0 <= int(told) <= 100 and (int(told) >= before or missing > was)
            before, was = int(told), missing
