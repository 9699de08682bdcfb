"""Trades, as columns. A batch is the unit of everything here: parsed, applied, packed and stored whole."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

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


class Trade(NamedTuple):
    """One execution. Its order key is `(ts_ms, id)`."""

    ts_ms: int
    id: int
    price_ticks: int
    size_lots: int
    side: int


@dataclass(slots=True)
class Trades:
    """Columns of equal length. `sides` holds one code per trade."""

    ts_ms: list[int] = field(default_factory=list)
    ids: list[int] = field(default_factory=list)
    price_ticks: list[int] = field(default_factory=list)
    size_lots: list[int] = field(default_factory=list)
    sides: bytes = b""

    @classmethod
    def of(cls, rows: Iterable[Trade]) -> "Trades":
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
