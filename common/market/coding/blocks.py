"""Sealed blocks: one day's minute candles, or its footprints, as one compressed run of bytes.

    12 bytes   magic, version, kind; number of rows; checksum of both
    the rest   one zstd frame with a checksum: those first 8 bytes, a head, a width per column, the columns

A column holds what its neighbours do not already say: an open less the close before it, a turnover less volume x
price, a first id less the last id before it. What may be negative is zigzagged. A column is as wide as its widest
number and written byte by byte (all lowest bytes, then all second bytes), for zstd does better on bytes of one kind.

All arithmetic is on 64 bits that wrap (128 for the turnover), here and on the way back, so whatever fits the packed
members of common.market.coding.codec comes back exactly, however odd. Same members, same bytes, as long as zstd is the
same.

A block may name its scale (common.market.coding.named); what is read of several is of one, the one that is asked for.
"""

import hashlib
import struct
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial, reduce
from itertools import groupby
from operator import itemgetter
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import zstandard

from common.market.coding import codec, int128, planes
from common.market.coding.int128 import Unsigned, Wide
from common.market.coding.named import CorruptBlock, Values, named, rescale, rescaling_of, split
from common.market.coding.packed import PACKED_CANDLE, Ints, levels_of
from common.market.footprint import TRADES_AT, Footprint, Row
from common.market.rescaling import Rescaling
from common.market.scale import Scale, Scales
from common.market.timeframes.timeframe import MINUTE_MS

Columns = dict[str, Values]
_Type = type[np.int64 | np.uint64 | np.uint8]

_CANDLES, _FOOTPRINTS = b"FMB\x11", b"FMB\x12"
# Tag and rows: candles, or levels.
_PREFIX, _CHECKSUM = struct.Struct("<4sI"), struct.Struct("<I")
_FRAME_AT = _PREFIX.size + _CHECKSUM.size
# The minute's open, the close and the last id before the first of them, price step, lot step.
_CANDLE_HEAD = struct.Struct("<8x3q2Q")
_CANDLE_COLUMNS = 17
# Number of footprints; the minute's open before the first, the lowest price of the first, price step, lot step.
_FOOTPRINT_HEAD = struct.Struct("<8xIqq2Q")

# Of the levels the one that is read fastest: 3 makes candles no smaller and takes 7 ms more to open a year of them,
# 9 seals a day of footprints at half the speed for 1 %.
_LEVEL = 6
# A day of footprints with 3,000 levels a minute takes about 60 MB here. What claims more is not a block of ours.
_MAX_CONTENT = 256 << 20
# Rows decoded at once: few enough for the processor's cache and for memory that malloc keeps. 3,000 and 20,000 take a
# fifth longer.
_ROWS_AT_ONCE = 10_000
_LOW_64 = (1 << 64) - 1

# What `candles` gives: the fields of a Candle, the turnover in two halves.
CANDLE_TYPES: dict[str, _Type] = {
    **dict.fromkeys(("open_ms", "open_ticks", "high_ticks", "low_ticks", "close_ticks"), np.int64),
    **dict.fromkeys(("volume_lots", "buy_lots", "sell_lots"), np.int64),
    "turnover_low": np.uint64,
    "turnover_high": np.int64,
    **dict.fromkeys(("trades", "first_ts_ms", "first_id", "last_ts_ms", "last_id", "rev"), np.int64),
    "sources": np.uint8,
}
ORDER_KEYS = frozenset(("first_ts_ms", "first_id", "last_ts_ms", "last_id"))
_LEVEL_TYPES: dict[str, _Type] = dict.fromkeys(("open_ms", *Row._fields), np.int64)


