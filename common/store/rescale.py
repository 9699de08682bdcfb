"""Archived objects that may be of another scale than their symbol is now: the ledger of those that are left."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

from redis.asyncio import Redis

from common.errors import Stale
from common.market.manifest import ManifestEntry
from common.store import scripts
from common.store.client import translated
from common.store.instrument import DataInstrument, data_instrument
from common.store.keys import SymbolKeys

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
        self._list = scripts.list_rescale.of(client, self.keys)
        self._done = scripts.rescaled.of(client, self.keys)

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
            members = [f"{series}:{period_ms}" for series, period_ms in part]
            with self._translated():
                result = await self._list(instrument=left.text, objects=members)
            self._check(result)

    async def done(self, left: Left, series: str, period_ms: int, entry: ManifestEntry | None = None) -> None:
        """An object is of the symbol's scale. `entry`: its own, if it was written. Raises Stale as `listed` does."""
        with self._translated():
            result = await self._done(
                manifest=self.keys.archived(series),
                instrument=left.text,
                series=series,
                period=period_ms,
                entry=entry.dump() if entry else None,
            )
        self._check(result)

    def _translated(self) -> AbstractContextManager[None]:
        return translated(f"note of what is rescaled of {self.keys.symbol}")

    def _check(self, result: list[Any]) -> None:
        if result[0] == b"STALE":
            raise Stale(f"{self.keys.symbol} has been changed since its archive was looked at")
