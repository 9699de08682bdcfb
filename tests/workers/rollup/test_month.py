"""15m candles of sealed days, a month at once: what they are made of, by whom, and when."""

import asyncio
import random
from dataclasses import replace
from typing import Any

import pytest
from redis.asyncio import Redis

from common.errors import Stale
from common.frames.schema import FLOW
from common.market.candle import Candle
from common.market.coding import candle_blocks, codec
from common.market.coding.quarter_hours import NAMES, merged_days
from common.market.timeframes.timeframe import DAY_MS, MINUTE_MS
from common.store.format import FORMAT
from common.store.months import MonthMark, MonthStore, RolledMonth, StagedMonth
from common.store.parts import Seals
from common.store.reads import SymbolReader
from common.store.rollups import RollupStore
from tests.kit.markets import day_of_market
from tests.kit.months import (
    DAYS,
    DECEMBER,
    FIRST_MS,
    KEYS,
    MARKET,
    NOVEMBER,
    S,
    assert_all_is_made,
    make,
    rows,
    stored,
    write,
)
from tests.kit.writer import Writer
from workers.change.claim import Claimant
from workers.change.cut import Cutter
from workers.rollup.day import roll_day
from workers.symbol.commit import Retention


async def test_a_month_is_made_by_the_last_of_its_days(client: Redis, writer: Writer) -> None:
    await write(writer, rolled_up=False)
    days = list((await RollupStore(client, S).due()).days)
    of_november = [day_ms for day_ms in days if day_ms < DECEMBER]
    rng = random.Random(1)
    rng.shuffle(of_november)
    for day_ms in of_november:
        assert not await stored(client)
        assert await roll_day(client, MARKET, day_ms)
    assert set(await stored(client)) == {NOVEMBER}
    await writer.roll_up()
    await assert_all_is_made(client)
    # The day that is not over yet is none of them.
    assert FIRST_MS + DAYS * DAY_MS not in (await stored(client))[DECEMBER].days


async def test_a_month_grows_by_the_day_and_follows_corrections(client: Redis, writer: Writer) -> None:
    for day in range(1, 6):
        await writer.commit(writer.trade(FIRST_MS + day * DAY_MS, 10_000 + day))
        await writer.roll_up()
        if day > 1:
            await assert_all_is_made(client, 1)
            assert not await client.exists(KEYS.staged)
    await writer.commit(
        writer.trade(FIRST_MS + 2 * DAY_MS + 100, 12_345), writer.trade(FIRST_MS + DAY_MS + 7 * MINUTE_MS)
    )
    await writer.roll_up()
    await assert_all_is_made(client, 1)
    assert 12_345 in (await rows(client, (await stored(client))[NOVEMBER]))["high_ticks"]


async def test_whoever_makes_a_month_makes_all_that_was_missed(client: Redis, writer: Writer) -> None:
    await write(writer, 8)
    complete = await stored(client)
    member: Any = (await client.zrange(KEYS.months, 0, -1))[0]
    # As if days had been sealed by a release that knows no months, one of them again.
    for gone, other in ((3, ""), (4, "0123456789abcdef")):
        known = dict(RolledMonth.of(member).days)  # type: ignore[union-attr]
        known[FIRST_MS + gone * DAY_MS] = other
        if not other:
            del known[FIRST_MS + gone * DAY_MS]
        await client.delete(KEYS.months)
        behind = complete[NOVEMBER]._replace(days=known)
        await client.zadd(KEYS.months, {behind.member(): NOVEMBER})
        await writer.commit(writer.trade(FIRST_MS + 6 * DAY_MS + 5))
        await writer.roll_up()
        await assert_all_is_made(client, 1)
    # And if the block is not the one that is named.
    await client.hset(KEYS.rolled_15m, str(NOVEMBER), b"?")
    await writer.commit(writer.trade(FIRST_MS + 6 * DAY_MS + 6))
    await writer.roll_up()
    await assert_all_is_made(client, 1)


async def test_jobs_side_by_side_make_what_one_would(client: Redis, writer: Writer) -> None:
    await write(writer, rolled_up=False)
    store = RollupStore(client, S)
    days = (await store.due()).days
    await asyncio.gather(*(roll_day(client, MARKET, day_ms) for day_ms in [*days, *days]))
    await writer.roll_up()
    await make(client)
    await assert_all_is_made(client)


async def test_a_damaged_day_keeps_no_other_from_its_month(client: Redis, writer: Writer) -> None:
    await write(writer, 5)
    damaged_ms = FIRST_MS + 2 * DAY_MS
    await client.hset(KEYS.sealed("candles"), str(damaged_ms), b"?")
    await client.delete(KEYS.months, KEYS.rolled_15m)
    await writer.commit(writer.trade(FIRST_MS + 3 * DAY_MS + 5))
    await writer.roll_up()
    (month,) = (await stored(client)).values()
    assert len(month.days) == 4 and damaged_ms not in month.days


