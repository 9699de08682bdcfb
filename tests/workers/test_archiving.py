"""Sealed days in the archive: what is there, what may be dropped for it, and what the feed makes of both."""

import random
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import polars as pl
import pytest
from redis.asyncio import Redis

from common.archive.archive import Archive
from common.archive.series import CANDLE_ROWS, FOOTPRINT_ROWS, SERIES
from common.frames import decode
from common.market.timeframe import DAY_MS, MINUTE_MS, day_of
from common.market.trade import Trades
from common.store.client import commit_client
from common.store.keys import SymbolKeys
from common.store.registry import Market
from common.store.rollups import RollupStore
from tests.common.archive.conftest import BUCKET
from tests.feed.served import served
from tests.feed.writer import INSTRUMENT, KEEP_ALL, START_MS, Writer, random_step
from workers.commit import Head, Retention, make_commit
from workers.rollup.archiving import archive_period

MARKET, STORE_KEYS = Market(INSTRUMENT), SymbolKeys(INSTRUMENT.symbol)
FIRST_MS = day_of(START_MS) + DAY_MS
# FIRST_MS is the 15th of November 2023: the archive's candles are in two objects.
DAYS = 18
BOTH = frozenset({"candles", "footprints"})
S3_URL = f"s3://{BUCKET}/fleet/a"


@pytest.fixture
async def client(redis_url: str) -> AsyncIterator[Redis]:
    made = commit_client(redis_url)
    yield made
    await made.aclose()


@pytest.fixture
async def writer(client: Redis) -> Writer:
    """A registered symbol of which only what the archive has is dropped."""
    made = Writer(client, archived=BOTH)
    await made.register()
    await made.claim()
    return made


@pytest.fixture
def store(client: Redis) -> RollupStore:
    return RollupStore(client, INSTRUMENT.symbol)


async def write_days(writer: Writer, days: int, count: int = 40) -> None:
    """Random trades of so many days, and the first of the next."""
    rng, first_ms = random.Random(days), max(FIRST_MS, day_of(writer.now_ms))
    for day_ms in range(first_ms, first_ms + days * DAY_MS, DAY_MS):
        times = sorted(rng.randrange(day_ms, day_ms + DAY_MS) for _ in range(count))
        await writer.commit(*(writer.trade(at, rng.randint(9_900, 10_100), side=rng.randrange(3)) for at in times))
    await writer.commit(writer.trade(first_ms + days * DAY_MS))


async def archive_all(client: Redis, archive: Archive) -> None:
    for series, day_ms in (await RollupStore(client, INSTRUMENT.symbol).due()).archive:
        await archive_period(client, MARKET, archive, series, SERIES[series].period.open_of(day_ms))


async def sealed(client: Redis) -> dict[str, pl.DataFrame]:
    """The sealed minutes, as the archive is to have them."""
    candles: Any = await client.hgetall(STORE_KEYS.sealed_candles)
    footprints: Any = await client.hgetall(STORE_KEYS.sealed_footprints)
    return {
        "candles": decode.sealed_candles([block for _, block in sorted(candles.items())]),
        "footprints": decode.sealed_footprints([block for _, block in sorted(footprints.items())]),
    }


def archived(archive: Archive) -> dict[str, pl.DataFrame]:
    return {rows.name: archive.read(rows, INSTRUMENT, 0, 1 << 42) for rows in (CANDLE_ROWS, FOOTPRINT_ROWS)}


def assert_same(found: dict[str, pl.DataFrame], expected: dict[str, pl.DataFrame]) -> None:
    assert all(found[name].equals(frame) and len(frame) for name, frame in expected.items())


async def drop_before(writer: Writer, floor_ms: int) -> None:
    """A commit that writes nothing, of a worker that keeps minutes from `floor_ms` on."""
    changes = writer.builder.apply(writer.builder.accept(Trades(), writer.now_ms), writer.now_ms, {})
    commit = make_commit(Head(writer.token, writer.seq, "", {}), writer.builder, changes, writer.retention)
    await writer.store.commit(replace(commit, candle_floor_ms=floor_ms, footprint_floor_ms=floor_ms))
    writer.seq += 1


