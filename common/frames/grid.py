"""Grid frame v1: a heatmap as bytes, a full one or a patch of one. Little-endian, each section padded to 8 bytes.

      0  3s   "FMG"                       40  u32  cols           72  u64  seq       traded: commit; depth: 0
      3  u8   version, 1                  44  u32  rows           80  i64  known_ms  traded: watermark
      4  u16  bytes of this header, 112   48  u32  row_ticks      88  u64  after     patch: what its reader must hold
      6  u8   kind: 1 traded, 2 depth     52  u32  cells          96  16s  token
      7  u8   frame: 0 full, 1 patch      56  u64  lot_step      112  spans: i64 from, until, low, high each
      8  u32  flags                       64  u32  spans              best, by column: i64 bid last, ask last, bid min,
     12  u16  channels, a bit each        68  u32  best: cols, or 0   ask max
     14  u8   bytes of a value: 4 or 8                                cells
     15  u8   price_decimals
     16  u8   size_decimals, 3 of padding
     20  u32  bucket_ms
     24  i64  t0_ms, open of column 0
     32  i64  p0_ticks, lowest tick of row 0

Sparse cells: u32 col_start[cols + 1], u16 row[cells] (u32 with WIDE_ROWS), then of each channel, the lowest bit first,
its values. A cell that is not there is 0 where a span covers it, else unknown. Dense cells: of each channel
values[cols * rows], by column; all ones is unknown. Spans of what was traded have all prices.
"""

import struct
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import IntEnum, IntFlag
from itertools import accumulate
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from common.frames.depth import Ints

MAGIC, VERSION = b"FMG", 1
HEAD = struct.Struct("<3sBHBBIHBBB3xIqqIIIIQIIQqQ16s")
# An absent best price: the least int64.
NO_PRICE = -(1 << 63)
Numbers = npt.NDArray[np.unsignedinteger]
ChannelT = TypeVar("ChannelT", bound=int)


class GridKind(IntEnum):
    TRADED = 1
    DEPTH = 2


class GridFlags(IntFlag):
    DENSE = 1
    PARTIAL = 2
    SIMULATED = 4
    NEAREST = 8
    APPROX = 16
    TRUNCATED = 32
    WIDE_ROWS = 64


class TradedChannel(IntEnum):
    BUY, SELL, UNKNOWN, BUY_TRADES, SELL_TRADES, UNKNOWN_TRADES = range(6)


class DepthChannel(IntEnum):
    BID_MAX, ASK_MAX, BID_LAST, ASK_LAST, BID_SIZE_MS, ASK_SIZE_MS, KNOWN_MS = range(7)


# Channels that are no sizes.
COUNTED: dict[GridKind, tuple[int, ...]] = {
    GridKind.TRADED: (TradedChannel.BUY_TRADES, TradedChannel.SELL_TRADES, TradedChannel.UNKNOWN_TRADES),
    GridKind.DEPTH: (DepthChannel.KNOWN_MS,),
}


@dataclass(frozen=True, slots=True)
class GridHead:
    kind: GridKind
    bucket_ms: int
    t0_ms: int
    p0_ticks: int
    cols: int
    rows: int
    row_ticks: int
    # Values of sizes are lots divided by it.
    lot_step: int = 1
    price_decimals: int = 0
    size_decimals: int = 0
    is_patch: bool = False
    flags: GridFlags = GridFlags(0)
    seq: int = 0
    known_ms: int = 0
    after: int = 0
    # 32 hex digits.
    token: str = "0" * 32


@dataclass(frozen=True, slots=True)
class GridFrame:
    """`col_start[c]:col_start[c + 1]`: the cells of column c, each of the row in `row`. `values`: by channel.

    With DENSE there are neither, and the values are by column and row. `spans`: from, until, low, high. `best`: a row a
    column, or no row.
    """

    head: GridHead
    values: Mapping[int, Numbers]
    col_start: Ints = field(default_factory=lambda: np.zeros(0, np.int64))
    row: Ints = field(default_factory=lambda: np.zeros(0, np.int64))
    spans: Ints = field(default_factory=lambda: np.zeros((0, 4), np.int64))
    best: Ints = field(default_factory=lambda: np.zeros((0, 4), np.int64))

    def pack(self) -> bytes:
        head, width = self.head, _width(self.values)
        packed = HEAD.pack(
            MAGIC,
            VERSION,
            HEAD.size,
            head.kind,
            head.is_patch,
            head.flags,
            sum(1 << channel for channel in self.values),
            width,
            head.price_decimals,
            head.size_decimals,
            head.bucket_ms,
            head.t0_ms,
            head.p0_ticks,
            head.cols,
            head.rows,
            head.row_ticks,
            len(self.row),
            head.lot_step,
            len(self.spans),
            len(self.best),
            head.seq,
            head.known_ms,
            head.after,
            bytes.fromhex(head.token),
        )
        places: list[npt.NDArray[np.generic]] = []
        if GridFlags.DENSE not in head.flags:
            places = [self.col_start.astype("<u4"), self.row.astype(_row_type(head.flags))]
        numbers = [self.values[channel].astype(f"<u{width}") for channel in sorted(self.values)]
        sections = [self.spans.astype("<i8"), self.best.astype("<i8"), *places, *numbers]
        return packed + b"".join(_padded(section.tobytes()) for section in sections)

    @classmethod
    def unpack(cls, packed: bytes) -> "GridFrame":
        """ValueError where it is no grid frame of this version, or a part of one."""
        if packed[:3] != MAGIC or len(packed) < HEAD.size or packed[3] != VERSION:
            raise ValueError(f"not a grid frame of version {VERSION}: {packed[:4]!r}")
        (_, _, size, kind, patch, flags, channels, width, price_decimals, size_decimals, bucket_ms, t0, p0, *rest) = (
            HEAD.unpack_from(packed)
        )
        cols, rows, row_ticks, cells, lot_step, spans, best, seq, known_ms, after, token = rest
        found = GridFlags(flags)
        head = GridHead(
            GridKind(kind), bucket_ms, t0, p0, cols, rows, row_ticks, lot_step, price_decimals, size_decimals,
            bool(patch), found, seq, known_ms, after, token.hex(),
        )  # fmt: skip
        is_dense = GridFlags.DENSE in found
        names = [channel for channel in range(16) if channels >> channel & 1]
        kinds = [("<i8", 4 * spans), ("<i8", 4 * best)]
        kinds += [] if is_dense else [("<u4", cols + 1), (_row_type(found), cells)]
        kinds += [(f"<u{width}", cols * rows if is_dense else cells)] * len(names)
        lengths = [_aligned(np.dtype(of).itemsize * count) for of, count in kinds]
        starts = list(accumulate(lengths, initial=size))
        if starts[-1] != len(packed):
            raise ValueError(f"a grid frame of {len(packed)} bytes, expected {starts[-1]}")
        sections = [np.frombuffer(packed, of, count, at) for (of, count), at in zip(kinds, starts, strict=False)]
        span_rows, best_rows = (section.astype(np.int64).reshape(-1, 4) for section in sections[:2])
        values = dict(zip(names, sections[len(sections) - len(names) :], strict=True))
        if is_dense:
            return cls(head, values, spans=span_rows, best=best_rows)
        col_start, row = (section.astype(np.int64) for section in sections[2:4])
        return cls(head, values, col_start, row, span_rows, best_rows)


