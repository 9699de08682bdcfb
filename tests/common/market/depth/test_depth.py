"""The packed minute of a book's history."""

from dataclasses import replace
from operator import itemgetter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.market.depth.chunk import HEAD, DepthChunk, PriceSpan, Run, pack_chunk, unpack_chunk, unpack_head
from common.market.rescaling import Unfit
from common.market.scale import Scale, Scales
from common.market.timeframes.timeframe import MINUTE_MS
from common.market.trade import MAX_LOTS, MAX_TICKS
from tests.kit.book_model import chunks
from tests.kit.strategies import LAW, START_MS


def _sorted(chunk: DepthChunk) -> DepthChunk:
    for runs in (chunk.bids, chunk.asks):
        runs.sort(key=itemgetter(0, 2))
    return chunk


@LAW
@given(chunks())
def test_a_chunk_survives_packing_and_comes_back_by_price_and_time(chunk: DepthChunk) -> None:
    packed = pack_chunk(chunk)
    assert unpack_chunk(packed) == _sorted(chunk)
    assert pack_chunk(unpack_chunk(packed)) == packed


@LAW
@given(chunks())
def test_a_chunk_names_its_scale_and_is_read_in_the_one_that_is_asked_for(chunk: DepthChunk) -> None:
    named, unnamed = pack_chunk(chunk, Scale(2, 3)), pack_chunk(chunk)
    assert unpack_chunk(named) == unpack_chunk(unnamed) == _sorted(chunk)
    assert len(named) == len(unnamed)
    asked = Scales(Scale(3, 5), Scale(2, 3))
    try:
        finer = unpack_chunk(named, asked)
    except Unfit:
        assert max(run[at] for run in chunk.bids + chunk.asks for at in (0, 1)) * 100 >= 1 << 63
        return
    assert finer == unpack_chunk(unnamed, asked)
    assert finer.spans == [PriceSpan(a, b, low * 10, high * 10) for a, b, low, high in chunk.spans]
    assert finer.bids == [(price * 10, size * 100, *times) for price, size, *times in chunk.bids]
    assert unpack_chunk(pack_chunk(finer, Scale(3, 5)), Scales.unchanged(Scale(2, 3))) == chunk


def test_bounds_of_what_is_known_are_moved_inwards_where_prices_get_coarser() -> None:
    chunk = DepthChunk(
        START_MS,
        START_MS + 5_000,
        [PriceSpan(START_MS + 1, START_MS + 5_000, 101, 299)],
        [(200, 1, START_MS, START_MS + 9)],
    )
    coarser = unpack_chunk(pack_chunk(chunk, Scale(2, 0)), Scales.unchanged(Scale(1, 0)))
    assert coarser.spans == [PriceSpan(START_MS + 1, START_MS + 5_000, 11, 29)] and coarser.bids[0][:2] == (20, 1)
    with pytest.raises(Unfit, match="price 2.01 has more than 1 decimals"):
        unpack_chunk(
            pack_chunk(replace(chunk, bids=[(201, 1, START_MS, START_MS + 9)]), Scale(2, 0)),
            Scales.unchanged(Scale(1, 0)),
        )


@LAW
@given(chunks(), st.data())
def test_the_bytes_do_not_depend_on_the_order_of_prices(chunk: DepthChunk, data: st.DataObject) -> None:
    packed = pack_chunk(chunk)
    first = {run[0]: at for at, run in enumerate(data.draw(st.permutations(chunk.bids)))}
    chunk.bids.sort(key=lambda run: (first[run[0]], run[2]))
    assert pack_chunk(chunk) == packed


def test_the_greatest_values_survive_packing() -> None:
    end_ms = START_MS + MINUTE_MS
    greatest, least = (MAX_TICKS - 1, MAX_LOTS - 1, START_MS - 1, end_ms), (1, 1, START_MS, START_MS + 1)
    spans = [PriceSpan(START_MS, end_ms, 1, MAX_TICKS - 1)]
    chunk = DepthChunk(START_MS, end_ms, spans, [least, greatest], [least, greatest], truncated=True)
    assert unpack_chunk(pack_chunk(chunk)) == chunk


def test_every_millisecond_of_a_minute_may_have_a_run_of_its_own() -> None:
    runs: list[Run] = [(100, 1 + at % 2, START_MS + at, START_MS + at + 1) for at in range(MINUTE_MS)]
    chunk = DepthChunk(START_MS, START_MS + MINUTE_MS, [], [], runs)
    assert unpack_chunk(pack_chunk(chunk)) == chunk


def test_a_chunk_without_runs_says_how_far_it_is_known() -> None:
    chunk = DepthChunk(START_MS, START_MS + 5_000, [PriceSpan(START_MS + 1, START_MS + 5_000, 10, 20)])
    assert unpack_chunk(pack_chunk(chunk)) == chunk


def test_a_quiet_book_takes_under_four_bytes_a_level() -> None:
    """1,000 levels a side that stand all minute, sizes of two bytes."""
    end_ms = START_MS + MINUTE_MS
    bids, asks = (
        [(low + at, at * 7919 % 60_000 + 1, START_MS - 1, end_ms) for at in range(1_000)] for low in (1, 1_001)
    )
    packed = pack_chunk(DepthChunk(START_MS, end_ms, [PriceSpan(START_MS, end_ms, 1, 2_000)], bids, asks))
    assert len(packed) < 4 * 2_000


def test_another_version_is_refused_by_name() -> None:
    packed = pack_chunk(DepthChunk(START_MS, START_MS + 1))
    with pytest.raises(ValueError, match="version 9, expected 2"):
        unpack_head(b"\x09" + packed[1 : HEAD.size])