@pytest.mark.parametrize("turnover", [1 << 63, 1 << 64, 1 << 126])
async def test_a_day_that_is_too_wide_is_left_to_its_minutes(client: Redis, writer: Writer, turnover: int) -> None:
    await write(writer, 3, rolled_up=False)
    minute = next(minute for minute in day_of_market(random.Random(3), 1, FIRST_MS))
    wide = replace(minute, turnover=turnover)
    await client.zremrangebyscore(KEYS.candles, wide.open_ms, wide.open_ms)
    await client.zadd(KEYS.candles, {codec.pack_candle(wide): wide.open_ms})
    await writer.roll_up()
    (month,) = (await stored(client)).values()
    assert set(month.days) == {FIRST_MS, FIRST_MS + 2 * DAY_MS}


@pytest.mark.parametrize(
    ("name", "value"),
    [("trades", (1 << 32) - 1), ("rev", (1 << 32) - 1), ("turnover", 1 << 62), ("volume_lots", 1 << 62)],
)
def test_sums_that_are_too_wide_are_not_made(name: str, value: int) -> None:
    """Each minute fits, and what they give does not."""
    minutes = [replace(_minute(FIRST_MS + at * MINUTE_MS), **{name: value}) for at in (0, 14, 15)]
    rows = [codec.pack_candle(minute) for minute in minutes]
    assert merged_days([candle_blocks.pack(rows)], None) is None
    apart = merged_days([candle_blocks.pack(rows[1:])], None)
    assert apart and len(apart["open_ms"]) == 2


def _minute(open_ms: int) -> Candle:
    return Candle(open_ms, 5, 5, 5, 5, 1, 1, 0, 5, 1, open_ms, 1, open_ms, 1, 0, 1)


async def test_what_was_rolled_up_meanwhile_is_not_written_over(client: Redis, writer: Writer) -> None:
    await write(writer, 3)
    store = MonthStore(client, S)
    look = await store.look()
    assert look
    before = await stored(client)
    await writer.commit(writer.trade(FIRST_MS + DAY_MS + 5))
    await writer.roll_up()
    for mark in (look.mark, MonthMark("another", look.mark.version)):
        with pytest.raises(Stale):
            await store.put(mark, StagedMonth(NOVEMBER, before[NOVEMBER]))
        with pytest.raises(Stale):
            await store.note_made(mark)
    # What is staged has to be what is named, too.
    look = await store.look()
    assert look
    with pytest.raises(Stale):
        await store.put(look.mark, StagedMonth(NOVEMBER, before[NOVEMBER]))
    await assert_all_is_made(client, 1)


async def test_a_job_that_died_with_its_month_staged_changes_nothing(
    client: Redis, writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    await write(writer, 3)
    before = await stored(client)
    await writer.commit(writer.trade(FIRST_MS + DAY_MS + 5))

    async def dies(*_: Any, **__: Any) -> None:
        raise RuntimeError

    monkeypatch.setattr(RollupStore, "finish", dies)
    with pytest.raises(RuntimeError):
        await writer.roll_up()
    assert await client.hexists(KEYS.staged, f"{NOVEMBER}:15m")
    assert await stored(client) == before
    monkeypatch.undo()
    await writer.roll_up()
    await assert_all_is_made(client, 1)


async def test_a_cut_leaves_nothing_of_what_lies_before(client: Redis, writer: Writer) -> None:
    await write(writer)
    day_ms = FIRST_MS + 5 * DAY_MS
    await Cutter("", S, day_ms, 10_000, Claimant("tests", 60_000)).cut(client, MARKET)
    assert set(await stored(client)) == {DECEMBER}
    await writer.roll_up()
    await assert_all_is_made(client)
    assert min((await stored(client))[NOVEMBER].days) == day_ms


async def test_a_month_goes_with_the_last_of_its_days(client: Redis, writer: Writer) -> None:
    await write(writer)
    november: Any = await client.hget(KEYS.rolled_15m, str(NOVEMBER))
    writer.retention = Retention(4, 4)
    await writer.commit(writer.trade(writer.now_ms + MINUTE_MS))
    assert (
        (await SymbolReader(client, S).view(Seals(0))).seals[0].day_ms
        == FIRST_MS + (DAYS - 4) * DAY_MS
        == DECEMBER - DAY_MS
    )
    # Some of its days are gone: no reader takes those.
    assert await client.hget(KEYS.rolled_15m, str(NOVEMBER)) == november
    await writer.commit(writer.trade(writer.now_ms + DAY_MS), writer.trade(writer.now_ms + DAY_MS + MINUTE_MS))
    await writer.roll_up()
    assert set(await stored(client)) == {DECEMBER}
    assert await client.hkeys(KEYS.rolled_15m) == [b"%d" % DECEMBER]


def test_a_month_of_another_form_is_none() -> None:
    month = RolledMonth.made(NOVEMBER, 3, "0123456789abcdef", {NOVEMBER: "a" * 16, NOVEMBER + 29 * DAY_MS: "b" * 16})
    text = month.member()
    assert RolledMonth.of(text.encode()) == month
    number, end, form, rest = text.split(":", 3)
    assert form == "1" and end == str(DECEMBER)
    assert RolledMonth.of(f"{number}:{end}:2:whatever it is".encode()) is None


def test_columns_are_those_that_order_flow_is_made_of() -> None:
    both = {"turnover"} | {name for name in NAMES if not name.startswith("turnover")}
    assert both == set(FLOW) and FORMAT >= 3
