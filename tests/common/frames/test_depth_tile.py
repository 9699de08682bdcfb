"""Tiles of resting liquidity, held equal to what the minutes they are made of say themselves."""

from typing import get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.frames.depth_minute import DepthMinute
from common.frames.depth_tile import DepthTile, tile_grid, tile_of
from common.frames.depth_tile_codec import pack_tile, unpack_tile
from common.frames.folded import Source, coarser, folded
from common.frames.liquidity import CellGrid, CellKind, Liquidity, liquidity
from common.market.depth.chunk import DepthChunk, PriceSpan, Run, pack_chunk
from common.market.depth.history import BookHistory
from common.market.depth.runs import DepthLimits
from common.market.rescaling import Unfit
from common.market.scale import Scale, Scales
from common.market.timeframes.timeframe import MINUTE_MS
from tests.kit.book_model import FIRST_MID, Move, Venue, Watched, feed_all, moves
from tests.kit.strategies import LAW, START_MS
from workers.venues.binance.book_rule import BinanceSpotRule

KINDS = st.sampled_from(get_args(CellKind))
SPAN_MS = 5 * MINUTE_MS
LIMITS = st.sampled_from([DepthLimits(9_900), DepthLimits(20, 8, 40)])


def _minutes(chunks: list[DepthChunk]) -> list[DepthMinute]:
    return [DepthMinute.of(pack_chunk(chunk)) for chunk in chunks]


@st.composite
def _patchy(draw: st.DrawFn) -> DepthChunk:
    """What is known changes within a bucket, in time and in price; both sides."""
    edges = sorted(draw(st.lists(st.integers(0, 3_000), unique=True, min_size=2, max_size=9)))
    spans = []
    for at, until in zip(edges, edges[1:], strict=False):
        low, high = draw(st.tuples(st.integers(-6, 6), st.integers(-6, 6)).map(sorted))
        if draw(st.booleans()):
            spans.append(PriceSpan(START_MS + at, START_MS + until, FIRST_MID + low, FIRST_MID + high))
    sides: tuple[list[Run], list[Run]] = ([], [])
    for price in range(-6, 7):
        for runs in sides:
            times = sorted(draw(st.lists(st.integers(0, 3_000), unique=True, max_size=4)))
            for at, until in zip(times, times[1:], strict=False):
                if draw(st.booleans()):
                    runs.append((FIRST_MID + price, draw(st.integers(1, 9)), START_MS + at, START_MS + until))
    return DepthChunk(START_MS, START_MS + 3_000, spans, *sides)


def _tile(minutes: list[DepthMinute], open_ms: int, span_ms: int, bucket_ms: int, row_ticks: int) -> DepthTile:
    some = [each for each in minutes if open_ms - MINUTE_MS < each.open_ms < open_ms + span_ms]
    spans = [span for each in some for span in each.spans]
    prices = min((span[2] for span in spans), default=0), max((span[3] for span in spans), default=0)
    return _stored(tile_of(some, tile_grid(prices, open_ms, span_ms, bucket_ms, row_ticks)))


def _stored(tile: DepthTile) -> DepthTile:
    return unpack_tile(pack_tile(tile, Scale(2, 3)), Scales.unchanged(Scale(2, 3)))


def _same(found: Liquidity, expected: Liquidity) -> None:
    known = expected.known_ms > 0
    assert found.known_ms.tolist() == expected.known_ms.tolist()
    assert (found.cells * known).tolist() == (expected.cells * known).tolist()
    assert [column.tolist() for column in found.best] == [column.tolist() for column in expected.best]


def _agrees(found: Liquidity, expected: Liquidity, kind: CellKind) -> None:
    """What coarser rows say is so; what is not known of them is where what is known changes."""
    assert ((found.known_ms == 0) | (found.known_ms <= expected.known_ms)).all()
    whole = (found.known_ms == expected.known_ms) & (found.known_ms > 0)
    if kind == "max":
        assert (found.cells >= expected.cells)[:, whole].all()
    else:
        assert (found.cells == expected.cells)[:, whole].all()
    assert [column.tolist() for column in found.best] == [column.tolist() for column in expected.best]


@LAW
@given(_patchy(), st.sampled_from([50, 100, 500]), st.integers(1, 3), st.integers(-9, 2), KINDS, st.data())
def test_a_tile_says_what_its_minutes_say(
    chunk: DepthChunk, bucket_ms: int, row_ticks: int, low: int, kind: CellKind, data: st.DataObject
) -> None:
    minutes = _minutes([chunk])
    tile = _tile(minutes, START_MS - 1_000, 5_000, bucket_ms, row_ticks)
    bucket = bucket_ms * data.draw(st.sampled_from([1, 2, 10]))
    t0_ms = (START_MS + data.draw(st.integers(-2_000, 3_000))) // bucket * bucket
    p0 = (FIRST_MID + low) // row_ticks * row_ticks
    grid = CellGrid(t0_ms, bucket, data.draw(st.integers(1, 5)), p0, row_ticks, 4)
    _same(folded([tile], grid, kind), liquidity(minutes, grid, kind))


