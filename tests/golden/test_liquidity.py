"""Resting liquidity of recorded books, held equal to a plain replay of their diffs at every millisecond."""

import random
from bisect import bisect_right
from dataclasses import dataclass, field, replace
from functools import cache
from typing import get_args

import numpy as np
import numpy.typing as npt
import pytest

from common.frames.depth_minute import DepthMinute
from common.frames.depth_tile import tile_grid, tile_of
from common.frames.folded import folded
from common.frames.liquidity import CellGrid, CellKind, liquidity
from common.market.depth.chunk import pack_chunk
from common.market.depth.history import BookHistory
from common.market.depth.runs import DepthLimits
from common.market.depth.sync import Rule
from common.market.timeframes.timeframe import MINUTE_MS
from tests.golden import books
from tests.scale import scaled
from workers.venues.binance.book_rule import BinanceSpotRule, BinanceUsdmRule
from workers.venues.shared.base import DepthEvent

# Of each book.
WINDOWS = 1_000
# No bound on numbers cuts: what is compared is all that is known.
LIMITS = DepthLimits(500, 20_000, 400_000)


@dataclass
class Replay:
    """Sizes by side and price, each with the times from which they stand."""

    first_ms: int = 0
    last_ms: int = 0
    low: int = 0
    high: int = 0
    levels: tuple[dict[int, tuple[list[int], list[int]]], ...] = field(default_factory=lambda: ({}, {}))

    def set(self, ts_ms: int, event: DepthEvent) -> None:
        for levels, changed in zip(self.levels, (event.bids, event.asks), strict=True):
            for price, size in changed:
                times, sizes = levels.setdefault(price, ([], []))
                times.append(ts_ms)
                sizes.append(size)

    def standing(self, side: int, price: int, from_ms: int, to_ms: int) -> npt.NDArray[np.int64]:
        """At each millisecond."""
        times, sizes = self.levels[side].get(price, ([], []))
        found = np.zeros(to_ms - from_ms, np.int64)
        at = max(0, bisect_right(times, from_ms) - 1)
        for start, size in zip(times[at:], sizes[at:], strict=True):
            if start >= to_ms:
                break
            found[max(0, start - from_ms) :] = size
        return found


@cache
def _recorded(name: str) -> tuple[list[DepthMinute], Replay]:
    events = [event for event in getattr(books, name)() if isinstance(event, DepthEvent)]
    rule: Rule = BinanceSpotRule() if name == "eth_usdt" else BinanceUsdmRule()
    history, replay = BookHistory.new(rule, LIMITS), Replay()
    closed, applied, waiting = [], -1, list[DepthEvent]()
    for event in events:
        closed += history.step(event, event.ts_ms)
        if event.snapshot:
            # Diffs that came before it, and go on from it, are in the book from the start.
            for one in (event, *(each for each in waiting if each.last_id > event.last_id)):
                replay.set(0, one)
            replay.low, replay.high = min(event.bids)[0], max(event.asks)[0]
        elif history.sync.needs_snapshot:
            waiting.append(event)
        elif history.sync.book.last_id != applied:
            replay.set(event.ts_ms, event)
            replay.first_ms, replay.last_ms = replay.first_ms or event.ts_ms, event.ts_ms
        applied = history.sync.book.last_id
    current = history.recorder.current()
    assert current is not None and not any(chunk.truncated for chunk in closed)
    return [DepthMinute.of(pack_chunk(chunk)) for chunk in [*closed, current]], replay


