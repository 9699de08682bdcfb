"""The gap ledger: it follows coverage, whatever order trades come back in."""

from collections.abc import Iterable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.market.builder import gaps as gaps_module
from common.market.builder.gaps import (
    DISCONNECT,
    ID_JUMP,
    MAX_BETWEEN,
    MAX_ENDED,
    NOT_IMPORTED,
    OPEN,
    REPAIRED,
    REPAIRING,
    START,
    UNFILLABLE,
    UNKNOWN,
    Gap,
    Ledger,
)
from common.market.builder.id_coverage import IdCoverage
from common.market.builder.spans import Hole, IdSpan

# Ids 10 to 19 are missing, and one trade takes 10 ms.
AROUND = [9, 20]
HOLE = Hole(10, 19, 90, 200)


def apply(coverage: IdCoverage, ids: Iterable[int]) -> None:
    for trade_id in ids:
        assert coverage.refuse(10 * trade_id, trade_id) is None


def begun(cause: str = DISCONNECT) -> tuple[IdCoverage, Ledger]:
    """A ledger that has seen HOLE at 5,000."""
    coverage, ledger = IdCoverage(), Ledger()
    apply(coverage, AROUND)
    assert [gap.id for gap in ledger.follow(coverage, cause, 5_000)] == ["10-19"]
    return coverage, ledger


def test_a_hole_is_a_gap_with_its_cause_from_the_moment_it_is_seen() -> None:
    coverage, ledger = begun()
    assert ledger.gaps["10-19"] == Gap(*HOLE, cause=DISCONNECT, seen_ms=5_000, state=OPEN, missing=10)
    apply(coverage, [21, 22])
    assert ledger.follow(coverage, START, 6_000) == []


def test_a_gap_that_is_cut_in_two_is_still_the_same_gap_and_is_over_when_nothing_is_missing() -> None:
    coverage, ledger = begun()
    apply(coverage, [13, 14])
    (gap,) = ledger.follow(coverage, START, 6_000)
    assert (gap.id, gap.state, gap.missing, gap.recovered) == ("10-19", REPAIRING, 8, 2)
    apply(coverage, [10, 11, 12, 15, 16, 17, 18, 19])
    (gap,) = ledger.follow(coverage, START, 7_000)
    assert (gap.state, gap.recovered, gap.ended_ms) == (REPAIRED, 10, 7_000)


def test_a_gap_that_was_given_up_stays_so_until_its_trades_come_after_all() -> None:
    coverage, ledger = begun()
    (given_up,) = ledger.give_up(coverage, [Hole(12, 14, 0, 0)], 6_000)
    assert (given_up.id, given_up.state, given_up.ended_ms) == ("10-19", UNFILLABLE, 6_000)
    assert ledger.given_up(Hole(12, 14, 0, 0)) and not ledger.given_up(Hole(20, 20, 0, 0))
    assert ledger.give_up(coverage, [Hole(12, 14, 0, 0)], 6_001) == []
    apply(coverage, [19])
    (gap,) = ledger.follow(coverage, START, 7_000)
    assert (gap.state, gap.missing) == (UNFILLABLE, 9)
    apply(coverage, range(10, 19))
    (gap,) = ledger.follow(coverage, START, 8_000)
    assert gap.state == REPAIRED


def test_ids_that_stop_missing_without_a_trade_are_replaced_and_not_recovered() -> None:
    coverage, ledger = begun()
    apply(coverage, [14, 15])
    ledger.follow(coverage, DISCONNECT, 5_500)
    covered = [IdSpan(10, 13, 90, 140)]
    coverage.cover(covered)
    (gap,) = ledger.follow(coverage, DISCONNECT, 6_000, covered)
    assert (gap.state, gap.missing, gap.recovered, gap.replaced) == (REPAIRING, 4, 2, 4)
    covered = [IdSpan(5, 30, 0, 0)]
    coverage.cover(covered)
    (gap,) = ledger.follow(coverage, DISCONNECT, 7_000, covered)
    assert (gap.state, gap.recovered, gap.replaced) == (REPAIRED, 2, 8)


