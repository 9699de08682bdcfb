"""The roll-up of a day: what it makes of the minutes, and that it takes effect once or not at all."""

import asyncio
import random
from dataclasses import replace
from typing import Any

import orjson
import pytest
from redis.asyncio import Redis

from common.errors import Stale
from common.market.candle import Candle, merge_all
from common.market.coding import candle_blocks, codec, footprint_blocks
from common.market.coding.named import CorruptBlock
from common.market.timeframes.periods import DAY, MONTH, WEEK
from common.market.timeframes.timeframe import DAY_MS, Timeframe, day_of
from common.series import MINUTE_SERIES
from common.store.keys import SymbolKeys
from common.store.minute_archive import MinuteArchive
from common.store.registry import Market
from common.store.rollups import Due, RollupStore, SealFailed
from tests.kit.writer import INSTRUMENT, START_MS, Writer, random_step
from tests.scale import scaled
from workers.rollup import day as day_job
from workers.rollup.day import roll_day, roll_days

KEYS = SymbolKeys(INSTRUMENT.symbol)
MARKET = Market(INSTRUMENT)
SERIES = {"1d": DAY, "1w": WEEK, "1M": MONTH}


async def minutes(client: Redis, series: str = "candles") -> dict[int, bytes]:
    """Sealed and open ones."""
    unpack = candle_blocks.members if series == "candles" else footprint_blocks.members
    open_of = codec.candle_open if series == "candles" else codec.footprint_open
    sealed: Any = await client.hvals(KEYS.sealed(series))
    unsealed: Any = await client.zrange(KEYS.minutes(MINUTE_SERIES[series]), 0, -1)
    return {open_of(member): member for member in [m for block in sealed for m in unpack(block)] + unsealed}


async def rolled(client: Redis) -> dict[str, dict[int, Candle]]:
    found = {}
    for name in SERIES:
        members: Any = await client.zrange(KEYS.rolled(name), 0, -1, withscores=True)
        found[name] = {int(score): codec.unpack_candle(member) for member, score in members}
        assert len(found[name]) == len(members)
    return found


async def expected(client: Redis) -> dict[str, dict[int, Candle]]:
    """Every finished period, of all minutes there are."""
    watermark_ms = int(await client.hget(KEYS.state, "watermark_ms") or 0)
    finished_ms = day_of(watermark_ms)
    stored = await minutes(client)
    candles = [codec.unpack_candle(stored[open_ms]) for open_ms in sorted(stored)]
    return {name: _merged(candles, timeframe, finished_ms) for name, timeframe in SERIES.items()}


def _merged(candles: list[Candle], timeframe: Timeframe, finished_ms: int) -> dict[int, Candle]:
    groups: dict[int, list[Candle]] = {}
    for candle in candles:
        groups.setdefault(timeframe.open_of(candle.open_ms), []).append(candle)
    return {
        open_ms: merge_all(group).rename(open_ms)
        for open_ms, group in groups.items()
        if timeframe.next_open(open_ms) <= finished_ms
    }


async def roll_all(client: Redis, store: RollupStore) -> None:
    for day_ms in (await store.due()).days:
        assert await roll_day(client, MARKET, day_ms)


@pytest.mark.parametrize("seed", range(scaled(3)))
async def test_whatever_was_written_the_roll_ups_are_those_of_the_minutes(
    client: Redis, writer: Writer, store: RollupStore, seed: int
) -> None:
    rng = random.Random(seed)
    for _ in range(150):
        await random_step(writer, rng)
        if rng.random() < 0.1:
            writer.now_ms += rng.randint(0, 9) * DAY_MS
        if rng.random() < 0.2:
            before = await minutes(client), await minutes(client, "footprints")
            await roll_all(client, store)
            assert (await minutes(client), await minutes(client, "footprints")) == before
            assert await rolled(client) == await expected(client)
            today_ms = day_of(writer.builder.watermark_ms)
            dirty: Any = await client.zrange(KEYS.dirty, 0, -1)
            assert all(int(day_ms) >= today_ms for day_ms in dirty)
    assert all((await rolled(client)).values()), "no month was finished: the test has shown little"


async def finished_day(writer: Writer) -> int:
    """A day with two minutes, and the first trade of the next."""
    day_ms = day_of(writer.now_ms) + DAY_MS
    await writer.commit(writer.trade(day_ms + 1), writer.trade(day_ms + 70_000, ticks=10_500))
    await writer.commit(writer.trade(day_ms + DAY_MS + 1))
    return day_ms


async def test_a_day_is_sealed_and_its_open_minutes_are_gone(client: Redis, writer: Writer, store: RollupStore) -> None:
    day_ms = await finished_day(writer)
    assert (await store.due()).days == (day_ms,)
    assert await roll_day(client, MARKET, day_ms)
    assert await client.zcount(KEYS.candles, day_ms, day_ms + DAY_MS - 1) == 0
    assert await client.hkeys(KEYS.sealed("candles")) == [b"%d" % day_ms]
    assert await client.exists(KEYS.staged) == 0
    assert await client.hget(KEYS.state, "sealed_to_ms") == b"%d" % (day_ms + DAY_MS)
    assert await store.due() == Due((), (("candles", day_ms), ("footprints", day_ms)))
    assert not await roll_day(client, MARKET, day_ms)