def _expected(replay: Replay, grid: CellGrid, kind: CellKind) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Cells by side, column and row, 0 where nothing is known; and known ms."""
    time_ms = np.arange(grid.t0_ms, grid.end_ms)
    is_known = (time_ms >= replay.first_ms) & (time_ms <= replay.last_ms)
    cells = np.zeros((2, grid.cols, grid.rows), np.int64)
    known_ms = np.zeros((grid.cols, grid.rows), np.int64)
    for row in range(grid.rows):
        low = grid.p0_ticks + row * grid.row_ticks
        prices = range(low, low + grid.row_ticks)
        if prices[0] < replay.low or prices[-1] > replay.high:
            continue
        known_ms[:, row] = is_known.reshape(grid.cols, -1).sum(axis=1)
        for side in range(2):
            q = sum(replay.standing(side, price, grid.t0_ms, grid.end_ms) for price in prices) * is_known
            of_col = np.asarray(q).reshape(grid.cols, -1)
            if kind == "last":
                last = is_known.reshape(grid.cols, -1).cumsum(axis=1).argmax(axis=1)
                cells[side, :, row] = of_col[np.arange(grid.cols), last]
            else:
                cells[side, :, row] = of_col.max(axis=1) if kind == "max" else of_col.sum(axis=1)
    return cells, known_ms


def _window(replay: Replay, drawn: random.Random) -> CellGrid:
    """Mostly near the middle, where things happen; sometimes past an end of what is known, in time or in price."""
    bucket_ms, cols = drawn.choice([50, 100, 250, 1_000]), drawn.randint(1, 5)
    row_ticks, rows = drawn.choice([1, 1, 2, 5, 10]), drawn.randint(1, 5)
    t0_ms = drawn.randint(replay.first_ms - 2_000, replay.last_ms + 1_000)
    edges = [replay.low - 10, replay.high - row_ticks * rows + 10]
    near = int(drawn.gauss((replay.low + replay.high) / 2, (replay.high - replay.low) / 12))
    return CellGrid(t0_ms, bucket_ms, cols, drawn.choice([*edges, *[near] * 8]), row_ticks, rows)


@pytest.mark.parametrize("name", ["eth_usdt", "btc_usdt"])
def test_random_windows_are_those_of_a_plain_replay(name: str) -> None:
    minutes, replay = _recorded(name)
    drawn, compared = random.Random(7), 0
    for _ in range(WINDOWS):
        grid, kind = _window(replay, drawn), drawn.choice(get_args(CellKind))
        some = [each for each in minutes if each.open_ms < grid.end_ms and each.open_ms + MINUTE_MS > grid.t0_ms]
        found = liquidity(some, grid, kind)
        cells, known_ms = _expected(replay, grid, kind)
        assert found.known_ms.tolist() == known_ms.tolist()
        assert (found.cells * (known_ms > 0)).tolist() == cells.tolist(), (grid, kind)
        compared += int((known_ms > 0).sum())
    assert compared > 5 * WINDOWS


@pytest.mark.parametrize("name", ["eth_usdt", "btc_usdt"])
def test_random_windows_of_tiles_are_those_of_a_plain_replay(name: str) -> None:
    minutes, replay = _recorded(name)
    open_ms, span_ms = minutes[0].open_ms, (len(minutes) + 1) * MINUTE_MS
    tile = tile_of(minutes, tile_grid((replay.low, replay.high), open_ms, span_ms, 50, 1))
    drawn, compared = random.Random(11), 0
    for _ in range(scaled(WINDOWS)):
        grid, kind = _window(replay, drawn), drawn.choice(get_args(CellKind))
        t0_ms, p0_ticks = (
            at // step * step for at, step in ((grid.t0_ms, grid.bucket_ms), (grid.p0_ticks, grid.row_ticks))
        )
        grid = replace(grid, t0_ms=t0_ms, p0_ticks=p0_ticks)
        found = folded([tile], grid, kind)
        cells, known_ms = _expected(replay, grid, kind)
        assert found.known_ms.tolist() == known_ms.tolist()
        shown = found.cells * (known_ms > 0)
        assert (shown >= cells).all() if kind == "max" and grid.row_ticks > 1 else (shown == cells).all(), (grid, kind)
        compared += int((known_ms > 0).sum())
    assert compared > 5 * scaled(WINDOWS)


@pytest.mark.parametrize("name", ["eth_usdt", "btc_usdt"])
def test_a_tick_beyond_the_snapshot_is_not_known_and_the_last_one_in_it_is(name: str) -> None:
    minutes, replay = _recorded(name)
    for low, known in ((replay.low - 1, [0, 1]), (replay.high, [1, 0])):
        grid = CellGrid(replay.first_ms, replay.last_ms - replay.first_ms, 1, low, 1, 2)
        assert (liquidity(minutes, grid).known_ms[0] > 0).tolist() == [bool(each) for each in known]
