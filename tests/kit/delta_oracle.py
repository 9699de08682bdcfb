"""How a delta ran, trade by trade; and candles as far as they tell it: a worker need not know it of every minute."""

from collections.abc import Iterable
from dataclasses import replace

from common.market.candle import Candle
from common.market.coding import codec
from common.market.orderflow.delta import DeltaRange
from common.market.trade import BUY, SELL, Trade


def brute_delta(rows: Iterable[Trade]) -> DeltaRange:
    """Of at least one trade, in any order."""
    sums, delta = list[int](), 0
    for row in sorted(rows):
        delta += row.size_lots * (row.side == BUY) - row.size_lots * (row.side == SELL)
        sums.append(delta)
    return DeltaRange(delta, min(sums), max(sums))


def without_delta(candle: Candle) -> Candle:
    return replace(candle, delta_min_lots=None, delta_max_lots=None)


def is_as(found: Candle, expected: Candle) -> bool:
    """Whether they are equal, but that `found` need not tell how its delta ran."""
    return found in (expected, without_delta(expected))


def packed_is_as(found: bytes | None, expected: bytes | None) -> bool:
    """The same of packed candles, or of none."""
    if not found or not expected:
        return found == expected
    return is_as(codec.unpack_candle(found), codec.unpack_candle(expected))