def test_what_an_import_leaves_open_is_nobodys_to_fill_and_is_named_by_what_is_left_of_it() -> None:
    coverage, ledger = IdCoverage(), Ledger()
    apply(coverage, [50_000, 50_001, 4, 5])
    (gap,) = ledger.follow(coverage, NOT_IMPORTED, 5_000)
    expected = Gap(6, 49_999, 50, 500_000, NOT_IMPORTED, 5_000, UNFILLABLE, missing=49_994, ended_ms=5_000)
    assert gap == expected and ledger.given_up(Hole(6, 49_999, 0, 0))
    # A live trade, or another import: whoever comes into it, what is left stays nobody's.
    apply(coverage, [*range(20_000, 30_000), 6])
    assert ledger.follow(coverage, ID_JUMP, 6_000) == [
        Gap(7, 19_999, 60, 200_000, NOT_IMPORTED, 5_000, UNFILLABLE, missing=19_993, ended_ms=5_000),
        Gap(30_000, 49_999, 299_990, 500_000, NOT_IMPORTED, 5_000, UNFILLABLE, missing=20_000, ended_ms=5_000),
    ]
    assert ledger.forgotten() == ["6-49999"] and ledger.forgotten() == []
    assert list(ledger.gaps) == ["7-19999", "30000-49999"]
    apply(coverage, [*range(7, 20_000), 30_001, 40_000])
    found = ledger.follow(coverage, NOT_IMPORTED, 7_000)
    assert [(each.id, each.state, each.missing) for each in found] == [
        ("7-19999", REPAIRED, 0),
        ("30000-49999", UNFILLABLE, 19_998),
    ]
    assert ledger.forgotten() == [] and all(map(ledger.given_up, coverage.holes()))


def test_a_ledger_that_comes_late_sees_the_holes_that_trades_touch() -> None:
    coverage = IdCoverage()
    apply(coverage, [1, 5, 9])
    coverage.take_reshaped()
    ledger = Ledger()
    apply(coverage, [6])
    assert [gap.id for gap in ledger.follow(coverage, UNKNOWN, 1)] == ["7-8"]


def test_the_ledger_survives_being_stored() -> None:
    coverage, ledger = begun()
    apply(coverage, [12, 31])
    ledger.follow(coverage, START, 6_000)
    ledger.give_up(coverage, [Hole(21, 30, 0, 0)], 6_001)
    again, coverage_again = Ledger.load(ledger.dump()), IdCoverage.load(coverage.dump())
    assert again.gaps == ledger.gaps
    apply(coverage, [21])
    apply(coverage_again, [21])
    (gap,) = ledger.follow(coverage, START, 7_000)
    assert (gap.state, gap.missing) == (UNFILLABLE, 9) and again.follow(coverage_again, START, 7_000) == [gap]


def test_only_gaps_that_are_over_are_forgotten_and_the_oldest_first() -> None:
    coverage, ledger = IdCoverage(), Ledger()
    count = MAX_ENDED + 20
    for step in range(count + 1):
        apply(coverage, [10 * step])
        ledger.follow(coverage, DISCONNECT, step)
    for step in range(count - 10):
        apply(coverage, range(10 * step + 1, 10 * step + 10))
        ledger.follow(coverage, DISCONNECT, count + step)
    assert ledger.forgotten() == [f"{10 * i + 1}-{10 * i + 9}" for i in range(10)]
    assert sum(not gap.over for gap in ledger.gaps.values()) == 10


def test_what_can_not_be_filled_is_kept_as_long_as_coverage_misses_it() -> None:
    """Else it would be asked for again, and for ever."""
    coverage, ledger = IdCoverage(), Ledger()
    count = MAX_ENDED + 20
    for step in range(count + 1):
        apply(coverage, [10 * step])
        ledger.follow(coverage, DISCONNECT, step)
    for hole in coverage.holes():
        ledger.give_up(coverage, [hole], 2)
    assert len(ledger.gaps) == count
    assert ledger.forgotten() == [] and all(map(ledger.given_up, coverage.holes()))


def test_holes_beside_each_other_that_come_at_once_are_one_gap_with_what_is_missing_in_it() -> None:
    coverage, ledger = IdCoverage(), Ledger()
    apply(coverage, range(1, 100_001, 2))
    assert ledger.follow(coverage, UNKNOWN, 1) == [Gap(2, 99_998, 10, 999_990, UNKNOWN, 1, missing=49_999)]
    apply(coverage, range(2, 50_001, 2))
    (gap,) = ledger.follow(coverage, UNKNOWN, 2)
    assert (gap.id, gap.state, gap.missing, gap.recovered) == ("2-99998", REPAIRING, 24_999, 25_000)
    apply(coverage, range(50_002, 100_000, 2))
    (gap,) = ledger.follow(coverage, UNKNOWN, 3)
    assert (gap.state, gap.missing, gap.recovered, gap.ended_ms) == (REPAIRED, 0, 49_999, 3)


