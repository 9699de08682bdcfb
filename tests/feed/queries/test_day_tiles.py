"""Traded cells out of tiles of sealed days are those of their minutes, whatever comes late and is sealed again."""

import random
import re
from dataclasses import replace
from typing import Any

import pytest
from redis.asyncio import Redis

from common.market.timeframes.timeframe import DAY_MS, MINUTE_MS
from common.store.format import TRADED_TILES
from common.store.keys import SymbolKeys
from common.store.registry import Market
from common.tiles import DAY_LEVELS
from feed.reading.day_tiles import DayTiles
from tests.kit.flow_asked import price, size
from tests.kit.served import Served, served
from tests.kit.traded_cells import PATH, cells, of_trades
from tests.kit.writer import INSTRUMENT, START_MS, Writer, random_step, some_trades
from tests.scale import scaled
from workers.rollup.day_tiles import make_day_tiles

KEYS = SymbolKeys(INSTRUMENT.symbol)
BUCKETS = [("5m", 300_000), ("1h", 3_600_000), ("4h", 14_400_000), ("1d", DAY_MS)]


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Days that were read by their tiles."""
    read, found = DayTiles.read, list[int]()

    async def noted(self: DayTiles, *given: Any) -> Any:
        days = await read(self, *given)
        found.extend(days)
        return days

    monkeypatch.setattr(DayTiles, "read", noted)
    return found


async def days(writer: Writer, rng: random.Random, count: int = 3) -> None:
    """Trades of so many days that are sealed, and of one that is not."""
    for _ in range(count + 1):
        for _ in range(3):
            await writer.commit(*some_trades(writer, rng, 40))
            writer.now_ms += DAY_MS // 4
        await writer.roll_up()


async def make(client: Redis) -> None:
    await make_day_tiles(client, Market(INSTRUMENT), lambda: False)


@pytest.mark.parametrize("seed", range(scaled(40)))
async def test_whatever_comes_late_cells_are_the_sums_of_the_trades(
    feed: Served, writer: Writer, client: Redis, taken: list[int], seed: int
) -> None:
    rng = random.Random(seed)
    for _ in range(4):
        await days(writer, rng, 1)
        for _ in range(5):
            await random_step(writer, rng)
        if rng.random() < 0.5:
            await make(client)
        trades = [applied.trade for applied in writer.applied]
        for bucket, bucket_ms in BUCKETS:
            end = writer.builder.watermark_ms + 1
            start = rng.randrange(max(START_MS, end - 600 * bucket_ms), end)
            row_ticks, first = rng.choice((1, 10, 50, 70)), start // bucket_ms * bucket_ms
            expected = of_trades([trade for trade in trades if trade.ts_ms >= first], bucket_ms, row_ticks)
            window = {"start": start, "end": end, "bucket": bucket, "price_min": 85, "price_max": 115}
            assert await cells(feed, row_ticks, **window) == expected, (bucket, row_ticks)
    assert taken


async def test_answers_with_tiles_and_without_are_the_same(
    feed: Served, writer: Writer, client: Redis, redis_url: str, taken: list[int]
) -> None:
    await days(writer, random.Random(8))
    questions = [
        {"start": START_MS, "end": writer.now_ms, "bucket": "1h", "kind": "traded"} | asked
        for asked in ({}, {"max_rows": 7}, {"row": price(10), "min": size(20)}, {"format": "grid"}, {"format": "arrow"})
    ]
    with_tiles = [await _said(feed, asked) for asked in questions]
    assert len(taken) >= len(questions)
    taken.clear()
    await client.delete(*map(KEYS.tiles, DAY_LEVELS))
    async with served(redis_url) as other:
        assert [await _said(other, asked) for asked in questions] == with_tiles and not taken


async def _said(feed: Served, asked: dict[str, Any]) -> bytes:
    return re.sub(rb'"lastUpdateMsAgo":\d+', b"", (await feed.get(PATH, **asked)).content)


async def test_a_day_that_is_amended_is_read_by_its_minutes_until_it_is_sealed_again(
    feed: Served, writer: Writer, taken: list[int]
) -> None:
    await days(writer, random.Random(3), 2)
    window = {"start": START_MS, "end": writer.now_ms + 1, "bucket": "1d"}
    before = await cells(feed, 50, **window)
    first_ms = min(taken)
    taken.clear()
    await writer.commit(writer.trade(first_ms + DAY_MS - MINUTE_MS, 77_777, 9))
    after = await cells(feed, 50, **window)
    assert first_ms not in taken and after == before | {(first_ms, 77_750): [9, 0, 0, 1, 0, 0]}
    await writer.roll_up()
    assert await cells(feed, 50, **window) == after and first_ms in taken


async def test_days_sealed_before_there_were_tiles_get_theirs_from_the_next_job(
    feed: Served, writer: Writer, client: Redis, taken: list[int]
) -> None:
    writer.upgrade(TRADED_TILES - 1)
    writer.format = TRADED_TILES - 1
    await days(writer, random.Random(4))
    await make(client)
    window = {"start": START_MS, "end": writer.now_ms, "bucket": "1h"}
    by_minutes = await cells(feed, 50, **window)
    assert not taken and not await client.exists(*map(KEYS.tiles, DAY_LEVELS))
    writer.upgrade(TRADED_TILES)
    await writer.commit()
    await make(client)
    assert await cells(feed, 50, **window) == by_minutes and len(taken) >= 3
    assert await client.hget(KEYS.rollup, "tiles") == b"1"


async def test_tiles_go_with_the_footprints_they_are_made_of(writer: Writer, client: Redis) -> None:
    writer.retention = replace(writer.retention, footprint_days=2)
    await days(writer, random.Random(5), 5)
    for level in DAY_LEVELS:
        assert await client.hkeys(KEYS.tiles(level)) == await client.hkeys(KEYS.sealed("footprints"))
