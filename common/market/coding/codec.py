"""Packed forms: little-endian, fixed width, decoded here one by one and in common.frames by whole columns.

candle      120 bytes, `CANDLE`; 136 where the range of its running delta is known, `CANDLE_WITH_DELTA`.
footprint   a 40-byte head, then one row per level from the lowest price up. The widths of a row's columns are
            chosen per footprint, so that a level takes 6 to 24 bytes whenever its trade counts fit 16 bits and
            its prices 32 bits of steps; nothing ever overflows, a freak footprint just gets wider rows.
trades      a count, then whole columns: 33 bytes a trade.
"""

import math
import struct
from array import array
from collections.abc import Iterable
from itertools import chain

from common.market.candle import Candle
from common.market.footprint import TRADES_AT, Footprint, Level
from common.market.trade import Trades

# open_ms, o h l c, volume buy sell, turnover (low 64 bits, high 64 bits), first id, last id,
# first and last time after open_ms (ms), trades, rev, sources, padding.
CANDLE = struct.Struct("<q4q3QQq2qIIIIB7x")
# The same, then the least and the greatest running delta.
_DELTA_RANGE = struct.Struct("<2q")
CANDLE_WITH_DELTA = struct.Struct(CANDLE.format + "2q")
# What stands for a number of lots that is not known where there must be one: no sum of lots is that low.
UNKNOWN_LOTS = -(1 << 63)
_UNKNOWN_RANGE = _DELTA_RANGE.pack(UNKNOWN_LOTS, UNKNOWN_LOTS)
_LOW_64 = (1 << 64) - 1
_OPEN = struct.Struct("<q")

# shape: which sides are there (bits 0-2: buy, sell, unknown), log2 of the width of price (bits 3-4), lots (5-6)
# and trade count (7-8); then levels, open_ms, lowest price, price step, lot step.
FOOTPRINT_HEAD = struct.Struct("<IIqqQQ")
_UNSIGNED = "BHIQ"

TRADES_HEAD = struct.Struct("<Q")


def pack_candle(candle: Candle) -> bytes:
    c = candle
    packed = CANDLE.pack(
        c.open_ms,
        c.open_ticks,
        c.high_ticks,
        c.low_ticks,
        c.close_ticks,
        c.volume_lots,
        c.buy_lots,
        c.sell_lots,
        c.turnover & _LOW_64,
        c.turnover >> 64,
        c.first_id,
        c.last_id,
        c.first_ts_ms - c.open_ms,
        c.last_ts_ms - c.open_ms,
        c.trades,
        c.rev,
        c.sources,
    )
    return packed if c.delta_min_lots is None else packed + _DELTA_RANGE.pack(c.delta_min_lots, c.delta_max_lots)


def unpack_candle(packed: bytes) -> Candle:
    open_ms, o, h, lo, c, volume, buy, sell, low, high, first_id, last_id, first, last, trades, rev, sources, *delta = (
        CANDLE if len(packed) == CANDLE.size else CANDLE_WITH_DELTA
    ).unpack(packed)
    return Candle(
        open_ms=open_ms,
        open_ticks=o,
        high_ticks=h,
        low_ticks=lo,
        close_ticks=c,
        volume_lots=volume,
        buy_lots=buy,
        sell_lots=sell,
        turnover=(high << 64) | low,
        trades=trades,
        first_ts_ms=open_ms + first,
        first_id=first_id,
        last_ts_ms=open_ms + last,
        last_id=last_id,
        rev=rev,
        sources=sources,
        delta_min_lots=delta[0] if delta and delta[0] != UNKNOWN_LOTS else None,
        delta_max_lots=delta[1] if delta and delta[1] != UNKNOWN_LOTS else None,
    )


def widened_candle(packed: bytes) -> bytes:
    """A packed candle as CANDLE_WITH_DELTA has it, whatever is known of it."""
    return packed if len(packed) == CANDLE_WITH_DELTA.size else packed + _UNKNOWN_RANGE


def candle_open(packed: bytes) -> int:
    open_ms: int = _OPEN.unpack_from(packed)[0]
    return open_ms


def footprint_open(packed: bytes) -> int:
    open_ms: int = FOOTPRINT_HEAD.unpack_from(packed)[2]
    return open_ms


