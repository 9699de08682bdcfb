"""The last trades applied: one that comes again is told from another one under the same id.

They are kept packed, as columns: a trade costs 33 bytes, and taking it in next to nothing. Where each of them lies is
looked up only once one comes again.
"""

from array import array
from collections import deque
from typing import NamedTuple

from common.market.coding import codec
from common.market.instrument import Instrument
from common.market.trade import SIDE_NAMES, Trade

# As many as coverage knows the ids of, where these are not contiguous.
RECENT_TRADES = 50_000
# Into so many parts they are divided: one is forgotten as a whole.
SEGMENTS = 8
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
    """At least the last `count` trades that were added; a batch, and an eighth of them, more at most."""

    __slots__ = ("_count", "_rows", "_segments")

    def __init__(self, count: int = RECENT_TRADES) -> None:
        self._count, self._rows = count, 0
        # Oldest first: so nothing is moved to forget the oldest.
        self._segments = deque[Segment]()

    def __len__(self) -> int:
        return self._rows

    def add(self, packed: bytes) -> None:
        """Trades that have been applied, as the codec packs them."""
        if not self._segments or len(self._segments[-1]) * SEGMENTS >= self._count:
            self._segments.append(Segment())
        self._rows += self._segments[-1].add(packed)
        while self._rows - len(self._segments[0]) >= self._count:
            self._rows -= len(self._segments.popleft())

    def find(self, trade_id: int) -> Trade | None:
        """The newest one of that id."""
        for segment in reversed(self._segments):
            if trade_id in segment.places():
                return segment.trade(trade_id)
        return None


class Segment:
    """Some trades that were applied one after the other."""

    __slots__ = ("_columns", "_is_indexed_to", "_places", "_sides")

    def __init__(self) -> None:
        # Times, ids, prices, sizes.
        self._columns = tuple(array("q") for _ in range(4))
        self._sides = bytearray()
        # Of the first so many of them.
        self._places: dict[int, int] = {}
        self._is_indexed_to = 0

    def __len__(self) -> int:
        return len(self._sides)

    def add(self, packed: bytes) -> int:
        """Return how many they are."""
        *columns, sides = codec.trade_columns(packed)
        for mine, column in zip(self._columns, columns, strict=True):
            mine.frombytes(column)
        self._sides += sides
        return len(sides)

    def places(self) -> dict[int, int]:
        """Where the trade of an id lies."""
        ids, known = self._columns[1], self._is_indexed_to
        if known < len(ids):
            self._places.update(zip(ids[known:], range(known, len(ids)), strict=True))
            self._is_indexed_to = len(ids)
        return self._places

    def trade(self, trade_id: int) -> Trade:
        place = self._places[trade_id]
        ts_ms, _, ticks, lots = (column[place] for column in self._columns)
        return Trade(ts_ms, trade_id, ticks, lots, self._sides[place])


def differ(applied: Trade, trade: Trade) -> bool:
    """Whether two trades of one id are not the same one."""
    return applied[2:] != trade[2:] or abs(applied.ts_ms - trade.ts_ms) >= TIME_PRECISION_MS


def _text(trade: Trade, instrument: Instrument) -> str:
    price, size = instrument.price_text(trade.price_ticks), instrument.size_text(trade.size_lots)
    return f"{trade.ts_ms} {SIDE_NAMES[trade.side]} {size} at {price}"