def pack_candles(members: Sequence[bytes], name: Scale | None = None) -> bytes:
    """Seal packed candles: at least one, ascending by open. `name`: the scale that the block is to name."""
    packed = np.frombuffer(b"".join(members), PACKED_CANDLE)
    assert len(packed) == len(members) and _ascending(packed["open_ms"])
    prices, lots, turnover, price_step, lot_step = _in_steps(packed)
    (open_, high, low, close), (volume, buy, sell) = prices, lots
    before_ms = planes.before(packed["open_ms"], packed["open_ms"][:1] - MINUTE_MS)
    before_close = planes.before(close, open_[:1])
    before_id = planes.before(packed["last_id"], packed["first_id"][:1] - 1)
    turnover_low, turnover_high = _turnover_left(turnover, volume, _typical(high, low))
    columns = [
        planes.zigzag(packed["open_ms"] - before_ms - MINUTE_MS),
        planes.zigzag(open_ - before_close),
        planes.zigzag(close - open_),
        planes.zigzag(high - np.maximum(open_, close)),
        planes.zigzag(np.minimum(open_, close) - low),
        buy,
        sell,
        planes.zigzag((volume - buy - sell).view(np.int64)),
        turnover_low,
        turnover_high,
        packed["trades"],
        packed["first_after_ms"],
        planes.zigzag(MINUTE_MS - 1 - packed["last_after_ms"].astype(np.int64)),
        planes.zigzag(packed["first_id"] - before_id - 1),
        planes.zigzag(packed["last_id"] - packed["first_id"] - packed["trades"] + 1),
        packed["rev"],
        packed["sources"],
    ]
    before = int(before_ms[0]), int(before_close[0]), int(before_id[0])
    head = _CANDLE_HEAD.pack(*before, price_step, lot_step)
    return named(_seal(_CANDLES, len(packed), head, columns), name)


def candles(
    blocks: Sequence[bytes], names: Sequence[str] = tuple(CANDLE_TYPES), scales: Scales | None = None
) -> Columns:
    """Return all candles of the blocks, in their order, by the names of Candle's fields, or only those `names`.

    `scales`: None where a symbol has never had another scale: then no block may name one.
    Columns of 64-bit integers, the sources of 8; the turnover is two, its unsigned low half and its signed high half.
    Columns and not records of 120 bytes: a column is written once, a record's cache lines once per field.
    """
    types = {name: CANDLE_TYPES[name] for name in names}
    return _whole(_CANDLES, blocks, types, _candle_part, partial(_candle_columns, names=names), scales)


class CandleContent(NamedTuple):
    """One block of candles as it was sealed."""

    rows: int
    # The open (ms) of the minute before the first, the close and the last id before it, price step, lot step.
    head: tuple[int, ...]
    # Bytes of a number, per column of pack_candles.
    widths: bytes
    # A line for each byte of each column.
    planes: npt.NDArray[np.uint8]


def candle_contents(blocks: Sequence[bytes], scales: Scales | None = None) -> list[CandleContent] | None:
    """Open blocks; None where one of them is to be brought to another scale, as only decoding does."""
    names, blocks = zip(*map(split, blocks), strict=True)
    if any(rescaling_of(name, scales) for name in names):
        return None
    decompressor = zstandard.ZstdDecompressor()
    return [_candle_content(_rows(_CANDLES, block), _open(decompressor, block)) for block in blocks]


def _candle_content(rows: int, content: bytes) -> CandleContent:
    start = _CANDLE_HEAD.size + _CANDLE_COLUMNS
    planes = np.frombuffer(content, np.uint8, offset=start).reshape(-1, rows)
    return CandleContent(rows, _CANDLE_HEAD.unpack_from(content), content[_CANDLE_HEAD.size : start], planes)


def candle_members(block: bytes, scales: Scales | None = None) -> list[bytes]:
    return members_of(candles([block], scales=scales))


def candle_at(block: bytes, open_ms: int, scales: Scales | None = None) -> bytes | None:
    """Return the packed candle of one minute, if the block has it."""
    columns = candles([block], scales=scales)
    found = members_of(columns, _span(columns, open_ms))
    return found[0] if found else None


def pack_footprints(members: Sequence[bytes], name: Scale | None = None) -> bytes:
    """Seal packed footprints: at least one, ascending by open. `name`: as of pack_candles."""
    columns = list(levels_of(members))
    assert np.count_nonzero(np.diff(columns[0], prepend=columns[0][:1] - 1)) == len(members)
    return pack_levels(columns, name)


def pack_levels(columns: Sequence[Ints], name: Scale | None = None) -> bytes:
    """The same of columns: `open_ms`, then the fields of footprint.Row; by open and then price, both ascending."""
    open_ms, price, *sums = columns
    starts = np.flatnonzero(np.diff(open_ms, prepend=open_ms[:1] - 1))
    opens = open_ms[starts]
    assert _ascending(opens)
    gap = np.diff(price, prepend=price[:1])
    price_step, lot_step = _gcd([gap]), _gcd(sums[:TRADES_AT])
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
    return named(_seal(_FOOTPRINTS, len(open_ms), _FOOTPRINT_HEAD.pack(*head), encoded), name)


