"""Sealed days in the archive: what is there, what may be dropped for it, and what the feed makes of both."""

import asyncio
import json
import random
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import duckdb
import obstore
import polars as pl
import pytest
from redis.asyncio import Redis

from common.archive.archive import Archive, Version
from common.archive.objects import RetryPolicy
from common.archive.parquet import Receipt
from common.archive.series import CANDLE_ROWS, FOOTPRINT_ROWS
from common.frames import decode
from common.market.builder.late import Merged
from common.market.coding import codec
from common.market.timeframes.timeframe import DAY_MS, MINUTE, MINUTE_MS, Timeframe, day_of
from common.store.minute_archive import MinuteArchive
from common.store.rollups import Due, RollupStore
from feed.queries.candles import CandleQuery
from feed.queries.queries import Queries
from feed.reading.bounds import Window
from tests.kit.archive.days import BOTH, FIRST_MS, MARKET, STORE_KEYS, archive_all, drop_before, write_days
from tests.kit.archive.s3 import BUCKET, S3
from tests.kit.asked import candles_of
from tests.kit.processes.rollup import START_S, process
from tests.kit.served import Served, served
from tests.kit.waiting import wait_until_async
from tests.kit.writer import INSTRUMENT, KEEP_ALL, Writer, random_step
from workers.rollup.archiving import archive_period
from workers.rollup.older import older_minutes
from workers.symbol.commit import Retention

# FIRST_MS is the 15th of November 2023: the archive's candles are in two objects.
DAYS = 18
S3_URL = f"s3://{BUCKET}/fleet/a"
RANGES = 1_000
SYMBOL = f"candles/{INSTRUMENT.symbol}"


@pytest.fixture
def writer_options() -> dict[str, Any]:
    """Only what the archive has is dropped."""
    return {"archived": BOTH}


async def sealed(client: Redis) -> dict[str, pl.DataFrame]:
    """The sealed minutes, as the archive is to have them."""
    candles: Any = await client.hgetall(STORE_KEYS.sealed("candles"))
    footprints: Any = await client.hgetall(STORE_KEYS.sealed("footprints"))
    return {
        "candles": decode.sealed_candles([block for _, block in sorted(candles.items())]),
        "footprints": decode.sealed_footprints([block for _, block in sorted(footprints.items())]),
    }


def archived(archive: Archive) -> dict[str, pl.DataFrame]:
    return {rows.name: archive.read(rows, INSTRUMENT, 0, 1 << 42) for rows in (CANDLE_ROWS, FOOTPRINT_ROWS)}


def assert_same(found: dict[str, pl.DataFrame], expected: dict[str, pl.DataFrame]) -> None:
    assert all(found[name].equals(frame) and len(frame) for name, frame in expected.items())


async def floors(client: Redis) -> tuple[int, int]:
    candles, footprints = await client.hmget(STORE_KEYS.state, ["candle_floor_ms", "footprint_floor_ms"])
    return int(candles or -1), int(footprints or -1)


async def test_the_archive_has_what_the_minutes_are(client: Redis, writer: Writer, archive: Archive) -> None:
    """Also after late trades, repaired gaps and another writer: days are sealed again, and archived again."""
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
    # Candles alone: they stay while their footprints do.
    for month_ms in sorted({CANDLE_ROWS.period.open_of(day) for _, day in (await store.due()).archive}):
        await archive_period(client, MARKET, archive, "candles", month_ms)
    await writer.commit(writer.trade(writer.now_ms + MINUTE_MS))
    today_ms = day_of(writer.builder.watermark_ms)
    assert await floors(client) == (FIRST_MS, -1)
    await archive_all(client, archive)
    assert_same(archived(archive), whole)
    await writer.commit(writer.trade(writer.now_ms + MINUTE_MS))
    assert await floors(client) == (today_ms - DAY_MS, today_ms - DAY_MS)
    seals: Any = await client.zrange(STORE_KEYS.seals, 0, -1, withscores=True)
    left = {int(score) for _, score in seals}
    assert left == {today_ms - DAY_MS}
    for name in (STORE_KEYS.sealed("candles"), STORE_KEYS.sealed("footprints")):
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


def settings_of(kind: str, folder: Path, s3: S3) -> dict[str, Any]:
    """An archive as a feed or a job is told of it."""
    if kind == "folder":
        return {"archive_url": str(folder / "archive")}
    return {"archive_url": S3_URL, "archive_s3_endpoint": s3.endpoint}


