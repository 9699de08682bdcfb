"""Sealed blocks: one day's minutes of one kind as one compressed run of bytes. Here what all kinds share.

    12 bytes   magic, version, kind; number of rows; checksum of both
    the rest   one zstd frame with a checksum: those first 8 bytes, a head, a width per column, the columns

Kinds are candle_blocks and footprint_blocks: each says what its head and its columns are, in each of its forms. A
column holds what its neighbours do not already say: an open less the close before it, a turnover less volume x price, a
first id less the last id before it. What may be negative is zigzagged. A column is as wide as its widest number and
written byte by byte (all lowest bytes, then all second bytes), for zstd does better on bytes of one kind.

All arithmetic is on 64 bits that wrap (128 for the turnover), here and on the way back, so whatever fits the packed
members of common.market.coding.codec comes back exactly, however odd. Same members, same bytes, as long as zstd is the
same.

A block may name its scale (common.market.coding.named); what is read of several is of one, the one that is asked for.
"""

import hashlib
import struct
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import groupby
from operator import itemgetter

import numpy as np
import numpy.typing as npt
import zstandard

from common.market.coding import planes
from common.market.coding.named import CorruptBlock, Values, rescale, rescaling_of, split
from common.market.coding.packed import Ints
from common.market.coding.planes import PlanePart
from common.market.rescaling import Rescaling
from common.market.scale import Scales

Columns = dict[str, Values]
ColumnTypes = Mapping[str, type[np.int64 | np.uint64 | np.uint8]]

# Tag and rows.
_PREFIX, _CHECKSUM = struct.Struct("<4sI"), struct.Struct("<I")
_FRAME_AT = _PREFIX.size + _CHECKSUM.size

# Of the levels the one that is read fastest: 3 makes candles no smaller and takes 7 ms more to open a year of them,
# 9 seals a day of footprints at half the speed for 1 %.
_LEVEL = 6
# A day of footprints with 3,000 levels a minute takes about 60 MB here. What claims more is not a block of ours.
_MAX_CONTENT = 256 << 20
# Rows decoded at once: few enough for the processor's cache and for memory that malloc keeps. 3,000 and 20,000 take a
# fifth longer.
_ROWS_AT_ONCE = 10_000


@dataclass(frozen=True, slots=True)
class BlockKind:
    """One kind of block, in one of its forms."""

    tag: bytes
    # (rows, content) -> its columns, as they lie there
    part: Callable[[int, bytes], PlanePart]
    # Other forms that are read as this one: their parts have the same columns.
    others: tuple["BlockKind", ...] = ()

    def seal(self, rows: int, head: bytes, columns: Iterable[npt.NDArray[np.integer]]) -> bytes:
        """`head`: its first 8 bytes are left free for tag and rows."""
        prefix = _PREFIX.pack(self.tag, rows)
        lines = [planes.split(column) for column in columns]
        widths = bytes(len(each) for each in lines)
        content = b"".join([prefix, head[len(prefix) :], widths, *(each.tobytes() for each in lines)])
        frame = zstandard.ZstdCompressor(level=_LEVEL, write_checksum=True).compress(content)
        return prefix + _CHECKSUM.pack(zlib.crc32(prefix)) + frame

    def rows(self, block: bytes) -> int:
        """How many rows a block of this kind holds, without opening it; CorruptBlock if it is none."""
        prefix, checksum = block[: _PREFIX.size], block[_PREFIX.size : _FRAME_AT]
        if self.form_of(block) is None or checksum != _CHECKSUM.pack(zlib.crc32(prefix)):
            begun, tag = block[:_FRAME_AT].hex(), self.tag.hex()
            raise CorruptBlock(f"a block begins with {begun}, expected {tag}, rows and a checksum")
        _, rows = _PREFIX.unpack(prefix)
        return int(rows)

    def form_of(self, block: bytes) -> "BlockKind | None":
        """This kind, or the other form of it that a block has."""
        return next((form for form in (self, *self.others) if block.startswith(form.tag)), None)

    def opened(self, decompressor: zstandard.ZstdDecompressor, block: bytes) -> PlanePart:
        """Open a block of this kind, or raise CorruptBlock."""
        rows, form = self.rows(block), self.form_of(block)
        assert form, "rows were told"
        return form.part(rows, content_of(decompressor, block))

    def decode(
        self,
        blocks: Sequence[bytes],
        types: ColumnTypes,
        columns_of: Callable[[list[PlanePart]], Iterable[Values]],
        scales: Scales | None,
    ) -> Columns:
        """Decode some blocks at a time into the columns of all, which are of one scale.

        `columns_of`: the columns of some, in the order of `types`.
        """
        names, blocks = zip(*map(split, blocks), strict=True) if blocks else ((), ())
        rows = [self.rows(block) for block in blocks]
        columns: Columns = {name: np.empty(sum(rows), dtype) for name, dtype in types.items()}
        decompressor = zstandard.ZstdDecompressor()
        at = 0
        for some in _at_once(rows):
            parts = [self.opened(decompressor, blocks[number]) for number in some]
            end = at + sum(rows[number] for number in some)
            for column, values in zip(columns.values(), columns_of(parts), strict=True):
                column[at:end] = values
            at = end
        _rescale(columns, rows, [rescaling_of(name, scales) for name in names])
        return columns


def content_of(decompressor: zstandard.ZstdDecompressor, block: bytes) -> bytes:
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


def digest(block: bytes) -> str:
    """A short name of exactly these bytes: the beginning of their SHA-1, which Redis' scripts can tell, too."""
    return hashlib.sha1(block, usedforsecurity=False).hexdigest()[:16]


def rows_at(columns: Columns, open_ms: int) -> slice:
    """The rows of the minute that opens then, of columns that ascend by `open_ms`."""
    opens = columns["open_ms"]
    return slice(int(np.searchsorted(opens, open_ms)), int(np.searchsorted(opens, open_ms, "right")))


def ascending(values: Ints) -> bool:
    """Whether there is a first, and each is greater than the one before."""
    return len(values) > 0 and bool(np.all(values[:-1] < values[1:]))


def step_of(columns: Sequence[npt.NDArray[np.integer]]) -> int:
    """The greatest number that divides all, at least 1 and below 2**63."""
    found = reduce(np.gcd, (np.gcd.reduce(column) for column in columns))
    return int(found) if 0 < found < 1 << 63 else 1


def _rescale(columns: Columns, rows: Sequence[int], rescalings: Sequence[Rescaling | None]) -> None:
    """Bring the rows of each block to the scale that is asked for. Neighbours mostly go the same way."""
    at = 0
    for rescaling, group in groupby(zip(rescalings, rows, strict=True), key=itemgetter(0)):
        end = at + sum(count for _, count in group)
        if rescaling:
            rescale(columns, slice(at, end), rescaling)
        at = end


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
