"""Sealed blocks that name their scale, and their columns in another one.

    12 bytes   magic and version, decimals of prices and of sizes, two of padding; checksum of these
    the rest   a block, as common.market.coding.blocks makes it

A block without that is of the scale its symbol began with: most symbols never have another, and nothing is to be named.
"""

import struct
import zlib
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from common.errors import OperatorError
from common.market.coding import int128
from common.market.coding.codec import UNKNOWN_LOTS
from common.market.rescaling import MAX_INT_64, PRICE, SIZE, TURNOVER, Rescaling, power, shifted
from common.market.scale import Scale, Scales
from common.market.units import MAX_DECIMALS

# What a turnover is kept in.
MAX_INT_128 = (1 << 127) - 1

Values = npt.NDArray[np.int64 | np.uint64 | np.uint8]

_TAG = b"FMB\x18"
_NAME, _CHECKSUM = struct.Struct("<4sBBxx"), struct.Struct("<I")
_NAME_SIZE = _NAME.size + _CHECKSUM.size


class CorruptBlock(OperatorError):
    """The bytes are not a block of this kind, or not all of it as it was written."""


def named(block: bytes, scale: Scale | None) -> bytes:
    """Return the block with its scale named; None leaves it as it is."""
    if scale is None:
        return block
    name = _NAME.pack(_TAG, *scale)
    return name + _CHECKSUM.pack(zlib.crc32(name)) + block


def split(block: bytes) -> tuple[Scale | None, bytes]:
    """Return the scale that a block names, None if it names none, and the block itself."""
    if not block.startswith(_TAG):
        return None, block
    name, checksum = block[: _NAME.size], block[_NAME.size : _NAME_SIZE]
    if checksum != _CHECKSUM.pack(zlib.crc32(name)):
        raise CorruptBlock(f"a block names its scale as {block[:_NAME_SIZE].hex()}, whose checksum is another")
    _, price_decimals, size_decimals = _NAME.unpack(name)
    return Scale(price_decimals, size_decimals), block[_NAME_SIZE:]


def rescaling_of(scale: Scale | None, scales: Scales | None) -> Rescaling | None:
    """How what names `scale` is to be read; None: as it is."""
    if scales is None:
        if scale is not None:
            raise CorruptBlock(f"a block names the scale {scale}, where none has another than that of its symbol")
        return None
    found = Rescaling(scale or scales.unnamed, scales.now)
    return None if found.is_none else found


def rescale(columns: Mapping[str, Values], rows: slice, rescaling: Rescaling) -> None:
    """Bring some rows of columns, named as those of common.market.coding.blocks, to another scale, in place."""
    for name, column in columns.items():
        if name.endswith("_ticks"):
            column[rows] = _shifted(column[rows], PRICE, rescaling.old.price_decimals, rescaling.price_shift)
        elif name.startswith("delta_"):
            known = rows.start + np.flatnonzero(column[rows] != UNKNOWN_LOTS)
            column[known] = _shifted(column[known], SIZE, rescaling.old.size_decimals, rescaling.size_shift)
        elif name.endswith("_lots"):
            column[rows] = _shifted(column[rows], SIZE, rescaling.old.size_decimals, rescaling.size_shift)
    if "turnover_low" in columns:
        low, high = columns["turnover_low"], columns["turnover_high"]
        low[rows], high[rows] = _turnover(low[rows], high[rows], rescaling)


def _shifted(values: Values, what: str, decimals: int, shift: int) -> Values:
    if not shift or not len(values):
        return values
    if shift < 0:
        # The first that does not fit is named.
        numbers = [shifted(value, what, decimals, shift, MAX_INT_64) for value in values.tolist()]
        return np.array(numbers, values.dtype)
    shifted(max(int(values.max()), -int(values.min())), what, decimals, shift, MAX_INT_64)
    found: Values = values * power(shift)
    return found


def _turnover(low: Values, high: Values, rescaling: Rescaling) -> int128.Wide:
    shift, decimals = rescaling.price_shift + rescaling.size_shift, sum(rescaling.old)
    most = int(np.abs(high).max()) + 1 if len(high) else 0
    if shift >= 0 and (most << 64) * power(shift) <= MAX_INT_128:
        return _multiplied((low.astype(np.uint64), high.astype(np.int64)), shift)
    # A Python number for each: some may not fit.
    pairs = zip(low.tolist(), high.tolist(), strict=True)
    found = [shifted((top << 64) | bottom, TURNOVER, decimals, shift, MAX_INT_128) for bottom, top in pairs]
    halves = np.array([value & ((1 << 64) - 1) for value in found], np.uint64)
    return halves, np.array([value >> 64 for value in found], np.int64)


def _multiplied(values: int128.Wide, shift: int) -> int128.Wide:
    for step in (min(shift, MAX_DECIMALS), max(0, shift - MAX_DECIMALS)):
        values = int128.scale(values, np.array([power(step)], np.uint64))
    return values