def pack_footprint(open_ms: int, footprint: Footprint) -> bytes:
    """Pack at least one level. The columns of a row: steps above the lowest price, lots by side, trades by side."""
    if footprint.is_of_arrays:
        # Only there: a live worker loads no numpy, which is a quarter of its memory.
        from common.market.coding.packed import pack_footprint as pack_by_columns

        return pack_by_columns(open_ms, footprint)
    prices = sorted(footprint.levels)
    levels = [footprint.levels[price] for price in prices]
    sides = [side for side in range(TRADES_AT) if any(level[side + TRADES_AT] for level in levels)]
    lots = [[level[side] for level in levels] for side in sides]
    trades = [[level[side + TRADES_AT] for level in levels] for side in sides]
    lowest = prices[0]
    price_step = math.gcd(*(price - lowest for price in prices)) or 1
    lot_step = math.gcd(*chain.from_iterable(lots)) or 1
    steps = [(price - lowest) // price_step for price in prices]
    if lot_step > 1:
        lots = [[value // lot_step for value in column] for column in lots]
    shape = footprint_shape(sides, steps[-1], max(map(max, lots)), max(map(max, trades)))
    rows = struct.pack("<" + row_format(shape) * len(prices), *_interleave([steps, *lots, *trades]))
    return FOOTPRINT_HEAD.pack(shape, len(prices), open_ms, lowest, price_step, lot_step) + rows


def unpack_footprint(packed: bytes) -> tuple[int, Footprint]:
    """Return `(open_ms, footprint)`."""
    shape, count, open_ms, lowest, price_step, lot_step = FOOTPRINT_HEAD.unpack_from(packed)
    sides = sides_of(shape)
    levels: dict[int, Level] = {}
    for step, *sums in struct.iter_unpack("<" + row_format(shape), packed[FOOTPRINT_HEAD.size :]):
        level = [0, 0, 0, 0, 0, 0]
        for at, side in enumerate(sides):
            level[side] = sums[at] * lot_step
            level[side + TRADES_AT] = sums[at + len(sides)]
        levels[lowest + step * price_step] = level
    assert len(levels) == count
    return open_ms, Footprint(levels)


def row_format(shape: int) -> str:
    """The struct format of a footprint's row: price steps, lots per side, trades per side."""
    sides = len(sides_of(shape))
    price, lots, trades = (_UNSIGNED[shape >> at & 3] for at in (3, 5, 7))
    return price + lots * sides + trades * sides


def sides_of(shape: int) -> list[int]:
    """The side codes that have columns in a footprint of this shape."""
    return [side for side in range(TRADES_AT) if shape >> side & 1]


def pack_trades(trades: Trades) -> bytes:
    return b"".join([TRADES_HEAD.pack(len(trades)), *trades.packed_columns(), trades.sides])


NO_TRADES = pack_trades(Trades())


def unpack_trades(packed: bytes) -> Trades:
    (count,) = TRADES_HEAD.unpack_from(packed)
    numbers = array("q")
    numbers.frombytes(packed[TRADES_HEAD.size : TRADES_HEAD.size + 32 * count])
    ts_ms, ids, prices, sizes = (numbers[at * count : (at + 1) * count].tolist() for at in range(4))
    return Trades(ts_ms, ids, prices, sizes, packed[TRADES_HEAD.size + 32 * count :])


def trade_columns(packed: bytes) -> "tuple[memoryview, ...]":
    """The columns of packed trades as they lie there, four of int64 and the sides."""
    (count,) = TRADES_HEAD.unpack_from(packed)
    rows = memoryview(packed)[TRADES_HEAD.size :]
    return (*(rows[8 * count * at : 8 * count * (at + 1)] for at in range(4)), rows[32 * count :])


def footprint_shape(sides: list[int], steps: int, lots: int, trades: int) -> int:
    """`sides`: those that have columns; `steps`, `lots`, `trades`: the greatest of each."""
    return sum(1 << side for side in sides) | _width(steps) << 3 | _width(lots) << 5 | _width(trades) << 7


def _width(greatest: int) -> int:
    """log2 of the bytes an unsigned column needs."""
    return (greatest > 0xFF) + (greatest > 0xFFFF) + (greatest > 0xFFFF_FFFF)


def _interleave(columns: list[list[int]]) -> Iterable[int]:
    return chain.from_iterable(zip(*columns, strict=True))
