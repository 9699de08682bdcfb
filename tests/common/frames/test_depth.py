"""Chunks of a book's history as frames, held equal to what unpacking one by one gives."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.frames import depth
from common.frames.depth import ASK, BID, LEVELS, PACKED_SPAN, RUNS, SPANS
from common.market.depth.chunk import SPAN, DepthChunk, PriceSpan, pack_chunk, unpack_chunk
from common.market.depth.history import BookHistory
from common.market.depth.runs import DepthLimits
from common.market.rescaling import MAX_INT_64, Unfit
from common.market.scale import Scale, Scales
from common.market.timeframes.timeframe import MINUTE_MS
from tests.kit.book_model import PRICES, Move, Venue, Watched, best_first, chunks, feed_all, moves, within
from tests.kit.strategies import LAW, START_MS
from workers.venues.binance.book_rule import BinanceSpotRule

EVERYTHING, NOTHING = (0, 1 << 60), (1, 0)
Row = tuple[int, int, int, int, int, bool]


def _rows(chunk: DepthChunk) -> list[Row]:
    """The rows of RUNS, by the definition of it."""
    return [
        (side, price, size, max(from_ms, chunk.open_ms), until_ms, from_ms < chunk.open_ms)
        for side, runs in ((BID, chunk.bids), (ASK, chunk.asks))
        for price, size, from_ms, until_ms in runs
    ]


def _watched(drawn: list[Move], limits: DepthLimits | None = None) -> Watched:
    return feed_all(Watched(BookHistory.new(BinanceSpotRule(), limits or DepthLimits(9_900))), Venue(), drawn)


def _minutes(count: int) -> st.SearchStrategy[list[DepthChunk]]:
    """Chunks of minutes that follow one another."""
    return st.tuples(*(chunks(START_MS + at * MINUTE_MS) for at in range(count))).map(list)


def test_the_numpy_record_is_the_struct_of_a_span() -> None:
    packed = SPAN.pack(1, 60_000, -5, 1 << 53)
    assert np.frombuffer(packed, PACKED_SPAN)[0].item() == SPAN.unpack(packed)


@LAW
@given(_minutes(2))
def test_whole_columns_decode_to_what_unpacking_gives(drawn: list[DepthChunk]) -> None:
    packed = [pack_chunk(chunk) for chunk in drawn]
    unpacked = [unpack_chunk(chunk) for chunk in packed]
    frame = depth.runs(packed, *EVERYTHING, *EVERYTHING)
    assert frame.schema == RUNS
    assert frame.rows() == [row for chunk in unpacked for row in _rows(chunk)]


@LAW
@given(_minutes(2), st.integers(0, 3), st.integers(0, 3))
def test_chunks_of_two_scales_are_read_as_one(drawn: list[DepthChunk], price: int, size: int) -> None:
    packed = [pack_chunk(drawn[0]), pack_chunk(drawn[1], Scale(2, 3))]
    scales = Scales(Scale(1 + price, 1 + size), Scale(0, 1))
    try:
        unpacked = [unpack_chunk(chunk, scales) for chunk in packed]
    except Unfit:
        return
    frame = depth.runs(packed, *EVERYTHING, 0, MAX_INT_64, scales)
    assert frame.rows() == [row for chunk in unpacked for row in _rows(chunk)]
    spans = depth.spans(packed, *EVERYTHING, scales)
    assert [row[:4] for row in spans.rows()] == [tuple(span) for chunk in unpacked for span in chunk.spans]


@LAW
@given(_minutes(2), st.integers(-10, 130_000), st.integers(0, 70_000), PRICES, PRICES)
def test_a_range_has_the_runs_that_share_a_time_and_a_price_with_it(
    drawn: list[DepthChunk], from_after: int, span_ms: int, low: int, high: int
) -> None:
    from_ms = START_MS + from_after
    packed = [pack_chunk(chunk) for chunk in drawn]
    expected = [
        row
        for chunk in map(unpack_chunk, packed)
        for row in _rows(chunk)
        if row[3] < from_ms + span_ms and row[4] > from_ms and low <= row[1] <= high
    ]
    assert depth.runs(packed, from_ms, from_ms + span_ms, low, high).rows() == expected


@LAW
@given(_minutes(2), st.integers(-10, 130_000), st.integers(0, 70_000))
def test_spans_say_where_the_history_is_whole(drawn: list[DepthChunk], from_after: int, span_ms: int) -> None:
    from_ms = START_MS + from_after
    frame = depth.spans([pack_chunk(chunk) for chunk in drawn], from_ms, from_ms + span_ms)
    assert frame.schema == SPANS
    assert frame.rows() == [
        (*span, chunk.truncated, chunk.resolution_ms)
        for chunk in drawn
        for span in chunk.spans
        if span.from_ms < from_ms + span_ms and span.until_ms > from_ms
    ]


@LAW
@given(moves(), st.sampled_from([DepthLimits(9_900), DepthLimits(20, 4, 40)]))
def test_the_book_at_a_time_is_the_book_of_that_time(drawn: list[Move], limits: DepthLimits) -> None:
    watched = _watched(drawn, limits)
    by_minute = {unpack_chunk(chunk).open_ms: chunk for chunk in watched.chunks()}
    for ts_ms in watched.truth.times():
        chunk, truth = by_minute.get(ts_ms - ts_ms % MINUTE_MS), watched.truth.at(ts_ms)
        found = depth.book_at(chunk, ts_ms) if chunk else None
        if found is None:
            assert truth is None or limits.reach_bp < 9_900
            continue
        assert truth is not None
        sides = best_first(*(within(side, found.low_ticks, found.high_ticks) for side in truth))
        assert (found.bids.rows(), found.asks.rows()) == sides
        assert found.bids.schema == found.asks.schema == LEVELS


@LAW
@given(moves())
def test_joined_runs_last_as_long_as_their_size(drawn: list[Move]) -> None:
    watched = _watched(drawn)
    joined = depth.joined(depth.runs(watched.chunks(), *EVERYTHING, *EVERYTHING))
    assert joined.schema == RUNS
    assert sorted(joined.drop("continues").rows()) == watched.truth.runs()
    assert not joined["continues"].any()


def test_runs_are_not_joined_over_a_chunk_that_is_missing() -> None:
    minutes = [START_MS + at * MINUTE_MS for at in (0, 1, 3, 4)]
    packed = [
        pack_chunk(DepthChunk(open_ms, open_ms + MINUTE_MS, [], [(99, 5, open_ms - 1, open_ms + MINUTE_MS)]))
        for open_ms in minutes
    ]
    joined = depth.joined(depth.runs(packed, *EVERYTHING, *EVERYTHING))
    assert joined.select("from_ms", "until_ms", "continues").rows() == [
        (START_MS, START_MS + 2 * MINUTE_MS, True),
        (START_MS + 3 * MINUTE_MS, START_MS + 5 * MINUTE_MS, True),
    ]


def test_equal_prices_of_either_side_are_not_one_run() -> None:
    end_ms = START_MS + MINUTE_MS
    bid = DepthChunk(START_MS, end_ms, bids=[(99, 5, START_MS, end_ms)])
    ask = DepthChunk(end_ms, end_ms + 10, asks=[(99, 5, end_ms - 1, end_ms + 10)])
    frame = depth.runs([pack_chunk(bid), pack_chunk(ask)], *EVERYTHING, *EVERYTHING)
    assert depth.joined(frame).rows() == frame.rows()


@pytest.mark.parametrize("packed", [[], [pack_chunk(DepthChunk(START_MS, START_MS + 1))]])
def test_nothing_is_a_frame_without_rows(packed: list[bytes]) -> None:
    empty = depth.runs(packed, *EVERYTHING, *EVERYTHING)
    assert (empty.schema, len(empty)) == (RUNS, 0)
    assert depth.joined(empty).equals(pl.DataFrame(schema=RUNS))
    assert depth.spans(packed, *EVERYTHING).equals(pl.DataFrame(schema=SPANS))


def test_a_time_outside_all_spans_is_not_known() -> None:
    chunk = DepthChunk(
        START_MS, START_MS + 20, [PriceSpan(START_MS + 10, START_MS + 20, 1, 9)], [(5, 1, START_MS + 10, START_MS + 20)]
    )
    packed = pack_chunk(chunk)
    assert depth.book_at(packed, START_MS + 9) is None
    assert depth.book_at(packed, START_MS + 20) is None
    found = depth.book_at(packed, START_MS + 10)
    assert found is not None
    assert (found.low_ticks, found.high_ticks, found.bids.rows(), found.asks.rows()) == (1, 9, [(5, 1)], [])
