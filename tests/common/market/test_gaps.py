"""The gap ledger: it follows coverage, whatever order trades come back in."""

from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.market import coverage as coverage_module
from common.market.coverage import Hole, IdCoverage, Span
from common.market.gaps import (
    DISCONNECT,
    ID_JUMP,
    MOST_ENDED,
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
    given_up = ledger.give_up(Hole(12, 14, 0, 0), 6_000)
    assert given_up and (given_up.id, given_up.state, given_up.ended_ms) == ("10-19", UNFILLABLE, 6_000)
    assert ledger.given_up(Hole(12, 14, 0, 0)) and not ledger.given_up(Hole(20, 20, 0, 0))
    assert ledger.give_up(Hole(12, 14, 0, 0), 6_001) is None
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
    covered = [Span(10, 13, 90, 140)]
    coverage.cover(covered)
    (gap,) = ledger.follow(coverage, DISCONNECT, 6_000, covered)
    assert (gap.state, gap.missing, gap.recovered, gap.replaced) == (REPAIRING, 4, 2, 4)
    covered = [Span(5, 30, 0, 0)]
    coverage.cover(covered)
    (gap,) = ledger.follow(coverage, DISCONNECT, 7_000, covered)
    assert (gap.state, gap.recovered, gap.replaced) == (REPAIRED, 2, 8)


def test_what_an_import_leaves_open_is_nobodys_to_fill_and_is_named_by_what_is_left_of_it() -> None:
    coverage, ledger = IdCoverage(), Ledger()
    apply(coverage, [50, 51, 4, 5])
    (gap,) = ledger.follow(coverage, NOT_IMPORTED, 5_000)
    expected = Gap(6, 49, 50, 500, NOT_IMPORTED, 5_000, UNFILLABLE, missing=44, ended_ms=5_000)
    assert gap == expected and ledger.given_up(Hole(6, 49, 0, 0))
    # A live trade, or another import: whoever comes into it, what is left stays nobody's.
    apply(coverage, [20, 6])
    assert ledger.follow(coverage, ID_JUMP, 6_000) == [
        Gap(7, 19, 60, 200, NOT_IMPORTED, 5_000, UNFILLABLE, missing=13, ended_ms=5_000),
        Gap(21, 49, 200, 500, NOT_IMPORTED, 5_000, UNFILLABLE, missing=29, ended_ms=5_000),
    ]
    assert ledger.forgotten() == ["6-49"] and ledger.forgotten() == [] and list(ledger.gaps) == ["7-19", "21-49"]
    apply(coverage, [*range(7, 20), 30])
    found = ledger.follow(coverage, NOT_IMPORTED, 7_000)
    assert [(each.id, each.state) for each in found] == [
        ("7-19", REPAIRED),
        ("21-29", UNFILLABLE),
        ("31-49", UNFILLABLE),
    ]
    assert ledger.forgotten() == ["21-49"] and all(map(ledger.given_up, coverage.holes()))


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
    ledger.give_up(Hole(21, 30, 0, 0), 6_001)
    again = Ledger.load(ledger.dump())
    assert again.gaps == ledger.gaps
    apply(coverage, [21])
    coverage_again = IdCoverage.load(coverage.dump())
    assert ledger.follow(coverage, START, 7_000)[0].state == UNFILLABLE
    apply(coverage_again, [22])
    assert again.follow(coverage_again, START, 7_000)[0].missing == 8


def test_only_gaps_that_are_over_are_forgotten_and_the_oldest_first() -> None:
    coverage, ledger = IdCoverage(), Ledger()
    count = MOST_ENDED + 20
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
    count = MOST_ENDED + 20
    apply(coverage, range(0, 10 * count + 1, 10))
    ledger.follow(coverage, DISCONNECT, 1)
    for hole in coverage.holes():
        ledger.give_up(hole, 2)
    assert ledger.forgotten() == [] and all(map(ledger.given_up, coverage.holes()))


def test_what_coverage_forgets_is_lost_and_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coverage_module, "MAX_SPANS", 10)
    coverage, ledger = IdCoverage(), Ledger()
    for step in range(MOST_ENDED + 50):
        apply(coverage, [10 * step])
        ledger.follow(coverage, DISCONNECT, step)
        ledger.forgotten()
    assert len(coverage.holes()) == 9
    pending = [gap for gap in ledger.gaps.values() if gap.pending]
    assert [gap[:2] for gap in coverage.holes()] == sorted((gap.first, gap.last) for gap in pending)
    lost = [gap for gap in ledger.gaps.values() if gap.lost]
    assert len(lost) == MOST_ENDED and {(gap.state, gap.missing) for gap in lost} == {(UNFILLABLE, 9)}
    again = Ledger.load(ledger.dump())
    apply(coverage, [10 * (MOST_ENDED + 50)])
    again.follow(coverage, DISCONNECT, 1_000)
    assert len(again.forgotten()) == 1


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
