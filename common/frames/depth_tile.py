"""A tile of resting liquidity: all cells of a span of time, each with what stood in it (common.frames.liquidity).

What stands mostly goes on standing. So only those cells are kept in which something changes, each as what it has more
than if what stood before it had stood on; `before` is the `last` of the row's cell before, whatever it is of:

    last      less `before`
    most      the cell's max, less `before`
    size_ms   less `before` times the cell's known ms

These are sums over the rows of a coarser one. But for `most`: the greatest of each need not have stood at one time, so
their sum is an upper bound. Where knowledge ends and what stood there does not go on, a cell says so.

Spans and best prices are exact.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from common.frames.best import best_by_bucket
from common.frames.depth import Flags, Ints
from common.frames.depth_minute import DepthMinute
from common.frames.liquidity import MAX_INT64, CellGrid, Events, Rectangle, Span, events_of, rectangles


@dataclass(frozen=True, slots=True, eq=False)
class TileCells:
    """By column, then side and row. `names`: the row, plus the number of rows on the side of asks."""

    cols: Ints
    names: Ints
    last: Ints
    most: Ints
    size_ms: Ints

    @classmethod
    def of(cls, last: Ints, most: Ints, size_ms: Ints, known_ms: Ints) -> "TileCells":
        """Of all cells as they are, by side, column and row, 0 where nothing is known; `known_ms` by column and row."""
        before = np.zeros_like(last)
        before[:, 1:] = last[:, :-1]
        changes = [last - before, most - before, size_ms - before * known_ms]
        by_col = [np.ascontiguousarray(each.transpose(1, 0, 2)).reshape(len(known_ms), -1) for each in changes]
        cols, names = np.nonzero(np.logical_or.reduce([each != 0 for each in by_col]))
        return cls(cols, names, *(each[cols, names] for each in by_col))

    def some(self, chosen: Ints) -> "TileCells":
        return TileCells(*(getattr(self, name)[chosen] for name in self.__slots__))

    def widened(self) -> "TileCells":
        """On 64 bits, to count with: those that were unpacked are as small as they may be."""
        return TileCells(*(getattr(self, name).astype(np.int64) for name in self.__slots__))


@dataclass(frozen=True, slots=True, eq=False)
class DepthTile:
    """`spans`: ascending, those that meet and are of the same prices joined. `best`: four prices a column (BestPrices).

    `is_bound`: the greatest sizes may be more than what stood at one time.
    """

    grid: CellGrid
    cells: TileCells
    spans: tuple[Span, ...]
    best: Ints
    resolution_ms: int = 1
    is_truncated: bool = False
    is_bound: bool = False

    @property
    def prices(self) -> tuple[int, int]:
        """The lowest and the highest of which anything is known."""
        spans = [*filter(has_prices, self.spans)] or self.spans
        return min(span[2] for span in spans), max(span[3] for span in spans)

    @property
    def nbytes(self) -> int:
        columns: list[Ints] = [getattr(self.cells, name) for name in self.cells.__slots__]
        return sum(column.nbytes for column in columns) + self.best.nbytes + 200 * len(self.spans)


def has_prices(span: Span) -> bool:
    return span[2] <= span[3]


def tile_grid(prices: tuple[int, int], open_ms: int, span_ms: int, bucket_ms: int, row_ticks: int) -> CellGrid:
    """With all rows from the lowest price to the highest."""
    low, high = (price // row_ticks for price in prices)
    return CellGrid(open_ms, bucket_ms, span_ms // bucket_ms, low * row_ticks, row_ticks, high - low + 1)


def tile_of(minutes: Sequence[DepthMinute], grid: CellGrid) -> DepthTile:
    """Exact, out of the minutes of its time, ascending."""
    spans = joined_spans([span for minute in minutes for span in minute.spans], grid)
    known = rectangles(spans, grid)
    best = best_by_bucket([minute.best for minute in minutes], grid.t0_ms, grid.bucket_ms, grid.cols)
    return DepthTile(
        grid,
        _relative(_absolute(_netted(events_of(minutes, grid, 0)), grid, known), grid, known),
        tuple(spans),
        np.stack(best, axis=1),
        max((minute.resolution_ms for minute in minutes), default=1),
        any(minute.truncated for minute in minutes),
    )


def joined_spans(spans: Sequence[Span], grid: CellGrid) -> list[Span]:
    """Those of the grid's time, cut at its ends; those that meet, and are of the same prices, joined."""
    found: list[Span] = []
    for from_ms, until_ms, *prices in spans:
        from_ms, until_ms = max(from_ms, grid.t0_ms), min(until_ms, grid.end_ms)
        if from_ms >= until_ms:
            continue
        if found and found[-1][1:] == (from_ms, *prices):
            from_ms = found.pop()[0]
        found.append((from_ms, until_ms, prices[0], prices[1]))
    return found


