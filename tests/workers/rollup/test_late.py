"""Late trades of minutes that the archive alone has: in every answer at once, in the archive in the end, once."""

import asyncio
import random
import shutil
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.archive.archive import Archive
from common.archive.parquet import Packed
from common.archive.series import CANDLE_ROWS
from common.frames import decode
from common.market.builder.late import MAX_WRITERS, LatePart, merged_of, merged_text, merged_with
from common.market.coding import codec
from common.market.instrument import Instrument
from common.market.timeframes.periods import DAY
from common.market.timeframes.timeframe import DAY_MS, MINUTE_MS, Timeframe
from common.store import script
from common.store.minute_archive import MinuteArchive
from common.store.upkeep import upkeep_of
from feed.queries.candles import CandleQuery
from feed.reading.bounds import Window
from tests.kit.archive.days import FIRST_MS
from tests.kit.archive.symbol import ArchivedSymbol, with_days
from tests.kit.asked import candles_of
from tests.kit.bars_oracle import minutes_applied, of_applied
from tests.kit.served import hear, say, served
from tests.kit.strategies import LAW
from tests.kit.writer import INSTRUMENT

# Its trading day begins at 22:00 UTC: one always lies on both sides of what has been dropped, by UTC days.
EURUSD = Instrument("FX:EURUSD", 2, 3, "contiguous", calendar="FOREX", zone="America/New_York")


@pytest.fixture
async def fleet(redis_url: str, tmp_path: Path) -> AsyncIterator[ArchivedSymbol]:
    async with with_days(redis_url, tmp_path / "archive", INSTRUMENT) as made:
        yield made


@pytest.mark.chaos
@pytest.mark.parametrize(("seed", "instrument"), [(0, INSTRUMENT), (2, EURUSD)])
async def test_whatever_comes_late_and_whichever_job_dies_every_answer_is_the_truth(
    redis_url: str, tmp_path: Path, seed: int, instrument: Instrument
) -> None:
    async with with_days(redis_url, tmp_path / "archive", instrument) as fleet:
        await amend_and_kill(fleet, random.Random(seed))


async def amend_and_kill(fleet: ArchivedSymbol, rng: random.Random) -> None:
    writer, keys = fleet.writer, fleet.store.keys
    await fleet.check()
    for _ in range(10):
        kind = rng.random()
        if kind < 0.5:
            some = [rng.randrange(FIRST_MS, writer.now_ms) for _ in range(rng.randint(1, 5))]
            await writer.commit(*(fleet.trade(rng, at_ms) for at_ms in [*some, *rng.choices(some, k=2)]))
        elif kind < 0.6:
            await fleet.write_day(rng)
        elif kind < 0.7:
            await writer.claim()
            writer.cursor = writer.cursor if rng.random() < 0.5 else await writer.commit(writer.trade())
        elif kind < 0.8:
            await writer.roll_up()
        else:
            await fleet.archive_some(rng, dies=rng.random() < 0.5)
        await fleet.check()
    await fleet.settle()
    await fleet.check()
    await fleet.check_archive()
    assert not await fleet.client.exists(keys.late("candles"), keys.late("footprints"))


async def late_trade(fleet: ArchivedSymbol, at_ms: int = FIRST_MS + 7 * MINUTE_MS) -> None:
    await fleet.writer.commit(fleet.trade(random.Random(1), at_ms))


async def due(fleet: ArchivedSymbol) -> list[str]:
    return [series for series, day_ms in (await fleet.store.due()).archive if day_ms == FIRST_MS]


async def test_what_comes_while_a_job_writes_is_for_the_next_one(
    fleet: ArchivedSymbol, monkeypatch: pytest.MonkeyPatch
) -> None:
    await late_trade(fleet)
    confirm, other_ms = MinuteArchive.archived, FIRST_MS + 90 * MINUTE_MS

    async def after_more(self: MinuteArchive, *args: Any) -> int:
        monkeypatch.undo()
        await late_trade(fleet, other_ms)
        return await confirm(self, *args)

    monkeypatch.setattr(MinuteArchive, "archived", after_more)
    await fleet.archive_one("candles", FIRST_MS)
    archive = MinuteArchive(fleet.client, fleet.market.symbol)
    assert [part.open_ms for part in (await archive.late("candles", 0, 1 << 43)).parts] == [other_ms]
    assert await due(fleet) == ["candles", "footprints"]
    await fleet.check()
    await fleet.settle()
    await fleet.check()
    await fleet.check_archive()


