"""What was traded on sealed days, by the tiles that were made of them: some hundred cells a column, and not all levels.

Taken are days whose tile names the seal that the day has, and which nothing was written to since: no minute of these is
open. All others are read by their minutes.
"""

from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import NamedTuple

import polars as pl

from common.frames.schema import LEVELS
from common.market.coding import traded_tiles
from common.market.orderflow.tile_rows import heights
from common.market.scale import Scales
from common.series import FOOTPRINTS
from common.store.parts import Seal, Seals
from common.store.reads import View
from common.store.tiles import Dirty, made_of
from common.tiles import DAY_LEVELS, TileLevel
from feed.reading.bounds import Span
from feed.reading.history import History


class CellSize(NamedTuple):
    """Columns and rows that cells are to be sums of."""

    bucket_ms: int
    row_ticks: int

    def are_of(self, level: TileLevel) -> bool:
        return self.bucket_ms % level.bucket_ms == 0

    def heights(self) -> Iterator[int]:
        """Of rows that they are made of."""
        return (height for height in takewhile(self.row_ticks.__ge__, heights()) if self.row_ticks % height == 0)


@dataclass(frozen=True, slots=True)
class DayTiles:
    """Those of one symbol, for a query of the history's budget. A tile is known by its seal, and cached decoded."""

    history: History

    async def look(self, start_ms: int) -> View:
        """What tells which tiles are true. It is to be of the same minutes as what is read beside them."""
        return await self.history.sealed(Seals(start_ms), Dirty())

    async def read(self, view: View, span: Span, wanted: CellSize) -> dict[int, pl.DataFrame]:
        """Return the levels of days, by columns and rows of their tiles: the coarsest that the wanted are made of."""
        found: dict[int, pl.DataFrame] = {}
        scales = self.history.scales(view)
        for level in filter(wanted.are_of, reversed(DAY_LEVELS)):
            lacking = [seal for seal in _settled(view, level, span) if seal.day_ms not in found]
            found |= await self._of_level(level, lacking, scales, wanted) if lacking else {}
        await self.history.budget.read(sum(map(len, found.values())))
        return found

    async def _of_level(
        self, level: TileLevel, seals: Sequence[Seal], scales: Scales, wanted: CellSize
    ) -> dict[int, pl.DataFrame]:
        cached = {seal.day_ms: self._cached(level, seal, scales, wanted) for seal in seals}
        found = {day_ms: cells for day_ms, cells in cached.items() if cells is not None}
        lacking = {seal.day_ms: seal for seal in seals if seal.day_ms not in found}
        if not lacking:
            return found
        cache = self.history.frame_cache
        async with cache.turns:
            packed = await self.history.store.tiles(level, list(lacking))
            there = {day_ms: tile for day_ms, tile in zip(lacking, packed, strict=True) if tile}
            made = {day_ms: made_of(seal.digests) for day_ms, seal in lacking.items()}
            heads = {day_ms: traded_tiles.head_of(tile, scales) for day_ms, tile in there.items()}
            fit = {
                day_ms: head
                for day_ms, head in heads.items()
                if head and head.made_of == made[day_ms] and wanted.row_ticks % head.row_ticks == 0
            }
            count = sum(head.cells for head in fit.values())
            opened = await self.history.budget.run(count, _opened, level, {day: there[day] for day in fit}, scales)
        for day_ms, cells in opened.items():
            cache.keep(self._key(level, lacking[day_ms], scales, fit[day_ms].row_ticks), cells)
        return found | opened

    def _cached(self, level: TileLevel, seal: Seal, scales: Scales, wanted: CellSize) -> pl.DataFrame | None:
        keys = (self._key(level, seal, scales, height) for height in wanted.heights())
        found = (self.history.frame_cache.get(key) for key in keys)
        return next((cells for cells in found if isinstance(cells, pl.DataFrame)), None)

    def _key(self, level: TileLevel, seal: Seal, scales: Scales, row_ticks: int) -> Hashable:
        return self.history.symbol, level.name, seal.day_ms, made_of(seal.digests), scales, row_ticks


def _settled(view: View, level: TileLevel, span: Span) -> list[Seal]:
    """Days of the span that are as they were sealed."""
    opens = level.opens(*span)
    sealed = (seal for seal in view.seals if seal.day_ms in opens and seal.digest(FOOTPRINTS))
    return [seal for seal in sealed if seal.day_ms not in view.dirty]


def _opened(level: TileLevel, tiles: Mapping[int, bytes], scales: Scales) -> dict[int, pl.DataFrame]:
    return {
        day_ms: pl.DataFrame(traded_tiles.cells_of([packed], level.bucket_ms, scales), schema=LEVELS)
        for day_ms, packed in tiles.items()
    }