def steady_spans(tile: DepthTile) -> list[Span]:
    """The tile's spans as far as the same prices are known all the time that anything of a column is.

    Where there are none, a span has no prices, and says only that the best ones are known.
    """
    bucket_ms, pieces = tile.grid.bucket_ms, list[Span]()
    for from_ms, until_ms, low, high in tile.spans:
        first, last = _open_of(from_ms, bucket_ms), _open_of(until_ms - 1, bucket_ms)
        # Each cut at the columns that it has but a part of.
        edges = [from_ms, *(edge for edge in (first + bucket_ms, last) if from_ms < edge < until_ms), until_ms]
        edges = sorted(set(edges))
        pieces += [(a, b, low, high) for a, b in zip(edges, edges[1:], strict=False)]
    narrowest = dict[int, tuple[int, int]]()
    for from_ms, until_ms, low, high in pieces:
        if until_ms - from_ms < bucket_ms:
            col = _open_of(from_ms, bucket_ms)
            lowest, highest = narrowest.get(col, (low, high))
            narrowest[col] = max(lowest, low), min(highest, high)
    found = list[Span]()
    for from_ms, until_ms, low, high in pieces:
        if until_ms - from_ms < bucket_ms:
            low, high = narrowest[_open_of(from_ms, bucket_ms)]
        found.append((from_ms, until_ms, low, high))
    return joined_spans(found, tile.grid)


def _open_of(ts_ms: int, bucket_ms: int) -> int:
    return ts_ms // bucket_ms * bucket_ms


class _Cells(NamedTuple):
    """Cells in the order of group (as TileCells.names) and column, as they are."""

    groups: Ints
    cols: Ints
    last: Ints
    most: Ints
    size_ms: Ints


def _netted(events: Events) -> Events:
    """Without what is no change: what goes on in the next minute, or where the spans change."""
    if not len(events.times):
        return events
    is_new = (events.times[1:] != events.times[:-1]) | (events.groups[1:] != events.groups[:-1])
    first = np.flatnonzero(np.concatenate([[True], is_new]))
    deltas = np.add.reduceat(events.deltas, first)
    changed = first[deltas != 0]
    return Events(events.groups[changed], events.times[changed], deltas[deltas != 0])