def levels(blocks: Sequence[bytes], scales: Scales | None = None) -> Columns:
    """Return all levels of the blocks: `open_ms`, then the fields of footprint.Row, as columns of 64-bit integers.

    By open and then price, both ascending, if the blocks are.
    """
    return _whole(_FOOTPRINTS, blocks, _LEVEL_TYPES, _footprint_part, _level_columns, scales)


def candle_count(block: bytes) -> int:
    """How many candles a block holds, without opening it."""
    return _rows(_CANDLES, split(block)[1])


def level_count(block: bytes) -> int:
    """How many levels a block of footprints holds, without opening it."""
    return _rows(_FOOTPRINTS, split(block)[1])


class LevelBlock:
    """A block of footprints, opened once and decoded some minutes at a time: all of a busy day take 200 MB."""

    def __init__(self, block: bytes, scales: Scales | None = None) -> None:
        name, block = split(block)
        self._part = _footprint_part(_rows(_FOOTPRINTS, block), _open(zstandard.ZstdDecompressor(), block))
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
        columns: Columns = dict(zip(_LEVEL_TYPES, values, strict=True))
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


def footprint_members(block: bytes, scales: Scales | None = None) -> list[bytes]:
    columns = levels([block], scales)
    starts = np.flatnonzero(np.diff(columns["open_ms"], prepend=columns["open_ms"][:1] - 1)).tolist()
    ends = [*starts[1:], len(columns["open_ms"])]
    return [_footprint(columns, slice(start, end)) for start, end in zip(starts, ends, strict=True)]


def footprint_at(block: bytes, open_ms: int, scales: Scales | None = None) -> bytes | None:
    """Return the packed footprint of one minute, if the block has it."""
    columns = levels([block], scales)
    span = _span(columns, open_ms)
    return _footprint(columns, span) if span.start < span.stop else None


def digest(block: bytes) -> str:
    """A short name of exactly these bytes: the beginning of their SHA-1, which Redis' scripts can tell, too."""
    return hashlib.sha1(block, usedforsecurity=False).hexdigest()[:16]


def _whole(
    tag: bytes,
    blocks: Sequence[bytes],
    types: Mapping[str, _Type],
    part_of: Callable[[int, bytes], planes.PlanePart],
    columns_of: Callable[[list[planes.PlanePart]], Iterable[Values]],
    scales: Scales | None,
) -> Columns:
    """Decode some blocks at a time into the columns of all, which are of one scale."""
    names, blocks = zip(*map(split, blocks), strict=True) if blocks else ((), ())
    rows = [_rows(tag, block) for block in blocks]
    columns: Columns = {name: np.empty(sum(rows), dtype) for name, dtype in types.items()}
    decompressor = zstandard.ZstdDecompressor()
    at = 0
    for some in _at_once(rows):
        parts = [part_of(rows[number], _open(decompressor, blocks[number])) for number in some]
        end = at + sum(rows[number] for number in some)
        for column, values in zip(columns.values(), columns_of(parts), strict=True):
            column[at:end] = values
        at = end
    _rescale(columns, rows, [rescaling_of(name, scales) for name in names])
    return columns


def _rescale(columns: Columns, rows: Sequence[int], rescalings: Sequence[Rescaling | None]) -> None:
    """Bring the rows of each block to the scale that is asked for. Neighbours mostly go the same way."""
    at = 0
    for rescaling, group in groupby(zip(rescalings, rows, strict=True), key=itemgetter(0)):
        end = at + sum(count for _, count in group)
        if rescaling:
            rescale(columns, slice(at, end), rescaling)
        at = end


def _candle_part(rows: int, content: bytes) -> planes.PlanePart:
    return planes.PlanePart.of(content, _CANDLE_HEAD, (rows,) * _CANDLE_COLUMNS)


def _footprint_part(rows: int, content: bytes) -> planes.PlanePart:
    (minutes, *_) = _FOOTPRINT_HEAD.unpack_from(content)
    return planes.PlanePart.of(content, _FOOTPRINT_HEAD, (minutes,) * 3 + (rows,) * (1 + 2 * TRADES_AT))


