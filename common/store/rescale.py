"""Archived objects that may be of another scale than their symbol is now: the ledger of those that are left."""

from collections.abc import Sequence
from dataclasses import dataclass

from redis.asyncio import Redis

from common.errors import Stale
from common.market.manifest import ManifestEntry
from common.store.client import translated
from common.store.instrument import DataInstrument, data_instrument
from common.store.keys import SymbolKeys
from common.store.script import Script

# Stands for all of them, until they have been listed.
LIST = "list"
# What one script is told at once.
_AT_ONCE = 1_000


@dataclass(frozen=True, slots=True)
class Left:
    """`text`: what the data is of, as it is stored. `objects`: by series and period, the newest first.

    `is_listed`: there are no others.
    """

    text: bytes
    data: DataInstrument
    is_listed: bool
    objects: tuple[tuple[str, int], ...]


class RescaleStore:
    """Through a client that never re-sends."""

    def __init__(self, client: Redis, symbol: str) -> None:
        self.keys = SymbolKeys(symbol)
        self._client = client
        self._rescaled = Script(client, "rescaled")

    async def left(self) -> Left | None:
        """None if nothing is."""
        pipe = self._client.pipeline(transaction=True)
        pipe.hget(self.keys.state, "instrument")
        pipe.zrevrange(self.keys.rescale, 0, -1)
        with translated(f"read of what is to be rescaled of {self.keys.symbol}"):
            text, members = await pipe.execute()
        if not text or not members:
            return None
        names = [member.decode() for member in members]
        pairs = (name.split(":") for name in names if name != LIST)
        objects = tuple((series, int(period_ms)) for series, period_ms in pairs)
        return Left(text, data_instrument(self.keys.symbol, text), LIST not in names, objects)

    async def listed(self, left: Left, objects: Sequence[tuple[str, int]]) -> None:
        """Note all objects that there are. Raises Stale if the symbol has been changed since."""
        some = [objects[at : at + _AT_ONCE] for at in range(0, len(objects), _AT_ONCE)]
        for part in some or [()]:
            members = (f"{series}:{period_ms}" for series, period_ms in part)
            await self._tell([self.keys.state, self.keys.rescale], left, "listed", *members)

    async def done(self, left: Left, series: str, period_ms: int, entry: ManifestEntry | None = None) -> None:
        """An object is of the symbol's scale. `entry`: its own, if it was written. Raises Stale as `listed` does."""
        k = self.keys
        keys = [k.state, k.rescale, k.archived(series), k.faults]
        await self._tell(keys, left, "done", f"{series}:{period_ms}", entry.dump() if entry else "")

    async def _tell(self, keys: Sequence[str], left: Left, *arguments: str) -> None:
        with translated(f"note of what is rescaled of {self.keys.symbol}"):
            status, *_ = await self._rescaled(keys, left.text, *arguments)
        if status == b"STALE":
            raise Stale(f"{self.keys.symbol} has been changed since its archive was looked at")
