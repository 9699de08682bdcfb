"""A symbol's current order book in the store: written by the symbol's holder alone, read by the feed.

Packed levels, little-endian: `uint32` bids and asks, then `int64` price_ticks and size_lots of each level, bids before
asks, best first.
"""

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

from redis.asyncio import Redis

from common.errors import Fenced
from common.market.book import Level
from common.store.client import translated
from common.store.keys import SymbolKeys
from common.store.script import Script

# Levels kept of a side: the most one answer has. 32 kB, four times a second.
MOST_LEVELS = 1_000

LIVE, BROKEN = "live", "broken"

_COUNTS = struct.Struct("<II")
_LEVEL = struct.Struct("<qq")
_FIELDS = ("ts_ms", "update_id", "levels", "state", "token")


@dataclass(frozen=True, slots=True)
class BookSnapshot:
    """The book after the event of `ts_ms`, sides best first. `update_id` is -1 where the venue does not count updates.

    `live`: it is in step with the venue; else it is the last one known, and how the market stands now is not known.
    """

    ts_ms: int
    update_id: int
    bids: list[Level]
    asks: list[Level]
    live: bool

    def pack(self) -> bytes:
        """The levels, those beyond the best `MOST_LEVELS` of a side left out."""
        bids, asks = self.bids[:MOST_LEVELS], self.asks[:MOST_LEVELS]
        numbers = list(chain.from_iterable(chain(bids, asks)))
        return _COUNTS.pack(len(bids), len(asks)) + struct.pack(f"<{len(numbers)}q", *numbers)

    @classmethod
    def unpack(cls, ts_ms: int, update_id: int, levels: bytes, live: bool) -> "BookSnapshot":
        bids, asks = _COUNTS.unpack_from(levels)
        rows: list[Level] = list(_LEVEL.iter_unpack(levels[_COUNTS.size :]))
        assert len(rows) == bids + asks
        return cls(ts_ms, update_id, rows[:bids], rows[bids:], live)


class BookStore:
    """Writes, through a client that never re-sends."""

    def __init__(self, client: Redis, symbol: str) -> None:
        self.keys = SymbolKeys(symbol)
        self._put = Script(client, "book")

    async def put(self, token: str, snapshot: BookSnapshot) -> None:
        """Replace the book. Raises Fenced, StoreUnavailable.

        After StoreUnavailable the outcome is unknown; to put the same book again is harmless.
        """
        state = LIVE if snapshot.live else BROKEN
        with translated(f"write of the book of {self.keys.symbol}"):
            keys = [self.keys.owner, self.keys.book]
            result = await self._put(keys, token, snapshot.ts_ms, snapshot.update_id, snapshot.pack(), state)
        if result[0] == b"FENCED":
            raise Fenced(f"{self.keys.symbol} has another holder")


class BookReader:
    """Reads of one symbol. Cheap to make; the client is shared."""

    def __init__(self, client: Redis, symbol: str) -> None:
        self.keys = SymbolKeys(symbol)
        self._client = client

    async def book(self) -> BookSnapshot | None:
        """The last book that was put, None if none ever was. It is live only if the symbol's holder has put it."""
        pipe = self._client.pipeline(transaction=True)
        pipe.hmget(self.keys.book, _FIELDS)
        pipe.hget(self.keys.owner, "token")
        with translated(f"read of the book of {self.keys.symbol}"):
            fields, holder = await pipe.execute()
        return _snapshot(fields, holder)


def _snapshot(fields: Sequence[Any], holder: bytes | None) -> BookSnapshot | None:
    ts_ms, update_id, levels, state, token = fields
    if levels is None:
        return None
    live = state == LIVE.encode() and token == holder
    return BookSnapshot.unpack(int(ts_ms), int(update_id), levels, live)
