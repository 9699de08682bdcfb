"""`fleet archive`, `fleet rebuild` and what a purge leaves behind: on a real store and an archive in a folder."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from redis.asyncio import Redis

from common.archive.archive import Archive
from common.archive.series import CANDLE_ROWS, FOOTPRINT_ROWS, SERIES, TRADE_ROWS
from common.market.timeframes.timeframe import DAY_MS, day_of
from common.store.jobs import QUEUED, WORKERS, failure
from common.store.keys import CLOCK, FAILURES, FORMAT_KEY, SYMBOLS_VERSION, SymbolKeys
from common.store.registry import Market
from common.store.rollups import RollupStore
from common.store.upkeep import upkeep_of
from infra.doctor.audit import Auditor, Object
from tests.kit.archive.days import archive_all
from tests.kit.processes.command import Fleet
from tests.kit.processes.rollup import START_S, clock, rollup_of_fleet
from tests.kit.waiting import wait_until_async
from tests.kit.writer import INSTRUMENT, START_MS, Writer
from workers.rollup.trades import archive_trades
from workers.rollup.work import ARCHIVE, ROLL, Work, is_of
from workers.symbol.commit import Retention

S = INSTRUMENT.symbol
KEYS = SymbolKeys(S)
MARKET = Market(INSTRUMENT)
TODAY_MS = day_of(START_MS)
MONTH_MS = CANDLE_ROWS.period.open_of(START_MS)


@pytest.fixture
async def writer(writer: Writer) -> Writer:
    """Of four finished days of three minutes each, and one that is not over."""
    for number in range(5):
        opens = (START_MS + number * DAY_MS + minute * 60_000 for minute in range(3))
        await writer.commit(*(writer.trade(ts_ms, ticks=10_000 + number) for ts_ms in opens))
    return writer


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "archive"


@pytest.fixture
def archive(place: Path) -> Archive:
    return Archive.open(str(place))


@pytest.fixture
async def archived(client: Redis, writer: Writer, archive: Archive) -> Archive:
    await writer.roll_up()
    await archive_all(client, archive, MARKET)
    return archive


@pytest.fixture
def fleet(redis_url: str, tmp_path: Path, place: Path, monkeypatch: pytest.MonkeyPatch) -> Fleet:
    monkeypatch.setenv("FLEET_ARCHIVE_URL", str(place))
    return Fleet(redis_url, tmp_path / "data")


async def wrong(client: Redis, archive: Archive) -> dict[str, tuple[str, ...]]:
    auditor = Auditor(client, MARKET, archive)
    objects = [where for series in SERIES.values() for where in await auditor.objects(series, 0, 1 << 43)]
    assert objects
    found = {str(where): (await auditor.check(where)).wrong for where in objects}
    return {name: lines for name, lines in found.items() if lines}


async def repaired(client: Redis, archive: Archive, where: Object) -> str:
    auditor = Auditor(client, MARKET, archive)
    return await auditor.repair(where, await auditor.check(where))


def rewrite(archive: Archive, where: Object, change: Callable[[pl.DataFrame], pl.DataFrame]) -> None:
    """Make the archive's object another one, sound in itself."""
    version = archive.version(where.series, INSTRUMENT, where.period_ms)
    assert version.frame is not None
    archive.replace(version, change(version.frame))


def damage(place: Path, where: Object) -> None:
    path = place / where.series.path(S, where.period_ms)
    path.write_bytes(path.read_bytes()[:-9])


MONTH, DAY = Object(CANDLE_ROWS, MONTH_MS), Object(FOOTPRINT_ROWS, TODAY_MS + DAY_MS)


async def test_an_archive_is_well_while_the_symbol_goes_on(client: Redis, archived: Archive, writer: Writer) -> None:
    assert await wrong(client, archived) == {}
    # Corrected, but not rolled up; rolled up, but not archived; and archived.
    await writer.commit(writer.trade(START_MS + 1_000, ticks=20_000))
    assert await wrong(client, archived) == {}
    await writer.roll_up()
    assert await wrong(client, archived) == {}
    await archive_all(client, archived, MARKET)
    assert await wrong(client, archived) == {}
    # Nothing but the archive has the first days any more.
    writer.retention = Retention(candle_days=2, footprint_days=2)
    await writer.commit(writer.trade(writer.now_ms + 60_000))
    assert int(await client.hget(KEYS.state, "candle_floor_ms") or 0) > TODAY_MS
    assert await wrong(client, archived) == {}


