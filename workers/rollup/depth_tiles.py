"""Tiles of a book's history (common.tiles): of each hour once it is over, and of each UTC day out of those.

An hour is made of its chunks, which are there for FLEET_DEPTH_HOURS; what was not made by then is unknown. Done twice,
or by two at once, it is the same: the first that is taken in stays.
"""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import groupby

from redis.asyncio import Redis

from common.errors import Stale
from common.frames.depth_minute import DepthMinute
from common.frames.depth_tile import DepthTile, tile_grid, tile_of
from common.frames.depth_tile_codec import TileLabel, pack_tile, unpack_tile
from common.frames.folded import coarser
from common.market.depth.chunk import unpack_head
from common.market.orderflow.tile_rows import MAX_FEW, coarse_row, heights
from common.market.rescaling import Unfit
from common.market.scale import Scale, Scales
from common.market.timeframes.timeframe import DAY_MS, day_of
from common.store.depth import DepthReader
from common.store.depth_tiles import DepthTileStore, StoredTile
from common.store.registry import Market
from common.tiles import BOOK_DAY_LEVELS, BOOK_LEVELS, DEPTH_LEVELS, HOUR_MS, TileLevel

log = logging.getLogger(__name__)

_FINEST_OF_DAYS, _OF_HOURS = BOOK_DAY_LEVELS[0], BOOK_LEVELS[-1]


async def make_depth_tiles(
    client: Redis, market: Market, kept_ms: Mapping[str, int], stopping: Callable[[], bool] = lambda: False
) -> None:
    """Make all that lack, the oldest first, until `stopping`; drop what is older than `kept_ms` of its setting."""
    store, reader = DepthTileStore(client, market.symbol), DepthReader(client, market.symbol)
    newest = await reader.newest()
    if newest is None:
        return
    # An hour is over once there is a chunk of the next one.
    now_ms = _hour_of(unpack_head(newest).open_ms)
    with suppress(Stale):
        made_to = await store.made_to()
        while chunks := await _next_hour(reader, made_to, now_ms):
            if stopping():
                return
            open_ms = _hour_of(unpack_head(chunks[0]).open_ms)
            await store.put_hour(open_ms, len(chunks), _hour(chunks, open_ms, market.instrument.scale))
            log.info("tiles of depth made", extra={"symbol": market.symbol, "open_ms": open_ms})
            made_to = open_ms + HOUR_MS
        for day_ms in await _days_to_make(store, now_ms):
            if stopping():
                return
            await _make_day(store, day_ms, market.instrument.scale)
        for level in DEPTH_LEVELS:
            await store.drop(level, now_ms - kept_ms[level.retention])
        await store.note_made(now_ms)


def _hour_of(ts_ms: int) -> int:
    return ts_ms // HOUR_MS * HOUR_MS


async def _next_hour(reader: DepthReader, from_ms: int, before_ms: int) -> list[bytes]:
    """The chunks of the first hour that has any and opens in `[from_ms, before_ms)`."""
    first = await reader.after(from_ms - 1, 1)
    open_ms = _hour_of(unpack_head(first[0]).open_ms) if first else before_ms
    return await reader.chunks(open_ms, open_ms + HOUR_MS) if open_ms < before_ms else []


def _hour(chunks: Sequence[bytes], open_ms: int, scale: Scale) -> dict[TileLevel, StoredTile]:
    minutes = [DepthMinute.of(chunk, Scales.unchanged(scale)) for chunk in chunks]
    spans = [span for minute in minutes for span in minute.spans]
    if not spans:
        return {}
    prices = min(span[2] for span in spans), max(span[3] for span in spans)
    row_ticks = coarse_row(abs(spans[0][2] + spans[0][3]) // 2)
    made = dict[TileLevel, StoredTile]()
    for level in BOOK_LEVELS:
        height = 10 * row_ticks if level.rows == "coarser" else row_ticks
        grid = tile_grid(prices, open_ms, level.span_ms, level.bucket_ms, height)
        try:
            made[level] = _stored(tile_of(minutes, grid), scale)
        except OverflowError as error:
            log.warning("no tile", extra={"level": level.name, "open_ms": open_ms, "error": str(error)})
    return made


def _stored(tile: DepthTile, scale: Scale) -> StoredTile:
    packed = pack_tile(tile, scale)
    return StoredTile(TileLabel.of(tile, packed, scale).pack(), packed)


async def _days_to_make(store: DepthTileStore, now_ms: int) -> list[int]:
    opens = await store.opens([_OF_HOURS, _FINEST_OF_DAYS], 0, day_of(now_ms))
    made = set(opens[_FINEST_OF_DAYS])
    return [day_ms for day_ms, _ in groupby(opens[_OF_HOURS], day_of) if day_ms not in made]


async def _make_day(store: DepthTileStore, day_ms: int, scale: Scale) -> None:
    heads = (await store.heads([_OF_HOURS], day_ms, day_ms + DAY_MS)).get(_OF_HOURS, {})
    labels = {open_ms: TileLabel.unpack(head).at(scale.price_decimals) for open_ms, head in heads.items()}
    fit = {open_ms: label for open_ms, label in labels.items() if label}
    packed = await store.tiles([(_OF_HOURS, open_ms) for open_ms in fit])
    if not fit or None in packed:
        return
    prices = min(label.low_ticks for label in fit.values()), max(label.high_ticks for label in fit.values())
    least = max(label.row_ticks for label in fit.values())
    row_ticks = next(
        height for height in heights() if not height % least and prices[1] // height - prices[0] // height < MAX_FEW
    )
    made = dict[TileLevel, StoredTile]()
    try:
        tiles: Iterator[DepthTile] = (unpack_tile(each, Scales.unchanged(scale)) for each in packed if each)
        for level in BOOK_DAY_LEVELS:
            grid = tile_grid(prices, day_ms, level.span_ms, level.bucket_ms, row_ticks)
            tile = coarser(tiles, grid)
            made[level] = _stored(tile, scale)
            # The coarser ones have the same rows.
            tiles = iter([tile])
    except (Unfit, OverflowError) as error:
        log.warning("no tiles of a day", extra={"day_ms": day_ms, "error": str(error)})
        return
    await store.put_day(day_ms, list(fit), made)
