"""How far a book and its history are known: never beyond what the venue has shown, whatever diffs tell of."""

from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.market.depth.book import Book
from common.market.depth.chunk import (
    OLD_HEAD,
    OLD_VERSION,
    DepthChunk,
    PriceSpan,
    pack_chunk,
    unpack_chunk,
    unpack_head,
)
from common.market.depth.history import BookHistory
from common.market.depth.runs import DepthLimits
from common.market.depth.sync import DIFFERENT
from common.market.timeframes.timeframe import MINUTE_MS
from tests.kit.book_model import FIRST_MID, Move, Side, Venue, book_at, moves, within
from tests.kit.strategies import LAW, START_MS
from workers.venues.binance.book_rule import BinanceSpotRule
from workers.venues.kraken.book_rule import KrakenRule
from workers.venues.shared.base import DepthEvent

EVERYTHING, FOREVER = DepthLimits(reach_bp=9_900), 1 << 60
# Of a wider snapshot: whether it is asked for before this diff, and after how many more it comes (-1: before this one).
ASKED = st.tuples(st.booleans(), st.integers(-1, 3))


def _best(side: Side, count: int, *, is_bid: bool) -> Side:
    return dict(sorted(side.items(), reverse=is_bid)[:count])


def _shown(venue: Venue, count: int) -> DepthEvent:
    """A snapshot of the best levels."""
    bids, asks = _best(venue.bids, count, is_bid=True), _best(venue.asks, count, is_bid=False)
    whole = len(bids) < count, len(asks) < count
    return venue.snapshot()._replace(bids=list(bids.items()), asks=list(asks.items()), whole=whole)


@dataclass
class Truth:
    """The venue's own book at each time, all of it."""

    history: BookHistory
    states: list[tuple[int, Side, Side]] = field(default_factory=list)
    closed: list[DepthChunk] = field(default_factory=list)

    def feed(self, event: DepthEvent, venue: Venue) -> None:
        self.closed += self.history.step(event, max(event.ts_ms, START_MS))
        if not event.snapshot:
            self.states.append((event.ts_ms, venue.bids, venue.asks))

    def at(self, ts_ms: int) -> tuple[Side, Side]:
        return [state[1:] for state in self.states if state[0] <= ts_ms][-1]

    def chunks(self) -> list[DepthChunk]:
        current = self.history.recorder.current()
        return [unpack_chunk(pack_chunk(chunk)) for chunk in [*self.closed, *([current] if current else [])]]

    def check(self) -> None:
        """Wherever the history says that it is whole, it is the venue's book."""
        chunks = self.chunks()
        times = {ts_ms + by for ts_ms, *_ in self.states for by in (0, 1, 7_000)}
        times |= {ts_ms - ts_ms % MINUTE_MS for ts_ms in times}
        for ts_ms in times:
            if found := book_at(chunks, ts_ms):
                span, *sides = found
                assert sides == [within(side, span.low_ticks, span.high_ticks) for side in self.at(ts_ms)]


@LAW
@given(moves(), st.integers(1, 14), st.data())
def test_inside_its_spans_a_history_is_the_market_however_little_a_snapshot_shows(
    drawn: list[Move], count: int, data: st.DataObject
) -> None:
    venue = Venue()
    truth = Truth(BookHistory.new(BinanceSpotRule(), EVERYTHING))
    truth.feed(_shown(venue, count), venue)
    coming: dict[int, DepthEvent] = {}
    for at, move in enumerate(drawn):
        asked, after = data.draw(ASKED)
        if asked and not coming:
            truth.history.await_wider()
        event = venue.move(move)
        if asked and not coming:
            coming[at + after] = _shown(venue, count)
        for early in (True, False):
            if not early:
                truth.feed(event, venue)
            if snapshot := coming.pop(at - early, None):
                truth.feed(snapshot, venue)
    assert not truth.history.sync.breaks
    truth.check()