async def test_an_answer_holds_nothing_that_came_after_its_cursor(
    fleet: ArchivedSymbol, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor does a roll-up: between the look at the store and at the archive a late trade comes, and a job writes it."""
    read, loop, kept = Archive.packed, asyncio.get_running_loop(), fleet.feed()
    at_ms = FIRST_MS + 7 * MINUTE_MS

    async def overtake() -> None:
        await late_trade(fleet, at_ms)
        for series in ("candles", "footprints"):
            await fleet.archive_one(series, FIRST_MS)

    def held_up(self: Archive, *args: Any) -> Packed | None:
        monkeypatch.undo()
        asyncio.run_coroutine_threadsafe(overtake(), loop).result(30)
        return read(self, *args)

    for timeframe in map(Timeframe.parse, ("1m", "1w")):
        await late_trade(fleet)
        monkeypatch.setattr(Archive, "packed", held_up)
        answer = orjson.loads(
            await candles_of(kept, fleet.market, CandleQuery(timeframe, Window(None, None, 5_000), "none", "json"))
        )
        assert (answer["cursor"], answer["bars"]) == (fleet.writer.cursor, of_applied(fleet.writer, timeframe))
        at_ms += MINUTE_MS
    monkeypatch.setattr(Archive, "packed", held_up)
    await fleet.settle()
    assert Archive.packed is read, "a job looked at the archive"
    await fleet.check()


async def test_a_month_that_had_no_trade_gets_its_first(fleet: ArchivedSymbol) -> None:
    """Its object is not there: nothing was archived of a month of silence."""
    rng, writer = random.Random(2), fleet.writer
    silent_ms = FIRST_MS + 40 * DAY_MS
    writer.now_ms += 70 * DAY_MS
    await fleet.write_day(rng)
    await fleet.settle()
    await fleet.write_day(rng)
    assert (await fleet.floors())[0] > silent_ms
    await late_trade(fleet, silent_ms)
    await fleet.check()
    await fleet.settle()
    await fleet.check()
    await fleet.check_archive()


async def test_days_weeks_and_months_are_told_as_amended(fleet: ArchivedSymbol) -> None:
    await fleet.settle()
    before: Any = await fleet.client.xrevrange(fleet.store.keys.events, count=1)
    await late_trade(fleet)
    assert [day_ms for day_ms in (await fleet.store.due()).days if day_ms < FIRST_MS + DAY_MS] == [FIRST_MS]
    await fleet.writer.roll_up()
    told: Any = await fleet.client.xrange(fleet.store.keys.events, min="(" + before[0][0].decode())
    events = [orjson.loads(fields[b"event"]) for _, fields in told]
    amended = {event["timeframe"]: event["bar"] for event in events if event["type"] == "amend"}
    # The month is not over. Of the minute the worker does not know the rest.
    assert amended == {name: of_applied(fleet.writer, Timeframe.parse(name))[0] for name in ("1d", "1w")}
    assert all(bar["rev"] == 1 for bar in amended.values())


async def test_a_day_that_was_written_into_the_archive_itself_is_rolled_up(fleet: ArchivedSymbol) -> None:
    """As by an import of what is older than all the store ever had."""
    day_ms, keys = FIRST_MS - 3 * DAY_MS, fleet.store.keys
    await fleet.settle()
    minute = replace(minutes_applied(fleet.writer)[0], open_ms=day_ms, first_ts_ms=day_ms, last_ts_ms=day_ms)
    version = fleet.archive.version(CANDLE_ROWS, INSTRUMENT, CANDLE_ROWS.period.open_of(day_ms))
    assert version.frame is not None
    fleet.archive.replace(version, pl.concat([decode.candles([codec.pack_candle(minute)]), version.frame]))
    await fleet.client.hset(keys.archive, "candles_from_ms", day_ms)
    await fleet.client.zadd(keys.dirty, {str(day_ms): fleet.writer.seq})
    await fleet.settle()
    found: Any = await fleet.client.zrange(keys.rolled("1d"), 0, 0)
    assert codec.unpack_candle(found[0]) == minute


async def test_a_day_of_which_minutes_are_lost_stays_as_it_was_made(fleet: ArchivedSymbol) -> None:
    """Of what is left of its minutes no candle of the day is made, by the queue or by the feed."""
    await fleet.settle()
    keys, day_ms = fleet.store.keys, FIRST_MS + DAY_MS
    before: Any = await fleet.client.zrange(keys.rolled("1d"), 0, -1)
    version = fleet.archive.version(CANDLE_ROWS, INSTRUMENT, CANDLE_ROWS.period.open_of(day_ms))
    assert version.frame is not None
    is_lost = pl.col("open_ms").is_between(day_ms, day_ms + DAY_MS // 2)
    fleet.archive.replace(version, version.frame.filter(~is_lost))
    await fleet.client.hset(keys.archive, "candles_lost", f"{day_ms}:{day_ms + DAY_MS // 2}")
    await fleet.client.zadd(keys.dirty, {str(day_ms): fleet.writer.seq})
    query = CandleQuery(Timeframe.parse("1d"), Window(None, None, 5_000), "none", "json")
    assert orjson.loads(await candles_of(fleet.feed(), fleet.market, query))["bars"] == of_applied(fleet.writer, DAY)
    await fleet.settle()
    assert await fleet.client.zrange(keys.rolled("1d"), 0, -1) == before


async def test_without_an_archive_what_was_made_of_dropped_minutes_stays(fleet: ArchivedSymbol) -> None:
    """Or with another one, that has nothing of them."""
    await fleet.settle()
    keys, writer = fleet.store.keys, fleet.writer
    before: Any = await fleet.client.zrange(keys.rolled("1d"), 0, -1)
    writer.older = None
    await late_trade(fleet)
    await writer.roll_up()
    assert await fleet.client.zrange(keys.rolled("1d"), 0, -1) == before
    writer.archived = frozenset()
    waiting = await fleet.client.zcard(keys.late("candles"))
    await late_trade(fleet, FIRST_MS + DAY_MS)
    assert await fleet.client.zcard(keys.late("candles")) == waiting == 1
    assert (await fleet.store.due()).days == ()


async def test_a_full_store_says_how_many_it_did_not_take(
    fleet: ArchivedSymbol, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scripts = tmp_path / "scripts"
    shutil.copytree(script._FOLDER, scripts)
    text = (scripts / "commit.lua").read_text()
    assert text.count("20000") == 1
    (scripts / "commit.lua").write_text(text.replace("20000", "3"))
    monkeypatch.setattr(script, "_FOLDER", scripts)
    # A worker that starts now, with these scripts.
    fleet.writer._store = None
    await fleet.writer.claim()
    for minute in range(5):
        await late_trade(fleet, FIRST_MS + minute * MINUTE_MS)
    found = (await upkeep_of(fleet.client, INSTRUMENT.symbol)).json(archiving=True)["archive"]
    assert (found["late"], found["lateLost"]) == (6, 2)
    await fleet.settle()
    found = (await upkeep_of(fleet.client, INSTRUMENT.symbol)).json(archiving=True)["archive"]
    assert (found["late"], found["lateLost"]) == (0, 2)


async def test_a_subscriber_is_told_of_the_whole_minute(fleet: ArchivedSymbol, redis_url: str) -> None:
    at_ms = minutes_applied(fleet.writer)[3].open_ms
    async with served(redis_url, archive_url=str(fleet.place)) as feed, feed.connect() as connection:
        for timeframe in ("1m", "1h", "1d"):
            await say(connection, action="subscribe", symbol=INSTRUMENT.symbol, timeframe=timeframe)
            await hear(connection, "snapshot")
        await late_trade(fleet, at_ms)
        told = {message["timeframe"]: message["bar"] for message in [await hear(connection, "amend") for _ in range(3)]}
        for timeframe, bar in told.items():
            opened = Timeframe.parse(timeframe).open_of(at_ms)
            assert [bar] == [one for one in of_applied(fleet.writer, Timeframe.parse(timeframe)) if one["t"] == opened]
            assert bar["n"] > 1


@LAW
@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 3)), max_size=30))
def test_an_object_has_what_was_merged_into_it_and_nothing_else(steps: list[tuple[str, int]]) -> None:
    """Of the writers before the last MAX_WRITERS it knows nothing: their parts are long gone."""
    merged, parts, seq = merged_of(""), list[LatePart](), 0
    for token, count in steps:
        new = [LatePart(0, token, seq + at, b"") for at in range(1, count + 1)]
        seq += count
        assert not any(part.is_in(merged) for part in new)
        merged = merged_of(merged_text(merged_with(merged, new)))
        parts += new
        assert all(part.is_in(merged) for part in parts)
    many = merged_with({}, [LatePart(0, f"{number}", 1, b"") for number in range(MAX_WRITERS + 1)])
    assert list(many) == [f"{number}" for number in range(1, MAX_WRITERS + 1)]
