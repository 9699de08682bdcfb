"""The last trades applied: one that comes again is told from another one under the same id.

They are kept packed, as columns: a trade costs 33 bytes, and taking it in next to nothing. Where each of them lies is
looked up only once one comes again.
"""

from array import array
from typing import NamedTuple

from common.market import codec
from common.market.instrument import Instrument
from common.market.trade import SIDE_NAMES, Trade

# As many as coverage knows the ids of, where these are not contiguous.
RECENT_TRADES = 50_000
# Why a trade is refused under whose id another one has been applied.
CONFLICT = "conflict"
# Of one trade a venue's stream, its history and its dumps state the time to the us, the ms or the second.
TIME_PRECISION_MS = 1_000


class Conflict(NamedTuple):
    """Two trades of one id."""

    applied: Trade
    refused: Trade

    def texts(self, instrument: Instrument) -> dict[str, str]:
        """Both, for people."""
        return {"applied": _text(self.applied, instrument), "refused": _text(self.refused, instrument)}


class RecentTrades:
    """At least the last `count` trades that were added, and a quarter more at most."""

    __slots__ = ("_columns", "_count", "_is_indexed_to", "_places", "_sides")

    def __init__(self, count: int = RECENT_TRADES) -> None:
        self._count = count
        # Times, ids, prices, sizes.
        self._columns = tuple(array("q") for _ in range(4))
        self._sides = bytearray()
        # Where the trade of an id lies, of the first so many of them.
        self._places: dict[int, int] = {}
        self._is_indexed_to = 0

    def __len__(self) -> int:
        return len(self._sides)

    def add(self, packed: bytes) -> None:
        """Trades that have been applied, as the codec packs them."""
        *columns, sides = codec.trade_columns(packed)
        for mine, column in zip(self._columns, columns, strict=True):
            mine.frombytes(column)
        self._sides += sides
        if len(self) > self._count + self._count // 4:
            self._forget(len(self) - self._count)

    def find(self, trade_id: int) -> Trade | None:
        """The newest one of that id."""
        if self._is_indexed_to < len(self):
            ids = self._columns[1]
            self._places.update(zip(ids[self._is_indexed_to :], range(self._is_indexed_to, len(ids)), strict=True))
            self._is_indexed_to = len(ids)
        place = self._places.get(trade_id)
        if place is None:
            return None
        ts_ms, _, ticks, lots = (column[place] for column in self._columns)
        return Trade(ts_ms, trade_id, ticks, lots, self._sides[place])

    def _forget(self, count: int) -> None:
        for column in (*self._columns, self._sides):
            del column[:count]
        self._places, self._is_indexed_to = {}, 0


def differ(applied: Trade, trade: Trade) -> bool:
    """Whether two trades of one id are not the same one."""
    return applied[2:] != trade[2:] or abs(applied.ts_ms - trade.ts_ms) >= TIME_PRECISION_MS


def _text(trade: Trade, instrument: Instrument) -> str:
    price, size = instrument.price_text(trade.price_ticks), instrument.size_text(trade.size_lots)
    return f"{trade.ts_ms} {SIDE_NAMES[trade.side]} {size} at {price}"
