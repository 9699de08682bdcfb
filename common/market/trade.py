"""Trades, as columns. A batch is the unit of everything here: parsed, applied, packed and stored whole.

What is asked of a whole batch is a method of it: trades that come as arrays (trade_arrays) answer it their own way.
"""

from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import compress, groupby
from operator import mul
from typing import NamedTuple

from common.market.footprint import Footprint
from common.market.orderflow.delta import of_trades
from common.market.timeframes.timeframe import minute_of

# Codes of the aggressor's side in packed trades and footprint rows. Unknown is a side of its own, not a zero.
BUY, SELL, UNKNOWN = 0, 1, 2
SIDE_CODES = {"buy": BUY, "sell": SELL, "unknown": UNKNOWN}
SIDE_NAMES = ("buy", "sell", "unknown")

# Bounds that keep every product and sum of one trade inside what the codec can hold.
MAX_TS_MS = 1 << 43  # the year 2248
# 1990: what lies before is a 0, or seconds taken for ms, and coverage would begin there.
MIN_TS_MS = 631_152_000_000
MAX_ID = (1 << 63) - 1
MAX_TICKS = 1 << 53
MAX_LOTS = 1 << 53

_IS_BUY = bytes(code == BUY for code in range(256))
_IS_SELL = bytes(code == SELL for code in range(256))
# How each side counts in a delta: a signed byte.
_SIGN = bytes({BUY: 1, SELL: 255}.get(code, 0) for code in range(256))

# One trade as plain numbers, as a Trade has them: what a frame is read to, until its batch is made.
TradeRow = tuple[int, int, int, int, int]


class Trade(NamedTuple):
    """One execution. Its order key is `(ts_ms, id)`."""

    ts_ms: int
    id: int
    price_ticks: int
    size_lots: int
    side: int

    def sums(self) -> "TradeSums":
        """Of it alone."""
        _, _, ticks, lots, side = self
        bought, sold = lots * (side == BUY), lots * (side == SELL)
        return TradeSums(self, self, ticks, ticks, lots, bought, sold, ticks * lots, bought - sold, bought - sold)


class TradeBounds(NamedTuple):
    """The least and the greatest values of a batch."""

    min_id: int
    max_id: int
    min_ticks: int
    max_ticks: int
    min_lots: int
    max_lots: int


class TradeSums(NamedTuple):
    """What a candle says of its trades. `first`, `last`: those with the least and the greatest order key."""

    first: Trade
    last: Trade
    min_ticks: int
    max_ticks: int
    volume_lots: int
    buy_lots: int
    sell_lots: int
    # In ticks x lots: may exceed 64 bits.
    turnover: int
    # The least and the greatest running sum of what was bought less what was sold, after each trade by order key.
    delta_min_lots: int
    delta_max_lots: int


@dataclass(slots=True)
class Trades:
    """Columns of equal length. `sides` holds one code per trade. What tells of times, bounds or sums needs a trade."""

    ts_ms: list[int] = field(default_factory=list)
    ids: list[int] = field(default_factory=list)
    price_ticks: list[int] = field(default_factory=list)
    size_lots: list[int] = field(default_factory=list)
    sides: bytes = b""

    @classmethod
    def of(cls, rows: Iterable[TradeRow]) -> "Trades":
        columns = list(zip(*rows, strict=True)) or [(), (), (), (), ()]
        ts_ms, ids, prices, sizes, sides = columns
        return cls(list(ts_ms), list(ids), list(prices), list(sizes), bytes(sides))

    def rows(self) -> Iterable[Trade]:
        return map(Trade, self.ts_ms, self.ids, self.price_ticks, self.size_lots, self.sides)

    def row(self, at: int) -> Trade:
        return Trade(self.ts_ms[at], self.ids[at], self.price_ticks[at], self.size_lots[at], self.sides[at])

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, span: slice) -> "Trades":
        return Trades(self.ts_ms[span], self.ids[span], self.price_ticks[span], self.size_lots[span], self.sides[span])

    def __add__(self, other: "Trades") -> "Trades":
        return Trades(
            self.ts_ms + other.ts_ms,
            self.ids + other.ids,
            self.price_ticks + other.price_ticks,
            self.size_lots + other.size_lots,
            self.sides + other.sides,
        )

    def take(self, indices: Sequence[int]) -> "Trades":
        return Trades(
            [self.ts_ms[i] for i in indices],
            [self.ids[i] for i in indices],
            [self.price_ticks[i] for i in indices],
            [self.size_lots[i] for i in indices],
            bytes([self.sides[i] for i in indices]),
        )

    def oldest_ms(self) -> int:
        return min(self.ts_ms)

    def newest_ms(self) -> int:
        return max(self.ts_ms)

    def bounds(self) -> TradeBounds:
        ids, prices, sizes = self.ids, self.price_ticks, self.size_lots
        return TradeBounds(min(ids), max(ids), min(prices), max(prices), min(sizes), max(sizes))

    def counts_on(self) -> bool:
        """Whether each id is the one before and 1."""
        first = self.ids[0]
        # The comparison with a range runs in C: a fifth of the cost of a loop.
        return self.ids == list(range(first, first + len(self.ids)))

    def by_minute(self) -> Iterator[tuple[int, "Trades"]]:
        """Cut where the minute changes, in the order the trades came: each run with the open of its minute."""
        if self and (open_ms := minute_of(self.oldest_ms())) == minute_of(self.newest_ms()):
            yield open_ms, self
            return
        start = 0
        for open_ms, group in groupby(self.ts_ms, minute_of):
            end = start + sum(1 for _ in group)
            yield open_ms, self[start:end]
            start = end

    def sums(self) -> TradeSums:
        """Of trades in any order. Every pass over the columns runs in C."""
        if len(self) == 1:
            # As most batches of a live market are.
            return self.row(0).sums()
        ordered = self.in_order()
        prices, sizes, sides = ordered.price_ticks, ordered.size_lots, ordered.sides
        delta = of_trades(map(mul, sizes, array("b", sides.translate(_SIGN))))
        return TradeSums(
            ordered.row(0),
            ordered.row(-1),
            min(prices),
            max(prices),
            sum(sizes),
            sum(compress(sizes, sides.translate(_IS_BUY))),
            sum(compress(sizes, sides.translate(_IS_SELL))),
            sum(map(mul, prices, sizes)),
            delta.min_lots,
            delta.max_lots,
        )

    def in_order(self) -> "Trades":
        """By order key: the same ones where they are, as nearly always."""
        if sorted(self.ids) == self.ids and sorted(self.ts_ms) == self.ts_ms:
            return self
        keys = list(zip(self.ts_ms, self.ids, strict=True))
        return self.take(sorted(range(len(keys)), key=keys.__getitem__))

    def add_to(self, footprint: Footprint) -> None:
        footprint.add(self.price_ticks, self.size_lots, self.sides)

    def packed_columns(self) -> Iterator[bytes]:
        """Times, ids, prices and sizes as int64."""
        return (array("q", column).tobytes() for column in (self.ts_ms, self.ids, self.price_ticks, self.size_lots))
