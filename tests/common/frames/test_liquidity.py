"""Cells of resting liquidity, held equal to what a look at every millisecond gives."""

from typing import get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.frames.best import NOT_THERE
from common.frames.depth_minute import DepthMinute
from common.frames.liquidity import CellGrid, CellKind, Liquidity, liquidity, scale_of
from common.market.depth.chunk import DepthChunk, PriceSpan, Run, pack_chunk
from common.market.depth.history import BookHistory
from common.market.depth.runs import DepthLimits
from common.market.timeframes.timeframe import MINUTE_MS
from tests.kit.book_model import FIRST_MID, Move, Venue, Watched, feed_all, moves
from tests.kit.strategies import LAW, START_MS
from workers.venues.binance.book_rule import BinanceSpotRule

KINDS: tuple[CellKind, ...] = get_args(CellKind)
# Of time and price: small enough to be looked at by the millisecond.
GRIDS = st.builds(
    CellGrid,
    st.one_of(st.integers(-50, 2_000), st.integers(MINUTE_MS - 90, MINUTE_MS + 50)).map(START_MS.__add__),
    st.sampled_from([1, 7, 40]),
    st.integers(1, 4),
    st.integers(-20, 20).map(FIRST_MID.__add__),
    st.integers(1, 6),
    st.integers(1, 5),
)


def _minutes(chunks: list[DepthChunk]) -> list[DepthMinute]:
    return [DepthMinute.of(pack_chunk(chunk)) for chunk in chunks]


def _by_the_millisecond(
    chunks: list[DepthChunk], grid: CellGrid, kind: CellKind
) -> tuple[list[list[list[int]]], list[list[int]]]:
    """Cells by side, column and row, and for how many ms each is known."""
    cells = [[[0] * grid.rows for _ in range(grid.cols)] for _ in "ba"]
    known_ms = [[0] * grid.rows for _ in range(grid.cols)]
    for col in range(grid.cols):
        open_ms = grid.t0_ms + col * grid.bucket_ms
        for row in range(grid.rows):
            low = grid.p0_ticks + row * grid.row_ticks
            high = low + grid.row_ticks - 1
            for ts_ms in range(open_ms, open_ms + grid.bucket_ms):
                of_time = [chunk for chunk in chunks if chunk.open_ms <= ts_ms < chunk.open_ms + MINUTE_MS]
                spans = [span for chunk in of_time for span in chunk.spans if span.from_ms <= ts_ms < span.until_ms]
                if not any(span.low_ticks <= low and high <= span.high_ticks for span in spans):
                    continue
                known_ms[col][row] += 1
                for side, of_side in enumerate(cells):
                    q = _standing(
                        [run for chunk in of_time for run in (chunk.bids, chunk.asks)[side]], ts_ms, low, high
                    )
                    before = of_side[col][row]
                    of_side[col][row] = {"max": max(before, q), "last": q, "mean": before + q}[kind]
    return cells, known_ms


def _standing(runs: list[Run], ts_ms: int, low: int, high: int) -> int:
    return sum(size for price, size, from_ms, until_ms in runs if low <= price <= high and from_ms <= ts_ms < until_ms)


def _agrees(found: Liquidity, chunks: list[DepthChunk], grid: CellGrid, kind: CellKind) -> None:
    cells, known_ms = _by_the_millisecond(chunks, grid, kind)
    assert found.known_ms.tolist() == known_ms
    known = np.array(known_ms) > 0
    for side in range(2):
        assert np.where(known, found.cells[side], 0).tolist() == cells[side]


@LAW
@given(moves(12), st.sampled_from([DepthLimits(9_900), DepthLimits(20, 8, 40)]), GRIDS, st.sampled_from(KINDS))
def test_cells_are_those_of_a_look_at_every_millisecond(
    drawn: list[Move], limits: DepthLimits, grid: CellGrid, kind: CellKind
) -> None:
    watched = feed_all(Watched(BookHistory.new(BinanceSpotRule(), limits)), Venue(), drawn)
    current = watched.history.recorder.current()
    chunks = [*watched.closed, *([current] if current else [])]
    minutes = [minute for minute in _minutes(chunks) if minute.open_ms < grid.end_ms]
    _agrees(liquidity(minutes, grid, kind), chunks, grid, kind)


