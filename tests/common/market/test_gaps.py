"""The gap ledger: it follows coverage, whatever order trades come back in."""

from hypothesis import given
from hypothesis import strategies as st

from common.market.coverage import Hole, IdCoverage, Span
from common.market.gaps import DISCONNECT, MOST_ENDED, OPEN, REPAIRED, REPAIRING, START, UNFILLABLE, Ledger

HOLE = Hole(10, 19, 1_000, 2_000)


def test_a_hole_is_a_gap_with_its_cause_from_the_moment_it_is_seen() -> None:
    ledger = Ledger()
    (gap,) = ledger.follow([HOLE], DISCONNECT, 5_000)
    assert (gap.id, gap.state, gap.cause, gap.missing, gap.seen_ms) == ("10-19", OPEN, DISCONNECT, 10, 5_000)
    assert ledger.follow([HOLE], START, 6_000) == []


def test_a_gap_that_is_cut_in_two_is_still_the_same_gap_and_is_over_when_nothing_is_missing() -> None:
    ledger = Ledger()
    ledger.follow([HOLE], DISCONNECT, 5_000)
    (gap,) = ledger.follow([Hole(10, 12, 0, 0), Hole(15, 19, 0, 0)], START, 6_000)
    assert (gap.id, gap.state, gap.missing, gap.recovered) == ("10-19", REPAIRING, 8, 2)
    (gap,) = ledger.follow([], START, 7_000)
    assert (gap.state, gap.recovered, gap.ended_ms) == (REPAIRED, 10, 7_000)
    assert ledger.follow([], START, 8_000) == []


def test_a_gap_that_was_given_up_stays_so_until_its_trades_come_after_all() -> None:
    ledger = Ledger()
    ledger.follow([HOLE], DISCONNECT, 5_000)
    given_up = ledger.give_up(Hole(12, 14, 0, 0), 6_000)
    assert given_up and (given_up.id, given_up.state) == ("10-19", UNFILLABLE)
    assert ledger.given_up(Hole(12, 14, 0, 0)) and not ledger.given_up(Hole(12, 20, 0, 0))
    assert ledger.give_up(Hole(12, 14, 0, 0), 6_001) is None
    (gap,) = ledger.follow([Hole(10, 18, 0, 0)], START, 7_000)
    assert gap.state == UNFILLABLE
    (gap,) = ledger.follow([], START, 8_000)
    assert gap.state == REPAIRED


def test_ids_that_stop_missing_without_a_trade_are_replaced_and_not_recovered() -> None:
    ledger = Ledger()
    ledger.follow([HOLE], DISCONNECT, 5_000)
    (gap,) = ledger.follow([Hole(16, 19, 0, 0)], DISCONNECT, 6_000, [Span(10, 13, 0, 0)])
    assert (gap.state, gap.missing, gap.recovered, gap.replaced) == (REPAIRING, 4, 2, 4)
    (gap,) = ledger.follow([], DISCONNECT, 7_000, [Span(5, 30, 0, 0)])
    assert (gap.state, gap.recovered, gap.replaced) == (REPAIRED, 2, 8)


def test_the_ledger_survives_being_stored() -> None:
    ledger = Ledger()
    ledger.follow([HOLE, Hole(30, 30, 3_000, 3_001)], DISCONNECT, 5_000)
    ledger.follow([Hole(12, 19, 0, 0)], START, 6_000)
    assert Ledger.load(ledger.dump()) == ledger


def test_only_gaps_that_are_over_are_forgotten_and_the_oldest_first() -> None:
    ledger = Ledger()
    holes = [Hole(10 * i, 10 * i, i, i) for i in range(1, MOST_ENDED + 21)]
    ledger.follow(holes, DISCONNECT, 1)
    ledger.follow(holes[-10:], DISCONNECT, 2)
    assert ledger.forgotten() == [f"{10 * i}-{10 * i}" for i in range(1, 11)]
    assert sum(not gap.over for gap in ledger.gaps.values()) == 10


@given(st.permutations(range(1, 30)))
def test_whatever_the_order_every_hole_is_in_one_gap_and_in_the_end_none_is_open(order: list[int]) -> None:
    coverage, ledger = IdCoverage(), Ledger()
    for step, trade_id in enumerate(order):
        coverage.refuse(trade_id, trade_id)
        holes = coverage.holes()
        ledger.follow(holes, DISCONNECT, step)
        pending = [gap for gap in ledger.gaps.values() if not gap.over]
        for hole in holes:
            assert sum(gap.first <= hole.first and hole.last <= gap.last for gap in pending) == 1
        assert sum(gap.missing for gap in pending) == sum(hole.last - hole.first + 1 for hole in holes)
    assert all(gap.state == REPAIRED for gap in ledger.gaps.values())