@LAW
@given(moves(), st.integers(1, 14))
def test_of_a_venue_that_shows_its_best_levels_what_is_held_is_known(drawn: list[Move], count: int) -> None:
    venue = Venue()
    truth = Truth(BookHistory.new(KrakenRule(count), EVERYTHING))
    truth.feed(_shown(venue, count), venue)
    for move in drawn:
        before = [_best(venue.bids, count, is_bid=True), _best(venue.asks, count, is_bid=False)]
        event = venue.move(move)
        changes = []
        for shown, side, is_bid in ((before[0], venue.bids, True), (before[1], venue.asks, False)):
            now = _best(side, count, is_bid=is_bid)
            gone = {price: 0 for price in shown if price not in side}
            changes.append([*gone.items(), *((p, size) for p, size in now.items() if shown.get(p) != size)])
        truth.feed(event._replace(bids=changes[0], asks=changes[1]), venue)
        book = truth.history.sync.book
        assert book.bids.sizes == within(venue.bids, book.low_ticks, FOREVER)
        assert book.asks.sizes == within(venue.asks, 0, book.high_ticks)
    truth.check()


# Single cases, said out loud.


def _deep_venue() -> Venue:
    """100 levels of a side, one tick apart."""
    bids, asks = ({FIRST_MID + step * at: at for at in range(1, 101)} for step in (-1, 1))
    return Venue(bids=bids, asks=asks)


def _followed(venue: Venue, count: int, *drawn: Move) -> Truth:
    truth = Truth(BookHistory.new(BinanceSpotRule(), EVERYTHING))
    truth.feed(_shown(venue, count), venue)
    for move in drawn:
        truth.feed(venue.move(move), venue)
    return truth


def _spans(truth: Truth) -> list[tuple[int, int]]:
    return [(span.low_ticks, span.high_ticks) for chunk in truth.chunks() for span in chunk.spans]


def test_a_snapshot_that_is_full_reaches_to_its_worst_level_and_a_diff_beyond_widens_nothing() -> None:
    truth = _followed(_deep_venue(), 10, Move(10, 0, []), Move(10, 0, [(True, 40, 7), (False, 40, 7)]))
    assert _spans(truth) == [(FIRST_MID - 10, FIRST_MID + 10)]
    assert FIRST_MID - 40 in truth.history.sync.book.bids.sizes