def _candle_columns(parts: list[planes.PlanePart], names: Sequence[str]) -> Iterator[Values]:
    """The columns of pack_candles, put together again: those asked for.

    The order keys are a fourth of the work, and no other column needs them: they are made only where one is asked
    for. All others hang together, by the turnover.
    """
    counts = [part.rows[0] for part in parts]
    before_ms, before_close, before_id, price_steps, lot_steps = zip(*(part.head for part in parts), strict=True)
    price_step, lot_step = planes.spread(price_steps, counts), planes.spread(lot_steps, counts)

    def unsigned(at: int) -> Ints:
        return planes.column(parts, at).astype(np.int64)

    def signed(at: int) -> Ints:
        return planes.unzigzag(planes.column(parts, at))

    open_ms = planes.chain(signed(0) + MINUTE_MS, counts, before_ms)
    gap, body = signed(1), signed(2)
    close = planes.chain(gap + body, counts, before_close)
    open_ = close - body
    high = np.maximum(open_, close) + signed(3)
    low = np.minimum(open_, close) - signed(4)
    buy, sell, unknown = unsigned(5), unsigned(6), signed(7)
    volume = buy + sell + unknown
    turnover_low, turnover_high = _turnover(volume, _typical(high, low), signed(8), signed(9), price_step * lot_step)
    trades = unsigned(10)
    made: dict[str, Values] = {
        "open_ms": open_ms,
        "open_ticks": open_ * price_step,
        "high_ticks": high * price_step,
        "low_ticks": low * price_step,
        "close_ticks": close * price_step,
        "volume_lots": volume * lot_step,
        "buy_lots": buy * lot_step,
        "sell_lots": sell * lot_step,
        "turnover_low": turnover_low,
        "turnover_high": turnover_high,
        "trades": trades,
        "rev": unsigned(15),
        "sources": unsigned(16),
    }
    if not ORDER_KEYS.isdisjoint(names):
        more = signed(14)
        last_id = planes.chain(signed(13) + trades + more, counts, before_id)
        made |= {
            "first_ts_ms": open_ms + unsigned(11),
            "first_id": last_id - more - trades + 1,
            "last_ts_ms": open_ms + (MINUTE_MS - 1) - signed(12),
            "last_id": last_id,
        }
    return (made[name] for name in names)


def _level_columns(parts: list[planes.PlanePart]) -> Iterator[Ints]:
    """The columns of pack_footprints, put together again, in the order of _LEVEL_TYPES."""
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


def members_of(columns: Columns, span: slice = planes.ALL) -> list[bytes]:
    """Pack columns of `candles`, those rows of them, as the codec does."""
    some = {name: column[span] for name, column in columns.items()}
    some["first_after_ms"] = some["first_ts_ms"] - some["open_ms"]
    some["last_after_ms"] = some["last_ts_ms"] - some["open_ms"]
    packed = np.zeros(len(some["open_ms"]), PACKED_CANDLE)
    for name in PACKED_CANDLE.names or ():
        if name != "padding":
            packed[name] = some[name]
    members: list[bytes] = packed.view(f"V{PACKED_CANDLE.itemsize}").tolist()
    return members


def _footprint(columns: Columns, span: slice) -> bytes:
    rows = zip(*(columns[name][span].tolist() for name in Row._fields), strict=True)
    return codec.pack_footprint(int(columns["open_ms"][span.start]), Footprint.of(rows))


def _span(columns: Columns, open_ms: int) -> slice:
    opens = columns["open_ms"]
    return slice(int(np.searchsorted(opens, open_ms)), int(np.searchsorted(opens, open_ms, "right")))


def _seal(tag: bytes, rows: int, head: bytes, columns: Iterable[npt.NDArray[np.integer]]) -> bytes:
    prefix = _PREFIX.pack(tag, rows)
    split = [planes.split(column) for column in columns]
    widths = bytes(len(column) for column in split)
    content = b"".join([prefix, head[len(prefix) :], widths, *(column.tobytes() for column in split)])
    frame = zstandard.ZstdCompressor(level=_LEVEL, write_checksum=True).compress(content)
    return prefix + _CHECKSUM.pack(zlib.crc32(prefix)) + frame


def _rows(tag: bytes, block: bytes) -> int:
    """How many rows a block of this kind holds; CorruptBlock if it is none."""
    prefix, checksum = block[: _PREFIX.size], block[_PREFIX.size : _FRAME_AT]
    if not block.startswith(tag) or checksum != _CHECKSUM.pack(zlib.crc32(prefix)):
        raise CorruptBlock(f"a block begins with {block[:_FRAME_AT].hex()}, expected {tag.hex()}, rows and a checksum")
    _, rows = _PREFIX.unpack(prefix)
    return int(rows)


