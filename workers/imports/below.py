"""Days of an import that the store has dropped: the archive alone has what there was of them.

Their minutes go the way of late trades (common.market.builder.late). They are committed together with the coverage that
says so, readers merge them into what the archive has, and its objects name what they have got. So whatever dies, and
whenever, each trade is in every answer, and in the archive in the end, once.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field

import polars as pl
from redis.asyncio import Redis

from common.archive.archive import Archive
from common.archive.series import CANDLE_ROWS, SERIES
from common.errors import StoreUnavailable
from common.series import CANDLES
from common.store.archived import Archived
from common.store.minute_archive import MinuteArchive
from common.store.registry import Market
from workers.imports.day import Day
from workers.imports.joined import packed
from workers.rollup.archiving import archive_period

# Minutes that may wait for the archive already: commit.lua has room for so many, and for ten days more.
MAX_WAITING = 5_000


@dataclass(slots=True)
class Below:
    """`known`: what the archive has of each series; `oldest_ms`: the first day of which anything was ever applied."""

    client: Redis
    market: Market
    place: Archive
    known: Mapping[str, Archived]
    oldest_ms: int
    _to_ms: dict[str, int] = field(default_factory=dict)
    _from_ms: dict[str, int] = field(default_factory=dict)

    def floor(self, series: str, floor_ms: int) -> int:
        """Take what lies below the floor, if the archive has got all that the store ever dropped; else leave it."""
        from_ms = self.known[series].from_ms
        if floor_ms <= 0 or not 0 <= from_ms <= self.oldest_ms:
            return floor_ms
        self._to_ms[series], self._from_ms[series] = floor_ms, from_ms
        return 0

    def has(self, day_ms: int) -> bool:
        return any(day_ms < to_ms for to_ms in self._to_ms.values())

    async def begin(self, day: Day, candles: pl.DataFrame, levels: pl.DataFrame) -> dict[int, tuple[bytes, bytes]]:
        """Return what is new of the day, packed for a commit; the archive begins with the day by then, or earlier."""
        series, store = self._of(day.day_ms), MinuteArchive(self.client, self.market.symbol)
        for name in series:
            if (waiting := await store.late_count(name)) > MAX_WAITING:
                raise StoreUnavailable(f"{waiting} minutes of {self.market.symbol} wait for the archive of {name}")
        if CANDLES.name in series:
            late = await store.late(CANDLES.name, day.day_ms, day.end_ms)
            span = (CANDLE_ROWS, self.market.instrument, day.day_ms, day.end_ms, ["open_ms"])
            archived = await asyncio.to_thread(self.place.read, *span)
            known = {*archived["open_ms"].to_list(), *(part.open_ms for part in late.parts)}
            # A minute that was there is amended: `rev` counts the trades that are new.
            amended = pl.when(pl.col("open_ms").is_in(known)).then("trades").otherwise("rev")
            candles = candles.with_columns(rev=amended)
        for name in series:
            # Late trades of minutes before that would be refused.
            if day.day_ms < self._from_ms[name]:
                token, _ = await store.unarchived(name)
                await store.archived(name, token, {day.day_ms: ""})
                self._from_ms[name] = day.day_ms
        return await asyncio.to_thread(_packed, day, candles, levels)

    async def archive(self, day_ms: int) -> None:
        """Write the day into the archive at once: there is room for some days only to wait."""
        for series in self._of(day_ms):
            await archive_period(self.client, self.market, self.place, series, SERIES[series].period.open_of(day_ms))

    def _of(self, day_ms: int) -> list[str]:
        return [series for series, to_ms in self._to_ms.items() if day_ms < to_ms]


def _packed(day: Day, candles: pl.DataFrame, levels: pl.DataFrame) -> dict[int, tuple[bytes, bytes]]:
    new = pl.concat(day.candles)["open_ms"].unique()
    return packed(candles.filter(pl.col("open_ms").is_in(new.implode())), levels)