def _absolute(events: Events, grid: CellGrid, known: Sequence[Rectangle]) -> _Cells:
    """The cells in which something changes, and those in which nothing is left of what was last known."""
    cols = (events.times // grid.bucket_ms).astype(np.int64)
    if not len(cols):
        return _Cells(*(cols for _ in range(5)))
    is_new = (cols[1:] != cols[:-1]) | (events.groups[1:] != events.groups[:-1])
    first = np.flatnonzero(np.concatenate([[True], is_new]))
    end = np.append(first[1:], len(cols)) - 1
    # Every group ends with nothing, so the next one begins with nothing.
    standing = np.cumsum(events.deltas)
    opens = np.concatenate([[0], standing[end[:-1]]])
    cell_cols, groups = cols[first], events.groups[first].astype(np.int64)
    until = _until(groups, cell_cols, grid, known)
    left_ms = (cols + 1) * grid.bucket_ms - events.times
    _check_room(standing, grid.bucket_ms)
    size_ms = opens * grid.bucket_ms + np.add.reduceat(events.deltas * left_ms, first)
    stood = np.where(events.times[first] > cell_cols * grid.bucket_ms, opens, 0)
    most = np.maximum(stood, np.maximum.reduceat(standing, first))
    of_cell = np.repeat(np.arange(len(first)), end - first + 1)
    last = standing[end] - np.add.reduceat(np.where(events.times >= until[of_cell], events.deltas, 0), first)
    # What ends with the tile is no change in it.
    inside = cell_cols < grid.cols
    found = _Cells(*(column[inside] for column in (groups, cell_cols, last, most, size_ms)))
    return _with_ends(found, until[inside] < (found.cols + 1) * grid.bucket_ms, grid)


def _check_room(standing: Ints, bucket_ms: int) -> None:
    """Sums beyond 64 bits would wrap in silence."""
    if int(standing.max(initial=0)) > MAX_INT64 // (4 * bucket_ms):
        raise OverflowError(f"sizes of {int(standing.max())} lots, summed over {bucket_ms} ms, are beyond 64 bits")


def _with_ends(cells: _Cells, ends: Flags, grid: CellGrid) -> _Cells:
    """`ends`: where knowledge ends before the column does: of what stood then, the next column has nothing."""
    goes_on = np.append((cells.groups[1:] == cells.groups[:-1]) & (cells.cols[1:] == cells.cols[:-1] + 1), False)
    over = np.flatnonzero(ends & (cells.last != 0) & ~goes_on & (cells.cols + 1 < grid.cols))
    nothing = np.zeros(len(over), np.int64)
    added = (cells.groups[over], cells.cols[over] + 1, nothing, nothing, nothing)
    return _Cells(*(np.insert(column, over + 1, new) for column, new in zip(cells, added, strict=True)))


def _relative(cells: _Cells, grid: CellGrid, known: Sequence[Rectangle]) -> TileCells:
    before: Ints = np.concatenate([np.zeros(min(1, len(cells.last)), np.int64), cells.last[:-1]])
    before[1:][cells.groups[1:] != cells.groups[:-1]] = 0
    stood_ms = before * _known_ms(cells.groups, cells.cols, grid, known)
    changes = TileCells(cells.cols, cells.groups, cells.last - before, cells.most - before, cells.size_ms - stood_ms)
    order = np.argsort(cells.cols.astype(np.min_scalar_type(grid.cols)), kind="stable")
    return changes.some(order[(changes.last != 0)[order] | (changes.most != 0)[order] | (changes.size_ms != 0)[order]])


def _until(groups: Ints, cols: Ints, grid: CellGrid, known: Sequence[Rectangle]) -> Ints:
    """When knowledge of each cell ends, in ms after the grid's begin; 0 where there is none."""
    found = np.zeros(len(groups), np.int64)
    for overlaps, _, until in _overlaps(groups, cols, grid, known):
        found[overlaps] = until
    return found


def _known_ms(groups: Ints, cols: Ints, grid: CellGrid, known: Sequence[Rectangle]) -> Ints:
    found = np.zeros(len(groups), np.int64)
    for overlaps, since, until in _overlaps(groups, cols, grid, known):
        found[overlaps] += until - since
    return found


def _overlaps(
    groups: Ints, cols: Ints, grid: CellGrid, known: Sequence[Rectangle]
) -> Iterator[tuple[Ints, Ints, Ints]]:
    """Of each rectangle, ascending: the cells it has a time of, and from when to when."""
    rows, opens = groups % grid.rows, cols * grid.bucket_ms
    for each in known:
        from_ms, until_ms = each.from_ms - grid.t0_ms, each.until_ms - grid.t0_ms
        overlaps = np.flatnonzero(
            (rows >= each.first_row) & (rows < each.last_row) & (opens < until_ms) & (opens + grid.bucket_ms > from_ms)
        )
        some = opens[overlaps]
        yield overlaps, np.maximum(some, from_ms), np.minimum(some + grid.bucket_ms, until_ms)
