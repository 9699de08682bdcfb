"""The history of a book against its definition: one whole book per moment, broken where the book was lost."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.errors import BadInput
from common.market.depth.book import bounds
from common.market.depth.chunk import DepthChunk, PriceSpan, pack_chunk, unpack_chunk
from common.market.depth.history import MAX_AHEAD_MS, MAX_BEHIND_MS, BookHistory
from common.market.depth.recorder import MAX_SILENT_MS, MAX_SPANS
from common.market.depth.runs import MIN_REACH_TICKS, DepthLimits
from common.market.timeframes.timeframe import MINUTE_MS
from tests.kit.book_model import FIRST_MID, Move, Side, Venue, Watched, book_at, feed_all, moves, within
from tests.kit.strategies import LAW, START_MS
from workers.venues.binance.book_rule import BinanceSpotRule
from workers.venues.coinbase.book_rule import CoinbaseRule
from workers.venues.shared.base import DepthEvent

# Farther than any price of the model goes.
EVERYTHING = DepthLimits(reach_bp=9_900)
# A window that must move and bounds that must cut.
TIGHT = st.builds(
    lambda reach_bp, levels, more: DepthLimits(reach_bp, levels, 4 * levels + more),
    st.sampled_from([5, 20, 100, 9_900]),
    st.integers(1, 12),
    st.integers(0, 60),
)


def _watched(limits: DepthLimits = EVERYTHING) -> Watched:
    return Watched(BookHistory.new(BinanceSpotRule(), limits))


def _chunks(watched: Watched) -> list[DepthChunk]:
    return [unpack_chunk(packed) for packed in watched.chunks()]


def _packed(chunk: DepthChunk | None) -> bytes | None:
    return pack_chunk(chunk) if chunk else None


def _joined(chunks: list[DepthChunk]) -> list[tuple[int, int, int, int, int]]:
    """Runs that a minute has cut, in one piece again: `(side, price, size, from_ms, until_ms)`."""
    found: dict[tuple[int, int], list[tuple[int, int, int]]] = {}
    for chunk in chunks:
        for side, runs in enumerate((chunk.bids, chunk.asks)):
            for price, size, from_ms, until_ms in runs:
                of_price = found.setdefault((side, price), [])
                if from_ms < chunk.open_ms:
                    before = of_price.pop()
                    assert before[::2] == (size, chunk.open_ms)
                    from_ms = before[1]
                of_price.append((size, from_ms, until_ms))
    return sorted((*key, *run) for key, runs in found.items() for run in runs)


def _with_faults(watched: Watched, venue: Venue, data: st.DataObject) -> Watched:
    """Diffs go missing, connections are lost, and snapshots come late."""
    faults = st.sampled_from(["", "", "", "", "missing", "lost"])
    watched.feed(venue.snapshot())
    for move in data.draw(moves()):
        event, fault = venue.move(move), data.draw(faults)
        if fault == "lost":
            watched.lost()
        if fault != "missing":
            watched.feed(event)
        if watched.history.sync.needs_snapshot and data.draw(st.booleans()):
            watched.feed(venue.snapshot())
    return watched


# What the runs say.


@LAW
@given(st.data())
def test_at_any_time_the_runs_are_the_book_and_where_it_was_lost_nothing(data: st.DataObject) -> None:
    watched = _with_faults(_watched(), Venue(), data)
    chunks = _chunks(watched)
    for ts_ms in watched.truth.times():
        found, expected = book_at(chunks, ts_ms), watched.truth.at(ts_ms)
        assert (found[1:] if found else None) == expected
    assert not any(chunk.truncated for chunk in chunks)


@LAW
@given(st.data())
def test_joined_over_the_minutes_a_run_lasts_exactly_as_long_as_its_size(data: st.DataObject) -> None:
    watched = _with_faults(_watched(), Venue(), data)
    assert _joined(_chunks(watched)) == watched.truth.runs()


@LAW
@given(moves(), TIGHT)
def test_inside_its_spans_a_bounded_history_is_whole(drawn: list[Move], limits: DepthLimits) -> None:
    watched = feed_all(_watched(limits), Venue(), drawn)
    chunks = _chunks(watched)
    for ts_ms in watched.truth.times():
        found = book_at(chunks, ts_ms)
        if found:
            span, *sides = found
            truth = watched.truth.at(ts_ms)
            assert truth is not None
            assert sides == [within(side, span.low_ticks, span.high_ticks) for side in truth]


@LAW
@given(moves(), TIGHT)
def test_a_history_is_bounded_and_says_where_it_cuts(drawn: list[Move], limits: DepthLimits) -> None:
    watched = feed_all(_watched(limits), Venue(), drawn)
    for chunk in _chunks(watched):
        assert len(chunk.bids) + len(chunk.asks) <= limits.max_runs
        assert len(chunk.spans) <= MAX_SPANS + 1
        for span in chunk.spans:
            bids, asks = watched.truth.at(span.from_ms) or ({}, {})
            assert len(within(bids, span.low_ticks, span.high_ticks)) <= limits.max_levels
            # The window may lag behind the middle, by an eighth of the reach at most.
            twice_mid = max(bids) + min(asks) if bids and asks else None
            if twice_mid and not chunk.truncated:
                low, high = bounds(twice_mid, twice_mid * limits.reach_bp * 85 // 1_000_000)
                assert span.low_ticks <= low + 1 and high - 1 <= span.high_ticks


@LAW
@given(moves(), st.sampled_from([10, 100, 1_000, 20_000, 60_000]))
def test_a_coarse_history_has_the_book_as_of_every_multiple(drawn: list[Move], resolution_ms: int) -> None:
    watched = feed_all(_watched(replace(EVERYTHING, resolution_ms=resolution_ms)), Venue(), drawn)
    chunks = _chunks(watched)
    for ts_ms in watched.truth.times():
        found = book_at(chunks, ts_ms)
        if found:
            assert found[1:] == watched.truth.latest(ts_ms - ts_ms % resolution_ms)
    for chunk in chunks:
        assert all(run[2] % resolution_ms == 0 or run[2] < chunk.open_ms for run in chunk.bids + chunk.asks)


@LAW
@given(st.data())
def test_whatever_the_clock_says_minutes_come_once_and_in_order(data: st.DataObject) -> None:
    """With faults, times that go back and a clock that runs ahead of them."""
    venue, history = Venue(), BookHistory.new(BinanceSpotRule(), data.draw(TIGHT))
    chunks: list[DepthChunk] = []
    for move in data.draw(moves()):
        event, fault = venue.move(move), data.draw(st.sampled_from(["", "", "", "missing", "lost", "late", "tick"]))
        if fault == "lost":
            history.lost()
        elif fault == "tick":
            chunks += history.tick(venue.ts_ms + data.draw(st.integers(0, 70_000)))
        event = event._replace(ts_ms=event.ts_ms - 30_000 * (fault == "late"))
        chunks += [] if fault == "missing" else history.step(event, event.ts_ms)
        if history.sync.needs_snapshot:
            history.step(venue.snapshot(), venue.ts_ms)
    current = history.recorder.current()
    opens = [chunk.open_ms for chunk in [*chunks, *([current] if current else [])]]
    assert opens == sorted(set(opens))
    for chunk in chunks:
        assert unpack_chunk(pack_chunk(chunk)).spans == chunk.spans
        edges = [edge for span in chunk.spans for edge in (span.from_ms, span.until_ms)]
        assert edges == sorted(edges) and chunk.end_ms <= chunk.open_ms + MINUTE_MS
        assert not edges or (chunk.open_ms <= edges[0] and edges[-1] <= chunk.end_ms)


# How it comes about.


@LAW
@given(moves(), moves(), st.sampled_from([EVERYTHING, DepthLimits(20, 4, 60)]))
def test_restored_it_goes_on_as_if_only_the_book_had_been_lost(
    before: list[Move], after: list[Move], limits: DepthLimits
) -> None:
    venue = Venue()
    stayed = feed_all(_watched(limits), venue, before)
    current = stayed.history.recorder.current()
    stayed.lost()
    stayed.closed.clear()
    assert _packed(stayed.history.recorder.current()) == _packed(current)
    events = [venue.snapshot(), *(venue.move(move) for move in after)]
    if current:
        restored = Watched(BookHistory.restore(BinanceSpotRule(), limits, pack_chunk(current)))
        for event in events:
            stayed.feed(event)
            restored.feed(event)
        assert restored.chunks() == stayed.chunks()


@LAW
@given(moves(), st.data())
def test_the_clock_closes_minutes_early_and_changes_nothing(drawn: list[Move], data: st.DataObject) -> None:
    venue, by_events, by_clock = Venue(), _watched(), _watched(replace(EVERYTHING, grace_ms=0))
    snapshot = venue.snapshot()
    by_events.feed(snapshot)
    by_clock.feed(snapshot)
    for move in drawn:
        before_ms = venue.ts_ms
        event = venue.move(move)
        for now_ms in sorted(data.draw(st.lists(st.integers(before_ms, event.ts_ms), max_size=3))):
            by_clock.closed += by_clock.history.tick(now_ms)
        by_events.feed(event)
        by_clock.feed(event)
    assert by_clock.chunks() == by_events.chunks()


@LAW
@given(moves(), st.lists(st.integers(0, 90_000), min_size=40, max_size=40))
def test_a_time_that_goes_back_counts_as_the_latest_so_far(drawn: list[Move], back_ms: list[int]) -> None:
    """Each event comes with a time that much too early; the history is that of the times made to ascend."""
    venue, jumping, steady, latest_ms = Venue(), _watched(), _watched(), 0
    snapshot = venue.snapshot()
    jumping.feed(snapshot)
    steady.feed(snapshot)
    for move, too_early_ms in zip(drawn, back_ms, strict=False):
        event = venue.move(move)
        event = event._replace(ts_ms=event.ts_ms - too_early_ms)
        # Before anything is recorded there is no time to go back from.
        latest_ms = max(latest_ms, event.ts_ms) if steady.history.recorder.recording else event.ts_ms
        jumping.feed(event)
        steady.feed(event._replace(ts_ms=latest_ms))
    assert jumping.chunks() == steady.chunks()


# Single cases, said out loud.


def _diff(after_ms: int, last_id: int, bids: Side | None = None, asks: Side | None = None) -> DepthEvent:
    levels = list((bids or {}).items()), list((asks or {}).items())
    return DepthEvent("X", START_MS + after_ms, last_id, last_id, -1, *levels)


def _history(*events: DepthEvent, limits: DepthLimits = EVERYTHING) -> tuple[BookHistory, list[DepthChunk]]:
    """A book of 99 x 1 and 101 x 1, and diffs from id 1 on."""
    history = BookHistory.new(BinanceSpotRule(), limits)
    history.step(DepthEvent("X", -1, 0, 0, -1, [(99, 1)], [(101, 1)], snapshot=True), START_MS)
    return history, [closed for event in events for closed in history.step(event, event.ts_ms)]


def _current(history: BookHistory) -> DepthChunk:
    current = history.recorder.current()
    assert current is not None
    return unpack_chunk(pack_chunk(current))


def test_a_run_extends_while_the_size_is_equal_and_a_change_starts_another() -> None:
    history, _ = _history(
        _diff(10, 1), _diff(20, 2, {99: 1}), _diff(30, 3, {99: 5}), _diff(40, 4, {99: 0}), _diff(50, 5, {99: 5})
    )
    at = START_MS
    expected = [(99, 1, at + 10, at + 30), (99, 5, at + 30, at + 40), (99, 5, at + 50, at + 51)]
    assert _current(history).bids == expected


def test_what_comes_and_goes_within_a_millisecond_leaves_no_trace() -> None:
    history, _ = _history(_diff(10, 1), _diff(20, 2, {99: 5, 98: 7}), _diff(20, 3, {99: 1, 98: 0}), _diff(30, 4))
    assert _current(history).bids == [(99, 1, START_MS + 10, START_MS + 31)]


def test_several_prices_may_come_and_go_within_a_millisecond() -> None:
    prices = (95, 96, 97, 98)
    there, gone = dict.fromkeys(prices, 1), dict.fromkeys(prices, 5)
    history, _ = _history(_diff(10, 1, there), _diff(20, 2, gone), _diff(20, 3, there), _diff(30, 4))
    assert _current(history).bids == [(price, 1, START_MS + 10, START_MS + 31) for price in (*prices, 99)]


def test_a_run_that_lives_past_the_minute_is_cut_there_and_continues() -> None:
    history, closed = _history(_diff(10, 1), _diff(MINUTE_MS + 5, 2, {99: 4}))
    end = START_MS + MINUTE_MS
    (first,) = closed
    assert (first.open_ms, first.end_ms) == (START_MS, end)
    assert first.bids == [(99, 1, START_MS + 10, end)]
    assert first.spans == [PriceSpan(START_MS + 10, end, *first.spans[0][2:])]
    assert _current(history).bids == [(99, 1, end - 1, end + 5), (99, 4, end + 5, end + 6)]


def test_what_ends_with_the_first_moment_of_a_minute_is_not_in_it() -> None:
    history, _ = _history(_diff(10, 1), _diff(MINUTE_MS, 2, {99: 4}), _diff(MINUTE_MS + 5, 3))
    end = START_MS + MINUTE_MS
    assert _current(history).bids == [(99, 4, end, end + 6)]


def test_what_comes_too_late_for_a_minute_that_the_clock_has_closed_counts_from_the_next() -> None:
    history, _ = _history(_diff(10, 1))
    end = START_MS + MINUTE_MS
    assert len(history.tick(end + 2_000)) == 1
    assert history.step(_diff(MINUTE_MS - 100, 2, {99: 4}), end + 2_000) == []
    assert (_current(history).open_ms, _current(history).bids) == (end, [(99, 4, end, end + 1)])


def test_a_new_book_does_not_reach_back_into_a_minute_that_is_closed() -> None:
    history, _ = _history(_diff(10, 1))
    history.lost()
    end = START_MS + MINUTE_MS
    assert [chunk.open_ms for chunk in history.tick(end + 2_000)] == [START_MS]
    history.step(DepthEvent("X", -1, 1, 1, -1, [(99, 1)], [(101, 1)], snapshot=True), end + 2_000)
    assert history.step(_diff(MINUTE_MS - 100, 2), end + 2_000) == []
    assert _current(history).bids == [(99, 1, end, end + 1)]


def test_a_chunk_that_was_handed_out_does_not_change_any_more() -> None:
    history, _ = _history(_diff(10, 1), _diff(20, 2, {99: 3}))
    history.lost()
    handed_out = history.recorder.current()
    packed = _packed(handed_out)
    history.step(DepthEvent("X", -1, 2, 2, -1, [(99, 1)], [(101, 1)], snapshot=True), START_MS + 30)
    history.step(_diff(30, 3), START_MS + 30)
    history.lost()
    assert _packed(handed_out) == packed != _packed(history.recorder.current())


def test_a_gap_breaks_runs_at_the_last_known_time() -> None:
    history, _ = _history(_diff(10, 1), _diff(20, 2), _diff(500, 9, {98: 3}))
    assert history.sync.needs_snapshot
    history.step(DepthEvent("X", -1, 8, 8, -1, [(99, 1)], [(101, 1)], snapshot=True), START_MS + 900)
    history.step(_diff(1_000, 10), START_MS + 1_000)
    chunk = _current(history)
    assert chunk.bids == [
        (98, 3, START_MS + 1_000, START_MS + 1_001),
        (99, 1, START_MS + 10, START_MS + 21),
        (99, 1, START_MS + 1_000, START_MS + 1_001),
    ]
    assert [span[:2] for span in chunk.spans] == [
        (START_MS + 10, START_MS + 21),
        (START_MS + 1_000, START_MS + 1_001),
    ]


def test_a_lost_connection_breaks_runs_even_if_nothing_was_missed() -> None:
    history, _ = _history(_diff(10, 1))
    history.lost()
    assert not history.recorder.recording
    assert _current(history).asks == [(101, 1, START_MS + 10, START_MS + 11)]


def test_the_clock_closes_a_quiet_minute_after_its_grace() -> None:
    history, _ = _history(_diff(10, 1))
    end_ms = START_MS + MINUTE_MS
    assert history.tick(end_ms + 1_999) == []
    (chunk,) = history.tick(end_ms + 2_000)
    assert (chunk.open_ms, chunk.end_ms) == (START_MS, end_ms)
    # Vouched for until the minute's end, and no longer.
    history.lost()
    assert history.recorder.current() is None


def test_the_clock_closes_the_minute_of_a_lost_book_as_far_as_it_was_known() -> None:
    history, _ = _history(_diff(10, 1))
    history.lost()
    (chunk,) = history.tick(START_MS + 2 * MINUTE_MS)
    assert chunk.end_ms == START_MS + 11
    assert history.tick(START_MS + 3 * MINUTE_MS) == []


def test_a_book_that_nobody_spoke_of_for_long_is_not_vouched_for() -> None:
    history, _ = _history(_diff(10, 1))
    closed = history.tick(START_MS + 10 + MAX_SILENT_MS + 5_000)
    assert [chunk.end_ms for chunk in closed] == [START_MS + 11]
    history, closed = _history(_diff(10, 1), _diff(MAX_SILENT_MS + 5_000, 2))
    assert [chunk.end_ms for chunk in closed] == [START_MS + 11]
    assert _current(history).bids == [(99, 1, START_MS + MAX_SILENT_MS + 5_000, START_MS + MAX_SILENT_MS + 5_001)]


@pytest.mark.parametrize("ts_ms", [-1, START_MS + 49 - MAX_BEHIND_MS, START_MS + MAX_AHEAD_MS + 51, 1 << 60])
def test_a_time_that_nobody_can_believe_is_replaced_by_ours(ts_ms: int) -> None:
    history, _ = _history(_diff(10, 1))
    history.step(_diff(0, 2, {98: 1})._replace(ts_ms=ts_ms), START_MS + 50)
    assert _current(history).bids[0] == (98, 1, START_MS + 50, START_MS + 51)


def test_the_window_stays_while_the_middle_moves_by_less_than_an_eighth_of_the_reach() -> None:
    wide = DepthLimits(reach_bp=100)
    venue = Venue(mid=FIRST_MID)
    watched = feed_all(_watched(wide), venue, [Move(10, 0, []), *([Move(10, 2, []), Move(10, -2, [])] * 20)])
    assert len(_chunks(watched)[0].spans) == 1
    watched.feed(venue.move(Move(10, 130, [(True, 1, 1), (False, 1, 1)])))
    assert len(_chunks(watched)[0].spans) == 2


def test_of_a_price_of_few_ticks_more_than_the_percentage_is_recorded() -> None:
    history, _ = _history(_diff(10, 1, {60: 1, 10: 1}), limits=DepthLimits(reach_bp=1))
    assert [run[0] for run in _current(history).bids] == [60, 99]
    assert _current(history).spans[0][2:] == (100 - MIN_REACH_TICKS, 100 + MIN_REACH_TICKS)


def test_the_farthest_levels_of_a_side_go_first_until_the_next_minute() -> None:
    limits = DepthLimits(reach_bp=9_000, max_levels=8, max_runs=100)
    history, _ = _history(_diff(1, 1), limits=limits)
    for at in range(2, 12):
        history.step(_diff(at, at, {99 - at: 1}), START_MS + at)
    chunk = _current(history)
    standing = [run[0] for run in chunk.bids if run[3] == chunk.end_ms]
    assert (chunk.truncated, standing) == (True, [*range(92, 98), 99])
    for at in range(2, 10):
        history.step(_diff(20, at + 10, {99 - at: 0}), START_MS + 20)
    history.step(_diff(MINUTE_MS, 20), START_MS + MINUTE_MS)
    chunk = _current(history)
    # The minute begins with the window as it was, so it is truncated; the levels are all there again.
    assert (chunk.truncated, [run[0] for run in chunk.bids]) == (True, [88, 89, 99])


def test_a_busy_minute_is_kept_to_its_runs_nearest_to_the_middle() -> None:
    limits = DepthLimits(reach_bp=5_000, max_levels=8, max_runs=32)
    near = [_diff(at, at, {98: at}) for at in range(1, 15)]
    far = [_diff(at, at, {90: at}) for at in range(15, 40)]
    history, _ = _history(*near, *far, limits=limits)
    chunk = _current(history)
    assert {run[0] for run in chunk.bids} == {98, 99}
    assert chunk.truncated and chunk.spans[0].low_ticks > 90
    assert len([run for run in chunk.bids if run[0] == 98]) == 14


def test_a_busy_minute_is_cut_in_its_earlier_spans_too_and_the_next_one_is_wide_again() -> None:
    limits = DepthLimits(reach_bp=10, max_levels=20, max_runs=80)
    venue = Venue()
    # The middle moves far once, so that there are two spans; then one level changes over and over.
    busy = [Move(10, 60, [(True, 1, 1), (False, 1, 1)]), *(Move(10, 0, [(True, 2, 1 + at % 2)]) for at in range(90))]
    watched = feed_all(_watched(limits), venue, [Move(10, 0, []), *busy])
    chunk = _current(watched.history)
    assert chunk.truncated
    for span in chunk.spans:
        assert span.low_ticks > FIRST_MID
        bids, asks = watched.truth.at(span.from_ms) or ({}, {})
        assert book_at([chunk], span.from_ms) == (
            span,
            *(within(side, span.low_ticks, span.high_ticks) for side in (bids, asks)),
        )
    watched.feed(venue.move(Move(MINUTE_MS, 0, [])))
    watched.feed(venue.move(Move(MINUTE_MS, 0, [])))
    chunk = _current(watched.history)
    low, high = bounds(2 * (FIRST_MID + 60), 2 * (FIRST_MID + 60) // 1_000)
    assert (chunk.truncated, [span[2:] for span in chunk.spans]) == (False, [(low, high)])


def _busy_history() -> BookHistory:
    """The next run cuts the minute: it holds 32, most of them of 90."""
    limits = DepthLimits(reach_bp=5_000, max_levels=8, max_runs=32)
    history, _ = _history(*(_diff(at, at, {90: at}) for at in range(1, 31)), limits=limits)
    assert not _current(history).truncated
    return history


def test_what_comes_and_goes_in_the_millisecond_of_a_cut_is_cut() -> None:
    history = _busy_history()
    history.step(_diff(40, 31, {99: 5}), START_MS + 40)
    history.step(_diff(40, 32, {99: 1}), START_MS + 40)
    chunk = _current(history)
    assert chunk.truncated
    assert chunk.bids == [(99, 1, START_MS + 1, START_MS + 40), (99, 1, START_MS + 40, START_MS + 41)]


def test_a_new_book_has_a_wide_window_though_the_minute_was_cut() -> None:
    history = _busy_history()
    history.step(_diff(40, 31, {99: 5}), START_MS + 40)
    assert {run[0] for run in _current(history).bids} == {99}
    history.lost()
    history.step(DepthEvent("X", -1, 31, 31, -1, [(99, 1), (90, 2)], [(101, 1)], snapshot=True), START_MS + 50)
    history.step(_diff(60, 32), START_MS + 60)
    assert {run[0] for run in _current(history).bids} == {90, 99}


def test_a_window_that_never_rests_is_not_followed_beyond_its_spans() -> None:
    limits = DepthLimits(reach_bp=1)
    jumps = [Move(1, 40 * (-1) ** at, [(True, 1, 1), (False, 1, 1)]) for at in range(600)]
    watched = feed_all(_watched(limits), Venue(), jumps)
    chunk = _current(watched.history)
    assert chunk.truncated and len(chunk.spans) in (MAX_SPANS, MAX_SPANS + 1)


def test_a_book_that_breaks_all_the_time_is_bounded_too() -> None:
    history = BookHistory.new(CoinbaseRule(), EVERYTHING)
    for at in range(1, 2_000):
        history.step(DepthEvent("X", -1, -1, -1, -1, [(99, 1)], [(101, 1)], snapshot=True), START_MS + at)
        history.step(_diff(at, -1), START_MS + at)
    chunk = _current(history)
    assert len(chunk.spans) == MAX_SPANS and chunk.truncated


def test_without_one_side_nothing_is_recorded_yet() -> None:
    history = BookHistory.new(CoinbaseRule(), EVERYTHING)
    history.step(DepthEvent("X", -1, -1, -1, -1, [], [(101, 1)], snapshot=True), START_MS)
    history.step(_diff(10, -1, {}, {102: 1}), START_MS + 10)
    assert history.recorder.current() is None
    history.step(_diff(20, -1, {99: 1}), START_MS + 20)
    assert [run[0] for run in _current(history).asks] == [101, 102]


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        ({"reach_bp": 0}, "reach_bp is 0"),
        ({"reach_bp": 10_000}, "reach_bp is 10000"),
        ({"max_levels": 0}, "max_levels is 0"),
        ({"max_runs": 15_999}, "at least 4 x max_levels"),
        ({"resolution_ms": 7_000}, "a divisor of 60000"),
    ],
)
def test_limits_that_make_no_sense_are_refused(limits: dict[str, int], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        DepthLimits(**limits)
