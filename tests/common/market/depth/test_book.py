"""The book and how it stays in step, against a venue that is known."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.market.depth.book import Book
from common.market.depth.sync import CHECKSUM, CROSSED, GAP, MAX_BUFFERED, OLD_SNAPSHOT, BookSync, Outcome, Rule
from tests.kit.book_model import Side, Venue, best_first, moves, sides_of, within
from tests.kit.strategies import LAW
from workers.venues.binance.book_rule import BinanceSpotRule, BinanceUsdmRule
from workers.venues.coinbase.book_rule import CoinbaseRule
from workers.venues.kraken.book_rule import KrakenRule
from workers.venues.shared.base import DepthEvent

LEVELS = st.lists(st.tuples(st.integers(1, 40), st.integers(0, 5)), max_size=12)
BINANCE = pytest.mark.parametrize("rule", [BinanceSpotRule(), BinanceUsdmRule()])


def _snapshot(last_id: int, bids: Side | None = None, asks: Side | None = None) -> DepthEvent:
    levels = list((bids or {100: 1}).items()), list((asks or {110: 1}).items())
    return DepthEvent("X", -1, last_id, last_id, -1, *levels, snapshot=True)


def _diff(first: int, last: int, bids: Side | None = None, asks: Side | None = None, previous: int = -1) -> DepthEvent:
    return DepthEvent("X", 1, first, last, previous, list((bids or {}).items()), list((asks or {}).items()))


def _outcomes(sync: BookSync, *events: DepthEvent) -> list[Outcome]:
    return [sync.feed(event) for event in events]


# The book.


@LAW
@given(st.lists(st.tuples(LEVELS, LEVELS), max_size=8), st.integers(1, 50), st.integers(1, 50))
def test_a_book_is_its_levels_in_order(changes: list[tuple[list[tuple[int, int]], ...]], low: int, high: int) -> None:
    book = Book()
    bids: Side = {}
    asks: Side = {}
    if changes:
        book.replace(changes[0][0], changes[0][1])
    for at, (bid_levels, ask_levels) in enumerate(changes):
        if at:
            book.apply(bid_levels, ask_levels)
        bids = {price: size for price, size in (bids | dict(bid_levels)).items() if size}
        asks = {price: size for price, size in (asks | dict(ask_levels)).items() if size}
    assert book.depth(1_000) == best_first(bids, asks)
    inside = best_first(within(bids, low, high), within(asks, low, high))
    assert (book.bids.between(low, high), book.asks.between(low, high)) == inside
    assert book.bids.count(low) == len(within(bids, low, 1_000))
    assert book.asks.count(high) == len(within(asks, 0, high))
    assert book.crossed is bool(bids and asks and max(bids) >= min(asks))


def test_the_top_is_the_best_of_either_side_and_nothing_while_one_is_empty() -> None:
    book = Book()
    book.replace([(99, 5), (98, 7)], [(102, 3), (103, 4)])
    assert book.top() == (99, 5, 102, 3)
    assert book.twice_mid == 201
    assert book.depth(1) == ([(99, 5)], [(102, 3)])
    book.apply([], [(102, 0), (103, 0)])
    assert book.top() is None
    assert book.within(500) == ([], [])


def test_levels_within_a_percentage_reach_exactly_that_far_from_the_middle() -> None:
    book = Book()
    book.replace([(price, 1) for price in range(900, 1000)], [(price, 1) for price in range(1000, 1100)])
    bids, asks = book.within(500)
    # The middle is 999.5; 5 % of it 49.975.
    assert (bids[-1], asks[-1]) == ((950, 1), (1049, 1))
    assert (bids[0], asks[0]) == ((999, 1), (1000, 1))


def test_of_a_price_that_is_there_twice_the_later_level_counts() -> None:
    book = Book()
    book.replace([(99, 5), (99, 0), (98, 1), (98, 2)], [])
    book.apply([(97, 1), (97, 0)], [(102, 1), (102, 9)])
    assert sides_of(book) == ({98: 2}, {102: 9})


def test_levels_beyond_the_depth_are_forgotten_and_told_of() -> None:
    book = Book(max_levels=2)
    book.replace([(10, 1), (9, 1), (8, 1)], [(11, 1)])
    assert sides_of(book) == ({10: 1, 9: 1}, {11: 1})
    assert book.apply([(7, 3)], [(13, 1), (12, 4)]) == ([(7, 3), (7, 0)], [(13, 1), (12, 4), (13, 0)])
    assert sides_of(book) == ({10: 1, 9: 1}, {11: 1, 12: 4})


# Venues' rules.


def test_spot_takes_the_diff_that_begins_right_after_the_snapshot() -> None:
    sync = BookSync(BinanceSpotRule())
    assert _outcomes(sync, _snapshot(100), _diff(101, 103, {99: 4})) == [Outcome.SYNCED, Outcome.APPLIED]
    assert sync.book.last_id == 103


def test_spot_takes_the_diff_that_the_snapshot_lies_in() -> None:
    sync = BookSync(BinanceSpotRule())
    assert _outcomes(sync, _snapshot(100), _diff(98, 103)) == [Outcome.SYNCED, Outcome.APPLIED]


def test_diffs_that_are_in_the_book_already_change_nothing() -> None:
    sync = BookSync(BinanceSpotRule())
    assert _outcomes(sync, _snapshot(100), _diff(95, 100, {99: 4})) == [Outcome.SYNCED, Outcome.IGNORED]
    assert sides_of(sync.book)[0] == {100: 1}


def test_futures_follow_the_id_of_the_diff_before() -> None:
    sync = BookSync(BinanceUsdmRule())
    inside, next_one, not_next = (
        _diff(90, 120, previous=80),
        _diff(150, 170, previous=120),
        _diff(171, 180, previous=169),
    )
    assert _outcomes(sync, _snapshot(100), inside, next_one) == [Outcome.SYNCED, Outcome.APPLIED, Outcome.APPLIED]
    assert sync.feed(not_next) is Outcome.BROKEN
    assert sync.cause == GAP


def test_futures_take_a_snapshot_that_is_the_end_of_a_diff() -> None:
    sync = BookSync(BinanceUsdmRule())
    assert _outcomes(sync, _snapshot(100), _diff(140, 150, previous=100)) == [Outcome.SYNCED, Outcome.APPLIED]


def test_kraken_s_documented_checksum() -> None:
    """The example of Kraken's page "Book checksum (WebSocket v1)"."""
    book = Book()
    bids = [5000, 4995, 4990, 4980, 4975, 4970, 4965, 4960, 4955, 4950]
    book.replace([(price, 500) for price in bids], [(price, 500) for price in range(5005, 5055, 5)])
    assert KrakenRule(10).checksum(book) == 974947235
    coarse = Book()
    coarse.replace([(price // 5, 5) for price in bids], [(price // 5, 5) for price in range(5005, 5055, 5)])
    assert KrakenRule(10).checksum(coarse) != KrakenRule(10, size_zeros=2).checksum(coarse)


def test_zeros_that_kraken_writes_beyond_the_decimals_are_in_its_checksum() -> None:
    exact, short = Book(), Book()
    exact.replace([(35480000000, 140000000)], [(35483000000, 700000000)])
    short.replace([(35480, 14)], [(35483, 70)])
    assert KrakenRule(10, price_zeros=6, size_zeros=7).checksum(short) == KrakenRule(10).checksum(exact)


def test_a_wrong_checksum_ends_the_book() -> None:
    sync = BookSync(KrakenRule(10))
    assert sync.feed(_snapshot(-1)) is Outcome.SYNCED
    right = sync.rule.agrees(_diff(-1, -1), sync.book)
    assert right
    assert sync.feed(_diff(-1, -1, {99: 4})._replace(checksum=1)) is Outcome.BROKEN
    assert (sync.needs_snapshot, sync.cause, sync.breaks) == (True, CHECKSUM, {CHECKSUM: 1})
    assert sync.feed(_diff(-1, -1, {98: 4})) is Outcome.WAITING
    assert sync.feed(_snapshot(-1)) is Outcome.SYNCED
    assert sides_of(sync.book) == ({100: 1}, {110: 1})


def test_coinbase_sets_sizes_on_top_of_the_book_of_the_subscription() -> None:
    sync = BookSync(CoinbaseRule())
    events = _diff(-1, -1, {1: 1}), _snapshot(-1), _diff(-1, -1, {100: 0, 99: 2}), _snapshot(-1)
    expected = [Outcome.WAITING, Outcome.SYNCED, Outcome.APPLIED, Outcome.SYNCED]
    assert _outcomes(sync, *events) == expected


# In step or not.


def test_a_missing_diff_ends_the_book_and_the_one_that_showed_it_is_kept_for_the_next() -> None:
    sync = BookSync(BinanceSpotRule())
    _outcomes(sync, _snapshot(100), _diff(101, 101))
    assert _outcomes(sync, _diff(103, 104, {99: 4}), _diff(105, 106)) == [Outcome.BROKEN, Outcome.WAITING]
    assert sync.feed(_snapshot(102)) is Outcome.SYNCED
    assert (sync.book.last_id, sides_of(sync.book)[0]) == (106, {100: 1, 99: 4})
    assert sync.breaks == {GAP: 1}


def test_a_snapshot_older_than_the_stream_is_not_enough() -> None:
    sync = BookSync(BinanceSpotRule())
    assert _outcomes(sync, _diff(103, 104), _snapshot(101)) == [Outcome.WAITING, Outcome.BROKEN]
    assert (sync.needs_snapshot, sync.cause) == (True, OLD_SNAPSHOT)
    assert sync.feed(_snapshot(103)) is Outcome.SYNCED
    assert sync.book.last_id == 104


def test_what_was_kept_after_a_hole_among_the_kept_serves_the_next_snapshot() -> None:
    sync = BookSync(BinanceSpotRule())
    _outcomes(sync, _diff(101, 102), _diff(105, 106), _diff(107, 108))
    assert sync.feed(_snapshot(100)) is Outcome.BROKEN
    assert sync.feed(_snapshot(105)) is Outcome.SYNCED
    assert sync.book.last_id == 108


def test_a_crossed_book_is_no_book() -> None:
    sync = BookSync(BinanceSpotRule())
    assert _outcomes(sync, _snapshot(100), _diff(101, 101, {110: 1})) == [Outcome.SYNCED, Outcome.BROKEN]
    assert sync.cause == CROSSED
    assert sync.feed(_snapshot(101, {111: 1}, {110: 1})) is Outcome.BROKEN
    assert sync.needs_snapshot


def test_a_late_snapshot_does_not_turn_the_book_back() -> None:
    sync = BookSync(BinanceSpotRule())
    assert _outcomes(sync, _snapshot(100), _diff(101, 105, {99: 4}), _snapshot(103))[-1] is Outcome.IGNORED
    assert sync.book.last_id == 105


def test_after_a_lost_connection_a_snapshot_is_needed() -> None:
    sync = BookSync(BinanceSpotRule())
    _outcomes(sync, _snapshot(100))
    sync.lost()
    assert sync.needs_snapshot
    assert sync.feed(_diff(101, 102)) is Outcome.WAITING


def test_the_diffs_kept_are_bounded_and_the_oldest_go_first() -> None:
    sync = BookSync(BinanceSpotRule())
    for number in range(1, MAX_BUFFERED + 10):
        sync.feed(_diff(number, number))
    assert sync.feed(_snapshot(5)) is Outcome.BROKEN
    assert sync.feed(_snapshot(20)) is Outcome.SYNCED
    assert sync.book.last_id == MAX_BUFFERED + 9


@BINANCE
@LAW
@given(data=st.data())
def test_whatever_is_dropped_repeated_or_late_a_book_in_step_is_the_venue_s(rule: Rule, data: st.DataObject) -> None:
    venue = Venue(shared_ids=isinstance(rule, BinanceUsdmRule))
    events, truth = [venue.snapshot()], {venue.last_id: (venue.bids, venue.asks)}
    for move in data.draw(moves()):
        events += [venue.move(move), venue.snapshot()]
        truth[venue.last_id] = (venue.bids, venue.asks)
    # When each event comes: usually in its turn, sometimes later, twice, or never.
    delays = st.one_of(st.just([0]), st.lists(st.integers(0, 12), max_size=2))
    sent = [(at + delay, at, event) for at, event in enumerate(events) for delay in data.draw(delays)]
    sync = BookSync(rule)
    for _, _, event in sorted(sent):
        sync.feed(event)
        if not sync.needs_snapshot:
            assert sides_of(sync.book) == truth[sync.book.last_id]
    assert sync.feed(events[-1]) in (Outcome.SYNCED, Outcome.IGNORED)
    assert sides_of(sync.book) == truth[venue.last_id]


@LAW
@given(
    st.lists(st.builds(_diff, st.integers(0, 9), st.integers(0, 9), *[st.dictionaries(*[st.integers(1, 9)] * 2)] * 2))
)
def test_a_book_in_step_is_never_crossed(events: list[DepthEvent]) -> None:
    for rule in (BinanceSpotRule(), CoinbaseRule()):
        sync = BookSync(rule)
        sync.feed(_snapshot(0, {4: 1}, {5: 1}))
        for event in events:
            sync.feed(event)
            assert sync.needs_snapshot or not sync.book.crossed
