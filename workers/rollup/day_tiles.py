"""Tiles of a sealed day (common.tiles): what was traded by five minutes, an hour and the day, and rows of prices.

Made with the seal of the day, in the same step (workers.rollup.day); and once of all days that lack theirs: those that
were imported, or that an earlier release has sealed.
"""

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress

import numpy as np
from redis.asyncio import Redis

from common.errors import Stale
from common.market.coding import traded_tiles
from common.market.coding.footprint_blocks import LevelBlock
from common.market.coding.traded_tiles import Cells, as_cells
from common.market.scale import Scales
from common.series import FOOTPRINTS
from common.store.format import TRADED_TILES
from common.store.parts import Seal, Seals
from common.store.reads import SymbolReader
from common.store.registry import Market
from common.store.tiles import TileStore, made_of
from common.tiles import DAY_LEVELS

log = logging.getLogger(__name__)

# Of a day, decoded at once: a busier one would take some 300 MB.
MAX_LEVELS_AT_ONCE = 1 << 19


def day_tiles(block: bytes | None, scales: Scales, made_of: str) -> list[bytes]:
    """Return the tile of each of DAY_LEVELS of a day's footprints; empty where there is none to be made."""
    cells = _five_minutes(LevelBlock(block, scales)) if block else None
    packed = list[bytes]()
    for level in DAY_LEVELS:
        if cells is not None:
            row_ticks = traded_tiles.row_for(level.rows, cells, level.bucket_ms)
            cells = traded_tiles.summed(cells, level.bucket_ms, row_ticks)
        if cells is None:
            return [b""] * len(DAY_LEVELS)
        packed.append(traded_tiles.pack(cells, level.bucket_ms, row_ticks, scales.name, made_of))
    return packed


def _five_minutes(day: LevelBlock) -> Cells | None:
    """By ticks. None: the sums might not fit 64 bits."""
    parts = [traded_tiles.summed(as_cells(day.levels(some)), DAY_LEVELS[0].bucket_ms, 1) for some in _parts(day)]
    found = [part for part in parts if part is not None]
    if len(found) < len(parts):
        return None
    return {name: np.concatenate([part[name] for part in found]) for name in found[0]}


def _parts(day: LevelBlock) -> Iterator[slice]:
    at, end = 0, len(day.opens)
    while at < end:
        some = day.within(int(day.opens[at]), int(day.opens[-1]) + 1, MAX_LEVELS_AT_ONCE, oldest_first=True)
        yield some
        at = some.stop


async def make_day_tiles(client: Redis, market: Market, stopping: Callable[[], bool]) -> None:
    """Make those that lack, the newest first, until `stopping`. Where something changes meanwhile, the next goes on."""
    store, reader = TileStore(client, market.symbol), SymbolReader(client, market.symbol, market.instrument)
    if await store.are_days_made():
        return
    mark, view = await store.mark(), await reader.view(Seals(0))
    if mark is None or view.state is None or view.state.format < TRADED_TILES:
        return
    there, scales = await reader.tile_opens(DAY_LEVELS[0]), view.state.scales(market.instrument)
    floor_ms = view.state.floor_ms(FOOTPRINTS)
    sealed = [seal for seal in view.seals if seal.digest(FOOTPRINTS) and seal.day_ms >= floor_ms]
    with suppress(Stale):
        for seal in reversed([seal for seal in sealed if seal.day_ms not in there]):
            if stopping():
                return
            await store.put_day(mark, seal.day_ms, await _tiles_of(reader, seal, scales))
            log.info("tiles made", extra={"symbol": market.symbol, "day_ms": seal.day_ms})
        await store.note_days_made(mark)


async def _tiles_of(reader: SymbolReader, seal: Seal, scales: Scales) -> Sequence[bytes]:
    """What is there of a day that has been sealed again since is named by another seal, and not taken by readers."""
    (block,) = await reader.blocks(FOOTPRINTS, [seal.day_ms])
    return day_tiles(block, scales, made_of(seal.digests))
