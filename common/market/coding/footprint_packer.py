"""A footprint that grows, packed again with every commit: only the levels that have changed are encoded.

The bytes are those of codec.pack_footprint (a law under test). What all rows hang on rarely changes: the lowest price,
the steps, the sides and the widths. Where it does, everything is packed once more.
"""

import struct
from bisect import bisect_left
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import gcd

from common.market.coding import codec
from common.market.footprint import TRADES_AT, Footprint, Level
from common.market.trade import Trades

# Of a batch with more trades than one for so many levels: to pack everything takes no longer.
_LEVELS_PER_TRADE = 4


class FootprintPacker:
    """Packs one footprint after the other. To be told of all trades that are added to the one it has packed last."""

    def __init__(self) -> None:
        self._footprint: Footprint | None = None
        # As it was when all of it was packed, and the same in pieces once these are needed.
        self._packed = b""
        self._rows: _Rows | None = None
        # Prices of what has been added since it was packed.
        self._changed: set[int] = set()

    def added(self, footprint: Footprint, run: Trades) -> None:
        if footprint is not self._footprint:
            return
        if len(run) * _LEVELS_PER_TRADE > len(footprint.levels):
            self._footprint = None
        else:
            self._changed.update(run.price_ticks)

    def pack(self, open_ms: int, footprint: Footprint) -> bytes:
        """As codec.pack_footprint does."""
        changed, self._changed = self._changed, set()
        if footprint is self._footprint:
            rows = self._rows = self._rows or _Rows.of(self._packed)
            if rows.take(footprint.levels, changed):
                return rows.packed(open_ms)
        self._packed = codec.pack_footprint(open_ms, footprint)
        self._footprint, self._rows = footprint, None
        return self._packed


@dataclass(slots=True)
class _Rows:
    """A packed footprint in pieces."""

    shape: int
    price_step: int
    lot_step: int
    # Ascending, and a row of each.
    prices: list[int]
    rows: bytearray
    row: struct.Struct
    # Positions in a level that have columns: lots, then trades; and of those trades that have none.
    sides: list[int]
    absent: list[int]

    @classmethod
    def of(cls, packed: bytes) -> "_Rows":
        shape, _, _, lowest, price_step, lot_step = codec.FOOTPRINT_HEAD.unpack_from(packed)
        row, rows = struct.Struct("<" + codec.row_format(shape)), bytearray(packed[codec.FOOTPRINT_HEAD.size :])
        prices = [lowest + step * price_step for step, *_ in row.iter_unpack(rows)]
        sides = codec.sides_of(shape)
        absent = [side + TRADES_AT for side in range(TRADES_AT) if side not in sides]
        return cls(shape, price_step, lot_step, prices, rows, row, sides, absent)

    def packed(self, open_ms: int) -> bytes:
        count, lowest = len(self.prices), self.prices[0]
        head = codec.FOOTPRINT_HEAD.pack(self.shape, count, open_ms, lowest, self.price_step, self.lot_step)
        return head + self.rows

    def take(self, levels: Mapping[int, Level], changed: Iterable[int]) -> bool:
        """Encode the levels that have changed; False if the others are to be encoded otherwise, too."""
        # Of a single price there is no step.
        fits = len(self.prices) > 1 and all(self._put(price, levels[price]) for price in changed if price in levels)
        return fits and self._is_lot_step(levels)

    def _put(self, price: int, level: Level) -> bool:
        step, between = divmod(price - self.prices[0], self.price_step)
        lots, trades = [level[side] for side in self.sides], [level[side + TRADES_AT] for side in self.sides]
        if between or gcd(self.lot_step, *lots) != self.lot_step or any(level[at] for at in self.absent):
            return False
        try:
            row = self.row.pack(step, *[value // self.lot_step for value in lots], *trades)
        except struct.error:
            # Lower than the lowest, or wider than the columns.
            return False
        at = bisect_left(self.prices, price)
        start = at * len(row)
        if self.prices[at : at + 1] == [price]:
            self.rows[start : start + len(row)] = row
        else:
            self.prices.insert(at, price)
            self.rows[start:start] = row
        return True

    def _is_lot_step(self, levels: Mapping[int, Level]) -> bool:
        """Whether no greater number divides all lots, either: mostly the first levels say so."""
        found = 0
        for level in levels.values():
            found = gcd(found, *level[:TRADES_AT])
            if found == self.lot_step:
                return True
        # Without any lots the step is 1.
        return not found