@st.composite
def _patchy(draw: st.DrawFn) -> DepthChunk:
    """What is known changes within a bucket, in time and in price."""
    edges = sorted(draw(st.lists(st.integers(0, 300), unique=True, min_size=2, max_size=7)))
    spans = []
    for at, until in zip(edges, edges[1:], strict=False):
        low, high = draw(st.tuples(st.integers(-6, 6), st.integers(-6, 6)).map(sorted))
        if draw(st.booleans()):
            spans.append(PriceSpan(START_MS + at, START_MS + until, FIRST_MID + low, FIRST_MID + high))
    runs: list[Run] = []
    for price in range(-6, 7):
        times = sorted(draw(st.lists(st.integers(0, 300), unique=True, max_size=5)))
        for at, until in zip(times, times[1:], strict=False):
            if draw(st.booleans()):
                runs.append((FIRST_MID + price, draw(st.integers(1, 9)), START_MS + at, START_MS + until))
    return DepthChunk(START_MS, START_MS + 300, spans, runs, [])


@LAW
@given(_patchy(), st.sampled_from([40, 100, 300]), st.integers(1, 5), st.integers(-7, 0), st.sampled_from(KINDS))
def test_cells_are_over_what_is_known_of_them(
    chunk: DepthChunk, bucket_ms: int, row_ticks: int, low: int, kind: CellKind
) -> None:
    grid = CellGrid(START_MS - 20, bucket_ms, 340 // bucket_ms + 1, FIRST_MID + low, row_ticks, 4)
    _agrees(liquidity(_minutes([chunk]), grid, kind), [chunk], grid, kind)


def _best_by_the_millisecond(chunk: DepthChunk, at_ms: int) -> tuple[int, int] | None:
    if not any(span.from_ms <= at_ms < span.until_ms for span in chunk.spans):
        return None
    bids, asks = ([run[0] for run in runs if run[2] <= at_ms < run[3]] for runs in (chunk.bids, chunk.asks))
    return max(bids, default=NOT_THERE), min(asks, default=NOT_THERE)


@LAW
@given(_patchy(), _patchy(), st.sampled_from([1, 40, 100, 300]))
def test_best_prices_are_those_of_every_millisecond(bids: DepthChunk, asks: DepthChunk, bucket_ms: int) -> None:
    chunk = DepthChunk(START_MS, START_MS + 300, bids.spans, bids.bids, asks.bids)
    grid = CellGrid(START_MS - 20, bucket_ms, 340 // bucket_ms + 1, FIRST_MID, 1, 1)
    best = liquidity(_minutes([chunk]), grid).best
    for col in range(grid.cols):
        open_ms = grid.t0_ms + col * bucket_ms
        found = [
            top for ts_ms in range(open_ms, open_ms + bucket_ms) if (top := _best_by_the_millisecond(chunk, ts_ms))
        ]
        bid, ask = ([top[at] for top in found if top[at] != NOT_THERE] for at in range(2))
        lasts = found[-1] if found else (NOT_THERE, NOT_THERE)
        expected = (*lasts, min(bid, default=NOT_THERE), max(ask, default=NOT_THERE))
        assert tuple(int(column[col]) for column in best) == expected


def _cell(kind: CellKind, until_ms: int, row: int = 0, rows: int = 1) -> tuple[int, int]:
    """Bids 100: 4 in [0, 400), 10 in [400, 600), 2 in [600, 1000); 101: 3 in [0, 400); rows of two ticks from 100."""
    at = START_MS
    bids = [
        (100, 4, at, at + 400),
        (100, 10, at + 400, at + 600),
        (100, 2, at + 600, at + 1_000),
        (101, 3, at, at + 400),
    ]
    chunk = DepthChunk(at, at + 1_000, [PriceSpan(at, at + until_ms, 98, 103)], bids, [])
    found = liquidity(_minutes([chunk]), CellGrid(at, 1_000, 1, 100, 2, rows), kind)
    return int(found.cells[0, 0, row]), int(found.known_ms[0, row])


@pytest.mark.parametrize(("until_ms", "greatest", "last", "size_ms"), [(1_000, 10, 2, 5_600), (600, 10, 10, 4_800)])
def test_the_example_of_the_documentation(until_ms: int, greatest: int, last: int, size_ms: int) -> None:
    assert [_cell(kind, until_ms) for kind in KINDS] == [(value, until_ms) for value in (greatest, last, size_ms)]
    # Covered and empty; and a row of which one tick is beyond.
    assert _cell("max", until_ms, 1, 2) == (0, until_ms)
    assert _cell("max", until_ms, 2, 3)[1] == 0


def test_a_scale_is_made_of_nearest_ranks() -> None:
    assert scale_of(np.array([[1, 0], [2, 2], [3, 50]])) == ({50: 2, 90: 50, 95: 50, 99: 50}, 50)
    assert scale_of(np.zeros(3, np.int64)) is None