def _open(decompressor: zstandard.ZstdDecompressor, block: bytes) -> bytes:
    """Return what was sealed, or raise CorruptBlock."""
    frame = memoryview(block)[_FRAME_AT:]
    try:
        size = zstandard.frame_content_size(frame)
        if size > _MAX_CONTENT:
            raise CorruptBlock(f"a block claims {size} bytes, expected at most {_MAX_CONTENT}")
        content = decompressor.decompress(frame, allow_extra_data=False)
    except zstandard.ZstdError as error:
        raise CorruptBlock(f"a block of {len(block)} bytes is not as it was written: {error}") from error
    if not content.startswith(block[: _PREFIX.size]):
        raise CorruptBlock("a block holds the content of another")
    return content


def _at_once(rows: Sequence[int]) -> Iterator[list[int]]:
    """Numbers of blocks, as many at a time as are decoded at once."""
    some: list[int] = []
    for number in range(len(rows)):
        some.append(number)
        if sum(rows[each] for each in some) >= _ROWS_AT_ONCE:
            yield some
            some = []
    if some:
        yield some


def _ascending(values: Ints) -> bool:
    return len(values) > 0 and bool(np.all(values[:-1] < values[1:]))


def _typical(high: Ints, low: Ints) -> Ints:
    """The price that volume x price is nearest to the turnover with, of those that are cheap to have."""
    return (high + low) >> 1


def _gcd(columns: Sequence[npt.NDArray[np.integer]]) -> int:
    """The greatest number that divides all, at least 1 and below 2**63."""
    found = reduce(np.gcd, (np.gcd.reduce(column) for column in columns))
    return int(found) if 0 < found < 1 << 63 else 1


def _in_steps(
    packed: npt.NDArray[np.void],
) -> tuple[list[Ints], list[Unsigned], list[int], int, int]:
    """Prices, lots and turnover of the candles in the steps they share, and the steps of prices and lots.

    A venue whose sizes have 3 decimals may be kept with 8: that is 17 bits of each size saved.
    """
    prices = [packed[name] for name in ("open_ticks", "high_ticks", "low_ticks", "close_ticks")]
    lots = [packed[name] for name in ("volume_lots", "buy_lots", "sell_lots")]
    limbs = zip(packed["turnover_low"].tolist(), packed["turnover_high"].tolist(), strict=True)
    turnover = [(high << 64) | low for low, high in limbs]
    price_step, lot_step = _gcd(prices), _gcd(lots)
    step = price_step * lot_step
    if step >= 1 << 63 or any(value % step for value in turnover):
        return prices, lots, turnover, 1, 1
    return (
        [price // price_step for price in prices],
        [lot // np.uint64(lot_step) for lot in lots],
        [value // step for value in turnover],
        price_step,
        lot_step,
    )


def _turnover_left(turnover: list[int], volume: Unsigned, price: Ints) -> tuple[Unsigned, Unsigned]:
    """What volume x price leaves, as two columns: a signed 64-bit number, and how many 2**64 are to be added."""
    rows = zip(turnover, volume.tolist(), price.tolist(), strict=True)
    left = [value - lots * ticks for value, lots, ticks in rows]
    low = np.array([value & _LOW_64 for value in left], np.uint64)
    high = np.array([(value >> 64) & _LOW_64 for value in left], np.uint64) + (low >> np.uint64(63))
    return planes.zigzag(low.view(np.int64)), planes.zigzag(high.view(np.int64))


def _turnover(volume: Ints, price: Ints, left: Ints, left_high: Ints, step: Ints) -> Wide:
    """The inverse, as the two halves of 128 bits: (volume x price + what is left) x step."""
    lots = volume.view(np.uint64)
    most = int(lots.max()) * int(price.view(np.uint64).max()) + max(int(left.max()), -int(left.min()))
    if most * int(step.max()) < 1 << 63 and not left_high.any():
        # Nearly always, and in a third of the time.
        turnover = (volume * price + left) * step
        return turnover.view(np.uint64), turnover >> 63
    return int128.scale(int128.add(int128.multiply(lots, price), left, left_high), step.view(np.uint64))
