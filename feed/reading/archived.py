"""Which objects the archive has of a symbol, as the store knows it (common.store.manifest), and what is wrong.

An object that the store knows of and that is missing, damaged or no file is a fault: what it had is not taken for time
in which nothing was traded. It is noted in the store, for health and doctor to tell, until it has been read again.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import TypeVar

from common.archive.archive import Archive
from common.archive.series import ArchiveSeries
from common.errors import ArchiveDamaged, ArchiveUnavailable, StoreUnavailable
from common.market.manifest import Fault, ManifestEntry
from common.store.manifest import Manifest, Outline
from common.store.reads import SymbolReader

log = logging.getLogger(__name__)

T = TypeVar("T")


class Faulty(ArchiveDamaged):
    """What is asked for reaches into an object that is lost or damaged."""

    def __init__(self, symbol: str, fault: Fault) -> None:
        super().__init__(f"{fault.series} {fault.label} of {symbol}", fault.reason)
        self.symbol, self.fault = symbol, fault


@dataclass(frozen=True, slots=True)
class Periods:
    """Those of one series. `listed`: what a listing shows, as long as the store does not know all; else None."""

    symbol: str
    series: ArchiveSeries
    manifest: Manifest
    outline: Outline
    listed: tuple[int, ...] | None = None

    async def between(self, from_ms: int, end_ms: int, *, oldest_first: bool) -> AsyncGenerator[ManifestEntry, None]:
        """Yield those that open in `[from_ms, end_ms)`, from one end."""
        if self.listed is None:
            async for entry in self.manifest.walk(from_ms, end_ms, oldest_first=oldest_first):
                yield entry
            return
        known = {entry.period_ms: entry for entry in (await self.manifest.known(from_ms, end_ms)).entries}
        found = {*known, *(period_ms for period_ms in self.listed if from_ms <= period_ms < end_ms)}
        for period_ms in sorted(found, reverse=not oldest_first):
            yield known.get(period_ms, ManifestEntry(period_ms))

    async def read(self, period_ms: int, read: Callable[[], T]) -> T:
        """Return what `read` finds of an object, in a thread. Raises Faulty where it finds ArchiveDamaged."""
        try:
            found = await asyncio.to_thread(read)
        except ArchiveDamaged as error:
            fault = self.series.fault(period_ms, error.reason)
            await self._note(fault)
            raise Faulty(self.symbol, fault) from error
        if period_ms in self.outline.faulty:
            with suppress(StoreUnavailable):
                await self.manifest.sound(period_ms)
        return found

    async def _note(self, fault: Fault) -> None:
        if fault.from_ms in self.outline.faulty:
            return
        log.warning("fault in the archive", extra={"symbol": self.symbol, "fault": str(fault)})
        with suppress(StoreUnavailable):
            await self.manifest.note_fault(fault)


async def periods(
    reader: SymbolReader, archive: Archive, series: ArchiveSeries, *, may_be_none: bool = False
) -> Periods:
    """ArchiveUnavailable if there are none, unless that may be."""
    manifest, symbol = reader.manifest(series.name), reader.keys.symbol
    outline = await manifest.outline()
    if outline.is_whole:
        return Periods(symbol, series, manifest, outline)
    found = await asyncio.to_thread(archive.periods, series, symbol)
    if not found and not may_be_none:
        raise ArchiveUnavailable(f"the archive has no {series.name} of {symbol} any more")
    return Periods(symbol, series, manifest, outline, tuple(found))


async def with_others(
    entries: AsyncGenerator[ManifestEntry, None], others: Iterable[int], *, oldest_first: bool
) -> AsyncGenerator[tuple[int, ManifestEntry | None], None]:
    """Yield periods, and where they belong the others, of which nothing need be in the archive."""
    waiting = sorted({*others}, reverse=oldest_first)
    async for entry in entries:
        while waiting and waiting[-1] != entry.period_ms and (waiting[-1] < entry.period_ms) == oldest_first:
            yield waiting.pop(), None
        if waiting and waiting[-1] == entry.period_ms:
            waiting.pop()
        yield entry.period_ms, entry
    while waiting:
        yield waiting.pop(), None
