from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from common.market.builder import spans as spans_module
from common.market.builder.coverage import DUPLICATE, TOO_LATE, TOO_MANY_HOLES, Coverage
from common.market.builder.coverage_kinds import empty_coverage, load_coverage
from common.market.builder.id_coverage import IdCoverage
from common.market.builder.recent_coverage import RecentCoverage
from common.market.builder.spans import Hole, IdSpan
from common.market.trade import Trades
from tests.kit.strategies import LAW

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

    def spans(self) -> list[IdSpan]:
        firsts = sorted(i for i in self.ids if i - 1 not in self.ids)
        lasts = sorted(i for i in self.ids if i + 1 not in self.ids)
        return [IdSpan(a, b, 10 * a, 10 * b) for a, b in zip(firsts, lasts, strict=True)]

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
    with _small_chunks():
        coverage, naive = IdCoverage(), Naive()
        for ids in batches:
            assert _apply(coverage, _trades(ids)) == naive.apply(ids)
            assert coverage.spans() == naive.spans()
            assert coverage.holes() == naive.holes()
            assert [coverage.has(trade_id) for trade_id in range(70)] == [i in naive.ids for i in range(70)]
            assert [coverage.has_any([i, i + 3]) for i in range(70)] == [
                bool({i, i + 3} & naive.ids) for i in range(70)
            ]
            spans = coverage.spans()
            assert (coverage.oldest(), coverage.newest()) == ((spans[0], spans[-1]) if spans else (None, None))
            assert coverage.latest_ms() == max((span.to_ms for span in spans), default=-1)
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
@given(BATCHES, st.integers(0, 4))
def test_a_trade_that_would_open_one_hole_too_many_is_refused_and_not_covered(
    batches: list[list[int]], bound: int
) -> None:
    coverage, applied = _bounded(bound), set[int]()
    for ids in batches:
        reasons = _apply(coverage, _trades(ids))
        assert set(reasons) <= {None, DUPLICATE, TOO_MANY_HOLES}
        applied |= {trade_id for trade_id, reason in zip(ids, reasons, strict=True) if reason is None}
        assert {i for span in coverage.spans() for i in range(span.first, span.last + 1)} == applied
        assert len(coverage.holes()) <= bound
        refused = [trade_id for trade_id, reason in zip(ids, reasons, strict=True) if reason == TOO_MANY_HOLES]
        assert not refused or len(coverage.spans()) > 0


@LAW
@example([[56], [*range(48, 56)]], 0)
@example([[2], [0, 1]], 0)
@given(BATCHES, st.integers(0, 4))
def test_at_the_bound_a_batch_is_still_the_same_as_its_trades_one_by_one(batches: list[list[int]], bound: int) -> None:
    whole, single = _bounded(bound), _bounded(bound)
    for ids in batches:
        expected = [single.refuse(10 * trade_id, trade_id) for trade_id in ids]
        assert _apply(whole, _trades(ids)) == expected
        assert whole == single


def test_a_trade_for_which_there_was_no_room_is_applied_when_it_comes_again() -> None:
    coverage = _bounded(1)
    assert [coverage.refuse(10 * i, i) for i in (1, 5, 9)] == [None, None, TOO_MANY_HOLES]
    assert [coverage.refuse(10 * i, i) for i in (2, 3, 4)] == [None] * 3
    assert coverage.refuse(90, 9) is None
    assert coverage.spans() == [IdSpan(1, 5, 10, 50), IdSpan(9, 9, 90, 90)]


@LAW
@given(BATCHES)
def test_what_is_stored_step_by_step_is_all_of_it(batches: list[list[int]]) -> None:
    with _small_chunks():
        coverage, chunks, before = IdCoverage(), dict[int, bytes](), IdCoverage()
        for ids in batches:
            _apply(coverage, _trades(ids))
            stored = coverage.take_stored()
            chunks |= stored.chunks
            chunks = {number: packed for number, packed in chunks.items() if packed}
            again = IdCoverage.load(stored.newest, chunks)
            assert again == coverage
            assert stored.reshaped == (_shape(before) != _shape(coverage))
            assert stored.reshaped or not stored.chunks
            assert again.take_stored() == (stored.newest, {}, False)
            # Whoever goes on from what is stored tells the two apart as well.
            before, coverage = again, IdCoverage.load(stored.newest, chunks)


def test_what_was_stored_whole_is_stored_by_chunks_from_the_next_step_on() -> None:
    coverage = IdCoverage.load([[3], [1, 2, 10, 20], [5, 6, 50, 60], [9, 9, 90, 90]])
    newest, chunks, _ = coverage.take_stored()
    assert newest == [[3], [9, 9, 90, 90]] and IdCoverage.load(newest, chunks) == coverage
    assert coverage.take_stored().chunks == {}


def test_a_step_changes_few_chunks_however_many_holes_there_are() -> None:
    coverage = IdCoverage()
    for trade_id in range(0, 100_000, 2):
        coverage.refuse(10 * trade_id, trade_id)
    stored = coverage.take_stored()
    assert len(stored.chunks) == 196 and sum(map(len, stored.chunks.values())) == 32 * 49_999
    coverage.refuse(500_010, 50_001)
    coverage.refuse(1_000_000, 100_000)
    changed = coverage.take_stored().chunks
    assert len(changed) == 2 and sum(map(len, changed.values())) <= 32 * 256 * 2


