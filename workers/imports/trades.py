"""What becomes of an import's trades: the archive gets them, day by day, as the stream never does.

Without an archive, or of candles, there is nothing to keep: then it is noted what an archive of trades, if the symbol
has or once had one, will never have.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import polars as pl
from redis.asyncio import Redis

from common.archive.archive import Archive
from common.market.manifest import ManifestEntry
from common.store.archived import Spans
from common.store.manifest import Manifest
from common.store.registry import Market
from common.store.trade_archive import TRADES, TradeArchive
from workers.imports.again import compared_with_archive
from workers.imports.day import Day
from workers.rollup.listing import ensure_listed
from workers.rollup.trades import add_to_day, archive_trades, waiting_trades


@dataclass(slots=True)
class TradeKeeper:
    """For one claim. `archive`: None if trades are not archived.

    `lost`: spans to be noted with the next day; `entries`: of the objects that were written for it.
    """

    client: Redis
    market: Market
    archive: Archive | None
    lost: Spans = ()
    entries: list[ManifestEntry] = field(default_factory=list)
    _notes: bool = False

    async def begin(self, covered_from_ms: int) -> None:
        """Archive what waits: the first day drops it from the stream. `covered_from_ms`: where coverage begins."""
        if self.archive:
            # Also where no trade waits: what is imported is to be known from its first day on.
            await ensure_listed(self.client, self.market, self.archive, TRADES)
            await archive_trades(self.client, self.market, self.archive)
        store = TradeArchive(self.client, self.market.symbol)
        standing = await store.standing()
        self._notes = bool(self.archive or (standing and standing.archived_seq is not None))
        if standing is None or not self._notes:
            return
        if self.archive and standing.from_ms >= 0:
            # From now on the archive begins with the first trade there is: those that it came too late for are lost.
            self.lost = ((max(covered_from_ms, 0), standing.from_ms),)
        waiting = await waiting_trades(store, standing)
        if len(waiting):
            self.lost += (_span(waiting),)

    def compare(self, days: Sequence[Day]) -> None:
        """Compare trades whose ids were applied before with those in the archive, and let go of them. Blocks."""
        for day in days:
            if self.archive and day.unknown:
                again = pl.concat(day.unknown)
                day.conflict(compared_with_archive(again, self.archive, self.market.instrument, day.day_ms).others)
            day.unknown = []

    async def expected(self, days: Sequence[Day]) -> dict[int, ManifestEntry]:
        """Return what the archive has of days that are to be kept."""
        if not self.archive or not days:
            return {}
        manifest = Manifest(self.client, self.market.symbol, TRADES)
        known = await manifest.known(days[0].day_ms, days[-1].end_ms)
        return {entry.period_ms: entry for entry in known.entries}

    def keep(self, days: Sequence[Day], expected: Mapping[int, ManifestEntry]) -> None:
        """Archive the trades of days, before they are applied, and let go of them. Blocks."""
        for day in days:
            if self.archive and day.rows:
                place = self.archive, self.market.instrument, day.day_ms
                self.entries.append(add_to_day(*place, pl.concat(day.rows), expected.get(day.day_ms)))
            day.rows = []

    def take_entries(self) -> list[ManifestEntry]:
        entries, self.entries = self.entries, []
        return entries

    def take_lost(self, days: Sequence[Day]) -> Spans:
        """Return what is to be noted as lost with days that are written."""
        lost, self.lost = self.lost, ()
        bare = [day for day in days if day.trades and not (self.archive and not day.of_minutes)]
        return (*lost, *((day.from_ms, day.to_ms) for day in bare if self._notes))


def _span(trades: pl.DataFrame) -> tuple[int, int]:
    from_ms, to_ms = trades.select(first=pl.min("ts_ms"), last=pl.max("ts_ms")).row(0)
    return from_ms, to_ms
