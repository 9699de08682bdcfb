"""Trades whose columns are arrays, as a file of columns gives them: a replay reads, applies and packs millions so.

What is asked of the whole batch numpy answers, and equal to lists of the same trades (a law under test). What looks at
trades one by one, as to refuse some of them, finds lists: a column becomes one when it is first asked for.
"""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from operator import mul

import numpy as np
import numpy.typing as npt

from common.market.coding.int128 import total
from common.market.coding.packed import Ints
from common.market.footprint import TRADES_AT, Footprint
from common.market.orderflow.delta import of_trades
from common.market.timeframes.timeframe import MINUTE_MS
from common.market.trade import BUY, SELL, Trade, TradeBounds, Trades, TradeSums

# Fewer trades are done sooner as lists: each call of numpy costs as much as ten of them.
MIN_TRADES = 256
# Places per trade, between the lowest and the highest price of a run, beyond which they are not worth their memory.
MAX_PLACES = 8
MAX_INT_64 = (1 << 63) - 1
# Whole numbers up to here are exact in a float.
MAX_EXACT_FLOAT = 1 << 53

_COLUMNS = ("ts_ms", "ids", "price_ticks", "size_lots")
# How each side counts in a delta.
_SIGN = np.array([1, -1, 0], np.int64)


class TradeArrays(Trades):
    """Not to be changed: a column and its list would differ. Sums are of valid trades: others may leave 64 bits."""

    __slots__ = ("_arrays",)

    def __init__(self, columns: Sequence[Ints], sides: bytes) -> None:
        """`columns`: times, ids, prices and sizes."""
        # The places of the lists stay empty until one is asked for.
        self._arrays = columns
        self.sides = sides

    def __getattr__(self, name: str) -> list[int]:
        """Asked for what is not there yet: a column as a list."""
        if name not in _COLUMNS:
            raise AttributeError(f"trades have no {name!r}")
        column: list[int] = self._arrays[_COLUMNS.index(name)].tolist()
        setattr(self, name, column)
        return column

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Trades) and list(self.rows()) == list(other.rows())

    def __len__(self) -> int:
        return len(self.sides)

    def __getitem__(self, span: slice) -> Trades:
        columns, sides = [column[span] for column in self._arrays], self.sides[span]
        if len(sides) < MIN_TRADES:
            ts_ms, ids, prices, sizes = (column.tolist() for column in columns)
            return Trades(ts_ms, ids, prices, sizes, sides)
        return TradeArrays(columns, sides)

    def row(self, at: int) -> Trade:
        ts_ms, trade_id, ticks, lots = (int(column[at]) for column in self._arrays)
        return Trade(ts_ms, trade_id, ticks, lots, self.sides[at])

    def oldest_ms(self) -> int:
        return int(self._arrays[0].min())

    def newest_ms(self) -> int:
        return int(self._arrays[0].max())

    def bounds(self) -> TradeBounds:
        _, ids, prices, sizes = self._arrays
        return TradeBounds(*_span(ids), *_span(prices), *_span(sizes))

    def counts_on(self) -> bool:
        ids = self._arrays[1]
        # The ends first: a difference of int64 may wrap.
        return int(ids[-1]) - int(ids[0]) == len(ids) - 1 and bool((ids[1:] - ids[:-1] == 1).all())

    def by_minute(self) -> Iterator[tuple[int, Trades]]:
        minutes = self._arrays[0] // MINUTE_MS
        cuts = (np.flatnonzero(minutes[1:] != minutes[:-1]) + 1).tolist()
        for start, end in pairwise([0, *cuts, len(self)] if self else []):
            yield int(minutes[start]) * MINUTE_MS, self[start:end]

    def sums(self) -> TradeSums:
        ordered = self.in_order()
        _, _, prices, sizes = ordered._arrays
        sides = ordered._side_codes()
        return TradeSums(
            ordered.row(0),
            ordered.row(-1),
            *_span(prices),
            total(sizes),
            total(sizes[sides == BUY]),
            total(sizes[sides == SELL]),
            _turnover(prices, sizes),
            *_delta_range(sizes, sides),
        )

    def in_order(self) -> "TradeArrays":
        times, ids, _, _ = self._arrays
        if (ids[1:] >= ids[:-1]).all() and (times[1:] >= times[:-1]).all():
            return self
        order = np.lexsort((ids, times))
        return TradeArrays([column[order] for column in self._arrays], self._side_codes()[order].tobytes())

    def add_to(self, footprint: Footprint) -> None:
        """Summed at one place per price and side, unless prices lie too far apart for that."""
        _, _, prices, sizes = self._arrays
        lowest, highest = _span(prices)
        width = highest - lowest + 1
        if width > MAX_PLACES * len(self):
            super().add_to(footprint)
            return
        places = (prices - lowest) * TRADES_AT + self._side_codes()
        counts = np.bincount(places, minlength=width * TRADES_AT).reshape(width, TRADES_AT)
        lots = _lots_at(places, sizes, width * TRADES_AT).reshape(width, TRADES_AT)
        traded = np.flatnonzero(counts.any(axis=1))
        footprint.add_rows(np.column_stack([traded + lowest, lots[traded], counts[traded]]).tolist())
        footprint.is_of_arrays = True

    def packed_columns(self) -> Iterator[bytes]:
        return (column.tobytes() for column in self._arrays)

    def _side_codes(self) -> npt.NDArray[np.uint8]:
        return np.frombuffer(self.sides, np.uint8)


def _span(column: Ints) -> tuple[int, int]:
    return int(column.min()), int(column.max())


def _turnover(prices: Ints, sizes: Ints) -> int:
    if int(prices.max()) * int(sizes.max()) > MAX_INT_64:
        return sum(map(mul, prices.tolist(), sizes.tolist()))
    return total(prices * sizes)


def _delta_range(sizes: Ints, sides: npt.NDArray[np.uint8]) -> tuple[int, int]:
    """The least and the greatest running delta, of trades in order."""
    signed = sizes * _SIGN[sides]
    if int(sizes.max()) * len(sizes) > MAX_INT_64:
        return of_trades(signed.tolist())[1:]
    return _span(np.cumsum(signed))


def _lots_at(places: Ints, sizes: Ints, count: int) -> Ints:
    """Sum sizes by place. The builder has seen to it that all of them together fit 64 bits."""
    if total(sizes) < MAX_EXACT_FLOAT:
        # As floats, at twice the speed: no sum on the way leaves what is exact.
        return np.bincount(places, sizes, count).astype(np.int64)
    lots = np.zeros(count, np.int64)
    np.add.at(lots, places, sizes)
    return lots