def test_a_snapshot_with_fewer_levels_than_asked_for_reaches_to_the_end() -> None:
    truth = _followed(_deep_venue(), 101, Move(10, 0, []))
    assert _spans(truth) == [(FIRST_MID // 100, 2 * FIRST_MID - FIRST_MID // 100)]


def test_each_side_reaches_as_far_as_it_was_shown() -> None:
    venue = _deep_venue()
    venue.asks = {FIRST_MID + 1: 1}
    book = _followed(venue, 10, Move(10, 0, [])).history.sync.book
    assert book.low_ticks == FIRST_MID - 10 and book.high_ticks > FOREVER


def test_the_middle_nears_an_edge_with_a_fifth_of_the_way_left() -> None:
    for drift, nears in ((70, False), (-70, False), (80, False), (81, True), (-81, True)):
        truth = _followed(_deep_venue(), 100, Move(10, 0, []))
        venue = _deep_venue()
        truth = _followed(venue, 100, Move(10, drift, [(True, 1, 1), (False, 1, 1)]))
        assert truth.history.nears_edge is nears, drift
    assert not _followed(_deep_venue(), 101, Move(10, 95, [(True, 1, 1), (False, 1, 1)])).history.nears_edge


def test_a_wider_snapshot_moves_what_is_known_and_breaks_no_run() -> None:
    venue = _deep_venue()
    truth = _followed(venue, 20, Move(10, 0, []), Move(10, 5, [(True, 1, 1)]))
    truth.history.await_wider()
    truth.feed(_shown(venue, 20), venue)
    truth.feed(venue.move(Move(10, 0, [])), venue)
    at = START_MS
    (chunk,) = truth.chunks()
    assert chunk.spans == [
        PriceSpan(at + 10, at + 20, FIRST_MID - 20, FIRST_MID + 20),
        PriceSpan(at + 20, at + 31, FIRST_MID - 19, FIRST_MID + 25),
    ]
    assert [run[2:] for run in chunk.asks if run[0] == FIRST_MID + 15] == [(at + 10, at + 31)]
    assert [run[2:] for run in chunk.asks if run[0] == FIRST_MID + 23] == [(at + 20, at + 31)]
    assert [run[2:] for run in chunk.bids if run[0] == FIRST_MID - 20] == [(at + 10, at + 20)]
    assert not truth.history.nears_edge
    truth.check()


def test_a_wider_snapshot_that_contradicts_the_book_breaks_its_history() -> None:
    venue = _deep_venue()
    truth = _followed(venue, 20, Move(10, 0, []))
    truth.history.await_wider()
    truth.feed(_shown(venue, 20)._replace(bids=[(FIRST_MID - 1, 99)]), venue)
    assert truth.history.sync.breaks == {DIFFERENT: 1}
    assert not truth.history.recorder.recording and not truth.history.sync.needs_snapshot
    truth.feed(venue.move(Move(10, 0, [])), venue)
    assert [run[2] - START_MS for chunk in truth.chunks() for run in chunk.bids if run[0] == FIRST_MID - 1] == [10, 20]


def test_a_wider_snapshot_that_is_too_old_or_never_comes_leaves_the_book_as_it_is() -> None:
    venue = _deep_venue()
    truth = _followed(venue, 20, Move(10, 0, []))
    old = _shown(venue, 20)
    truth.feed(venue.move(Move(10, 1, [(True, 1, 1)])), venue)
    truth.feed(venue.move(Move(10, 1, [(True, 1, 1)])), venue)
    truth.history.await_wider()
    truth.feed(venue.move(Move(10, 1, [(True, 1, 1)])), venue)
    truth.feed(old, venue)
    assert truth.history.wider is None and not truth.history.sync.breaks
    truth.history.await_wider()
    truth.history.forget_wider()
    truth.feed(venue.move(Move(10, 0, [])), venue)
    assert _spans(truth) == [(FIRST_MID - 20, FIRST_MID + 20)]
    truth.check()


def test_a_book_that_is_lost_meanwhile_begins_with_the_snapshot_on_its_way() -> None:
    venue = _deep_venue()
    truth = _followed(venue, 20, Move(10, 0, []))
    truth.history.await_wider()
    truth.history.lost()
    truth.feed(_shown(venue, 20), venue)
    assert not truth.history.sync.needs_snapshot


def test_levels_beyond_the_edge_are_not_among_the_best_but_for_the_first() -> None:
    book = Book()
    book.replace([(99, 1), (98, 1)], [(101, 1), (102, 1)], (False, False))
    book.apply([(90, 5)], [(110, 5)])
    assert book.depth(9) == ([(99, 1), (98, 1)], [(101, 1), (102, 1)])
    book.apply([(99, 0), (98, 0)], [])
    assert book.depth(9) == ([(90, 5)], [(101, 1), (102, 1)])


def test_of_a_side_that_says_nothing_nothing_is_known() -> None:
    book = Book()
    book.replace([], [(101, 1)], (False, True))
    assert book.low_ticks > FOREVER


# The packed minute.


def _chunk() -> DepthChunk:
    end_ms = START_MS + 5_000
    return DepthChunk(START_MS, end_ms, [PriceSpan(START_MS, end_ms, 90, 110)], [(99, 5, START_MS, end_ms)], [])


def test_a_chunk_keeps_its_resolution() -> None:
    coarse = replace(_chunk(), resolution_ms=MINUTE_MS)
    assert unpack_chunk(pack_chunk(coarse)) == coarse


def test_a_chunk_of_the_first_version_says_what_stood_and_not_what_is_known() -> None:
    packed = pack_chunk(_chunk())
    head = unpack_head(packed)
    old = OLD_HEAD.pack(OLD_VERSION, *head[1:-1]) + packed[head.size :]
    assert unpack_chunk(old) == replace(_chunk(), spans=[])
    assert (unpack_head(old).resolution_ms, unpack_head(packed).resolution_ms) == (0, 1)


@pytest.mark.parametrize(("stored", "now", "kept"), [(1, 100, 100), (100, 1, 100)])
def test_a_minute_of_two_resolutions_has_the_coarser(stored: int, now: int, kept: int) -> None:
    packed = pack_chunk(replace(_chunk(), resolution_ms=stored))
    history = BookHistory.restore(BinanceSpotRule(), replace(EVERYTHING, resolution_ms=now), packed)
    current = history.recorder.current()
    assert current is not None and current.resolution_ms == kept
