"""Trades as arrays, as a file of columns gives them."""

import numpy as np

from common.market.trade import Trades
from common.market.trade_arrays import TradeArrays


def as_arrays(trades: Trades) -> TradeArrays:
    columns = (trades.ts_ms, trades.ids, trades.price_ticks, trades.size_lots)
    return TradeArrays([np.array(column, np.int64) for column in columns], trades.sides)


def fits_arrays(trades: Trades) -> bool:
    """Whether every number is of 64 bits, as all are that a file of columns may hold."""
    return all(-(1 << 63) <= number < 1 << 63 for row in trades.rows() for number in row)
