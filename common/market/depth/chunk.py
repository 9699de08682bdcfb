"""One minute of a book's history, as runs, and its packed form.

A run is a size that stood at a price from one time to another, right-open. A span is where the history is whole: from
one time to another, between two prices. Outside all spans nothing is known, which is not the same as empty; inside,
every level that the market's book had has its run. A run may lie outside them: that level is known, its neighbours are
not.

Each chunk stands alone: a run that lives on past the minute is cut at its end and goes on in the next chunk, where it
`continues`. So a reader may join the two, or take the minute as it is.

Packed: a head, and zlib of the spans, the times and the columns of the runs, bids before asks, each from the lowest
price up and then by time. The times of a run are positions in the list of all times, for a diff changes many levels at
once. A column is split into its bytes, all the lowest ones, then all the next: the upper ones are nearly all equal, and
so are whole columns. That makes 4 to 5 bytes a run. common.frames.depth decodes whole columns.
"""

import math
import struct
import zlib
from array import array
from dataclasses import dataclass, field, replace
from itertools import accumulate, pairwise
from operator import itemgetter
from typing import NamedTuple

from common.market.rescaling import MAX_INT_64, Rescaling
from common.market.scale import Scale, Scales

# version, flags, log2 of the width of prices (bits 0-1) and of sizes (2-3), the scale's decimals of prices, spans,
# times, bids, asks, open_ms, lowest bid, lowest ask, price step, lot step, resolution_ms.
HEAD = struct.Struct("<BBBBIIIIqqqQQI")
VERSION = 2
# Has no resolution, and its spans claim 5 % around the middle, whatever the venue's snapshot reached: they say nothing.
OLD_HEAD = struct.Struct("<BBBBIIIIqqqQQ")
OLD_VERSION = 1
TRUNCATED = 1
# The scale's decimals of sizes, in the flags above. Both are one more than they say; 0: the chunk does not name them.
_SIZE_DECIMALS_AT = 1
# from and until (ms after the open), lowest and highest price.
SPAN = struct.Struct("<HHqq")
# Bytes of times and of positions among them: a minute has fewer milliseconds than 16 bits have values.
TIME_WIDTH = 2
_UNSIGNED = "BHIQ"
# Level 6 makes chunks 5 % smaller and takes three times as long.
_ZLIB_LEVEL = 1

# (price_ticks, size_lots, from_ms, until_ms). One that continues a run of the chunk before has a from_ms before the
# minute's open; unpacked, 1 ms before it. A plain tuple: a busy market ends ten thousand a minute.
Run = tuple[int, int, int, int]


class PriceSpan(NamedTuple):
    """In `[from_ms, until_ms)` every level from `low_ticks` to `high_ticks`, both included, is recorded."""

    from_ms: int
    until_ms: int
    low_ticks: int
    high_ticks: int


@dataclass(slots=True)
class DepthChunk:
    """What is known of the minute that opens at `open_ms`, up to `end_ms`, exclusive.

    `truncated`: a bound on numbers cut levels. `resolution_ms`: it has the book as of each multiple of it; what came
    and went between two of them is not in it. Runs of one price never overlap, and are in the order of time.
    """

    open_ms: int
    end_ms: int
    spans: list[PriceSpan] = field(default_factory=list)
    bids: list[Run] = field(default_factory=list)
    asks: list[Run] = field(default_factory=list)
    truncated: bool = False
    resolution_ms: int = 1