def questions(cut_ms: int, rng: random.Random) -> list[dict[str, Any]]:
    """Windows on both sides of a cut, across it, and along it in both directions."""
    found = []
    for timeframe in ("1m", "15m", "7h", "1d", "1M"):
        span_ms = max(rng.randrange(3 * DAY_MS), Timeframe.parse(timeframe).longest_ms)
        edges = [
            {"start": cut_ms - span_ms, "end": cut_ms + rng.randrange(DAY_MS)},
            {"start": FIRST_MS, "end": cut_ms},
            {"start": cut_ms - rng.randrange(DAY_MS)},
            {"end": cut_ms + rng.randrange(DAY_MS)},
            {},
        ]
        for edge in rng.sample(edges, 3):
            fill, form = rng.choice(("none", "flat")), rng.choice(("json", "json", "csv", "arrow"))
            limit = rng.choice((1, 7, 60, 1_000))
            found.append({"timeframe": timeframe, "limit": limit, "fill": fill, "format": form, **edge})
    return found


async def answers(feed: Served, asked: list[dict[str, Any]]) -> list[Any]:
    """The bars and what is said of them, without the cursor and health."""
    found: list[Any] = []
    for params in asked:
        response = await feed.get(f"/v1/{SYMBOL}", **params)
        assert response.status_code == 200, (params, response.text)
        if params["format"] == "json":
            body = response.json()
            found.append([body[name] for name in ("bars", "coverage", "gaps")])
        elif params["format"] == "arrow":
            # Equal columns may be padded otherwise.
            found.append(pl.read_ipc_stream(response.content).rows())
        else:
            found.append(response.content)
    return found


async def test_the_source_of_an_answer_out_of_the_archive_is_a_cache(
    client: Redis, writer: Writer, redis_url: str, tmp_path: Path
) -> None:
    await write_days(writer, 3)
    await writer.roll_up()
    await archive_all(client, Archive.open(str(tmp_path)))
    cut_ms, path = FIRST_MS + 2 * DAY_MS, f"/v1/candles/{INSTRUMENT.symbol}"
    await drop_before(writer, cut_ms)
    assert await floors(client) == (cut_ms, cut_ms)
    async with served(redis_url, archive_url=str(tmp_path), lease_ttl_ms=600_000) as feed:
        told = {end: (await feed.json(path, end=end))["health"]["source"] for end in (cut_ms, cut_ms + 60_000)}
        assert told == {cut_ms: "cache", cut_ms + 60_000: "inbox"}


@pytest.mark.parametrize("kind", ["folder", "s3"])
async def test_the_feed_answers_as_if_nothing_had_been_dropped(
    client: Redis, writer: Writer, redis_url: str, tmp_path: Path, s3: S3, kind: str
) -> None:
    """A feed that knew the minutes before, and one that never saw them."""
    told, rng = settings_of(kind, tmp_path, s3), random.Random(1)
    await write_days(writer, DAYS)
    await writer.roll_up()
    await archive_all(client, Archive.open(told["archive_url"], told.get("archive_s3_endpoint")))
    cuts = [FIRST_MS + 10 * DAY_MS, FIRST_MS + (DAYS - 1) * DAY_MS]
    asked = [params for cut_ms in cuts for params in questions(cut_ms, rng)]
    async with served(redis_url, **told) as knowing, served(redis_url, **told) as fresh:
        before = await answers(knowing, asked)
        footprint = await knowing.json(f"/v1/footprint/{INSTRUMENT.symbol}", timeframe="15m", limit=500)
        for cut_ms, feed in ((cuts[0], knowing), (cuts[1], knowing), (cuts[1], fresh)):
            await drop_before(writer, cut_ms)
            assert await floors(client) == (cut_ms, cut_ms)
            now = await answers(feed, asked)
            assert not [params for params, old, new in zip(asked, before, now, strict=True) if old != new]
            found = await feed.json(f"/v1/footprint/{INSTRUMENT.symbol}", timeframe="15m", limit=500)
            assert found["bars"] == footprint["bars"]