async def test_a_late_trade_of_a_sealed_day_corrects_everything_made_of_it(
    client: Redis, writer: Writer, store: RollupStore
) -> None:
    day_ms = await finished_day(writer)
    await roll_all(client, store)
    before = await rolled(client)
    await writer.commit(writer.trade(day_ms + 5_000, ticks=20_000, lots=7))
    amended = codec.unpack_candle((await minutes(client))[day_ms])
    assert (amended.high_ticks, amended.volume_lots, amended.rev) == (20_000, 12, 1)
    await roll_all(client, store)
    after = await rolled(client)
    assert after == await expected(client)
    assert (after["1d"][day_ms].high_ticks, after["1d"][day_ms].rev) == (20_000, before["1d"][day_ms].rev + 1)
    entries: Any = await client.xrange(KEYS.events)
    events = [orjson.loads(fields[b"event"]) for _, fields in entries]
    told = [(event["type"], event["bar"]["rev"]) for event in events if event.get("timeframe") == "1d"]
    assert told == [("candle", 0), ("amend", 1)]


async def test_weeks_and_months_are_told_once_by_the_last_of_their_days_whatever_the_order(
    client: Redis, writer: Writer, store: RollupStore
) -> None:
    rng = random.Random(5)
    for number in range(75):
        await writer.commit(writer.trade(START_MS + number * DAY_MS), writer.trade(START_MS + number * DAY_MS + 70_000))
    days = list((await store.due()).days)
    rng.shuffle(days)
    for day_ms in days:
        assert await roll_day(client, MARKET, day_ms)
    assert await rolled(client) == await expected(client)
    told = await told_of(client)
    assert {series: len(opens) for series, opens in told.items()} == {"1d": 74, "1w": 10, "1M": 2}
    assert all(len(set(opens)) == len(opens) for opens in told.values())
    # Four corrections of one month: each of their weeks and the month are told once more.
    late = [3 * DAY_MS, 4 * DAY_MS, 12 * DAY_MS, 13 * DAY_MS]
    for after_ms in late:
        await writer.commit(writer.trade(START_MS + after_ms + 1_000, ticks=20_000))
    await roll_days(client, MARKET, 0, START_MS + 99 * DAY_MS)
    assert await rolled(client) == await expected(client)
    again = await told_of(client)
    weeks = {WEEK.open_of(START_MS + after_ms) for after_ms in late}
    assert len(again["1d"]) - len(told["1d"]) == 4 and len(again["1w"]) - len(told["1w"]) == len(weeks)
    assert len(again["1M"]) - len(told["1M"]) == 1


async def told_of(client: Redis) -> dict[str, list[int]]:
    entries: Any = await client.xrange(KEYS.events)
    found: dict[str, list[int]] = {series: [] for series in SERIES}
    for _, fields in entries:
        event = orjson.loads(fields[b"event"])
        if event.get("timeframe") in found:
            found[event["timeframe"]].append(event["bar"]["t"])
    return found


