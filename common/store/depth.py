"""The history of a symbol's book in the store: a chunk a minute, written by the symbol's holder alone."""

from collections.abc import Mapping
from typing import Any

from redis.asyncio import Redis

from common.errors import Fenced
from common.market.timeframes.timeframe import minute_of
from common.store import scripts
from common.store.client import translated
from common.store.keys import SymbolKeys


class DepthStore:
    """Writes, through a client that never re-sends. `kept`: how many chunks, and so minutes, stay."""

    def __init__(self, client: Redis, symbol: str, kept: int) -> None:
        self.keys = SymbolKeys(symbol)
        self._kept = kept
        self._put = scripts.depth.of(client, self.keys)

    async def put(self, token: str, chunks: Mapping[int, bytes]) -> int:
        """Write packed chunks by open_ms, and return how many are kept. Raises Fenced, StoreUnavailable.

        After StoreUnavailable the outcome is unknown; to put the same chunks again is harmless.
        """
        with translated(f"write of {len(chunks)} depth chunks of {self.keys.symbol}"):
            status, *kept = await self._put(token=token, kept=self._kept, chunks=chunks)
        if status == b"FENCED":
            raise Fenced(f"{self.keys.symbol} has another holder")
        return int(kept[0])


class DepthReader:
    """Reads of one symbol. Cheap to make; the client is shared."""

    def __init__(self, client: Redis, symbol: str) -> None:
        self.keys = SymbolKeys(symbol)
        self._client = client

    async def chunks(self, from_ms: int, to_ms: int) -> list[bytes]:
        """The chunks of the minutes that share a time with `[from_ms, to_ms)`, ascending."""
        with translated(f"read of depth of {self.keys.symbol}"):
            found: Any = await self._client.zrangebyscore(self.keys.depth, minute_of(from_ms), f"({to_ms}")
        return list(found)

    async def after(self, open_ms: int, count: int) -> list[bytes]:
        """The first chunks of minutes that open after `open_ms`, ascending."""
        with translated(f"read of depth of {self.keys.symbol}"):
            found: Any = await self._client.zrangebyscore(self.keys.depth, f"({open_ms}", "+inf", 0, count)
        return list(found)

    async def newest(self) -> bytes | None:
        """The chunk a new holder goes on with (BookHistory.restore)."""
        with translated(f"read of depth of {self.keys.symbol}"):
            found: Any = await self._client.zrange(self.keys.depth, -1, -1)
        return found[0] if found else None