class ChunkHead(NamedTuple):
    """The head of a packed chunk. `price_name`: decimals of its prices and one more; 0 where it does not say.

    `resolution_ms` is 0 where it does not say.
    """

    version: int
    flags: int
    shape: int
    price_name: int
    spans: int
    times: int
    bids: int
    asks: int
    open_ms: int
    lowest_bid: int
    lowest_ask: int
    price_step: int
    lot_step: int
    resolution_ms: int = 0

    @property
    def size(self) -> int:
        return (HEAD if self.version == VERSION else OLD_HEAD).size

    @property
    def says_what_is_known(self) -> bool:
        return self.version == VERSION

    @property
    def scale(self) -> Scale | None:
        """The one it is of; None where it does not name it."""
        size_name = self.flags >> _SIZE_DECIMALS_AT
        return Scale(self.price_name - 1, size_name - 1) if self.price_name and size_name else None

    @property
    def columns(self) -> list[tuple[int, int]]:
        """Width and length of what follows the spans: times, then the runs' steps, sizes, starts and rests."""
        runs = self.bids + self.asks
        widths = 1 << (self.shape & 3), 1 << (self.shape >> 2), TIME_WIDTH, TIME_WIDTH
        return [(TIME_WIDTH, self.times), *((width, runs) for width in widths)]


