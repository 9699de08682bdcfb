"""Who is asked for, and who may stream: symbols on demand, and the places for streams at a venue and in all."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from redis.asyncio import Redis

from common.store import scripts
from common.store.bulk import Bulk
from common.store.client import translated
from common.store.keys import ALL_STREAMS, SymbolKeys, streams_key

# How long a symbol is served after it was last asked for: a chart that is switched back and forth keeps it.
DEMAND_TTL_MS = 30_000
# How long a place for a stream is kept for one who gives no sign of life.
SLOT_TTL_MS = 30_000


class Demand:
    """The demand keys: set by a feed whose clients subscribe, gone unless a feed renews them."""

    def __init__(self, client: Redis) -> None:
        self._client = client
        self._look = Bulk(client, "read of demand")
        self._looked_at: list[str] = []

    async def ask(self, symbols: Iterable[str]) -> None:
        """Ask for the symbols, or go on asking."""
        pipe = self._client.pipeline(transaction=False)
        for symbol in symbols:
            pipe.set(SymbolKeys(symbol).demand, b"1", px=DEMAND_TTL_MS)
        with translated("renewal of demand"):
            await pipe.execute()

    async def asked(self, symbols: Sequence[str]) -> set[str]:
        """Those of the symbols that a client asks for. Quick where the same symbols are asked about again."""
        if self._looked_at != symbols:
            self._looked_at = list(symbols)
            self._look.prepare(("EXISTS", SymbolKeys(symbol).demand) for symbol in symbols)
        replies = await self._look.ask()
        return {symbol for symbol, there in zip(self._looked_at, replies, strict=True) if there == 1}


class Caps(NamedTuple):
    """How many streams there may be at one venue, and at all of them."""

    of_venue: int
    in_all: int


class StreamSlot:
    """The place of one symbol's stream: at its venue, and among all of the fleet."""

    def __init__(self, client: Redis, venue: str, symbol: str, caps: Caps) -> None:
        self._client = client
        self._symbol = symbol
        self._places = ((streams_key(venue), caps.of_venue), (ALL_STREAMS, caps.in_all))
        self._slot = scripts.slot.of(client)

    async def take(self) -> bool:
        """Take the place, or keep it; False where there is none. To be called again within SLOT_TTL_MS."""
        with translated(f"place for a stream of {self._symbol}"):
            for key, most in self._places:
                result = await self._slot(places=key, who=self._symbol, most=most, for_ms=SLOT_TTL_MS)
                if result[0] == b"FULL":
                    await self._leave()
                    return False
        return True

    async def leave(self) -> None:
        with translated(f"leaving the place of {self._symbol}"):
            await self._leave()

    async def _leave(self) -> None:
        for key, _ in self._places:
            await self._client.zrem(key, self._symbol)
