"""Tiles of what was traded: sums by a column of time and a row of prices, and how they are stored.

    12 bytes   version, how long what follows is, height of a row in ticks
    made of    a name of what the tile was made of; empty where it needs none
    the rest   a block of footprints (common.market.coding.footprint_blocks), whose minutes are numbers of columns;
               nothing where nothing was traded

Columns of cells are `open_ms` (of the column), `price_ticks` (lowest of the row), then lots and trades by side.
"""

import struct
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from common.market.coding import footprint_blocks
from common.market.coding.blocks import Columns
from common.market.coding.named import split
from common.market.coding.packed import Ints
from common.market.footprint import Row
from common.market.orderflow.tile_rows import MAX_FEW, RowRule, coarse_row, heights
from common.market.scale import Scale, Scales

VERSION = 1
_HEAD = struct.Struct("<BBxxQ")
_MAX_INT_64 = (1 << 63) - 1

Cells = dict[str, Ints]


class TileHead(NamedTuple):
    """What a packed tile says of itself. `row_ticks`: in the scale that is asked for."""

    row_ticks: int
    made_of: str
    cells: int


def pack(cells: Cells, bucket_ms: int, row_ticks: int, name: Scale | None = None, made_of: str = "") -> bytes:
    """`cells`: by column and then row, both ascending, each once. `name`: the scale that the tile is to name."""
    head = _HEAD.pack(VERSION, len(made_of), row_ticks) + made_of.encode()
    if not len(cells["open_ms"]):
        return head
    columns = [cells["open_ms"] // bucket_ms, *(cells[field] for field in Row._fields)]
    return head + footprint_blocks.pack_levels(columns, name)


def head_of(packed: bytes, scales: Scales) -> TileHead | None:
    """Without opening it. None: of a version that is not known here."""
    version, length, row_ticks = _HEAD.unpack_from(packed)
    if version != VERSION:
        return None
    block = _block(packed)
    scale, cells = (split(block)[0], footprint_blocks.level_count(block)) if block else (scales.now, 0)
    return TileHead(_rescaled(row_ticks, scale or scales.unnamed, scales.now), _made_of(packed, length), cells)


def cells_of(tiles: Sequence[bytes], bucket_ms: int, scales: Scales) -> Cells:
    """All cells of tiles, ascending if these are."""
    found = footprint_blocks.levels([block for packed in tiles if (block := _block(packed))], scales)
    cells = as_cells(found)
    return cells | {"open_ms": cells["open_ms"] * bucket_ms}


def as_cells(levels: Columns) -> Cells:
    """Levels of footprints as cells of a minute and a tick."""
    return {name: column.astype(np.int64, copy=False) for name, column in levels.items()}


def row_for(rule: RowRule, cells: Cells, bucket_ms: int, least: int = 1) -> int:
    """The height of rows by the rule, of cells of a tile. `least`: the height that the cells have."""
    prices = cells["price_ticks"]
    if rule == "tick" or not len(prices):
        return least
    if rule == "few":
        return _few_row(cells, bucket_ms, least)
    return max(least, coarse_row(int(prices.min())) * (10 if rule == "coarser" else 1))


def summed(cells: Cells, bucket_ms: int, row_ticks: int) -> Cells | None:
    """Sum cells, in any order, into columns and rows. None: a sum might not fit 64 bits."""
    count = len(cells["open_ms"])
    names = Row._fields[1:]
    if not count:
        return cells
    if max(int(cells[name].max()) for name in names) > _MAX_INT_64 // count:
        return None
    opens, prices = (cells["open_ms"] // bucket_ms, cells["price_ticks"] // row_ticks)
    order = _order(opens, prices)
    opens, prices = opens[order], prices[order]
    starts = np.flatnonzero(np.append(True, (opens[1:] != opens[:-1]) | (prices[1:] != prices[:-1])))
    sums = {name: np.add.reduceat(cells[name][order], starts) for name in names}
    return {"open_ms": opens[starts] * bucket_ms, "price_ticks": prices[starts] * row_ticks, **sums}


def _few_row(cells: Cells, bucket_ms: int, least: int) -> int:
    opens, prices = cells["open_ms"] // bucket_ms, cells["price_ticks"]
    order = np.argsort(opens, kind="stable")
    starts = np.flatnonzero(np.diff(opens[order], prepend=opens[order][:1] - 1))
    low, high = (extreme.reduceat(prices[order], starts) for extreme in (np.minimum, np.maximum))
    fitting = (height for height in heights() if int((high // height - low // height).max()) < MAX_FEW)
    return max(least, next(fitting))


def _order(opens: Ints, prices: Ints) -> npt.NDArray[np.intp]:
    low, first = int(prices.min()), int(opens.min())
    rows = int(prices.max()) - low + 1
    if (int(opens.max()) - first + 1) * rows > _MAX_INT_64:
        return np.lexsort((prices, opens))
    return np.argsort((opens - first) * rows + (prices - low), kind="stable")


def _block(packed: bytes) -> bytes:
    return packed[_HEAD.size + packed[1] :]


def _made_of(packed: bytes, length: int) -> str:
    return packed[_HEAD.size : _HEAD.size + length].decode()


def _rescaled(row_ticks: int, old: Scale, new: Scale) -> int:
    """Of fewer decimals: a row has one price that these can tell, or it is whole rows of theirs."""
    shift = new.price_decimals - old.price_decimals
    return int(row_ticks * 10**shift) if shift >= 0 else int(-(-row_ticks // 10**-shift))
