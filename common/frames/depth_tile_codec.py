"""A tile of resting liquidity as bytes: columns, sparse, in the sealed form of common.market.coding.blocks.

By cell the step of its name within its column, then what it has more. Sizes are in steps of which all are multiples.
Of `most` what it is beyond a size that came and stayed; of `size_ms` how often `last` is in it, which is for how long
it stood where it changed but once, and the rest.
"""

import hashlib
import struct
from dataclasses import replace
from typing import NamedTuple, cast

import numpy as np
import zstandard

from common.frames.depth import Ints
from common.frames.depth_tile import DepthTile, TileCells, steady_spans
from common.frames.liquidity import CellGrid, Span
from common.market.coding import planes
from common.market.coding.blocks import BlockKind, step_of
from common.market.coding.int128 import Unsigned
from common.market.coding.named import Values, named, rescale, rescaling_of, split
from common.market.coding.planes import PlanePart
from common.market.rescaling import MAX_INT_64, Rescaling, power
from common.market.scale import Scale, Scales

# Open, width and number of columns; lowest tick, height and number of rows; step of sizes; resolution, flags, spans.
_HEAD = struct.Struct("<8xqqIqqIQIBI")
_LABEL = struct.Struct("<BqqqI16s")
_TRUNCATED, _BOUND = 1, 2
_NO_PRICE = -(1 << 63)


class TileLabel(NamedTuple):
    """What is said of a tile without opening it: enough to choose it, and to know it again.

    `low_ticks`, `high_ticks`: of what is known. `cells`: how many it has. `digest`: of its bytes.
    """

    price_decimals: int
    row_ticks: int
    low_ticks: int
    high_ticks: int
    cells: int
    digest: bytes

    @classmethod
    def of(cls, tile: DepthTile, packed: bytes, scale: Scale) -> "TileLabel":
        digest = hashlib.sha1(packed, usedforsecurity=False).digest()[:16]
        return cls(scale.price_decimals, tile.grid.row_ticks, *tile.prices, len(tile.cells.cols), digest)

    def is_of(self, packed: bytes) -> bool:
        return hashlib.sha1(packed, usedforsecurity=False).digest()[:16] == self.digest

    def pack(self) -> bytes:
        return _LABEL.pack(*self)

    @classmethod
    def unpack(cls, packed: bytes) -> "TileLabel":
        return cls(*_LABEL.unpack(packed))

    def at(self, price_decimals: int) -> "TileLabel | None":
        """In another scale of prices; None where the rows have no place in it."""
        shift = price_decimals - self.price_decimals
        factor = power(abs(shift))
        if shift < 0 and self.row_ticks % factor:
            return None
        row, low, high = (
            ticks * factor if shift >= 0 else ticks // factor
            for ticks in (self.row_ticks, self.low_ticks, self.high_ticks)
        )
        return self._replace(price_decimals=price_decimals, row_ticks=row, low_ticks=low, high_ticks=high)


class _Head(NamedTuple):
    open_ms: int
    bucket_ms: int
    cols: int
    p0_ticks: int
    row_ticks: int
    rows: int
    step: int
    resolution_ms: int
    flags: int
    spans: int

    @property
    def grid(self) -> CellGrid:
        return CellGrid(self.open_ms, self.bucket_ms, self.cols, self.p0_ticks, self.row_ticks, self.rows)


def pack_tile(tile: DepthTile, name: Scale | None = None) -> bytes:
    """`name`: the scale that the tile is to name."""
    grid, cells = tile.grid, tile.cells.widened()
    step = step_of([np.abs(cells.last), np.abs(cells.most), np.abs(cells.size_ms)])
    last, most, size_ms = cells.last // step, cells.most // step, cells.size_ms // step
    divisor = np.where(last == 0, 1, last)
    stood_ms, rest = np.divmod(size_ms, divisor)
    head = _Head(
        grid.t0_ms, grid.bucket_ms, grid.cols, grid.p0_ticks, grid.row_ticks, grid.rows, step,
        tile.resolution_ms, tile.is_truncated * _TRUNCATED | tile.is_bound * _BOUND, len(tile.spans),
    )  # fmt: skip
    columns = [
        np.bincount(cells.cols, minlength=grid.cols),
        _steps(cells.names, _col_starts(cells.cols)),
        *map(planes.zigzag, (last, most - np.maximum(last, 0), stood_ms, rest)),
        *_packed_spans(tile.spans, grid),
        *_packed_best(tile.best),
    ]
    return named(_KIND.seal(len(cells.cols), _HEAD.pack(*head), columns), name)


