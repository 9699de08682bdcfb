import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.market import coverage as module
from common.market.coverage import (
    DUPLICATE,
    TOO_LATE,
    Coverage,
    Hole,
    IdCoverage,
    RecentCoverage,
    Span,
    covers,
    empty_coverage,
    load_coverage,
)
from common.market.trade import Trades
from tests.strategies import LAW

# An id and its time, which rises with it: 10 ms a trade.
IDS = st.integers(0, 60)
# Batches as they come: runs of contiguous ids (live), and single ones anywhere (backfill, duplicates).
RUNS = st.builds(lambda first, count: list(range(first, first + count)), IDS, st.integers(1, 8))
BATCHES = st.lists(st.one_of(RUNS, st.lists(IDS, min_size=1, max_size=5)), max_size=15)
# Ids with times of any order, where nothing follows from an id.
LOOSE = st.lists(st.tuples(st.integers(0, 12), st.integers(0, 20)), min_size=1, max_size=6)


def _trades(ids: list[int], ts_ms: list[int] | None = None) -> Trades:
    count = len(ids)
    return Trades(ts_ms or [10 * trade_id for trade_id in ids], ids, [1] * count, [1] * count, bytes(count))


def _apply(coverage: Coverage, batch: Trades) -> list[str | None]:
    """Apply a batch as Builder.accept does. Return why each was refused."""
    if coverage.extend(batch):
        return [None] * len(batch)
    return [coverage.refuse(ts_ms, trade_id) for ts_ms, trade_id in zip(batch.ts_ms, batch.ids, strict=True)]


class Naive:
    """IdCoverage as a plain set."""

    def __init__(self) -> None:
        self.ids: set[int] = set()

    def apply(self, batch: list[int]) -> list[str | None]:
        reasons = []
        for trade_id in batch:
            reasons.append(DUPLICATE if trade_id in self.ids else None)
            self.ids.add(trade_id)
        return reasons

    def spans(self) -> list[Span]:
        firsts = sorted(i for i in self.ids if i - 1 not in self.ids)
        lasts = sorted(i for i in self.ids if i + 1 not in self.ids)
        return [Span(a, b, 10 * a, 10 * b) for a, b in zip(firsts, lasts, strict=True)]

    def holes(self) -> list[Hole]:
        missing = [i for i in range(min(self.ids, default=0), max(self.ids, default=0)) if i not in self.ids]
        firsts = [i for i in missing if i - 1 not in missing]
        lasts = [i for i in missing if i + 1 not in missing]
        return [Hole(a, b, 10 * (a - 1), 10 * (b + 1)) for a, b in zip(firsts, lasts, strict=True)]


class NaiveRecent:
    """RecentCoverage as the list of all that was ever applied."""

    def __init__(self, window: int) -> None:
        self.window = window
        self.applied: list[tuple[int, int]] = []

    def refuse(self, trade_id: int, ts_ms: int) -> str | None:
        recent = self.applied[-self.window :]
        floor_ms = max((ts for _, ts in self.applied[: -self.window]), default=-1)
        if trade_id in [known for known, _ in recent]:
            return DUPLICATE
        if ts_ms <= floor_ms:
            return TOO_LATE
        self.applied.append((trade_id, ts_ms))
        return None


@LAW
@given(BATCHES)
def test_id_coverage_is_the_set_of_applied_ids(batches: list[list[int]]) -> None:
    coverage, naive = IdCoverage(), Naive()
    for ids in batches:
        assert _apply(coverage, _trades(ids)) == naive.apply(ids)
        assert coverage.spans() == naive.spans()
        assert coverage.holes() == naive.holes()
    assert IdCoverage.load(coverage.dump()) == coverage


@LAW
@given(BATCHES, st.data())
def test_the_order_of_the_ids_changes_nothing(batches: list[list[int]], data: st.DataObject) -> None:
    ids = [trade_id for batch in batches for trade_id in batch]
    coverage, other = IdCoverage(), IdCoverage()
    for batch in batches:
        _apply(coverage, _trades(batch))
    for trade_id in data.draw(st.permutations(ids)):
        _apply(other, _trades([trade_id]))
    assert coverage.dump() == other.dump()


@LAW
@given(BATCHES, st.integers(2, 5))
def test_spans_stay_bounded_and_what_was_applied_stays_covered(batches: list[list[int]], bound: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "MAX_SPANS", bound)
        coverage, applied = IdCoverage(), set[int]()
        for ids in batches:
            reasons = _apply(coverage, _trades(ids))
            applied |= {trade_id for trade_id, reason in zip(ids, reasons, strict=True) if reason is None}
            assert len(coverage.spans()) <= bound
            covered = {i for span in coverage.spans() for i in range(span.first, span.last + 1)}
            assert applied <= covered
            assert applied == covered or coverage.forgotten


@LAW
@given(BATCHES, st.integers(2, 5))
def test_at_the_bound_a_batch_is_still_the_same_as_its_trades_one_by_one(batches: list[list[int]], bound: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "MAX_SPANS", bound)
        whole, single = IdCoverage(), IdCoverage()
        for ids in batches:
            expected = [single.refuse(10 * trade_id, trade_id) for trade_id in ids]
            assert _apply(whole, _trades(ids)) == expected
            assert whole == single


def test_beyond_the_bound_the_oldest_hole_is_given_up_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_SPANS", 2)
    coverage = IdCoverage()
    for trade_id in (1, 5, 9):
        assert coverage.refuse(10 * trade_id, trade_id) is None
    assert coverage.spans() == [Span(1, 5, 10, 50), Span(9, 9, 90, 90)]
    assert coverage.forgotten == 1
    assert coverage.refuse(30, 3) == DUPLICATE
    assert IdCoverage.load(coverage.dump()).forgotten == 1