async def test_late_trades_on_both_sides_of_the_cut(
    client: Redis, writer: Writer, redis_url: str, tmp_path: Path
) -> None:
    """Before they are archived, and after it; a bar may lie on both sides."""
    archive, cut_ms = Archive.open(str(tmp_path)), FIRST_MS + 3 * DAY_MS
    writer.older = partial(older_minutes, archive)
    await write_days(writer, 5)
    await writer.roll_up()
    await archive_all(client, archive)
    await drop_before(writer, cut_ms)
    asked: list[dict[str, Any]] = [
        {"timeframe": t, "limit": 5_000, "fill": "none", "format": "json"} for t in ("1m", "1h", "7h", "1d", "1w")
    ]
    async with served(redis_url, archive_url=str(tmp_path)) as knowing:
        for at_ms in (cut_ms - MINUTE_MS, cut_ms):
            before = [bars for bars, *_ in await answers(knowing, asked)]
            await writer.commit(writer.trade(at_ms, 20_000))
            for _ in range(2):
                now = await answers(knowing, asked)
                for params, old, (new, *_) in zip(asked, before, now, strict=True):
                    timeframe = Timeframe.parse(params["timeframe"])
                    (changed,) = [bar for bar in new if bar not in old]
                    assert (changed["t"], changed["h"]) == (timeframe.open_of(at_ms), 200)
                    others = [bar for bar in old if bar["t"] != changed["t"]]
                    assert [bar for bar in new if bar != changed] == others
                    counted = [bar["n"] for bar in old if bar["t"] == changed["t"]]
                    assert changed["n"] == sum(counted) + 1
                await writer.roll_up()
                await archive_all(client, archive)
                async with served(redis_url, archive_url=str(tmp_path)) as fresh:
                    assert await answers(fresh, asked) == await answers(knowing, asked)


async def test_a_series_of_which_nothing_waits_is_complete_once_the_others_last_day_is_confirmed(
    client: Redis, writer: Writer, archive: Archive
) -> None:
    """A day that was to be rolled up when its series was confirmed, and had nothing for it, left the store fuller."""
    await write_days(writer, 2)
    await writer.roll_up()
    await archive_all(client, archive)
    whole: Any = await client.hget(STORE_KEYS.archive, "footprints_ms")
    await client.hset(STORE_KEYS.archive, "footprints_ms", FIRST_MS)
    await client.zadd(STORE_KEYS.unarchived, {f"candles:{FIRST_MS + DAY_MS}": 1})
    await archive_all(client, archive)
    assert await client.hget(STORE_KEYS.archive, "footprints_ms") == whole and int(whole) == FIRST_MS + 2 * DAY_MS


