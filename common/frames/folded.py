"""Cells of a grid, out of tiles and minutes of a book's history that follow one another.

The grid's bucket is a multiple of each tile's, and so is its row. Greatest sizes of coarser rows are upper bounds. In a
column in which what is known changes, a coarser row is known as far as all of it was all the time: the sums of its rows
would be of different times.
"""

from collections.abc import Iterable, Sequence
from typing import get_args

import numpy as np

from common.frames.best import NOT_THERE, BestPrices
from common.frames.depth import Flags, Ints
from common.frames.depth_minute import DepthMinute
from common.frames.depth_tile import DepthTile, TileCells, has_prices, joined_spans, steady_spans
from common.frames.liquidity import (
    SIDES,
    CellGrid,
    CellKind,
    Known,
    Liquidity,
    Span,
    liquidity,
    rectangles,
    spans_inside,
)

# A tile, or minutes that ascend.
Source = DepthTile | Sequence[DepthMinute]


def folded(sources: Iterable[Source], grid: CellGrid, kind: CellKind) -> Liquidity:
    """`sources` ascending, none of a time that another has; each is looked at once."""
    found = _Folded(grid, kind)
    for source in sources:
        if isinstance(source, DepthTile):
            found.add_tile(source)
        else:
            found.add(liquidity(source, grid, kind))
    return found.liquidity()


def clipped(tile: DepthTile, row_ticks: int) -> list[Span]:
    """The tile's spans as far as coarser rows are known by them."""
    if row_ticks == tile.grid.row_ticks:
        return list(tile.spans)
    return steady_spans(tile)