async def floors(client: Redis) -> tuple[int, int]:
    candles, footprints = await client.hmget(STORE_KEYS.state, ["candle_floor_ms", "footprint_floor_ms"])
    return int(candles or -1), int(footprints or -1)


async def test_the_archive_has_what_the_minutes_are(client: Redis, writer: Writer, archive: Archive) -> None:
    """Also after late trades, repaired gaps and another writer: days are sealed anew, and archived anew."""
    rng = random.Random(1)
    for _ in range(4):
        for _ in range(40):
            await random_step(writer, rng)
        writer.now_ms += DAY_MS
        await writer.commit(writer.trade())
        await writer.roll_up()
        await archive_all(client, archive)
        assert_same(archived(archive), await sealed(client))
        assert not (await RollupStore(client, INSTRUMENT.symbol).due()).archive
    candles = archived(archive)["candles"]
    assert candles["rev"].sum() > 0


async def test_what_is_dropped_stays_in_the_archive_and_what_it_lacks_is_not_dropped(
    client: Redis, writer: Writer, store: RollupStore, archive: Archive
) -> None:
    await write_days(writer, 4)
    await writer.roll_up()
    whole = await sealed(client)
    writer.retention = Retention(1, 1)
    await writer.commit(writer.trade(writer.now_ms + MINUTE_MS))
    assert await floors(client) == (-1, -1)
    # Candles alone: the seals name the footprints as well.
    for month_ms in sorted({CANDLE_ROWS.period.open_of(day) for _, day in (await store.due()).archive}):
        await archive_period(client, MARKET, archive, "candles", month_ms)
    await writer.commit(writer.trade(writer.now_ms + MINUTE_MS))
    today_ms = day_of(writer.builder.watermark_ms)
    assert await floors(client) == (today_ms - DAY_MS, -1)
    await archive_all(client, archive)
    assert_same(archived(archive), whole)
    await writer.commit(writer.trade(writer.now_ms + MINUTE_MS))
    assert await floors(client) == (today_ms - DAY_MS, today_ms - DAY_MS)
    seals: Any = await client.zrange(STORE_KEYS.seals, 0, -1, withscores=True)
    left = {int(score) for _, score in seals}
    assert left == {today_ms - DAY_MS}
    for name in (STORE_KEYS.sealed_candles, STORE_KEYS.sealed_footprints):
        assert set(map(int, await client.hkeys(name))) == left
    # A period that has both: what is dropped, and days that are sealed now.
    writer.retention = KEEP_ALL
    await write_days(writer, 2)
    await writer.roll_up()
    await archive_all(client, archive)
    kept = await sealed(client)
    for name, frame in archived(archive).items():
        assert frame.filter(pl.col("open_ms") < today_ms - DAY_MS).equals(
            whole[name].filter(pl.col("open_ms") < today_ms - DAY_MS)
        )
        assert frame.filter(pl.col("open_ms") >= today_ms - DAY_MS).equals(kept[name])


async def test_footprints_that_went_before_their_candles_are_missed_by_nobody(
    client: Redis, writer: Writer, redis_url: str, archive: Archive
) -> None:
    """Without an archive, and with one that is there from now on."""
    writer.archived = frozenset()
    await write_days(writer, 4)
    await writer.roll_up()
    whole = await sealed(client)
    writer.retention = Retention(400, 1)
    await writer.commit(writer.trade(writer.now_ms + MINUTE_MS))
    _, floor_ms = await floors(client)
    async with served(redis_url) as feed:
        answer = await feed.json(f"/v1/footprint/{INSTRUMENT.symbol}", timeframe="1h", limit=5_000)
        assert answer["bars"][0]["t"] >= floor_ms
    await archive_all(client, archive)
    assert not (await RollupStore(client, INSTRUMENT.symbol).due()).archive
    left = whole["footprints"].filter(pl.col("open_ms") >= floor_ms)
    assert_same(archived(archive), whole | {"footprints": left})
