"""What the archive is known to have of a symbol (common.market.manifest), series by series.

The scripts that confirm an object write its entry in the same step. Of an archive of an earlier release, or one that
such a release has confirmed something in, entries are made by a listing once (workers.rollup.listing): until then they
don't say what is not there, and `is_whole` is False.
"""

from collections.abc import AsyncGenerator, Iterable
from dataclasses import dataclass
from typing import Any

import orjson
from redis.asyncio import Redis

from common.market.manifest import Fault, ManifestEntry
from common.store import scripts
from common.store.client import translated
from common.store.keys import SymbolKeys

# Entries read at once: a month's days, and one more to know whether there are any left.
PAGE = 32
# Faults known of one symbol: who has lost more need not be told each.
MAX_FAULTS = 1_000


@dataclass(frozen=True, slots=True)
class Known:
    """Entries of a range, ascending. `is_whole`: what is not among them is not there, and never was confirmed."""

    entries: list[ManifestEntry]
    is_whole: bool


@dataclass(frozen=True, slots=True)
class Outline:
    """`was_archived`: something of the series was confirmed once. `is_whole`: as of what is Known.

    `faulty`: periods whose object is known to be missing or damaged.
    """

    was_archived: bool
    is_whole: bool
    faulty: frozenset[int]


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

    async def outline(self) -> Outline:
        """Return what is true of the series as a whole."""
        pipe = self._client.pipeline(transaction=True)
        ask_whole(pipe, self._keys, self._series)
        pipe.hkeys(self._keys.faults)
        with translated(f"read of what is archived of {self._symbol}"):
            whole, fields = await pipe.execute()
        pairs = (field.decode().split(":") for field in fields)
        return Outline(
            was_archived=whole[0] is not None,
            is_whole=is_whole(whole),
            faulty=frozenset(int(period) for series, period in pairs if series == self._series),
        )

    async def walk(self, from_ms: int, end_ms: int, *, oldest_first: bool) -> AsyncGenerator[ManifestEntry, None]:
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
        """Add to what is known what a listing has shown. False if something was confirmed meanwhile."""
        members = [entry.dump() for entry in entries]
        with translated(f"listing of what is archived of {self._symbol}"):
            script = scripts.list_archive.of(self._client, self._keys)
            status, *_ = await script(manifest=self._key, series=self._series, version=version, entries=members)
        return bool(status == b"OK")

    async def give_up(self, period_ms: int, last_ms: int | None) -> bool:
        """An object is lost, and what it alone had: up to `last_ms`, None: nothing. False if it was never confirmed."""
        with translated(f"giving up of an object of {self._symbol}"):
            script = scripts.give_up.of(self._client, self._keys)
            (status,) = await script(manifest=self._key, series=self._series, period=period_ms, last_ms=last_ms)
        return bool(status == b"OK")

    async def note_fault(self, fault: Fault) -> None:
        """An object is not what was confirmed. Known until one is confirmed in its place, or it is `sound` again."""
        text = orjson.dumps(fault.json())
        with translated(f"note of a fault in the archive of {self._symbol}"):
            script = scripts.note_fault.of(self._client, self._keys)
            await script(field=self._field(fault.from_ms), fault=text, most=MAX_FAULTS)

    async def sound(self, period_ms: int) -> None:
        """Nothing is wrong with an object any more."""
        with translated(f"note of a fault in the archive of {self._symbol}"):
            await self._client.hdel(self._keys.faults, self._field(period_ms))

    def _field(self, period_ms: int) -> str:
        return f"{self._series}:{period_ms}"


def faults_of(values: Iterable[bytes]) -> tuple[Fault, ...]:
    """Read the values of `{S}:faults`: the newest periods come first."""
    found = (Fault.of_json(orjson.loads(value)) for value in values)
    return tuple(sorted(found, key=lambda fault: (-fault.from_ms, fault.series)))


def ask_whole(pipe: Any, keys: SymbolKeys, series: str) -> None:
    """Ask for what `is_whole` reads."""
    pipe.hmget(keys.archive, (f"{series}_version", f"{series}_listed"))


def is_whole(values: list[bytes | None]) -> bool:
    version, listed = values
    return listed is not None and listed == (version or b"0")
