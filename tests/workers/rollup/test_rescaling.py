"""The archive of a symbol that was changed: read in the symbol's scale at once, and written again by the queue."""

import asyncio
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pytest
from redis.asyncio import Redis

from common.archive.archive import Archive
from common.archive.series import SERIES
from common.errors import BadInput, OperatorError
from common.frames.rescale import rescaled
from common.market.instrument import Instrument
from common.market.rescaling import Rescaling
from common.market.timeframes.timeframe import DAY_MS
from common.store.registry import Market
from common.store.rescale import RescaleStore
from common.store.rollups import RollupStore
from common.store.upkeep import upkeep_of
from infra.doctor import checks
from tests.kit.archive.days import BOTH, drop_before, write_days
from tests.kit.archive.trades import archive_trades
from tests.kit.asked import all_answers
from tests.kit.served import served
from tests.kit.writer import INSTRUMENT, Writer
from workers.change.procedure import Changer
from workers.change.request import Request
from workers.clock.due import due_work
from workers.rollup.archiving import archive_period
from workers.rollup.rescaling import rescale_archive
from workers.rollup.work import RESCALE

S = INSTRUMENT.symbol
FINER = replace(INSTRUMENT, price_decimals=4, size_decimals=5)


async def archived(client: Redis, archive: Archive, days: int = 5) -> Writer:
    """A symbol of which the archive alone has the first days, and all trades."""
    writer = await Writer.begun(client, archived=BOTH)
    await write_days(writer, days)
    await writer.roll_up()
    await archive_days(client, archive, INSTRUMENT)
    await archive_trades(client, archive, INSTRUMENT)
    await drop_before(writer, writer.now_ms // DAY_MS * DAY_MS - 2 * DAY_MS)
    return writer


async def archive_days(client: Redis, archive: Archive, instrument: Instrument) -> None:
    for series, day_ms in (await RollupStore(client, S).due()).archive:
        await archive_period(client, Market(instrument), archive, series, SERIES[series].period.open_of(day_ms))


async def change(url: str, archive: Archive | None = None, **fields: Any) -> None:
    await Changer(url, S, Request(**fields), "tests:2", 6_000, 10_000, archive).run()


def rows(archive: Archive) -> dict[str, pl.DataFrame]:
    return {name: archive.read(series, FINER, 0, 1 << 42) for name, series in SERIES.items()}


def types(place: Path) -> set[str]:
    """Of all prices in the archive."""
    files = sorted(place.rglob("*.parquet"))
    return {str(pl.read_parquet_schema(file).get("price", pl.read_parquet_schema(file).get("open"))) for file in files}


async def test_the_archive_is_read_as_it_was_and_written_anew(client: Redis, redis_url: str, tmp_path: Path) -> None:
    """And DuckDB, which takes the first file's type for all, reads what there is."""
    archive = Archive.open(str(tmp_path))
    await archived(client, archive)
    async with served(redis_url, archive_url=str(tmp_path)) as feed:
        before = await all_answers(feed, S)
    async with served(redis_url, archive_url=str(tmp_path)) as feed:
        await all_answers(feed, S)
        await change(redis_url, archive, price_decimals=4, size_decimals=5)
        # Of a feed that keeps what it has read, and of a new one.
        assert await all_answers(feed, S) == before
    stored = rows(archive)
    kept = await upkeep_of(client, S)
    assert kept.to_rescale == -1 and checks.scales({S: kept}).level is checks.Level.WARN
    assert "not counted yet" in checks.scales({S: kept}).found
    assert [work.function for work in await due_work(client, archiving=True)][-1] == RESCALE
    stops = iter([False, False, True])
    await rescale_archive(client, Market(FINER), archive, lambda: next(stops))
    left = await RescaleStore(client, S).left()
    assert left and left.is_listed and len(left.objects) == (await upkeep_of(client, S)).to_rescale > 0
    assert len(types(tmp_path)) == 2
    while await RescaleStore(client, S).left():
        await rescale_archive(client, Market(FINER), archive, lambda: False)
    assert types(tmp_path) == {"Decimal(precision=19, scale=4)"}
    assert all(frame.equals(stored[name]) for name, frame in rows(archive).items())
    async with served(redis_url, archive_url=str(tmp_path)) as feed:
        assert await all_answers(feed, S) == before
    query = f"SELECT max(high) FROM '{tmp_path}/candles/*/*.parquet'"
    (highest,) = (await asyncio.to_thread(lambda: duckdb.connect().execute(query).fetchall()))[0]
    assert highest == Decimal(max(rows(archive)["candles"]["high_ticks"])) / 10**4
    assert (await upkeep_of(client, S)).to_rescale == 0


async def test_new_days_are_archived_beside_those_of_the_scale_before(
    client: Redis, redis_url: str, tmp_path: Path
) -> None:
    archive = Archive.open(str(tmp_path))
    writer = await archived(client, archive)
    before = rows(archive)
    await change(redis_url, archive, price_decimals=4, size_decimals=5)
    writer.instrument = FINER
    await writer.claim()
    await write_days(writer, 2)
    late = writer.trade(writer.applied[0].trade.ts_ms + 1, ticks=1_000_001, lots=7)
    await writer.commit(late)
    await writer.roll_up()
    await archive_days(client, archive, FINER)
    await archive_trades(client, archive, FINER)
    trades = rows(archive)["trades"]
    assert trades.filter(pl.col("id") == late.id)["price_ticks"].to_list() == [1_000_001]
    known = trades.join(before["trades"].select("id"), on="id", how="semi")
    assert known.equals(before["trades"])


async def test_fewer_decimals_must_fit_the_archive_too(client: Redis, redis_url: str, tmp_path: Path) -> None:
    archive = Archive.open(str(tmp_path))
    writer = await archived(client, archive)
    assert any(one.trade.price_ticks % 10 for one in writer.applied)
    with pytest.raises(BadInput, match="has more than 1 decimals"):
        await change(redis_url, archive, price_decimals=1)
    await change(redis_url, archive, price_decimals=4)
    with pytest.raises(OperatorError, match="set FLEET_ARCHIVE_URL"):
        await change(redis_url, None, price_decimals=2)
    await change(redis_url, archive, price_decimals=2)
    assert rescaled(rows(archive)["trades"], Rescaling(FINER.scale, INSTRUMENT.scale)).height