class _Folded:
    """What there is so far, by column, side and row."""

    def __init__(self, grid: CellGrid, kind: CellKind) -> None:
        self._grid, self._kind = grid, kind
        self._cells = np.zeros((grid.cols, SIDES, grid.rows), np.int64)
        self._known_ms = np.zeros((grid.cols, grid.rows), np.int64)
        self._best = np.full((grid.cols, 4), NOT_THERE)
        self._spans: list[Span] = []
        self._resolution_ms, self._truncated, self._is_bound = 1, False, False

    def add(self, more: Liquidity) -> None:
        self._put(np.s_[:], more.cells.transpose(1, 0, 2), more.known_ms)
        self._put_best(np.s_[:], np.stack(more.best, axis=1), _cols_known(more.spans, self._grid))
        self._note(more.spans, more.resolution_ms, more.truncated, is_bound=more.is_bound)

    def add_tile(self, tile: DepthTile) -> None:
        own, grid = tile.grid, self._grid
        first = max(0, (grid.t0_ms - own.t0_ms) // own.bucket_ms)
        end = min(own.cols, -((own.t0_ms - grid.end_ms) // own.bucket_ms))
        if first >= end:
            return
        shown = CellGrid(
            own.t0_ms + first * own.bucket_ms, own.bucket_ms, end - first, grid.p0_ticks, grid.row_ticks, grid.rows
        )
        known_ms = Known(shown, rectangles(clipped(tile, grid.row_ticks), shown)).ms
        cells = _cells_of(tile, shown, self._kind, first, known_ms)
        buckets = (shown.t0_ms - grid.t0_ms + np.arange(shown.cols) * own.bucket_ms) // grid.bucket_ms
        starts = np.flatnonzero(np.diff(buckets, prepend=-1))
        some = slice(int(buckets[0]), int(buckets[-1]) + 1)
        self._put(some, _by_bucket(self._kind, cells, known_ms, starts), np.add.reduceat(known_ms, starts, axis=0))
        spans = joined_spans([span for span in tile.spans if has_prices(span)], grid)
        best, cols_known = tile.best[first:end], _cols_known(tile.spans, shown)
        self._put_best(some, *_best_by_bucket(best, cols_known, starts))
        is_bound = tile.is_bound or grid.row_ticks > own.row_ticks
        self._note(spans, tile.resolution_ms, tile.is_truncated, is_bound=is_bound)

    def liquidity(self) -> Liquidity:
        cells = np.ascontiguousarray(self._cells.transpose(1, 0, 2))
        is_bound = self._is_bound and self._kind == "max"
        best = BestPrices(*(np.ascontiguousarray(column) for column in self._best.T))
        return Liquidity(
            self._grid, cells, self._known_ms, best, self._spans, self._resolution_ms, self._truncated, is_bound
        )

    def _put(self, some: slice, cells: Ints, known_ms: Ints) -> None:
        """What comes is later than what is there; a bucket may have a part of each."""
        known = (known_ms > 0)[:, None]
        held = self._cells[some]
        if self._kind == "max":
            np.maximum(held, cells, out=held, where=known)
        elif self._kind == "mean":
            np.add(held, cells, out=held, where=known)
        else:
            np.copyto(held, cells, where=known)
        self._known_ms[some] += known_ms

    def _put_best(self, some: slice, best: Ints, known: Flags) -> None:
        held = self._best[some]
        held[known, :2] = best[known, :2]
        held[:, 2] = _least(held[:, 2], best[:, 2])
        held[:, 3] = np.maximum(held[:, 3], best[:, 3])

    def _note(self, spans: Sequence[Span], resolution_ms: int, truncated: bool, *, is_bound: bool) -> None:
        self._spans = joined_spans([*self._spans, *spans], self._grid)
        self._resolution_ms = max(self._resolution_ms, resolution_ms)
        self._truncated |= truncated
        self._is_bound |= is_bound


def _cells_of(tile: DepthTile, shown: CellGrid, kind: CellKind, first: int, known_ms: Ints) -> Ints:
    """By column of the tile, side and row of the grid."""
    own, all_cells = tile.grid, tile.cells
    count = int(np.searchsorted(all_cells.cols, first + shown.cols))
    rows = (own.p0_ticks - shown.p0_ticks) // own.row_ticks + np.arange(own.rows)
    rows //= shown.row_ticks // own.row_ticks
    rows[(rows < 0) | (rows >= shown.rows)] = -1
    places = np.concatenate([rows, np.where(rows < 0, -1, rows + shown.rows)])[all_cells.names[:count]]
    seen = np.flatnonzero(places >= 0)
    # What changed before the first column is as if it were one column before.
    cols = all_cells.cols[seen].astype(np.int64)
    at = np.maximum(cols - first + 1, 0) * (SIDES * shown.rows) + places[seen]

    def summed(values: Ints) -> Ints:
        found = np.zeros((shown.cols + 1) * SIDES * shown.rows, np.int64)
        np.add.at(found, at, values[seen])
        return found.reshape(shown.cols + 1, SIDES, shown.rows)

    last = np.cumsum(summed(all_cells.last), axis=0)
    if kind == "last":
        return last[1:]
    if kind == "max":
        return last[:-1] + summed(all_cells.most)[1:]
    return last[:-1] * known_ms[:, None] + summed(all_cells.size_ms)[1:]


def _by_bucket(kind: CellKind, cells: Ints, known_ms: Ints, starts: Ints) -> Ints:
    if len(starts) == len(cells):
        return cells
    known = known_ms > 0
    if kind == "last":
        at = np.where(known, np.arange(len(cells))[:, None], 0)
        lasts = np.maximum.reduceat(at, starts, axis=0)
        return np.take_along_axis(cells, lasts[:, None], axis=0)
    function = np.maximum if kind == "max" else np.add
    return function.reduceat(np.where(known[:, None], cells, 0), starts, axis=0)


def _best_by_bucket(best: Ints, known: Flags, starts: Ints) -> tuple[Ints, Flags]:
    """And of which buckets anything is known."""
    at = np.maximum.reduceat(np.where(known, np.arange(len(best)), 0), starts)
    least = np.minimum.reduceat(np.where(best[:, 2] == NOT_THERE, np.iinfo(np.int64).max, best[:, 2]), starts)
    bid_min = np.where(least == np.iinfo(np.int64).max, NOT_THERE, least)
    found = np.stack([best[at, 0], best[at, 1], bid_min, np.maximum.reduceat(best[:, 3], starts)], axis=1)
    return found, np.logical_or.reduceat(known, starts)


def _cols_known(spans: Sequence[Span], shown: CellGrid) -> Flags:
    """Of which columns anything is known."""
    found = np.zeros(shown.cols, np.bool_)
    for from_ms, until_ms, *_ in spans_inside(spans, shown):
        first = max(0, (from_ms - shown.t0_ms) // shown.bucket_ms)
        found[first : -((shown.t0_ms - until_ms) // shown.bucket_ms)] = True
    return found


def _least(one: Ints, other: Ints) -> Ints:
    """NOT_THERE is less than any, and none."""
    return np.where(one == NOT_THERE, other, np.where(other == NOT_THERE, one, np.minimum(one, other)))


def coarser(tiles: Iterable[DepthTile], grid: CellGrid) -> DepthTile:
    """One tile of several, ascending, which are looked at once; of a multiple of their bucket and of their rows."""
    kinds = {kind: _Folded(grid, kind) for kind in get_args(CellKind)}
    spans = list[Span]()
    for tile in tiles:
        spans += clipped(tile, grid.row_ticks)
        for each in kinds.values():
            each.add_tile(tile)
    found = {kind: each.liquidity() for kind, each in kinds.items()}
    most, last, mean = found["max"], found["last"], found["mean"]
    return DepthTile(
        grid,
        TileCells.of(last.cells, most.cells, mean.cells, mean.known_ms),
        tuple(joined_spans(spans, grid)),
        np.stack(most.best, axis=1),
        most.resolution_ms,
        most.truncated,
        most.is_bound,
    )