async def test_what_differs_is_told_by_object_and_repaired_by_the_queue(
    client: Redis, archived: Archive, place: Path
) -> None:
    rewrite(archived, MONTH, lambda rows: rows.with_columns(close_ticks=pl.col("close_ticks") + 1).slice(1))
    rewrite(archived, DAY, lambda rows: rows.with_columns(buy_lots=pl.col("buy_lots") + 1))
    lost = Object(FOOTPRINT_ROWS, TODAY_MS)
    (place / FOOTPRINT_ROWS.path(S, lost.period_ms)).unlink()
    torn = Object(FOOTPRINT_ROWS, TODAY_MS + 2 * DAY_MS)
    damage(place, torn)
    found = await wrong(client, archived)
    days = (f"Redis has 3 minutes from 2023-11-{day} 22:13 on otherwise" for day in range(14, 18))
    assert found.pop("candles 2023-11") == tuple(days)
    assert found.pop("footprints 2023-11-15") == (
        "Redis has 3 minutes from 2023-11-15 22:13 on otherwise",
        "3 minutes from 2023-11-15 22:13 on have other volumes than their candles",
    )
    assert found.pop("footprints 2023-11-14") == ("it is not there",)
    (line,) = found.pop("footprints 2023-11-16")
    assert "does not end as Parquet does" in line or "damaged" in line
    assert found == {}
    assert await repaired(client, archived, MONTH) == "the queue writes it anew, with 4 sealed days"
    for where in (DAY, lost, torn):
        assert await repaired(client, archived, where) == "the queue writes it anew, with 1 sealed days"
    await archive_all(client, archived, MARKET)
    assert await wrong(client, archived) == {}


async def test_what_redis_has_dropped_is_not_removed_from_the_archive(
    client: Redis, archived: Archive, writer: Writer, place: Path
) -> None:
    writer.retention = Retention(candle_days=2, footprint_days=2)
    await writer.commit(writer.trade(writer.now_ms + 60_000))
    rewrite(archived, DAY, lambda rows: rows.with_columns(buy_lots=pl.col("buy_lots") + 1))
    assert list(await wrong(client, archived)) == [str(DAY)]
    assert await repaired(client, archived, DAY) == "not repaired: Redis has nothing to compare it with"
    damage(place, MONTH)
    assert (await repaired(client, archived, MONTH)).startswith(
        "not repaired: Redis has dropped what is before 2023-11-1"
    )
    assert archived.periods(CANDLE_ROWS, S) == [MONTH_MS]
    assert (await RollupStore(client, S).due()).archive == ()


async def test_what_was_dropped_before_there_was_an_archive_holds_nothing_up(
    client: Redis, archive: Archive, writer: Writer
) -> None:
    await writer.roll_up()
    # The seals stay, for the candles do.
    writer.retention = Retention(candle_days=400, footprint_days=2)
    await writer.commit(writer.trade(writer.now_ms + 60_000))
    await archive_all(client, archive, MARKET)
    assert (await RollupStore(client, S).due()).archive == ()
    assert archive.periods(FOOTPRINT_ROWS, S) == [TODAY_MS + 2 * DAY_MS, TODAY_MS + 3 * DAY_MS]
    assert await wrong(client, archive) == {}


async def test_candles_begin_at_their_floor_where_footprints_are_kept_for_longer(client: Redis, writer: Writer) -> None:
    await writer.roll_up()
    assert (await upkeep_of(client, S)).from_ms == TODAY_MS
    writer.retention = Retention(candle_days=2, footprint_days=400)
    await writer.commit(writer.trade(writer.now_ms + 60_000))
    assert await client.zcard(KEYS.seals) == 4
    assert (await upkeep_of(client, S)).from_ms == TODAY_MS + 2 * DAY_MS


