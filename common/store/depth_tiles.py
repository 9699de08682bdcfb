"""Tiles of a book's history in the store (common.tiles): which there are, what is due, and how those made are taken in.

What a tile is made of never changes once its time is over, so a tile is right as long as it is there.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from redis.asyncio import Redis

from common.errors import Stale
from common.store import scripts
from common.store.client import translated
from common.store.keys import SymbolKeys
from common.tiles import HOUR_MS, TileLevel

_HEAD = ":head"
# Of the rollup: until when all hours that are over have their tiles.
_MADE_TO = "depth_tiles"


class StoredTile(NamedTuple):
    """`head`: what is said of it without reading all of it."""

    head: bytes
    packed: bytes


Heads = Mapping[TileLevel, Mapping[int, bytes]]


async def due_of(client: Redis, symbols: Iterable[str]) -> list[str]:
    """Return the symbols that have an hour of a book that is over, and not made into tiles."""
    every = [SymbolKeys(symbol) for symbol in symbols]
    if not every:
        return []
    marks, later = client.pipeline(transaction=False), client.pipeline(transaction=False)
    with translated("look at what is made into tiles"):
        for keys in every:
            marks.hget(keys.rollup, _MADE_TO)
        for keys, made_to in zip(every, await marks.execute(), strict=True):
            # There is more once there is a chunk of an hour that comes after the next one to be made.
            later.zcount(keys.depth, int(made_to) + HOUR_MS if made_to else "-inf", "+inf")
        counts = await later.execute()
    return [keys.symbol for keys, count in zip(every, counts, strict=True) if count]


class DepthTileStore:
    """Through a client that never re-sends, where it writes."""

    def __init__(self, client: Redis, symbol: str) -> None:
        self.keys = SymbolKeys(symbol)
        self._client = client
        self._put = scripts.depth_tiles.of(client, self.keys)

    async def made_to(self) -> int:
        """Until when all hours that are over have their tiles; 0 where that is not known."""
        with translated(f"look at tiles of {self.keys.symbol}"):
            found: Any = await self._client.hget(self.keys.rollup, _MADE_TO)
        return int(found or 0)

    async def opens(self, levels: Sequence[TileLevel], from_ms: int, end_ms: int) -> dict[TileLevel, list[int]]:
        """Return when the tiles open that have a time of `[from_ms, end_ms)`, ascending."""
        pipe = self._client.pipeline(transaction=True)
        for level in levels:
            pipe.hkeys(self.keys.tiles(level))
        with translated(f"look at tiles of {self.keys.symbol}"):
            found = await pipe.execute()
        return {
            level: sorted(
                open_ms
                for open_ms in (int(field) for field in fields if field.isdigit())
                if from_ms - level.span_ms < open_ms < end_ms
            )
            for level, fields in zip(levels, found, strict=True)
        }

    async def heads(self, levels: Sequence[TileLevel], from_ms: int, end_ms: int) -> Heads:
        """By level and open, of the tiles that have a time of `[from_ms, end_ms)`."""
        opens = {level: some for level, some in (await self.opens(levels, from_ms, end_ms)).items() if some}
        if not opens:
            return {}
        pipe = self._client.pipeline(transaction=True)
        for level, some in opens.items():
            pipe.hmget(self.keys.tiles(level), [f"{open_ms}{_HEAD}" for open_ms in some])
        with translated(f"read of heads of tiles of {self.keys.symbol}"):
            found = await pipe.execute()
        return {
            level: {open_ms: head for open_ms, head in zip(some, heads, strict=True) if head}
            for (level, some), heads in zip(opens.items(), found, strict=True)
        }

    async def tiles(self, wanted: Sequence[tuple[TileLevel, int]]) -> list[bytes | None]:
        """Return these tiles; None: it is not there any more."""
        if not wanted:
            return []
        pipe = self._client.pipeline(transaction=True)
        for level, open_ms in wanted:
            pipe.hget(self.keys.tiles(level), str(open_ms))
        with translated(f"read of {len(wanted)} tiles of {self.keys.symbol}"):
            return list(await pipe.execute())

    async def put_hour(self, open_ms: int, chunk_count: int, tiles: Mapping[TileLevel, StoredTile]) -> None:
        """Take in the tiles of an hour that had so many chunks. Raises Stale; so does put_day."""
        end_ms = open_ms + HOUR_MS
        await self._take_in(open_ms, end_ms, tiles, chunk_count=chunk_count, made_to_ms=end_ms)

    async def put_day(self, open_ms: int, hours: Sequence[int], tiles: Mapping[TileLevel, StoredTile]) -> None:
        """`hours`: opens of the 30s tiles that those of the day are made of."""
        await self._take_in(open_ms, open_ms, tiles, hours=hours)

    async def note_made(self, made_to_ms: int) -> None:
        """Every hour that ends by then, and had a book, has its tiles."""
        await self._take_in(made_to_ms, made_to_ms, {}, made_to_ms=made_to_ms)

    async def drop(self, level: TileLevel, before_ms: int) -> int:
        """Drop the tiles that end before a time, and return how many went."""
        gone = (await self.opens([level], 0, before_ms))[level]
        fields = [str(open_ms) for open_ms in gone if open_ms + level.span_ms <= before_ms]
        if fields:
            with translated(f"dropping of tiles of {self.keys.symbol}"):
                await self._client.hdel(self.keys.tiles(level), *fields, *(field + _HEAD for field in fields))
        return len(fields)

    async def _take_in(
        self,
        from_ms: int,
        end_ms: int,
        tiles: Mapping[TileLevel, StoredTile],
        *,
        chunk_count: int | None = None,
        made_to_ms: int | None = None,
        hours: Sequence[int] = (),
    ) -> None:
        with translated(f"storing of tiles of {self.keys.symbol}"):
            status, *_ = await self._put(
                from_ms=from_ms,
                end_ms=end_ms,
                chunk_count=chunk_count,
                made_to_ms=made_to_ms,
                hours=list(hours),
                tiles=[(level.name, tile.head, tile.packed) for level, tile in tiles.items()],
            )
        if status == b"STALE":
            raise Stale(f"what tiles of {self.keys.symbol} were made of is gone")
