"""What the archive is known to have of a symbol (common.market.manifest), series by series.

The scripts that confirm an object write its entry in the same step. Of an archive of an earlier release, or one that
such a release has confirmed something in, entries are made by a listing once (workers.rollup.listing): until then they
don't say what is not there, and `is_whole` is False.
"""

from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from typing import Any

from redis.asyncio import Redis

from common.market.manifest import ManifestEntry
from common.store.client import translated
from common.store.keys import SymbolKeys
from common.store.script import Script

# Entries read at once: a month's days, and one more to know whether there are any left.
PAGE = 32


@dataclass(frozen=True, slots=True)
class Known:
    """Entries of a range, ascending. `is_whole`: what is not among them is not there, and never was confirmed."""

    entries: list[ManifestEntry]
    is_whole: bool


class Manifest:
    """Of one symbol and series: `candles`, `footprints` or `trades`. Cheap to make."""

    def __init__(self, client: Redis, symbol: str, series: str) -> None:
        self._client, self._symbol, self._series = client, symbol, series
        self._keys = SymbolKeys(symbol)
        self._key = self._keys.archived(series)

    async def known(self, from_ms: int, end_ms: int) -> Known:
        """Return the entries of periods that open in `[from_ms, end_ms)`."""
        pipe = self._client.pipeline(transaction=True)
        ask_whole(pipe, self._keys, self._series)
        pipe.zrangebyscore(self._key, from_ms, f"({end_ms}")
        with translated(f"read of what is archived of {self._symbol}"):
            whole, members = await pipe.execute()
        return Known(list(map(ManifestEntry.parse, members)), is_whole(whole))

    async def entry(self, period_ms: int) -> ManifestEntry | None:
        return next(iter((await self.known(period_ms, period_ms + 1)).entries), None)

    async def is_whole(self) -> bool:
        return (await self.known(0, 0)).is_whole

    async def walk(self, from_ms: int, end_ms: int, *, oldest_first: bool) -> AsyncIterator[ManifestEntry]:
        """Yield the entries of `[from_ms, end_ms)` one by one, from one end: years of them are never read at once."""
        while True:
            with translated(f"read of what is archived of {self._symbol}"):
                if oldest_first:
                    page: Any = await self._client.zrangebyscore(self._key, from_ms, f"({end_ms}", start=0, num=PAGE)
                else:
                    page = await self._client.zrevrangebyscore(self._key, f"({end_ms}", from_ms, start=0, num=PAGE)
            entries = list(map(ManifestEntry.parse, page))
            for entry in entries:
                yield entry
            if len(entries) < PAGE:
                return
            from_ms = entries[-1].period_ms + 1 if oldest_first else from_ms
            end_ms = end_ms if oldest_first else entries[-1].period_ms

    async def version(self) -> str:
        """What `take_listing` is to be told, read before the archive is listed."""
        with translated(f"read of what is archived of {self._symbol}"):
            found: Any = await self._client.hget(self._keys.archive, f"{self._series}_version")
        return (found or b"").decode()

    async def take_listing(self, version: str, entries: Iterable[ManifestEntry]) -> bool:
        """Replace what is known by what a listing has shown. False if something was confirmed meanwhile."""
        members = [entry.dump() for entry in entries]
        with translated(f"listing of what is archived of {self._symbol}"):
            script = Script(self._client, "list_archive")
            status, *_ = await script([self._keys.archive, self._key], self._series, version, *members)
        return bool(status == b"OK")

    async def forget(self, period_ms: int, last_ms: int) -> bool:
        """Of trades: give an object up that is lost. False if it was not known."""
        with translated(f"giving up of an object of {self._symbol}"):
            _, count = await Script(self._client, "forget")([self._keys.archive, self._key], period_ms, last_ms)
        return bool(count)


def ask_whole(pipe: Any, keys: SymbolKeys, series: str) -> None:
    """Ask for what `is_whole` reads."""
    pipe.hmget(keys.archive, (f"{series}_version", f"{series}_listed"))


def is_whole(values: list[bytes | None]) -> bool:
    version, listed = values
    return listed is not None and listed == (version or b"0")