async def test_what_is_archived_anew_while_it_is_checked_is_no_difference(
    client: Redis, archived: Archive, writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    candles, late = Auditor._candles, [writer.trade(START_MS + 1_000, ticks=20_000)]

    async def meanwhile(self: Auditor, where: Object, version: int) -> pl.DataFrame | None:
        if late:
            await writer.commit(late.pop())
            await writer.roll_up()
            await archive_all(client, archived, MARKET)
        return await candles(self, where, version)

    monkeypatch.setattr(Auditor, "_candles", meanwhile)
    assert await wrong(client, archived) == {}
    assert not late


async def test_the_trades_of_a_day_make_its_footprints(
    client: Redis, archived: Archive, writer: Writer, place: Path
) -> None:
    """Also while some of them wait to be archived; not where some never will be."""
    days = [Object(TRADE_ROWS, TODAY_MS + number * DAY_MS) for number in range(5)]
    await archive_trades(client, MARKET, archived)
    assert await wrong(client, archived) == {}
    await writer.commit(writer.trade(START_MS + 1_000))
    await writer.roll_up()
    await archive_all(client, archived, MARKET)
    assert await wrong(client, archived) == {}
    await archive_trades(client, MARKET, archived)
    rewrite(archived, days[0], lambda rows: rows.slice(1))
    rewrite(archived, days[1], lambda rows: rows.with_columns(price_ticks=pl.col("price_ticks") + 1))
    (place / TRADE_ROWS.path(S, days[2].period_ms)).unlink()
    damage(place, days[3])
    found = await wrong(client, archived)
    assert "is damaged" in found.pop("trades 2023-11-17")[0]
    assert found == {
        "trades 2023-11-14": ("1 minutes from 2023-11-14 22:13 on have other trades than their footprints",),
        "trades 2023-11-15": ("3 minutes from 2023-11-15 22:13 on have other trades than their footprints",),
        "trades 2023-11-16": ("it is not there",),
    }
    assert (await repaired(client, archived, days[0])).startswith("not repaired: ")
    await client.hset(KEYS.archive, "trades_lost", f"{START_MS}:{START_MS + 2 * DAY_MS}")
    # Of a day of which trades are lost nothing need agree; but what was confirmed is to be there.
    assert list(await wrong(client, archived)) == ["trades 2023-11-16", "trades 2023-11-17"]


async def test_the_command_tells_what_differs_and_has_it_repaired(
    fleet: Fleet, client: Redis, archived: Archive, place: Path
) -> None:
    listed = fleet("archive", "list").out.splitlines()
    assert listed[1].split() == [S, "candles", "1", "2023-11", "2023-11", "2023-11-18"]
    assert listed[2].split() == [S, "footprints", "4", "2023-11-14", "2023-11-17", "2023-11-18"]
    assert fleet("archive", "verify", S).out == "5 objects verified\n"
    damage(place, DAY)
    shown = fleet("archive", "verify", "--series", "footprints", "--from", "2023-11-15", "--repair")
    assert shown.code == 1 and "Traceback" not in shown.err
    told, done = shown.out.splitlines()
    assert told.startswith(f"{S} footprints 2023-11-15: {place}") and "damaged" in told
    assert done == f"{S} footprints 2023-11-15: the queue writes it anew, with 1 sealed days"
    assert await client.zrange(KEYS.unarchived, 0, -1) == [b"footprints:%d" % DAY.period_ms]
    unknown = fleet("archive", "verify", "X:Y")
    assert (unknown.code, unknown.err) == (2, "fleet: symbol X:Y is not there: fleet symbols list\n")


@pytest.mark.process
async def test_days_are_rebuilt_by_the_queue_and_archived_anew(
    fleet: Fleet, client: Redis, archived: Archive, place: Path
) -> None:
    asked = ("rebuild", S, "--from", "2023-11-01", "--to", "2023-11-20")
    shown = fleet(*asked)
    assert shown.code == 1
    assert shown.out.splitlines()[:2] == [
        f"{S}: 4 days marked, 2023-11-14 to 2023-11-17",
        "left alone: nothing from 2023-11-18 on is over",
    ]
    assert "python -m workers.clock and python -m workers.rollup" in shown.out
    assert fleet(*asked, "--no-wait").code == 0
    daily: Any = await client.zrange(KEYS.rolled("1d"), 0, -1)
    with rollup_of_fleet(fleet.url, place), clock(fleet.url, FLEET_ARCHIVE_URL=str(place)):
        await wait_until_async(lambda: both_work(client), START_S)
        await client.delete(KEYS.rolled("1d"))
        rewrite(archived, MONTH, lambda rows: rows.slice(1))
        shown = fleet(*asked)
        assert (shown.code, shown.out.splitlines()[-1]) == (0, f"{S}: done")
        assert await client.zrange(KEYS.rolled("1d"), 0, -1) == daily
        assert await wrong(client, archived) == {}
        put_a_file_in_the_way(place)
        shown = fleet(*asked)
        assert shown.code == 1
        assert "failed: ArchiveUnavailable" in shown.err


def put_a_file_in_the_way(place: Path) -> None:
    place.rename(place.with_name("moved"))
    place.touch()


async def both_work(client: Redis) -> bool:
    return bool(await client.exists(CLOCK) and await client.smembers(WORKERS))


async def test_a_purge_forgets_the_jobs_of_the_symbol_and_leaves_the_archive(
    fleet: Fleet, client: Redis, archived: Archive, place: Path
) -> None:
    theirs = Work(ROLL, f"{S}_2", 0).job
    ours = [Work(ROLL, S, 0).job, Work(ARCHIVE, S, 0, ("candles",)).job]
    assert [is_of(job, S) for job in (*ours, theirs)] == [True, True, False]
    await client.rpush(QUEUED, *ours, theirs)
    await client.hset(FAILURES, mapping={job: failure(job, "why", 1, 1).dump() for job in (*ours, theirs)})
    shown = fleet("symbols", "remove", S, "--purge")
    assert shown.out == f"{S} removed with its data\nits archive stays: {place}\n"
    assert await client.lrange(QUEUED, 0, -1) == [theirs.encode()]
    assert await client.hkeys(FAILURES) == [theirs.encode()]
    keys: Any = await client.keys("*")
    assert {key.decode() for key in keys} == {QUEUED, FAILURES, SYMBOLS_VERSION, FORMAT_KEY}
    assert "footprints" in fleet("archive", "list", S).out