async def test_a_day_sealed_anew_while_it_is_archived_is_archived_once_more(
    client: Redis, writer: Writer, store: RollupStore, archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    await write_days(writer, 2)
    await writer.roll_up()
    confirm, late = MinuteArchive.archived, [writer.trade(FIRST_MS, 20_000)]

    async def after_more(self: MinuteArchive, *args: Any) -> int:
        if late:
            await writer.commit(late.pop())
            await writer.roll_up()
        return await confirm(self, *args)

    monkeypatch.setattr(MinuteArchive, "archived", after_more)
    await archive_period(client, MARKET, archive, "candles", CANDLE_ROWS.period.open_of(FIRST_MS))
    assert [due for due in (await store.due()).archive if due[0] == "candles"] == [("candles", FIRST_MS)]
    await writer.commit(writer.trade(writer.now_ms + MINUTE_MS))
    writer.retention = Retention(1, 1)
    await writer.commit(writer.trade(writer.now_ms + MINUTE_MS))
    assert max(await floors(client)) <= FIRST_MS
    await archive_all(client, archive)
    assert not (await store.due()).archive
    assert_same(archived(archive), await sealed(client))


async def test_jobs_side_by_side_leave_the_whole_archive(
    client: Redis, writer: Writer, store: RollupStore, archive: Archive
) -> None:
    await write_days(writer, 3)
    await writer.roll_up()
    await asyncio.gather(archive_all(client, archive), archive_all(client, archive))
    assert not (await store.due()).archive
    assert_same(archived(archive), await sealed(client))


@pytest.mark.parametrize("heeded", [True, False], ids=["as it is", "the condition taken away"])
async def test_a_job_that_is_held_up_before_it_writes_undoes_nothing(
    client: Redis, writer: Writer, archive: Archive, monkeypatch: pytest.MonkeyPatch, heeded: bool
) -> None:
    """Another archives newer days meanwhile, and Redis drops them: they are nowhere else."""
    await write_days(writer, 3)
    await writer.roll_up()
    replaced, loop = Archive.replace, asyncio.get_running_loop()

    async def overtake() -> None:
        await write_days(writer, 3)
        await writer.commit(writer.trade(FIRST_MS, 20_000))
        await writer.roll_up()
        await archive_all(client, archive)
        whole.update(await sealed(client))
        await drop_before(writer, day_of(writer.now_ms))
        assert not await client.exists(STORE_KEYS.sealed("candles"))

    def held_up(self: Archive, version: Version, frame: pl.DataFrame, late: Merged) -> Receipt:
        monkeypatch.undo()
        asyncio.run_coroutine_threadsafe(overtake(), loop).result(30)
        if not heeded:
            version = self.version(version.label.series, INSTRUMENT, version.label.period_ms)
        return replaced(self, version, frame, late)

    whole: dict[str, pl.DataFrame] = {}
    monkeypatch.setattr(Archive, "replace", held_up)
    await archive_period(client, MARKET, archive, "candles", CANDLE_ROWS.period.open_of(FIRST_MS))
    found = archived(archive)
    assert found["footprints"].equals(whole["footprints"])
    assert found["candles"].equals(whole["candles"]) == heeded


async def test_what_reaches_into_a_silent_archive_gets_503_and_nothing_else_does(
    client: Redis, writer: Writer, redis_url: str, tmp_path: Path, s3: S3
) -> None:
    """A folder that is gone, a file in its place, and a bucket that fails."""
    await write_days(writer, 3)
    await writer.roll_up()
    folder = tmp_path / "archive"
    hasty = RetryPolicy(retries=0)
    cut_ms = FIRST_MS + 2 * DAY_MS
    await archive_all(client, Archive.open(str(folder)))
    for path in folder.rglob("*.parquet"):
        obstore.put(s3.raw(), str(path.relative_to(folder)), path.read_bytes())
    await drop_before(writer, cut_ms)
    sound: list[dict[str, Any]] = [{"start": cut_ms, "limit": 60}, {"limit": 10}, {"timeframe": "1d", "limit": 3}]
    reaching: list[dict[str, Any]] = [{"end": cut_ms, "limit": 60}, {"limit": 1_000}, {"start": FIRST_MS, "limit": 1}]
    for kind in ("gone", "file", "s3"):
        async with served(redis_url, archive_url=str(folder)) as feed:
            if kind == "s3":
                feed.services.queries.archive = Archive(s3.bucket(patience=hasty))
                s3.failing = {"GET"}
            elif folder.is_dir():
                folder.rename(tmp_path / "elsewhere")
            else:
                folder.touch()
            for params in reaching:
                response = await feed.get(f"/v1/{SYMBOL}", **params)
                assert response.status_code == 503
                assert response.json()["error"]["code"] == "archive_unavailable"
            for params in sound:
                assert len((await feed.json(f"/v1/{SYMBOL}", **params))["bars"]) > 1
            s3.heal()
            if kind == "s3":
                assert len((await feed.json(f"/v1/{SYMBOL}", limit=1_000))["bars"]) > 100


async def mark_unarchived(client: Redis) -> None:
    """As if the days had been sealed just now."""
    version: Any = await client.hincrby(STORE_KEYS.rollup, "version", 1)
    days: Any = await client.hkeys(STORE_KEYS.sealed("candles"))
    marks = {f"{name}:{int(day)}": version for name in BOTH for day in days}
    await client.zadd(STORE_KEYS.unarchived, marks)


def told(text: bytes) -> tuple[int, Decimal, Decimal]:
    """How many bars an answer has, and their volume and turnover, by Python's own decimals."""
    bars = json.loads(text, parse_float=Decimal)["bars"]
    return len(bars), sum((bar["v"] for bar in bars), Decimal(0)), sum((bar["q"] for bar in bars), Decimal(0))


async def test_duckdb_and_polars_agree_with_the_feed_on_random_ranges(
    client: Redis, writer: Writer, tmp_path: Path
) -> None:
    """Of minutes that are archived, of which the feed finds the later ones in Redis."""
    archive = Archive.open(str(tmp_path))
    await write_days(writer, DAYS, count=60)
    await writer.roll_up()
    await archive_all(client, archive)
    await drop_before(writer, FIRST_MS + 14 * DAY_MS)
    rng, feed = random.Random(1), Queries(client, 6_000, archive=archive)
    starts = [rng.randrange(FIRST_MS, FIRST_MS + DAYS * DAY_MS) // MINUTE_MS * MINUTE_MS for _ in range(RANGES)]
    ends = [min(start + rng.randrange(DAY_MS), FIRST_MS + DAYS * DAY_MS) for start in starts]
    ends = [end // MINUTE_MS * MINUTE_MS for end in ends]
    asked = pl.DataFrame({"number": range(RANGES), "start_ms": starts, "end_ms": ends})
    wanted = [
        told(await candles_of(feed, MARKET, CandleQuery(MINUTE, Window(start_ms, end_ms, 5_000), "none", "json")))
        for start_ms, end_ms in zip(starts, ends, strict=True)
    ]
    assert sum(count > 0 for count, *_ in wanted) > RANGES * 0.9
    files = f"{tmp_path}/candles/*/*.parquet"
    with duckdb.connect() as duck:
        duck.register("asked", asked.to_arrow())
        by_duckdb = duck.execute(f"""
            select count(open_time), coalesce(sum(volume), 0), coalesce(sum(turnover), 0)
            from asked left join (from '{files}') on
              epoch_ms(open_time) >= start_ms and epoch_ms(open_time) < end_ms
            group by number order by number
        """).fetchall()
    assert by_duckdb == wanted
    candles = pl.read_parquet(files).with_columns(pl.col("open_time").dt.epoch("ms")).sort("open_time")
    opens = candles["open_time"]
    bounds = zip(
        opens.search_sorted(asked["start_ms"], "left"), opens.search_sorted(asked["end_ms"], "left"), strict=True
    )
    slices = (candles.slice(first, max(0, end - first)) for first, end in bounds)
    assert [part.select(pl.len(), pl.sum("volume"), pl.sum("turnover")).row(0) for part in slices] == wanted


@pytest.mark.process
@pytest.mark.parametrize("kind", ["folder", "s3"])
async def test_while_the_archive_fails_nothing_is_dropped_and_it_goes_on_by_itself(
    client: Redis, writer: Writer, store: RollupStore, redis_url: str, tmp_path: Path, s3: S3, kind: str
) -> None:
    """A file lies in the place of the folder; S3 answers 503. The queue's own processes do the work."""
    where = settings_of(kind, tmp_path, s3)
    fleet = {f"FLEET_{name.upper()}": value for name, value in where.items()}
    fleet |= {
        "REDIS_URL": redis_url,
        "FLEET_JOB_RETRY_MS": "20",
        "FLEET_CLOCK_TICK_MS": "50",
        "FLEET_LEASE_TTL_MS": "600",
    }
    (tmp_path / "archive").touch()
    s3.failing = {"PUT"}
    writer.retention = Retention(1, 1)
    await write_days(writer, 3)
    with process("workers.rollup", **fleet), process("workers.clock", **fleet):
        async with served(redis_url, **where) as feed:

            async def is_told() -> bool:
                queue = (await feed.json("/v1/health"))["queue"]
                return any("ArchiveUnavailable: archive" in failed["reason"] for failed in queue["failed"])

            async def nothing_is_due() -> bool:
                return await store.due() == Due((), ())

            async def is_sound() -> bool:
                return not (await feed.json("/v1/health"))["queue"]["failed"]

            await wait_until_async(is_told, START_S)
            await writer.commit(writer.trade(writer.now_ms + MINUTE_MS))
            assert await floors(client) == (-1, -1)
            (tmp_path / "archive").unlink()
            s3.heal()
            await wait_until_async(nothing_is_due, START_S)
            await wait_until_async(is_sound, START_S)
            await writer.commit(writer.trade(writer.now_ms + MINUTE_MS))
            assert await floors(client) == (day_of(writer.now_ms) - DAY_MS,) * 2
            # Of what has been dropped now a job reads the archive, too.
            await writer.commit(writer.trade(FIRST_MS, 20_000))
            await wait_until_async(nothing_is_due, START_S)
            assert (await feed.json(f"/v1/{SYMBOL}", timeframe="1d"))["bars"][0]["h"] == 200
    place = Archive.open(where["archive_url"], where.get("archive_s3_endpoint"))
    assert archived(place)["candles"]["rev"].to_list()[:1] == [1]
    amended: Any = await client.zrange(STORE_KEYS.rolled("1d"), 0, 0)
    assert codec.unpack_candle(amended[0]).high_ticks == 20_000