def unpack_tile(packed: bytes, scales: Scales | None = None) -> DepthTile:
    """In the scale that is asked for. Unfit where a number has no place in it, CorruptBlock where it is no tile."""
    name, block = split(packed)
    part = _KIND.opened(zstandard.ZstdDecompressor(), block)
    head = _Head(*part.head)
    grid, count = head.grid, part.rows[1]
    names = [planes.column([part], at) for at in range(len(part.rows))]
    signed = [np.broadcast_to(planes.unzigzag(each), part.rows[at]) for at, each in enumerate(names)]
    counts = np.broadcast_to(names[0], grid.cols).astype(np.int64)
    last, over, stood_ms, rest = signed[2:6]
    cells = TileCells(
        np.repeat(np.arange(grid.cols), counts),
        _summed(np.broadcast_to(names[1], count).astype(np.int64), counts[counts > 0]),
        last * head.step,
        (over + np.maximum(last, 0)) * head.step,
        (stood_ms * np.where(last == 0, 1, last) + rest) * head.step,
    )
    tile = DepthTile(
        grid,
        cells,
        _spans(signed[6:10], grid),
        _best(signed[10:14]),
        head.resolution_ms,
        bool(head.flags & _TRUNCATED),
        bool(head.flags & _BOUND),
    )
    rescaling = rescaling_of(name, scales)
    return _narrowed(_rescaled(tile, rescaling) if rescaling else tile)


def _narrowed(tile: DepthTile) -> DepthTile:
    """As small as it may be, for it is kept: half as large."""
    cells = tile.cells
    signed = (_least(values, np.int32) for values in (cells.last, cells.most, cells.size_ms))
    return replace(tile, cells=TileCells(_least(cells.cols, np.uint16), _least(cells.names, np.uint32), *signed))


def _least(values: Ints, kind: type[np.int32 | np.uint16 | np.uint32]) -> Ints:
    limits = np.iinfo(kind)
    fits = int(values.min(initial=0)) >= limits.min and int(values.max(initial=0)) <= limits.max
    # Of the same kind to all that counts with it.
    return cast(Ints, values.astype(kind)) if fits else values


def _part(rows: int, content: bytes) -> PlanePart:
    head = _Head(*_HEAD.unpack_from(content))
    return PlanePart.of(content, _HEAD, [head.cols, *[rows] * 5, *[head.spans] * 4, *[head.cols] * 4])


def _col_starts(cols: Ints) -> Ints:
    return np.flatnonzero(np.diff(cols, prepend=-1))


def _steps(names: Ints, starts: Ints) -> Ints:
    """Names ascend within a column."""
    steps = np.diff(names, prepend=0)
    steps[starts] = names[starts]
    return steps


def _summed(steps: Ints, counts: Ints) -> Ints:
    """Running sums, of each column from 0 on."""
    sums = np.cumsum(steps)
    ends = np.cumsum(counts)[:-1]
    found: Ints = sums - np.repeat(np.concatenate([np.zeros(min(1, len(counts)), np.int64), sums[ends - 1]]), counts)
    return found


def _packed_spans(spans: tuple[Span, ...], grid: CellGrid) -> list[Unsigned]:
    from_ms, until_ms, low, high = np.array(spans, np.int64).reshape(-1, 4).T
    after = np.diff(from_ms, prepend=grid.t0_ms)
    columns = (after, until_ms - from_ms, np.diff(low, prepend=grid.p0_ticks), high - low)
    return [planes.zigzag(column) for column in columns]


def _spans(columns: list[Ints], grid: CellGrid) -> tuple[Span, ...]:
    after, length, low, height = columns
    from_ms, low = grid.t0_ms + np.cumsum(after), grid.p0_ticks + np.cumsum(low)
    return tuple(zip(*(each.tolist() for each in (from_ms, from_ms + length, low, low + height)), strict=True))


def _packed_best(best: Ints) -> list[Unsigned]:
    """Each less what it is likely to be, on 64 bits that wrap."""
    bid_last, ask_last, bid_min, ask_max = best.T
    first = np.zeros(1, np.int64)
    guesses = (planes.before(bid_last, first), planes.before(ask_last, first), bid_last, ask_last)
    return [planes.zigzag(column - guess) for column, guess in zip(best.T, guesses, strict=True)]


def _best(columns: list[Ints]) -> Ints:
    bid_last, ask_last = np.cumsum(columns[0]), np.cumsum(columns[1])
    return np.stack([bid_last, ask_last, columns[2] + bid_last, columns[3] + ask_last], axis=1)


def _rescaled(tile: DepthTile, rescaling: Rescaling) -> DepthTile:
    price, grid = rescaling.price, tile.grid

    def sizes(values: Ints) -> Ints:
        # Of a kind that has a name, as a column of a block has.
        column: dict[str, Values] = {"size_lots": values.copy()}
        rescale(column, slice(None), rescaling)
        return column["size_lots"].astype(np.int64)

    cells = tile.cells
    row_ticks = price(grid.row_ticks, MAX_INT_64)
    # Of other prices a row may be known for less of a column: its sizes are of all of it, so it is known then or not.
    spans = tile.spans if row_ticks == grid.row_ticks else steady_spans(tile)
    prices = {ticks: price(ticks, MAX_INT_64) for ticks in np.unique(tile.best).tolist() if ticks != _NO_PRICE}
    best = np.array([[prices.get(ticks, _NO_PRICE) for ticks in row] for row in tile.best.tolist()], np.int64)
    return replace(
        tile,
        grid=replace(grid, p0_ticks=price(grid.p0_ticks, MAX_INT_64), row_ticks=row_ticks),
        cells=replace(cells, last=sizes(cells.last), most=sizes(cells.most), size_ms=sizes(cells.size_ms)),
        spans=tuple((*span[:2], *rescaling.inside(*span[2:])) for span in spans),
        best=best.reshape(-1, 4),
    )


_KIND = BlockKind(b"FMD\x11", _part)
