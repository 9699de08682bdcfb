"""Cells of resting liquidity, out of the minutes of a book's history: what stood in a row of prices during a bucket.

q(t) of a row and side is the sum of the sizes that stand on its ticks at t. Of a bucket `[a, b)`:

    max       the greatest q(t) over the known t of it; of a coarser row it is no sum of those of finer ones
    last      q just before b, or before the end of what is known in it
    size_ms   the sum of q(t) over the known ms, so size_ms / known_ms is the mean
    known_ms  for how many ms a span covers the whole height of the row; 0: nothing is known, which is not nothing

Exact to the millisecond: of a minute with a coarser resolution, of the book that was sampled.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from common.errors import BadInput
from common.frames.best import BestPrices, best_by_bucket
from common.frames.depth import Column, Ints
from common.frames.depth_minute import DepthMinute, SideChanges

CellKind = Literal["max", "last", "mean"]

# From one time to another, between two prices, both included.
Span = tuple[int, int, int, int]

SIDES = 2
MAX_INT64 = (1 << 63) - 1
# Of these the answer says the sizes that so many percent of the cells don't exceed.
PERCENTILES = (50, 90, 95, 99)


@dataclass(frozen=True, slots=True)
class CellGrid:
    """`cols` buckets of `bucket_ms` from `t0_ms` on, `rows` of `row_ticks` from `p0_ticks` up."""

    t0_ms: int
    bucket_ms: int
    cols: int
    p0_ticks: int
    row_ticks: int
    rows: int

    @property
    def end_ms(self) -> int:
        return self.t0_ms + self.cols * self.bucket_ms

    @property
    def high_ticks(self) -> int:
        """The highest tick in it."""
        return self.p0_ticks + self.rows * self.row_ticks - 1

    def whole_rows(self, low_ticks: int, high_ticks: int) -> tuple[int, int]:
        """The rows that lie between two prices with their whole height: from one up to another, exclusive."""
        first = -((self.p0_ticks - low_ticks) // self.row_ticks)
        last = (high_ticks + 1 - self.p0_ticks) // self.row_ticks
        return max(0, first), min(self.rows, last)


@dataclass(frozen=True, slots=True)
class Liquidity:
    """`cells` by side (bids, asks), column and row; `known_ms` by column and row. Where that is 0 nothing is known.

    `spans`: from, until, lowest and highest price of what is known. `cells` of kind `mean` are `size_ms`.
    """

    grid: CellGrid
    cells: Ints
    known_ms: Ints
    best: BestPrices
    spans: list[Span]
    resolution_ms: int
    truncated: bool
    # The greatest sizes may be more than what stood at one time.
    is_bound: bool = False


def liquidity(minutes: Sequence[DepthMinute], grid: CellGrid, kind: CellKind = "max", min_lots: int = 0) -> Liquidity:
    """`minutes` ascending: those that share a time with the grid. `min_lots`: levels with less are left out."""
    known = Known(grid, [rectangle for minute in minutes for rectangle in rectangles(minute.spans, grid)])
    return Liquidity(
        grid,
        _cells(kind, grid, events_of(minutes, grid, min_lots), known.until),
        known.ms,
        best_by_bucket([minute.best for minute in minutes], grid.t0_ms, grid.bucket_ms, grid.cols),
        [span for minute in minutes for span in spans_inside(minute.spans, grid)],
        max((minute.resolution_ms for minute in minutes), default=1),
        any(minute.truncated for minute in minutes),
    )


def scale_of(values: Column) -> tuple[dict[int, int], int] | None:
    """Nearest-rank percentiles of the sizes that are not 0, and the greatest; None where there is none."""
    sizes = np.sort(values[values > 0], axis=None)
    if not len(sizes):
        return None
    return {share: int(sizes[-(-share * len(sizes) // 100) - 1]) for share in PERCENTILES}, int(sizes[-1])


class Rectangle(NamedTuple):
    """Known: some rows from one time to another."""

    from_ms: int
    until_ms: int
    first_row: int
    last_row: int


def spans_inside(spans: Sequence[Span], grid: CellGrid) -> list[Span]:
    return [span for span in spans if span[0] < grid.end_ms and span[1] > grid.t0_ms]


def rectangles(spans: Sequence[Span], grid: CellGrid) -> list[Rectangle]:
    """What spans that ascend cover of whole rows. Those that meet, and are of the same rows, are joined."""
    found: list[Rectangle] = []
    for from_ms, until_ms, low, high in spans_inside(spans, grid):
        first, last = grid.whole_rows(low, high)
        if first < last:
            known = Rectangle(max(from_ms, grid.t0_ms), min(until_ms, grid.end_ms), first, last)
            if found and found[-1][1:] == (known.from_ms, first, last):
                known = known._replace(from_ms=found.pop().from_ms)
            found.append(known)
    return found


class Known:
    """For how long each cell is known, and until when (ms after the grid's begin): the end of the last span in it."""

    def __init__(self, grid: CellGrid, rectangles: list[Rectangle]) -> None:
        self.ms = np.zeros((grid.cols, grid.rows), np.int64)
        self.until = np.zeros((grid.cols, grid.rows), np.int64)
        for known in rectangles:
            first = (known.from_ms - grid.t0_ms) // grid.bucket_ms
            last = (known.until_ms - 1 - grid.t0_ms) // grid.bucket_ms + 1
            opens = grid.t0_ms + np.arange(first, last, dtype=np.int64) * grid.bucket_ms
            ends = np.minimum(opens + grid.bucket_ms, known.until_ms)
            cells = np.s_[first:last, known.first_row : known.last_row]
            self.ms[cells] += (ends - np.maximum(opens, known.from_ms))[:, None]
            self.until[cells] = (ends - grid.t0_ms)[:, None]


class Events(NamedTuple):
    """How q changes, in the order of group (side and row) and time (ms after the grid's begin)."""

    groups: Ints
    times: npt.NDArray[np.int32]
    deltas: Ints


def events_of(minutes: Sequence[DepthMinute], grid: CellGrid, min_lots: int) -> Events:
    nothing = np.zeros(0, np.int64)
    # Of 16 bits a stable sort is five times as fast as of 64.
    names = np.min_scalar_type(SIDES * grid.rows)
    groups, times, deltas = [nothing.astype(names)], [nothing.astype(np.int32)], [nothing]
    for minute in minutes:
        for known in rectangles(minute.spans, grid):
            for side in range(SIDES):
                changes = _known_changes(minute, side, grid, known, min_lots)
                rows = (changes.prices - grid.p0_ticks) // grid.row_ticks
                groups.append((rows + side * grid.rows).astype(names))
                times.append((changes.times_ms - grid.t0_ms).astype(np.int32))
                deltas.append(changes.deltas)
    # They come by time, and a stable sort keeps that.
    unordered = np.concatenate(groups)
    order = np.argsort(unordered, kind="stable")
    counts = np.bincount(unordered, minlength=SIDES * grid.rows)
    return Events(
        np.repeat(np.arange(len(counts)), counts), np.concatenate(times)[order], np.concatenate(deltas)[order]
    )


def _known_changes(minute: DepthMinute, side: int, grid: CellGrid, known: Rectangle, min_lots: int) -> SideChanges:
    """What changes on a side in a part that is known; runs that reach out of it are cut there."""
    low = grid.p0_ticks + known.first_row * grid.row_ticks
    high = grid.p0_ticks + known.last_row * grid.row_ticks - 1
    if min_lots <= 1 and known.from_ms <= minute.from_ms and minute.until_ms <= known.until_ms:
        return minute.changes[side].between(low, high)
    runs = minute.sides[side]
    some = slice(*np.searchsorted(runs["price_ticks"], [low, high + 1]))
    starts = np.maximum(runs["from_ms"][some], known.from_ms)
    ends = np.minimum(runs["until_ms"][some], known.until_ms)
    stood = (starts < ends) & (runs["size_lots"][some] >= min_lots)
    return SideChanges.of(runs["price_ticks"][some][stood], starts[stood], ends[stood], runs["size_lots"][some][stood])


def _cells(kind: CellKind, grid: CellGrid, events: Events, until: Ints) -> Ints:
    """By side, column and row. There is one column more while it is counted: each group ends in it with nothing."""
    width = grid.cols + 1
    buckets = events.times // grid.bucket_ms
    cells = events.groups * width + buckets
    first = np.flatnonzero(np.concatenate([[True], cells[1:] != cells[:-1]])) if len(cells) else cells
    changed = cells[first]

    def spread(values: Ints) -> Ints:
        found = np.zeros(SIDES * grid.rows * width, np.int64)
        found[changed] = values
        return found

    def reduced(function: np.ufunc, values: Ints) -> Ints:
        return function.reduceat(values, first) if len(first) else values

    ends = np.cumsum(spread(reduced(np.add, events.deltas)))
    if kind == "last":
        found = ends
        rows, sides_cols = events.groups % grid.rows, np.minimum(buckets, grid.cols - 1)
        unknown = (buckets < grid.cols) & (events.times >= until[sides_cols, rows])
        np.subtract.at(found, cells[unknown], events.deltas[unknown])
    else:
        opens = np.concatenate([[0], ends[:-1]])
        if kind == "mean":
            if int(opens.max(initial=0)) + int(_standing(events).max(initial=0)) > MAX_INT64 // grid.bucket_ms:
                raise BadInput(f"the sizes of this book, summed over {grid.bucket_ms} ms, have no place in 64 bits")
            left_ms = (buckets + 1) * grid.bucket_ms - events.times
            found = opens * grid.bucket_ms + spread(reduced(np.add, events.deltas * left_ms))
        else:
            # What stood before the bucket does not stand in it where it changes with its first millisecond.
            opens[changed[events.times[first] == buckets[first] * grid.bucket_ms]] = 0
            found = np.maximum(opens, spread(reduced(np.maximum, _standing(events))))
    return np.ascontiguousarray(found.reshape(SIDES, grid.rows, width)[:, :, : grid.cols].transpose(0, 2, 1))


def _standing(events: Events) -> Ints:
    """q after each change; 0 where another of the same millisecond follows, for that is one change."""
    found = np.cumsum(events.deltas)
    if len(found):
        same = (events.times[1:] == events.times[:-1]) & (events.groups[1:] == events.groups[:-1])
        found[:-1][same] = 0
    return found