def test_a_hole_that_is_filled_is_gone() -> None:
    coverage = IdCoverage()
    coverage.extend(_trades([1, 2, 3]))
    coverage.extend(_trades([7, 8]))
    assert coverage.holes() == [Hole(4, 6, 30, 70)]
    coverage.extend(_trades([4, 5, 6]))
    assert coverage.holes() == []
    assert coverage.spans() == [IdSpan(1, 8, 10, 80)]


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
        known = {trade_id for trade_id, _ in recent}
        assert [coverage.has_any([i, i + 3]) for i in range(13)] == [bool({i, i + 3} & known) for i in range(13)]
    spanned = [ts_ms for _, ts_ms in naive.applied]
    assert coverage.spans() == [IdSpan(0, 0, min(spanned), max(spanned))] if spanned else not coverage.spans()
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
    assert not coverage.covers(start_ms, end_ms)
    coverage.extend(_trades([1, 2, 3]))
    assert coverage.covers(start_ms, end_ms) is covered


@pytest.mark.parametrize(
    ("start_ms", "end_ms", "covered"),
    [(10, 30, True), (10, 31, False), (40, 50, False), (70, 90, False), (71, 90, True)],
)
def test_a_hole_uncovers_all_the_time_its_trades_may_be_from(start_ms: int, end_ms: int, covered: bool) -> None:
    coverage = IdCoverage()
    coverage.extend(_trades([1, 2, 3]))
    coverage.extend(_trades([7, 8]))
    assert coverage.covers(start_ms, end_ms) is covered


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
        covered.cover([IdSpan(first, first + count, 10 * first, 10 * (first + count))])
        _apply(applied, _trades(list(range(first, first + count + 1))))
    assert covered == applied


@LAW
@given(BATCHES)
def test_how_holes_changed_is_told_by_what_came_into_them_and_by_those_that_are_new(batches: list[list[int]]) -> None:
    with _small_chunks():
        coverage, missing = IdCoverage(), set[int]()
        for batch in batches:
            _apply(coverage, _trades(batch))
            filled, opened = coverage.take_reshaped()
            came, new = _ids(filled), _ids((hole.first, hole.last) for hole in opened)
            assert came <= missing and not new & missing
            missing = missing - came | new
            assert missing == _ids((hole.first, hole.last) for hole in coverage.holes())
            assert list(filled) == sorted(filled)


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
    assert coverage.take_reshaped() == ([], []) and coverage.take_stored().reshaped
    coverage.extend(_trades([7, 8]))
    assert coverage.refuse(90, 9) is None
    assert coverage.take_reshaped() == ((), ()) and not coverage.take_stored().reshaped
    coverage.refuse(110, 11)
    assert coverage.take_reshaped() == ([], [Hole(10, 10, 90, 110)]) and coverage.take_stored().reshaped


@LAW
@given(st.lists(st.tuples(IDS, st.integers(0, 30)), max_size=30), st.integers(0, 30), st.integers(1, 10))
def test_a_time_is_covered_if_no_hole_may_have_a_trade_of_it(
    trades: list[tuple[int, int]], start_ms: int, length_ms: int
) -> None:
    """Times need not rise with the ids."""
    with _small_chunks():
        coverage, end_ms = IdCoverage(), start_ms + length_ms
        for trade_id, ts_ms in trades:
            coverage.refuse(ts_ms, trade_id)
        spans = coverage.spans()
        begun = bool(spans) and start_ms >= spans[0].from_ms
        missing = any(hole.from_ms < end_ms and hole.to_ms >= start_ms for hole in coverage.holes())
        assert coverage.covers(start_ms, end_ms) == (begun and not missing)
        assert IdCoverage.load(coverage.dump()).covers(start_ms, end_ms) == (begun and not missing)


@LAW
@given(st.lists(LOOSE, max_size=10))
def test_of_ids_that_are_not_contiguous_only_an_earlier_beginning_is_told_as_a_reshaping(
    batches: list[list[tuple[int, int]]],
) -> None:
    coverage = RecentCoverage(3)
    for batch in batches:
        from_ms = coverage.from_ms
        _apply(coverage, _trades([trade_id for trade_id, _ in batch], [ts_ms for _, ts_ms in batch]))
        assert coverage.take_stored() == (coverage.dump(), {}, coverage.from_ms != from_ms)


def _bounded(holes: int) -> IdCoverage:
    coverage = IdCoverage()
    coverage.max_holes = holes
    return coverage


@contextmanager
def _small_chunks() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(spans_module, "MAX_CHUNK", 3)
        yield


def _shape(coverage: IdCoverage) -> object:
    """All but how far the newest span has grown."""
    spans = coverage.spans()
    return [*spans[:-1], *((span.first, span.from_ms) for span in spans[-1:])]


def _ids(ranges: Iterable[tuple[int, int]]) -> set[int]:
    return {trade_id for first, last in ranges for trade_id in range(first, last + 1)}