def test_a_hole_that_is_filled_is_gone() -> None:
    coverage = IdCoverage()
    coverage.extend(_trades([1, 2, 3]))
    coverage.extend(_trades([7, 8]))
    assert coverage.holes() == [Hole(4, 6, 30, 70)]
    coverage.extend(_trades([4, 5, 6]))
    assert coverage.holes() == []
    assert coverage.spans() == [Span(1, 8, 10, 80)]


@LAW
@given(st.lists(LOOSE, max_size=10), st.integers(1, 5))
def test_recent_coverage_knows_the_last_ids_and_how_far_back_it_forgot(
    batches: list[list[tuple[int, int]]], window: int
) -> None:
    coverage, naive = RecentCoverage(window), NaiveRecent(window)
    for batch in batches:
        ids, times = [trade_id for trade_id, _ in batch], [ts_ms for _, ts_ms in batch]
        expected = [naive.refuse(trade_id, ts_ms) for trade_id, ts_ms in batch]
        assert _apply(coverage, _trades(ids, times)) == expected
        recent = naive.applied[-window:]
        assert list(coverage.seen.items()) == recent
    spanned = [ts_ms for _, ts_ms in naive.applied]
    assert coverage.spans() == [Span(0, 0, min(spanned), max(spanned))] if spanned else not coverage.spans()
    assert coverage.holes() == []


@LAW
@given(st.lists(LOOSE, min_size=1, max_size=10), st.integers(1, 5))
def test_recent_coverage_is_loaded_from_its_dump_and_the_last_trades(
    batches: list[list[tuple[int, int]]], window: int
) -> None:
    coverage, applied = RecentCoverage(window), Trades()
    for batch in batches:
        whole = _trades([trade_id for trade_id, _ in batch], [ts_ms for _, ts_ms in batch])
        reasons = _apply(coverage, whole)
        applied += whole.take([at for at, reason in enumerate(reasons) if reason is None])
    loaded = RecentCoverage.load(coverage.dump(), applied)
    assert loaded == coverage
    assert list(loaded.seen) == list(coverage.seen)


@pytest.mark.parametrize(("start_ms", "end_ms", "covered"), [(10, 40, True), (10, 31, True), (9, 20, False)])
def test_a_time_is_covered_from_the_first_trade_on(start_ms: int, end_ms: int, covered: bool) -> None:
    coverage = IdCoverage()
    assert not covers(coverage, start_ms, end_ms)
    coverage.extend(_trades([1, 2, 3]))
    assert covers(coverage, start_ms, end_ms) is covered


@pytest.mark.parametrize(
    ("start_ms", "end_ms", "covered"),
    [(10, 30, True), (10, 31, False), (40, 50, False), (70, 90, False), (71, 90, True)],
)
def test_a_hole_uncovers_all_the_time_its_trades_may_be_from(start_ms: int, end_ms: int, covered: bool) -> None:
    coverage = IdCoverage()
    coverage.extend(_trades([1, 2, 3]))
    coverage.extend(_trades([7, 8]))
    assert covers(coverage, start_ms, end_ms) is covered


def test_each_kind_of_ids_has_its_coverage_and_its_way_back() -> None:
    assert isinstance(empty_coverage("contiguous"), IdCoverage)
    assert isinstance(empty_coverage("unique"), RecentCoverage)
    assert isinstance(load_coverage("contiguous", IdCoverage().dump(), Trades()), IdCoverage)
    assert isinstance(load_coverage("unique", RecentCoverage().dump(), Trades()), RecentCoverage)


@LAW
@given(BATCHES, st.lists(st.tuples(IDS, st.integers(0, 8)), max_size=4))
def test_covering_ids_is_as_if_their_trades_had_been_applied(
    batches: list[list[int]], ranges: list[tuple[int, int]]
) -> None:
    covered, applied = IdCoverage(), IdCoverage()
    for batch in batches:
        _apply(covered, _trades(batch))
        _apply(applied, _trades(batch))
    for first, count in ranges:
        covered.cover([Span(first, first + count, 10 * first, 10 * (first + count))])
        _apply(applied, _trades(list(range(first, first + count + 1))))
    assert covered == applied


@LAW
@given(BATCHES)
def test_holes_change_only_at_what_was_reshaped_and_right_beside_it(batches: list[list[int]]) -> None:
    coverage = IdCoverage()
    for batch in batches:
        before = coverage.holes()
        _apply(coverage, _trades(batch))
        touched = {at for first, last in coverage.take_reshaped() for at in range(first - 1, last + 2)}
        for hole in set(before) ^ set(coverage.holes()):
            assert touched & set(range(hole.first, hole.last + 1))


@LAW
@given(BATCHES, IDS, st.integers(0, 10))
def test_holes_at_are_the_holes_that_share_an_id(batches: list[list[int]], first: int, more: int) -> None:
    coverage = IdCoverage()
    for batch in batches:
        _apply(coverage, _trades(batch))
    expected = [hole for hole in coverage.holes() if hole.first <= first + more and first <= hole.last]
    assert coverage.holes_at(first, first + more) == expected


def test_growing_at_the_newest_end_reshapes_nothing() -> None:
    coverage = IdCoverage()
    coverage.extend(_trades([5, 6]))
    coverage.take_reshaped()
    coverage.extend(_trades([7, 8]))
    assert coverage.refuse(90, 9) is None and coverage.take_reshaped() == []
    coverage.refuse(110, 11)
    assert coverage.take_reshaped() == [(11, 11)]