def test_holes_far_from_each_other_or_of_other_commits_are_gaps_of_their_own() -> None:
    coverage, ledger = IdCoverage(), Ledger()
    apply(coverage, [1, *range(3, 4 + MAX_BETWEEN), *range(5 + MAX_BETWEEN, 10_000)])
    assert [gap.id for gap in ledger.follow(coverage, UNKNOWN, 1)] == ["2-2", f"{4 + MAX_BETWEEN}-{4 + MAX_BETWEEN}"]
    apply(coverage, [10_002])
    assert [gap.id for gap in ledger.follow(coverage, START, 2)] == ["10000-10001"]


def test_new_holes_on_both_sides_of_a_gap_are_not_one_with_each_other() -> None:
    coverage, ledger = begun()
    apply(coverage, [5, 25])
    assert [gap.id for gap in ledger.follow(coverage, START, 6_000)] == ["6-8", "21-24"]


def test_a_part_that_is_given_up_is_a_gap_of_its_own_and_the_rest_goes_on() -> None:
    coverage, ledger = IdCoverage(), Ledger()
    apply(coverage, [1, 4, 8, 12, 20])
    ledger.follow(coverage, DISCONNECT, 1)
    apply(coverage, [2])
    ledger.follow(coverage, DISCONNECT, 2)
    found = ledger.give_up(coverage, [Hole(9, 11, 80, 120), Hole(5, 7, 40, 80)], 3)
    assert found == [
        Gap(3, 3, 20, 40, DISCONNECT, 1, REPAIRING, missing=1, recovered=1),
        Gap(5, 11, 40, 120, DISCONNECT, 1, UNFILLABLE, missing=6, ended_ms=3),
        Gap(13, 19, 120, 200, DISCONNECT, 1, REPAIRING, missing=7),
    ]
    assert ledger.forgotten() == ["2-19"]
    assert [ledger.given_up(hole) for hole in coverage.holes()] == [False, True, True, False]
    apply(coverage, [3, *range(13, 20)])
    assert {gap.state for gap in ledger.follow(coverage, DISCONNECT, 4)} == {REPAIRED}


def test_a_ledger_is_bounded_however_many_holes_come_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gaps_module, "MAX_PENDING", 4)
    coverage, ledger = IdCoverage(), Ledger()
    for step in range(10):
        apply(coverage, [10 * step])
        ledger.follow(coverage, DISCONNECT, step)
        ledger.forgotten()
    assert [(gap.id, gap.missing) for gap in ledger.gaps.values()] == [
        ("1-9", 9),
        ("11-19", 9),
        ("21-29", 9),
        ("31-89", 54),
    ]
    apply(coverage, [25, 45, *range(81, 90)])
    found = ledger.follow(coverage, DISCONNECT, 20)
    assert [(gap.id, gap.state, gap.missing) for gap in found] == [("21-29", REPAIRING, 8), ("31-89", REPAIRING, 44)]


def test_gaps_that_an_earlier_release_lost_are_over_and_forgotten_like_others() -> None:
    one = Gap(0, 0, 10, 20, DISCONNECT, 0, UNFILLABLE, missing=1, ended_ms=5, lost=True)
    lost = [replace(one, first=at, last=at, seen_ms=at) for at in range(MAX_ENDED + 1)]
    ledger = Ledger.load({gap.id: gap.dump() for gap in lost})
    coverage = IdCoverage.load([[MAX_ENDED + 1], [0, 5_000, 0, 50_000]])
    apply(coverage, [5_002])
    (gap,) = ledger.follow(coverage, START, 1)
    assert gap.id == "5001-5001" and ledger.forgotten() == ["0-0"]


@given(st.permutations(range(1, 30)), st.integers(1, 4))
def test_whatever_the_order_every_hole_is_in_one_gap_and_in_the_end_none_is_open(order: list[int], size: int) -> None:
    coverage, ledger = IdCoverage(), Ledger()
    for step in range(0, len(order), size):
        apply(coverage, order[step : step + size])
        ledger.follow(coverage, DISCONNECT, step)
        holes = coverage.holes()
        pending = [gap for gap in ledger.gaps.values() if not gap.over]
        for hole in holes:
            assert sum(gap.first <= hole.first and hole.last <= gap.last for gap in pending) == 1
        assert sum(gap.missing for gap in pending) == sum(hole.last - hole.first + 1 for hole in holes)
    assert all(gap.state == REPAIRED for gap in ledger.gaps.values())
