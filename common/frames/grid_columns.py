"""A grid that is told as it changes: its columns, what changed of them, and both as grid frames.

A patch has the columns from the first that changed to the newest one: of each what is known of it now, and the cells
that are other ones, with their values of now. A cell whose values are all 0 is gone.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np

from common.frames.depth import Ints
from common.frames.grid import GridCells, GridFlags, GridFrame, GridHead, GridKind
from common.frames.liquidity import CellGrid

# From, until, lowest and highest price of what is known.
KnownSpan: TypeAlias = tuple[int, int, int, int]
# The values of a cell, of each channel.
Values: TypeAlias = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class GridColumn:
    """`cells`: by row, those that hold something; in a patch also those that hold nothing any more.

    `spans`: what is known of it, ascending. `best`: last bid and ask, least bid, greatest ask; or nothing.
    """

    cells: Mapping[int, Values]
    spans: tuple[KnownSpan, ...]
    best: tuple[int, ...] = ()
    is_partial: bool = False

    def since(self, older: "GridColumn") -> "GridColumn":
        """With only the cells that are not what they were."""
        changed = {row: values for row, values in self.cells.items() if older.cells.get(row) != values}
        width = len(next(iter(older.cells.values()), ()))
        return replace(self, cells=changed | dict.fromkeys(older.cells.keys() - self.cells.keys(), (0,) * width))

    def whole(self, rows: int, width: int) -> "GridColumn":
        """With every cell: whatever its reader holds, it is this column then."""
        return replace(self, cells={**dict.fromkeys(range(rows), (0,) * width), **self.cells})

    def over(self, older: "GridColumn") -> "GridColumn":
        """With the cells that an older change has and this one has not."""
        return replace(self, cells={**older.cells, **self.cells})


@dataclass(frozen=True, slots=True)
class GridShape:
    """What all frames of a grid have in common. `cols`: as many at most are held, the newest ones."""

    kind: GridKind
    channels: tuple[int, ...]
    # Channels that are no sizes.
    counted: tuple[int, ...]
    bucket_ms: int
    cols: int
    p0_ticks: int
    row_ticks: int
    rows: int
    scale: tuple[int, int]

    def times(self, newest_ms: int, cols: int | None = None) -> CellGrid:
        """The columns up to the one that opens at `newest_ms`."""
        count = cols or self.cols
        t0_ms = newest_ms - (count - 1) * self.bucket_ms
        return CellGrid(t0_ms, self.bucket_ms, count, self.p0_ticks, self.row_ticks, self.rows)

    def has(self, price_ticks: int) -> bool:
        return self.p0_ticks <= price_ticks < self.p0_ticks + self.rows * self.row_ticks

    def around(self, price_ticks: int) -> "GridShape":
        """The same with that price in its middle."""
        middle = price_ticks // self.row_ticks
        return replace(self, p0_ticks=(middle - self.rows // 2) * self.row_ticks)

    def coarser(self) -> "GridShape":
        """Of the same prices, in rows twice as high."""
        height = 2 * self.row_ticks
        p0, end = self.p0_ticks // height, -(-(self.p0_ticks + self.rows * self.row_ticks) // height)
        return replace(self, row_ticks=height, p0_ticks=p0 * height, rows=end - p0)


@dataclass(frozen=True, slots=True)
class GridState:
    """What a frame is true of: `seq` and `token` of a commit or a picture, and until when it is known."""

    seq: int
    token: str
    known_ms: int
    flags: GridFlags = GridFlags(0)


def pack_grid(shape: GridShape, columns: Mapping[int, GridColumn], state: GridState, after: int | None = None) -> bytes:
    """A frame of columns that follow each other, by their opens. `after`: of a patch, what its reader must hold."""
    opens = sorted(columns)
    found = [columns[open_ms] for open_ms in opens]
    flags = state.flags | (GridFlags.PARTIAL if any(column.is_partial for column in found) else GridFlags(0))
    head = GridHead(
        shape.kind, shape.bucket_ms, opens[0] if opens else 0, shape.p0_ticks, len(opens), shape.rows, shape.row_ticks,
        1, *shape.scale, is_patch=after is not None, flags=flags, seq=state.seq, known_ms=state.known_ms,
        after=after or 0, token=state.token or "0" * 32,
    )  # fmt: skip
    cells = _cells(shape, found)
    values, step = cells.stepped()
    spans = np.array(joined(span for column in found for span in column.spans), np.int64).reshape(-1, 4)
    best = np.array([column.best for column in found if column.best], np.int64).reshape(-1, 4)
    return GridFrame(
        replace(head, lot_step=step), values, cells.col_start(len(opens)), cells.rows, spans, best
    ).pack()  # fmt: skip


def _cells(shape: GridShape, columns: Sequence[GridColumn]) -> GridCells:
    places = [(at, row, *column.cells[row]) for at, column in enumerate(columns) for row in sorted(column.cells)]
    table = np.array(places, np.int64).reshape(-1, 2 + len(shape.channels))
    values: dict[int, Ints] = {channel: table[:, 2 + at] for at, channel in enumerate(shape.channels)}
    return GridCells(table[:, 0], table[:, 1], values, shape.counted)


def joined(spans: Iterable[KnownSpan]) -> list[KnownSpan]:
    """Ascending spans; those that meet, and are of the same prices, as one."""
    found: list[KnownSpan] = []
    for span in spans:
        if found and found[-1][1:] == (span[0], *span[2:]):
            span = (found.pop()[0], *span[1:])
        found.append(span)
    return found


def spans_by_column(spans: Sequence[KnownSpan], grid: CellGrid) -> dict[int, tuple[KnownSpan, ...]]:
    """What each column has of ascending spans, by its open."""
    found: dict[int, list[KnownSpan]] = {grid.t0_ms + at * grid.bucket_ms: [] for at in range(grid.cols)}
    for from_ms, until_ms, low, high in spans:
        at_ms, end_ms = max(from_ms, grid.t0_ms), min(until_ms, grid.end_ms)
        while at_ms < end_ms:
            open_ms = at_ms // grid.bucket_ms * grid.bucket_ms
            found[open_ms].append((at_ms, min(end_ms, open_ms + grid.bucket_ms), low, high))
            at_ms = open_ms + grid.bucket_ms
    return {open_ms: tuple(joined(each)) for open_ms, each in found.items()}


def columns_of(grid: CellGrid, cells: GridCells, channels: Sequence[int]) -> dict[int, dict[int, Values]]:
    """Cells by the opens of all columns of a grid, and by row."""
    found: dict[int, dict[int, Values]] = {grid.t0_ms + at * grid.bucket_ms: {} for at in range(grid.cols)}
    values = zip(*(cells.values[channel].tolist() for channel in channels), strict=True)
    for col, row, each in zip(cells.cols.tolist(), cells.rows.tolist(), values, strict=True):
        if any(each):
            found[grid.t0_ms + col * grid.bucket_ms][row] = each
    return found
