"""A symbol's current order book in the store: written by the symbol's holder alone, read by the feed.

Packed levels, little-endian: `uint32` bids and asks, then `int64` price_ticks and size_lots of each level, bids before
asks, best first.
"""

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any

from redis.asyncio import Redis

from common.errors import Fenced
from common.market.depth.book import Level
from common.market.rescaling import MAX_INT_64, Rescaling, Unfit
from common.market.scale import Scale
from common.store import scripts
from common.store.client import translated
from common.store.keys import SymbolKeys

# Levels kept of a side: the most one answer has. 32 kB, four times a second.
MAX_BOOK_LEVELS = 1_000

LIVE, BROKEN = "live", "broken"

_COUNTS = struct.Struct("<II")
_LEVEL = struct.Struct("<qq")
_FIELDS = ("ts_ms", "update_id", "levels", "state", "token", "scale", "seq")


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
        """The levels, those beyond the best `MAX_BOOK_LEVELS` of a side left out."""
        bids, asks = self.bids[:MAX_BOOK_LEVELS], self.asks[:MAX_BOOK_LEVELS]
        numbers = list(chain.from_iterable(chain(bids, asks)))
        return _COUNTS.pack(len(bids), len(asks)) + struct.pack(f"<{len(numbers)}q", *numbers)

    @classmethod
    def unpack(cls, ts_ms: int, update_id: int, levels: bytes, live: bool) -> "BookSnapshot":
        bids, asks = _COUNTS.unpack_from(levels)
        rows: list[Level] = list(_LEVEL.iter_unpack(levels[_COUNTS.size :]))
        assert len(rows) == bids + asks
        return cls(ts_ms, update_id, rows[:bids], rows[bids:], live)


@dataclass(frozen=True, slots=True)
class NumberedBook:
    """The `seq`-th book that was written of a symbol. `token`: its writer's."""

    seq: int
    token: str
    book: BookSnapshot

    @property
    def cursor(self) -> str:
        return f"{self.seq}-{self.token}"

    @classmethod
    def unpack(cls, packed: bytes, scale: Scale) -> "NumberedBook":
        """A message of channel `{S}:depth`, in a scale. Raises ValueError, or Unfit where it has no place in that."""
        head, _, levels = packed.partition(b"\n")
        token, seq, ts_ms, update_id, state, written = head.decode().split(" ")
        book = BookSnapshot.unpack(int(ts_ms), int(update_id), levels, state == LIVE)
        return cls(int(seq), token, _in_scale(book, Scale.parse(written), scale))


class BookStore:
    """Writes, through a client that never re-sends. `scale`: of the books that are put."""

    def __init__(self, client: Redis, symbol: str, scale: Scale) -> None:
        self.keys = SymbolKeys(symbol)
        self._scale = scale
        self._put = scripts.book.of(client, self.keys)

    async def put(self, token: str, snapshot: BookSnapshot) -> int:
        """Replace the book, and return how many listen to it. Raises Fenced, StoreUnavailable.

        After StoreUnavailable the outcome is unknown; to put the same book again is harmless.
        """
        state = LIVE if snapshot.live else BROKEN
        with translated(f"write of the book of {self.keys.symbol}"):
            result = await self._put(
                token=token,
                ts_ms=snapshot.ts_ms,
                update_id=snapshot.update_id,
                levels=snapshot.pack(),
                state=state,
                scale=str(self._scale),
            )
        if result[0] == b"FENCED":
            raise Fenced(f"{self.keys.symbol} has another holder")
        return int(result[1])


class BookReader:
    """Reads of one symbol, in a scale. Cheap to make; the client is shared."""

    def __init__(self, client: Redis, symbol: str, scale: Scale) -> None:
        self.keys = SymbolKeys(symbol)
        self._client = client
        self._scale = scale

    async def book(self) -> BookSnapshot | None:
        """As numbered(), without its number."""
        found = await self.numbered()
        return found.book if found else None

    async def numbered(self) -> NumberedBook | None:
        """The last book that was put, None if none ever was. It is live only if the symbol's holder has put it.

        None also where its numbers have no place in the scale that is asked for: the next one will.
        """
        pipe = self._client.pipeline(transaction=True)
        ask_book(pipe, self.keys)
        with translated(f"read of the book of {self.keys.symbol}"):
            return told_book(iter(await pipe.execute()), self._scale)


def ask_book(pipe: Any, keys: SymbolKeys) -> None:
    pipe.hmget(keys.book, _FIELDS)
    pipe.hget(keys.owner, "token")


def told_book(answers: Iterator[Any], scale: Scale) -> NumberedBook | None:
    """Take the answers to ask_book()."""
    return _snapshot(next(answers), next(answers), scale)


def _snapshot(fields: Sequence[Any], holder: bytes | None, scale: Scale) -> NumberedBook | None:
    ts_ms, update_id, levels, state, token, written, seq = fields
    if levels is None:
        return None
    live = state == LIVE.encode() and token == holder
    book = BookSnapshot.unpack(int(ts_ms), int(update_id), levels, live)
    # A book of an earlier release says neither, and was of the only scale there was.
    try:
        book = _in_scale(book, Scale.parse(written.decode()) if written else scale, scale)
    except Unfit:
        return None
    return NumberedBook(int(seq or 0), token.decode(), book)


def _in_scale(book: BookSnapshot, written: Scale, wanted: Scale) -> BookSnapshot:
    rescaling = Rescaling(written, wanted)
    if rescaling.is_none:
        return book
    return replace(book, bids=_rescaled(book.bids, rescaling), asks=_rescaled(book.asks, rescaling))


def _rescaled(levels: list[Level], rescaling: Rescaling) -> list[Level]:
    return [(rescaling.price(ticks, MAX_INT_64), rescaling.size(lots)) for ticks, lots in levels]
