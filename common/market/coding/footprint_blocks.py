"""A day's footprints as one sealed block (common.market.coding.blocks), and blocks of them as columns of levels."""

import struct
from collections.abc import Iterator, Sequence

import numpy as np
import zstandard

from common.market.coding import codec, planes
from common.market.coding.blocks import BlockKind, Columns, ColumnTypes, ascending, rows_at, step_of
from common.market.coding.named import named, rescale, rescaling_of, split
from common.market.coding.packed import Ints, levels_of
from common.market.coding.planes import PlanePart
from common.market.footprint import TRADES_AT, Footprint, Row
from common.market.scale import Scale, Scales
from common.market.timeframes.timeframe import MINUTE_MS

# Number of footprints; the minute's open before the first, the lowest price of the first, price step, lot step.
_HEAD = struct.Struct("<8xIqq2Q")
_LOW_64 = (1 << 64) - 1

# What `levels` gives.
_TYPES: ColumnTypes = dict.fromkeys(("open_ms", *Row._fields), np.int64)


def pack(members: Sequence[bytes], name: Scale | None = None) -> bytes:
    """Seal packed footprints: at least one, ascending by open. `name`: the scale that the block is to name."""
    columns = list(levels_of(members))
    assert np.count_nonzero(np.diff(columns[0], prepend=columns[0][:1] - 1)) == len(members)
    return pack_levels(columns, name)


def pack_levels(columns: Sequence[Ints], name: Scale | None = None) -> bytes:
    """The same of columns: `open_ms`, then the fields of footprint.Row; by open and then price, both ascending."""
    open_ms, price, *sums = columns
    starts = np.flatnonzero(np.diff(open_ms, prepend=open_ms[:1] - 1))
    opens = open_ms[starts]
    assert ascending(opens)
    gap = np.diff(price, prepend=price[:1])
    price_step, lot_step = step_of([gap]), step_of(sums[:TRADES_AT])
    gap //= price_step
    jump = gap[starts]
    gap[starts] = 0
    before_ms = planes.before(opens, opens[:1] - MINUTE_MS)
    encoded = [
        planes.zigzag(opens - before_ms - MINUTE_MS),
        np.diff(starts, append=len(open_ms)),
        planes.zigzag(jump),
        gap,
        *(lots // lot_step for lots in sums[:TRADES_AT]),
        *sums[TRADES_AT:],
    ]
    head = (len(opens), int(before_ms[0]), int(price[0]), price_step, lot_step)
    return named(_KIND.seal(len(open_ms), _HEAD.pack(*head), encoded), name)


def levels(blocks: Sequence[bytes], scales: Scales | None = None) -> Columns:
    """Return all levels of the blocks: `open_ms`, then the fields of footprint.Row, as columns of 64-bit integers.

    By open and then price, both ascending, if the blocks are.
    """
    return _KIND.decode(blocks, _TYPES, _level_columns, scales)


def members(block: bytes, scales: Scales | None = None) -> list[bytes]:
    columns = levels([block], scales)
    starts = np.flatnonzero(np.diff(columns["open_ms"], prepend=columns["open_ms"][:1] - 1)).tolist()
    ends = [*starts[1:], len(columns["open_ms"])]
    return [_member(columns, slice(start, end)) for start, end in zip(starts, ends, strict=True)]


def at(block: bytes, open_ms: int, scales: Scales | None = None) -> bytes | None:
    """Return the packed footprint of one minute, if the block has it."""
    columns = levels([block], scales)
    rows = rows_at(columns, open_ms)
    return _member(columns, rows) if rows.start < rows.stop else None


def level_count(block: bytes) -> int:
    """How many levels a block of footprints holds, without opening it."""
    return _KIND.rows(split(block)[1])


class LevelBlock:
    """A block of footprints, opened once and decoded some minutes at a time: all of a busy day take 200 MB."""

    def __init__(self, block: bytes, scales: Scales | None = None) -> None:
        name, block = split(block)
        self._part = _KIND.opened(zstandard.ZstdDecompressor(), block)
        self._rescaling = rescaling_of(name, scales)
        minutes, before_ms, *_ = self._part.head
        self.opens = planes.chain(self._signed(0) + MINUTE_MS, (minutes,), (before_ms,))
        self._jumps = np.broadcast_to(self._signed(2), minutes)
        counts = planes.column([self._part], 1).astype(np.int64)
        # The first level of each minute, and the end of the last one's.
        self._rows = np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)])

    def within(self, from_ms: int, to_ms: int, max_rows: int, *, oldest_first: bool) -> slice:
        """Return minutes that open in `[from_ms, to_ms)`: from one end as many as have so many levels, but one."""
        first, end = np.searchsorted(self.opens, (from_ms, to_ms)).tolist()
        if first == end:
            return slice(first, end)
        if oldest_first:
            fitting = int(np.searchsorted(self._rows, self._rows[first] + max_rows, "right")) - 1
            return slice(first, min(end, max(first + 1, fitting)))
        fitting = int(np.searchsorted(self._rows, self._rows[end] - max_rows, "left"))
        return slice(max(first, min(end - 1, fitting)), end)

    def count(self, minutes: slice) -> int:
        """How many levels those minutes have."""
        return int(self._rows[minutes.stop] - self._rows[minutes.start])

    def levels(self, minutes: slice) -> Columns:
        """Return the levels of those minutes, as `levels` does."""
        rows = slice(int(self._rows[minutes.start]), int(self._rows[minutes.stop]))
        values = self._level_columns(minutes, rows)
        columns: Columns = dict(zip(_TYPES, values, strict=True))
        if self._rescaling:
            rescale(columns, slice(None), self._rescaling)
        return columns

    def _level_columns(self, minutes: slice, rows: slice) -> Iterator[Ints]:
        _, _, lowest, price_step, lot_step = self._part.head
        starts = self._rows[minutes]
        yield np.repeat(self.opens[minutes], np.diff(starts, append=rows.stop))
        yield np.cumsum(self._gaps(minutes, rows)) * price_step + lowest
        for at in range(4, 4 + TRADES_AT):
            yield self._unsigned(at, rows) * lot_step
        for at in range(4 + TRADES_AT, 4 + 2 * TRADES_AT):
            yield self._unsigned(at, rows)

    def _gaps(self, minutes: slice, rows: slice) -> Ints:
        """From level to level; that of the first is all there is up to it."""
        gaps = self._unsigned(3, rows)
        gaps[self._rows[minutes] - rows.start] = self._jumps[minutes]
        before = self._part.sum(3, slice(rows.start)) + int(self._jumps[: minutes.start].sum())
        gaps[:1] += np.array([before & _LOW_64], np.uint64).view(np.int64)
        return gaps

    def _unsigned(self, at: int, rows: slice) -> Ints:
        found = planes.column([self._part], at, rows).astype(np.int64)
        return found if len(found) == rows.stop - rows.start else np.zeros(rows.stop - rows.start, np.int64)

    def _signed(self, at: int) -> Ints:
        return planes.unzigzag(planes.column([self._part], at))


