"""Who is asked for, and who may stream: symbols on demand, the one in focus, and the places for streams."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from redis.asyncio import Redis

from common.market.kinds import InstrumentKind
from common.store import scripts
from common.store.bulk import Bulk
from common.store.client import translated
from common.store.keys import ALL, PlaceKeys, SymbolKeys
from common.store.lease import new_token

# How long a symbol counts as asked for unless it is asked for again: by then a feed that died is forgotten.
DEMAND_TTL_MS = 30_000
# How long a place for a stream is kept for one who gives no sign of life.
SLOT_TTL_MS = 30_000


class Demand:
    """What one asks for: a feed whose clients subscribe. It counts until it is released, or not renewed."""

    def __init__(self, client: Redis) -> None:
        self._client = client
        self._who = new_token()
        self._look = Bulk(client, "read of demand")
        self._looked_at: list[str] = []

    async def ask(self, symbols: Iterable[str]) -> None:
        """Ask for the symbols, or go on asking."""
        for symbol in symbols:
            await self._say(symbol, DEMAND_TTL_MS)

    async def focus(self, symbol: str, *, is_new: bool) -> None:
        """Ask for a symbol that has come into focus, or still is."""
        await self._say(symbol, DEMAND_TTL_MS, "focus" if is_new else "kept")

    async def release(self, symbols: Iterable[str], for_ms: int) -> None:
        """Ask no more, but for so long: a chart that is switched back and forth keeps its symbol."""
        for symbol in symbols:
            await self._say(symbol, for_ms)

    async def _say(self, symbol: str, for_ms: int, attention: str = "") -> None:
        say = scripts.demand.of(self._client, SymbolKeys(symbol))
        with translated(f"demand for {symbol}"):
            await say(who=self._who, for_ms=for_ms, attention=attention)

    async def asked(self, symbols: Sequence[str]) -> set[str]:
        """Those of the symbols that a client asks for. Quick where the same symbols are asked about again."""
        if self._looked_at != symbols:
            self._looked_at = list(symbols)
            self._look.prepare(("EXISTS", SymbolKeys(symbol).demand) for symbol in symbols)
        replies = await self._look.ask()
        return {symbol for symbol, there in zip(self._looked_at, replies, strict=True) if there == 1}


class Caps(NamedTuple):
    """How many streams there may be at one venue, at all of them, and of a kind of instrument, where that has a cap."""

    of_venue: int
    in_all: int
    of_kinds: Mapping[InstrumentKind, int] = {}


class StreamSlot:
    """The place of one symbol's stream: of its kind, at its venue, and among all of the fleet."""

    def __init__(self, client: Redis, venue: str, symbol: str, caps: Caps, kind: InstrumentKind = "other") -> None:
        self._client = client
        self._symbol = symbol
        of_kind = [(PlaceKeys(kind), caps.of_kinds[kind])] if kind in caps.of_kinds else []
        self._places = [*of_kind, (PlaceKeys(venue), caps.of_venue), (PlaceKeys(ALL), caps.in_all)]
        self._slot = scripts.slot.of(client)
        self._has = False
        # Since when it was in focus as it was refused a place.
        self._refused_ms = 0

    async def take(self) -> bool:
        """Take the place, or keep it; False where there is none yet. To be called again within SLOT_TTL_MS."""
        with translated(f"place for a stream of {self._symbol}"):
            self._refused_ms = focused_ms = await self._focused_ms()
            # One that would be refused at the last is not to have taken another's place at the first.
            if not self._has and "FULL" in await self._ask(focused_ms, is_trial=True):
                return False
            found = await self._ask(focused_ms)
            self._has = "FULL" not in found
            if not self._has:
                await self._leave()
            return set(found) == {"OK"}

    async def may_be_given(self) -> bool:
        """Whether it is worth to ask again at once: it is about to have a place, or has come into focus since."""
        with translated(f"look at the focus on {self._symbol}"):
            return self._has or await self._focused_ms() > self._refused_ms

    async def is_held(self) -> bool:
        """Whether nobody has been given the place in its stead."""
        pipe = self._client.pipeline(transaction=False)
        for keys, _ in self._places:
            pipe.zscore(keys.places, self._symbol)
        with translated(f"look at the place of {self._symbol}"):
            return None not in await pipe.execute()

    async def leave(self) -> None:
        with translated(f"leaving the place of {self._symbol}"):
            await self._leave()

    async def _focused_ms(self) -> int:
        found: Any = await self._client.get(SymbolKeys(self._symbol).focus)
        return int(found or 0)

    async def _ask(self, focused_ms: int, *, is_trial: bool = False) -> list[str]:
        """What each of its places is."""
        found = []
        for keys, most in self._places:
            result = await self._slot(
                places=keys.places,
                leaving=keys.leaving,
                holders=keys.holders,
                who=self._symbol,
                most=most,
                for_ms=SLOT_TTL_MS,
                focused_ms=focused_ms,
                is_trial=is_trial,
            )
            found.append(bytes(result[0]).decode())
        return found

    async def _leave(self) -> None:
        self._has = False
        for keys, _ in self._places:
            await self._client.zrem(keys.places, self._symbol)
            await self._client.zrem(keys.leaving, self._symbol)
            await self._client.hdel(keys.holders, self._symbol)