async def test_a_job_takes_the_newest_days_first_and_ends_between_two_of_them(
    client: Redis, writer: Writer, store: RollupStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(6):
        await writer.commit(writer.trade(START_MS + number * DAY_MS))
    days = (await store.due()).days
    asked = iter([False, False, True])
    await roll_days(client, MARKET, days[1], days[-1] + DAY_MS, stopping=lambda: next(asked))
    assert (await store.due()).days == days[:-2]
    monkeypatch.setattr(day_job, "MAX_JOB_S", 0)
    await roll_days(client, MARKET, days[1], days[-1] + DAY_MS)
    assert (await store.due()).days == days[:-2]
    monkeypatch.undo()
    await roll_days(client, MARKET, days[1], days[-1] + DAY_MS)
    assert (await store.due()).days == days[:1]


async def test_a_day_that_fails_is_told_and_does_not_hold_up_the_others(
    client: Redis, writer: Writer, store: RollupStore
) -> None:
    for number in range(5):
        await writer.commit(writer.trade(START_MS + number * DAY_MS))
    days = (await store.due()).days
    await roll_all(client, store)
    assert await store.mark(days[0], days[-1]) == days
    # One is corrected, and its block can't be read any more.
    await writer.commit(writer.trade(days[2] + 5_000))
    await client.hset(KEYS.sealed("candles"), str(days[2]), b"nothing that was sealed")
    with pytest.raises(CorruptBlock):
        await roll_days(client, MARKET, days[0], days[-1] + DAY_MS)
    assert (await store.due()).days == (days[2],)


async def test_what_was_written_since_it_was_read_is_not_overwritten(
    client: Redis, writer: Writer, store: RollupStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    day_ms = await finished_day(writer)
    stage, late = RollupStore.stage, [writer.trade(day_ms + 30_000, ticks=30_000)]

    async def meanwhile(self: RollupStore, *args: Any) -> Any:
        found = await stage(self, *args)
        if late:
            await writer.commit(late.pop())
        return found

    monkeypatch.setattr(RollupStore, "stage", meanwhile)
    assert await roll_day(client, MARKET, day_ms)
    assert (await rolled(client))["1d"][day_ms].high_ticks == 30_000
    assert await rolled(client) == await expected(client)


async def test_another_writer_since_it_was_read_is_noticed(client: Redis, writer: Writer, store: RollupStore) -> None:
    """A store that went back in time may give the same seq to other trades; the token tells."""
    day_ms = await finished_day(writer)
    reading = await store.read(day_ms, day_ms, day_ms + DAY_MS, {})
    assert reading
    await writer.claim()
    await writer.commit()
    with pytest.raises(Stale):
        await store.finish(day_ms, reading.mark, [], None)


async def test_jobs_side_by_side_leave_what_one_would(client: Redis, writer: Writer, store: RollupStore) -> None:
    """Of eight days of two weeks, each rolled up twice at once: a week is made of days that others roll up."""
    for _ in range(8):
        writer.now_ms += DAY_MS
        await finished_day(writer)
    days = (await store.due()).days
    assert len(days) > 8
    await asyncio.gather(*(roll_day(client, MARKET, day_ms) for day_ms in [*days, *days]))
    while (await store.due()).days:
        await roll_all(client, store)
    assert await rolled(client) == await expected(client)


async def test_blocks_that_read_otherwise_are_not_taken_in(
    client: Redis, writer: Writer, store: RollupStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    day_ms = await finished_day(writer)
    before = await minutes(client)
    stage, other = RollupStore.stage, replace(codec.unpack_candle(before[day_ms]), volume_lots=1)

    async def damaged(self: RollupStore, *args: Any) -> Any:
        return {**await stage(self, *args), "candles": candle_blocks.pack([codec.pack_candle(other)])}

    monkeypatch.setattr(RollupStore, "stage", damaged)
    with pytest.raises(SealFailed):
        await roll_day(client, MARKET, day_ms)
    assert await minutes(client) == before
    assert (await store.due()).days == (day_ms,)


async def test_the_archive_is_complete_up_to_the_first_day_it_lacks(
    client: Redis, writer: Writer, store: RollupStore
) -> None:
    first_ms, second_ms = await finished_day(writer), await finished_day(writer)
    await roll_all(client, store)
    archive = MinuteArchive(client, INSTRUMENT.symbol)
    token, scores = await archive.unarchived("candles")
    assert set(scores) >= {first_ms, second_ms}
    others = {day_ms: score for day_ms, score in scores.items() if day_ms != first_ms}
    assert await archive.archived("candles", token, {first_ms: scores[first_ms]}) == min(others)
    assert await archive.archived("candles", token, others) == max(scores) + DAY_MS
    # Rolled up again since it was read: it stays to be archived.
    await writer.commit(writer.trade(first_ms + 5_000))
    await roll_all(client, store)
    assert await archive.archived("candles", token, {first_ms: scores[first_ms]}) == first_ms
    assert list((await archive.unarchived("candles"))[1]) == [first_ms]
    # Confirmed by another job meanwhile: its object is there, or one that was made of it.
    assert await archive.archived("candles", token, {second_ms: scores[second_ms]}) == first_ms
    assert list((await archive.unarchived("candles"))[1]) == [first_ms]


@pytest.mark.parametrize("seed", range(scaled(2)))
async def test_days_marked_anew_come_out_the_same(client: Redis, writer: Writer, store: RollupStore, seed: int) -> None:
    rng = random.Random(seed)
    for _ in range(60):
        await random_step(writer, rng)
        if rng.random() < 0.1:
            writer.now_ms += rng.randint(0, 3) * DAY_MS
    await roll_all(client, store)
    before = await minutes(client), await minutes(client, "footprints"), await rolled(client), await events(client)
    opens = sorted(before[0])
    first_ms, last_ms = day_of(opens[len(opens) // 3]), day_of(opens[-1])
    over_ms = day_of(writer.builder.watermark_ms) - DAY_MS
    days = await store.mark(first_ms, last_ms)
    assert days == tuple(sorted({day_of(ms) for ms in opens if first_ms <= day_of(ms) <= over_ms}))
    assert days == (await store.due()).days
    await roll_all(client, store)
    assert before == (
        await minutes(client),
        await minutes(client, "footprints"),
        await rolled(client),
        await events(client),
    )


async def events(client: Redis) -> list[Any]:
    found: Any = await client.xrange(KEYS.events)
    return [entry_id for entry_id, _ in found]


async def test_a_day_is_not_marked_once_minutes_of_it_are_dropped(
    client: Redis, writer: Writer, store: RollupStore
) -> None:
    days = []
    for _ in range(3):
        days.append(await finished_day(writer))
        writer.now_ms -= DAY_MS
    assert await store.mark(days[0], days[2]) == tuple(days)
    await roll_all(client, store)
    assert await store.mark(0, days[0] - 1) == ()
    await client.hset(KEYS.state, "candle_floor_ms", days[1] + 1)
    assert await store.mark(0, days[2] + 9 * DAY_MS) == (days[2],)
    assert await RollupStore(client, "TEST:NONE").mark(0, days[2]) == ()