def _part(rows: int, content: bytes) -> PlanePart:
    (minutes, *_) = _HEAD.unpack_from(content)
    return PlanePart.of(content, _HEAD, (minutes,) * 3 + (rows,) * (1 + 2 * TRADES_AT))


_KIND = BlockKind(b"FMB\x12", _part)


def _level_columns(parts: list[PlanePart]) -> Iterator[Ints]:
    """The columns of `pack`, put together again, in the order of _TYPES."""
    rows = [part.rows[-1] for part in parts]
    minutes, before_ms, lowest, price_steps, lot_steps = zip(*(part.head for part in parts), strict=True)
    opens = planes.chain(planes.unzigzag(planes.column(parts, 0)) + MINUTE_MS, minutes, before_ms)
    counts = planes.column(parts, 1).astype(np.int64)
    gap = np.zeros(sum(rows), np.int64)
    gap[:] = planes.column(parts, 3)
    gap[np.cumsum(counts) - counts] = planes.unzigzag(planes.column(parts, 2))
    yield np.repeat(opens, counts)
    yield planes.chain(gap, rows, (0,) * len(parts)) * planes.spread(price_steps, rows) + planes.spread(lowest, rows)
    lot_step = planes.spread(lot_steps, rows)
    for at in range(4, 4 + TRADES_AT):
        yield planes.column(parts, at).astype(np.int64) * lot_step
    for at in range(4 + TRADES_AT, 4 + 2 * TRADES_AT):
        yield planes.column(parts, at).astype(np.int64)


def _member(columns: Columns, some: slice) -> bytes:
    rows = zip(*(columns[name][some].tolist() for name in Row._fields), strict=True)
    return codec.pack_footprint(int(columns["open_ms"][some.start]), Footprint.of(rows))