@dataclass(frozen=True, slots=True)
class GridCells:
    """What the cells of a grid hold, by channel, in order of column and row. Those that are not there are 0 or unknown.

    `counted`: channels that are no sizes: they have no step.
    """

    cols: Ints
    rows: Ints
    values: Mapping[int, Ints]
    counted: tuple[int, ...] = ()

    @classmethod
    def of(cls, values: Mapping[ChannelT, Ints], counted: tuple[int, ...] = ()) -> "GridCells":
        """Of all cells by column and row: those that are not 0 in each channel that is not counted."""
        sizes = [values[channel] for channel in values if channel not in counted]
        cols, rows = np.nonzero(sum(size != 0 for size in sizes))
        return cls(cols, rows, {channel: cells[cols, rows] for channel, cells in values.items()}, counted)

    def stepped(self) -> tuple[dict[int, Numbers], int]:
        """The values, sizes divided by the greatest step that they are all multiples of; and that step."""
        sizes = [self.values[channel] for channel in self.values if channel not in self.counted]
        step = int(np.gcd.reduce(np.concatenate([np.zeros(1, np.int64), *sizes]))) or 1
        divided = {at: cells if at in self.counted else cells // step for at, cells in self.values.items()}
        return {at: cells.astype(np.int64).view(np.uint64) for at, cells in divided.items()}, step

    def col_start(self, cols: int) -> Ints:
        return np.concatenate([[0], np.cumsum(np.bincount(self.cols, minlength=cols))])

    def frame(self, head: GridHead, known: npt.NDArray[np.bool_], spans: Ints, best: Ints) -> GridFrame:
        """A full frame, in the shorter of its two forms. `known`: by column and row, or by column and 1."""
        values, step = self.stepped()
        size = len(values) * _width(values)
        sparse_bytes = 4 * (head.cols + 1) + len(self.rows) * (2 + size)
        if sparse_bytes <= head.cols * head.rows * size:
            stepped = replace(head, lot_step=step)
            return GridFrame(stepped, values, self.col_start(head.cols), self.rows, spans, best)
        dense = replace(head, lot_step=step, flags=head.flags | GridFlags.DENSE)
        return GridFrame(dense, self._dense(head, known, values), spans=spans, best=best)

    def _dense(self, head: GridHead, known: npt.NDArray[np.bool_], values: Mapping[int, Numbers]) -> dict[int, Numbers]:
        """By column and row; all ones where a cell is not known."""
        kind = np.dtype(f"<u{_width(values)}")
        nothing = np.zeros((head.cols, head.rows), kind)
        nothing[~np.broadcast_to(known, nothing.shape)] = np.iinfo(kind).max
        found = dict[int, Numbers]()
        for channel, cells in values.items():
            found[channel] = nothing.copy()
            found[channel][self.cols, self.rows] = cells
        return {channel: cells.reshape(-1) for channel, cells in found.items()}


def _width(values: Mapping[int, Numbers]) -> int:
    """Bytes; the greatest number of them is no value. Numbers that are as narrow already may be that one."""
    if all(column.dtype.itemsize == 4 for column in values.values()):
        return 4
    greatest = max((int(column.max(initial=0)) for column in values.values()), default=0)
    return 4 if greatest < (1 << 32) - 1 else 8


def _row_type(flags: GridFlags) -> str:
    return "<u4" if GridFlags.WIDE_ROWS in flags else "<u2"


def _aligned(size: int) -> int:
    return size + -size % 8


def _padded(section: bytes) -> bytes:
    return section + bytes(-len(section) % 8)
