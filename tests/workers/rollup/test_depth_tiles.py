"""Tiles of a book's history: made of each hour that is over, once, and of each day out of those."""

import pytest
from redis.asyncio import Redis

from common.errors import Stale
from common.frames.depth_minute import DepthMinute
from common.frames.depth_tile_codec import unpack_tile
from common.frames.folded import folded
from common.frames.liquidity import CellGrid, liquidity
from common.market.depth.chunk import pack_chunk
from common.market.scale import Scales
from common.market.timeframes.timeframe import DAY_MS, MINUTE_MS, day_of
from common.store.depth import DepthStore
from common.store.depth_tiles import DepthTileStore, due_of
from common.store.keys import SymbolKeys
from common.store.registry import Market
from common.tiles import BOOK_DAY_LEVELS, BOOK_LEVELS, DEPTH_LEVELS, HOUR_MS
from tests.kit.books import walking_chunks
from tests.kit.writer import INSTRUMENT, Writer
from workers.rollup.depth_tiles import make_depth_tiles

S, MARKET = INSTRUMENT.symbol, Market(INSTRUMENT, {"kind": "inbox"})
DAY = day_of(1_723_161_600_000)
KEPT_MS = {level.retention: 30 * DAY_MS for level in DEPTH_LEVELS}


async def _put(writer: Writer, first_ms: int, minutes: int, kept: int = 400) -> list[DepthMinute]:
    chunks = walking_chunks(first_ms, minutes)
    packed = {chunk.open_ms: pack_chunk(chunk, INSTRUMENT.scale) for chunk in chunks}
    await DepthStore(writer.client, S, kept).put(writer.token, packed)
    return [DepthMinute.of(each, Scales.unchanged(INSTRUMENT.scale)) for each in packed.values()]


async def _opens(client: Redis) -> dict[str, list[int]]:
    found = await DepthTileStore(client, S).opens(DEPTH_LEVELS, 0, 2 * DAY)
    return {level.name: opens for level, opens in found.items() if opens}


async def test_an_hour_is_made_once_the_next_one_has_begun(client: Redis, writer: Writer) -> None:
    minutes = await _put(writer, DAY + 20 * MINUTE_MS, 40)
    await make_depth_tiles(client, MARKET, KEPT_MS)
    assert await _opens(client) == {}
    minutes += await _put(writer, DAY + HOUR_MS, 1)
    assert await due_of(client, [S]) == [S]
    await make_depth_tiles(client, MARKET, KEPT_MS)
    assert await _opens(client) == {level.name: [DAY] for level in BOOK_LEVELS}
    assert await due_of(client, [S]) == []
    for level, (packed,) in [(each, await DepthTileStore(client, S).tiles([(each, DAY)])) for each in BOOK_LEVELS]:
        assert packed
        tile = unpack_tile(packed, Scales.unchanged(INSTRUMENT.scale))
        own = tile.grid
        grid = CellGrid(DAY, level.bucket_ms, own.cols, own.p0_ticks, own.row_ticks, own.rows)
        found, expected = (
            folded([tile], grid, "max"),
            liquidity([each for each in minutes if each.open_ms < DAY + HOUR_MS], grid),
        )
        assert found.known_ms.tolist() == expected.known_ms.tolist() and found.known_ms.any()
        assert (found.cells == expected.cells * (expected.known_ms > 0)).all()


async def test_what_is_there_stays_as_it_is(client: Redis, writer: Writer) -> None:
    await _put(writer, DAY, 61)
    await make_depth_tiles(client, MARKET, KEPT_MS)
    keys = [SymbolKeys(S).tiles(level) for level in BOOK_LEVELS]
    before = [await client.hgetall(key) for key in keys]
    # Made again, as by a job that did not learn of its end.
    await client.hdel(SymbolKeys(S).rollup, "depth_tiles")
    await client.hset(keys[0], str(DAY), b"as it was")
    await make_depth_tiles(client, MARKET, KEPT_MS)
    assert await client.hget(keys[0], str(DAY)) == b"as it was"
    assert [await client.hgetall(key) for key in keys[1:]] == before[1:]


async def test_a_day_is_made_of_its_hours_and_old_ones_are_dropped(client: Redis, writer: Writer) -> None:
    await _put(writer, DAY + 21 * HOUR_MS, 181)
    await make_depth_tiles(client, MARKET, KEPT_MS)
    hours = [DAY + at * HOUR_MS for at in (21, 22, 23)]
    assert await _opens(client) == {
        **{level.name: hours for level in BOOK_LEVELS},
        **{level.name: [DAY] for level in BOOK_DAY_LEVELS},
    }
    stored = await DepthTileStore(client, S).tiles([(level, DAY) for level in BOOK_DAY_LEVELS])
    tiles = [unpack_tile(each, Scales.unchanged(INSTRUMENT.scale)) for each in stored if each]
    assert all(tile.grid.rows <= 256 for tile in tiles) and {tile.grid.cols for tile in tiles} == {288, 24, 1}
    day = CellGrid(DAY, DAY_MS, 1, tiles[0].grid.p0_ticks, tiles[0].grid.row_ticks, tiles[0].grid.rows)
    means = [folded([tile], day, "mean") for tile in tiles]
    assert means[0].cells.any() and all((each.cells == means[0].cells).all() for each in means)
    # A minute of the fourth hour after has passed.
    await _put(writer, DAY + DAY_MS + 3 * HOUR_MS, 1)
    kept_ms = KEPT_MS | {BOOK_LEVELS[0].retention: 4 * HOUR_MS}
    await make_depth_tiles(client, MARKET, kept_ms)
    assert (await _opens(client))["depth:1s"] == [DAY + 23 * HOUR_MS, DAY + DAY_MS]


async def test_tiles_of_chunks_that_are_gone_are_not_taken(client: Redis, writer: Writer) -> None:
    await _put(writer, DAY, 61)
    await client.delete(SymbolKeys(S).depth)
    store = DepthTileStore(client, S)
    with pytest.raises(Stale):
        await store.put_hour(DAY, 60, {})
    assert await store.made_to() == 0