@LAW
@given(_patchy(), st.sampled_from([50, 500]), st.integers(2, 4), st.integers(-9, 2), KINDS)
def test_coarser_rows_of_a_tile_are_sums(
    chunk: DepthChunk, bucket_ms: int, times: int, low: int, kind: CellKind
) -> None:
    minutes = _minutes([chunk])
    tile = _tile(minutes, START_MS, 3_000, bucket_ms, 1)
    for bucket in (bucket_ms, 2 * bucket_ms):
        grid = CellGrid(START_MS, bucket, 3_000 // bucket, (FIRST_MID + low) // times * times, times, 4)
        _agrees(folded([tile], grid, kind), liquidity(minutes, grid, kind), kind)


@LAW
@given(moves(25), LIMITS, st.sampled_from([1_000, 30_000]), st.integers(1, 3), KINDS, st.data())
def test_tiles_and_minutes_between_them_are_one_history(
    drawn: list[Move], limits: DepthLimits, bucket_ms: int, row_ticks: int, kind: CellKind, data: st.DataObject
) -> None:
    watched = feed_all(Watched(BookHistory.new(BinanceSpotRule(), limits)), Venue(), drawn)
    current = watched.history.recorder.current()
    minutes = _minutes([*watched.closed, *([current] if current else [])])
    first_ms = START_MS // SPAN_MS * SPAN_MS
    count = ((minutes[-1].open_ms if minutes else first_ms) - first_ms) // SPAN_MS + 1
    sources: list[Source] = []
    for open_ms in range(first_ms, first_ms + count * SPAN_MS, SPAN_MS):
        if data.draw(st.booleans()):
            sources.append(_tile(minutes, open_ms, SPAN_MS, bucket_ms, row_ticks))
        else:
            sources.append([each for each in minutes if open_ms <= each.open_ms < open_ms + SPAN_MS])
    bucket = bucket_ms * data.draw(st.sampled_from([1, 2, 20]))
    t0_ms = data.draw(st.integers(first_ms - SPAN_MS, first_ms + count * SPAN_MS)) // bucket * bucket
    low = FIRST_MID + data.draw(st.integers(-25, 20))
    grid = CellGrid(t0_ms, bucket, data.draw(st.integers(1, 12)), low // row_ticks * row_ticks, row_ticks, 5)
    inside = [each for each in minutes if each.open_ms < grid.end_ms]
    _same(folded(sources, grid, kind), liquidity(inside, grid, kind))


@LAW
@given(_patchy(), st.sampled_from([1, 2, 4]), st.sampled_from([100, 500, 1_000]), KINDS)
def test_a_tile_made_of_finer_ones_says_what_they_say(
    chunk: DepthChunk, times: int, bucket_ms: int, kind: CellKind
) -> None:
    minutes = _minutes([chunk])
    halves = [_tile(minutes, START_MS + at, 2_000, 50, 2) for at in (0, 2_000)]
    made = _stored(coarser(halves, tile_grid((FIRST_MID - 6, FIRST_MID + 6), START_MS, 4_000, bucket_ms, 2 * times)))
    for bucket, rows in ((bucket_ms, 2 * times), (2 * bucket_ms, 2 * times)):
        grid = CellGrid(START_MS, bucket, 4_000 // bucket, FIRST_MID // rows * rows - 8, rows, 20 // rows)
        of_halves, found = folded(halves, grid, kind), folded([made], grid, kind)
        _same(found, of_halves)
        assert found.is_bound == of_halves.is_bound


def test_what_stands_takes_one_cell_however_long() -> None:
    span = PriceSpan(START_MS, START_MS + MINUTE_MS, 90, 110)
    run = (100, 5, START_MS, START_MS + MINUTE_MS)
    chunks = [DepthChunk(START_MS, START_MS + MINUTE_MS, [span], [run], [])]
    tile = _tile(_minutes(chunks), START_MS, MINUTE_MS, 1_000, 1)
    assert (len(tile.cells.cols), np.array(tile.spans).tolist()) == (1, [list(span)])


@LAW
@given(_patchy(), KINDS)
def test_a_tile_is_read_in_another_scale(chunk: DepthChunk, kind: CellKind) -> None:
    tile = _tile(_minutes([chunk]), START_MS, 3_000, 100, 2)
    packed = pack_tile(tile, Scale(2, 3))
    finer = unpack_tile(packed, Scales(Scale(3, 5), Scale(0, 0)))
    assert unpack_tile(pack_tile(finer, Scale(3, 5)), Scales(Scale(2, 3), Scale(0, 0))).grid == tile.grid
    found, expected = (
        folded([each], CellGrid(START_MS, 100, 30, price, row, 8), kind)
        for each, price, row in ((finer, 10 * FIRST_MID - 80, 20), (tile, FIRST_MID - 8, 2))
    )
    # A row whose last tick was the last that is known is not known of all of its new ticks.
    known = found.known_ms > 0
    assert (found.cells * known).tolist() == (100 * expected.cells * known).tolist()


def test_a_size_that_has_no_place_in_a_coarser_scale_is_refused() -> None:
    run = (100, 5, START_MS, START_MS + 100)
    chunk = DepthChunk(START_MS, START_MS + 100, [PriceSpan(START_MS, START_MS + 100, 100, 109)], [run], [])
    packed = pack_tile(_tile(_minutes([chunk]), START_MS, 1_000, 100, 10), Scale(2, 3))
    with pytest.raises(Unfit):
        unpack_tile(packed, Scales(Scale(2, 2), Scale(2, 2)))