def pack_chunk(chunk: DepthChunk, name: Scale | None = None) -> bytes:
    """`name`: the scale that the chunk is to name."""
    open_ms = chunk.open_ms
    times = _times(chunk)
    positions = {time_ms: at for at, time_ms in enumerate(times)}
    bids, asks = (_Columns.of(positions, open_ms, runs) for runs in (chunk.bids, chunk.asks))
    price_step = math.gcd(*bids.steps, *asks.steps) or 1
    lot_step = math.gcd(*bids.sizes, *asks.sizes) or 1
    steps = [step // price_step for step in bids.steps + asks.steps]
    sizes = [size // lot_step for size in bids.sizes + asks.sizes]
    widths = _width(max(steps, default=0)), _width(max(sizes, default=0))
    body = [
        *(SPAN.pack(s.from_ms - open_ms, s.until_ms - open_ms, s.low_ticks, s.high_ticks) for s in chunk.spans),
        *_planes(TIME_WIDTH, [0, *(b - a for a, b in pairwise(times))]),
        *_planes(1 << widths[0], steps),
        *_planes(1 << widths[1], sizes),
        *_planes(TIME_WIDTH, bids.starts + asks.starts),
        *_planes(TIME_WIDTH, bids.rests + asks.rests),
    ]
    truncated = TRUNCATED if chunk.truncated else 0
    head = ChunkHead(
        VERSION,
        truncated | (name.size_decimals + 1 if name else 0) << _SIZE_DECIMALS_AT,
        widths[0] | widths[1] << 2,
        name.price_decimals + 1 if name else 0,
        len(chunk.spans),
        len(times),
        len(chunk.bids),
        len(chunk.asks),
        open_ms,
        bids.lowest,
        asks.lowest,
        price_step,
        lot_step,
        chunk.resolution_ms,
    )
    return HEAD.pack(*head) + zlib.compress(b"".join(body), _ZLIB_LEVEL)


def unpack_head(packed: bytes) -> ChunkHead:
    if packed[0] == OLD_VERSION:
        return ChunkHead(*OLD_HEAD.unpack_from(packed))
    if packed[0] != VERSION:
        raise ValueError(f"depth chunk of version {packed[0]}, expected {VERSION}")
    return ChunkHead(*HEAD.unpack_from(packed))


def unpack_body(packed: bytes, head: ChunkHead) -> bytes:
    """Spans, times and columns, decompressed."""
    return zlib.decompress(memoryview(packed)[head.size :])


def unpack_chunk(packed: bytes, scales: Scales | None = None) -> DepthChunk:
    """In the scale that is asked for; None: as it is. Unfit where a number has no place in it."""
    head = unpack_head(packed)
    body = unpack_body(packed, head)
    open_ms, at = head.open_ms, head.spans * SPAN.size
    rows = SPAN.iter_unpack(body[:at]) if head.says_what_is_known else ()
    spans = [PriceSpan(open_ms + start, open_ms + end, *prices) for start, end, *prices in rows]
    columns = []
    for width, count in head.columns:
        columns.append(_values(width, body[at : at + width * count]))
        at += width * count
    times = [open_ms + after_ms for after_ms in accumulate(columns.pop(0))]
    columns[0] = [step * head.price_step for step in columns[0]]
    columns[1] = [size * head.lot_step for size in columns[1]]
    bids = _Columns(head.lowest_bid, *(column[: head.bids] for column in columns))
    asks = _Columns(head.lowest_ask, *(column[head.bids :] for column in columns))
    truncated = bool(head.flags & TRUNCATED)
    resolution_ms = head.resolution_ms or 1
    chunk = DepthChunk(open_ms, times[-1], spans, bids.runs(times), asks.runs(times), truncated, resolution_ms)
    return _rescaled(chunk, Rescaling(head.scale or scales.unnamed, scales.now)) if scales else chunk


def _rescaled(chunk: DepthChunk, rescaling: Rescaling) -> DepthChunk:
    if rescaling.is_none:
        return chunk

    def moved(runs: list[Run]) -> list[Run]:
        return [
            (rescaling.price(ticks, MAX_INT_64), rescaling.size(lots), from_ms, until_ms)
            for ticks, lots, from_ms, until_ms in runs
        ]

    spans = [PriceSpan(from_ms, until_ms, *rescaling.inside(low, high)) for from_ms, until_ms, low, high in chunk.spans]
    return replace(chunk, spans=spans, bids=moved(chunk.bids), asks=moved(chunk.asks))


@dataclass(slots=True)
class _Columns:
    """One side's runs as they are stored, in the order of price and time.

    steps   the price less the price before it, 0 for the first
    starts  0 where the run continues, else the position of its start among the times, plus 1
    rests   from the position of its end to that of the next run of the same price, or of the last time: mostly 0
    """

    lowest: int
    steps: list[int]
    sizes: list[int]
    starts: list[int]
    rests: list[int]

    @classmethod
    def of(cls, positions: dict[int, int], open_ms: int, runs: list[Run]) -> "_Columns":
        if not runs:
            return cls(0, [], [], [], [])
        # The sort is stable and keeps the order of time.
        prices, sizes, froms, untils = zip(*sorted(runs, key=itemgetter(0)), strict=True)
        steps = [0, *(b - a for a, b in pairwise(prices))]
        starts = [positions[from_ms] + 1 if from_ms >= open_ms else 0 for from_ms in froms]
        limits = _limits(steps, starts, len(positions) - 1)
        rests = [limit - positions[until_ms] for limit, until_ms in zip(limits, untils, strict=True)]
        return cls(prices[0], steps, list(sizes), starts, rests)

    def runs(self, times: list[int]) -> list[Run]:
        prices = [self.lowest + offset for offset in accumulate(self.steps)]
        before = times[0] - 1
        froms = [times[start - 1] if start else before for start in self.starts]
        limits = _limits(self.steps, self.starts, len(times) - 1)
        untils = [times[limit - rest] for limit, rest in zip(limits, self.rests, strict=True)]
        return list(zip(prices, self.sizes, froms, untils, strict=True))


def _times(chunk: DepthChunk) -> list[int]:
    """Every time at which a run starts or ends, and first and last those of the chunk."""
    times = {time_ms for side in (chunk.bids, chunk.asks) for run in side for time_ms in run[2:]}
    times |= {chunk.open_ms, chunk.end_ms}
    return sorted(time_ms for time_ms in times if time_ms >= chunk.open_ms)


def _limits(steps: list[int], starts: list[int], last: int) -> list[int]:
    """Until which position each run could last: until the next one of its price, or the last time."""
    limits = [last if step else start - 1 for step, start in zip(steps, starts, strict=True)]
    return [*limits[1:], last] if limits else []


def _width(greatest: int) -> int:
    """log2 of the bytes an unsigned column needs."""
    return (greatest > 0xFF) + (greatest > 0xFFFF) + (greatest > 0xFFFF_FFFF)


def _planes(width: int, values: list[int]) -> list[bytes]:
    raw = array(_UNSIGNED[width.bit_length() - 1], values).tobytes()
    return [raw[at::width] for at in range(width)]


def _values(width: int, planes: bytes) -> list[int]:
    count = len(planes) // width
    raw = bytearray(len(planes))
    for at in range(width):
        raw[at::width] = planes[at * count : (at + 1) * count]
    return array(_UNSIGNED[width.bit_length() - 1], bytes(raw)).tolist()
