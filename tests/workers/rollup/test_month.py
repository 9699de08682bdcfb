"""15m candles of sealed days, a month at once: what they are made of, by whom, and when."""

import random
from dataclasses import replace
from typing import Any

import orjson
import polars as pl
import pytest
from redis.asyncio import Redis

from common.errors import Stale
from common.frames import decode
from common.frames.resample import resample
from common.frames.schema import SHOWN
from common.market.candle import Candle
from common.market.coding import blocks, candle_blocks, codec
from common.market.coding.quarter_hours import NAMES, merged_day
from common.market.timeframes.periods import MONTH, QUARTER_HOUR
from common.market.timeframes.timeframe import DAY_MS, MINUTE_MS, Timeframe, day_of
from common.store.format import FORMAT
from common.store.keys import FORMAT_KEY, SymbolKeys
from common.store.months import MonthMark, MonthStore, RolledMonth, RolledMonths, StagedMonth
from common.store.parts import Seals
from common.store.reads import SymbolReader
from common.store.registry import Market, Registry
from common.store.rollups import RollupStore
from common.store.upgrading import upgrade
from feed.queries.candles import CandleQuery
from feed.queries.queries import Queries
from feed.reading.bounds import Window
from infra.doctor.checks import Level, months
from infra.doctor.months import look_at_months
from tests.kit.asked import candles_of
from tests.kit.markets import day_of_market
from tests.kit.store.recorded import CONTIGUOUS, UNIQUE, restore
from tests.kit.writer import INSTRUMENT, START_MS, Writer
from workers.change.claim import Claimant
from workers.change.cut import Cutter
from workers.change.procedure import Changer
from workers.change.request import Request
from workers.clock.due import due_work
from workers.rollup.day import roll_day, roll_days
from workers.rollup.month import make_months
from workers.rollup.work import ROLL, Work
from workers.symbol.commit import Retention

S = INSTRUMENT.symbol
KEYS, MARKET = SymbolKeys(S), Market(INSTRUMENT)
# The days of two months.
FIRST_MS = day_of(START_MS)
NOVEMBER = MONTH.open_of(FIRST_MS)
DECEMBER = MONTH.next_open(NOVEMBER)
DAYS = 20


async def write(writer: Writer, days: int = DAYS, *, rolled_up: bool = True) -> None:
    rng = random.Random(days)
    for day in range(days):
        first_ms = FIRST_MS + day * DAY_MS
        times = sorted(rng.randrange(first_ms, first_ms + DAY_MS) for _ in range(60))
        await writer.commit(*(writer.trade(at_ms, rng.randint(9_900, 10_100), rng.randint(1, 99)) for at_ms in times))
    await writer.commit(writer.trade(FIRST_MS + days * DAY_MS))
    if rolled_up:
        await writer.roll_up()


async def stored(client: Redis) -> dict[int, RolledMonth]:
    view = await SymbolReader(client, S).view(RolledMonths(0))
    return {month.month_ms: month for month in view.months}


async def rows(client: Redis, month: RolledMonth) -> pl.DataFrame:
    """What is stored of a month."""
    state = (await SymbolReader(client, S).view()).state
    block: Any = await client.hget(KEYS.rolled_15m, str(month.month_ms))
    assert blocks.digest(block) == month.digest and candle_blocks.count(block) == month.rows and state
    assert state.data
    return decode.sealed_candles([block], schema=SHOWN, scales=state.data.scales)


async def expected(client: Redis, month_ms: int) -> pl.DataFrame:
    """What its sealed days give."""
    view = await SymbolReader(client, S).view(Seals(0))
    assert view.state and view.state.data
    days = [seal.day_ms for seal in view.seals if MONTH.open_of(seal.day_ms) == month_ms]
    found: Any = await client.hmget(KEYS.sealed("candles"), days)
    minutes = decode.sealed_candles(found, schema=SHOWN, scales=view.state.data.scales)
    return resample(minutes, QUARTER_HOUR)


async def assert_all_is_made(client: Redis, months: int = 2) -> None:
    view, found = await SymbolReader(client, S).view(Seals(0)), await stored(client)
    assert len(found) == months
    assert {day for month in found.values() for day in month.days} == {seal.day_ms for seal in view.seals}
    for month in found.values():
        assert all(month.has(seal) for seal in view.seals if MONTH.open_of(seal.day_ms) == month.month_ms)
        assert (await rows(client, month)).equals(await expected(client, month.month_ms))
    assert not await client.exists(KEYS.staged)


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
    assert merged_day(candle_blocks.pack(rows), None) is None
    apart = merged_day(candle_blocks.pack(rows[1:]), None)
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


async def make(client: Redis, market: Market = MARKET) -> None:
    await make_months(client, market, lambda: False)


async def test_what_an_earlier_release_has_sealed_is_made_in_the_background(client: Redis, writer: Writer) -> None:
    await client.set(FORMAT_KEY, 2)
    await write(writer)
    await make(client)
    assert not await stored(client) and await due_work(client, archiving=False) == []
    assert await upgrade(client, 300) == 2
    assert await due_work(client, archiving=False) == [Work(ROLL, S, DECEMBER)]
    await make(client)
    await assert_all_is_made(client)
    assert await due_work(client, archiving=False) == [] and await MonthStore(client, S).are_made()


async def test_a_store_of_the_format_before_is_read_and_upgraded(client: Redis) -> None:
    """One that the release before has written: sealed days, and one that was corrected since."""
    await restore(client, 2)
    before = {symbol: await all_bars(client, symbol) for symbol in (CONTIGUOUS, UNIQUE)}
    assert len(before[CONTIGUOUS]["15m"]) > 50
    markets = await Registry(client).symbols()

    async def work() -> None:
        for each in await due_work(client, archiving=False):
            await roll_days(client, markets[each.symbol], 0, 1 << 50)
            await make_months(client, markets[each.symbol], lambda: False)

    # Written on in its own form until it may be upgraded.
    await work()
    assert [await client.exists(*made_of(symbol)) for symbol in before] == [0, 0]
    await upgrade(client, 300)
    await work()
    for symbol, bars in before.items():
        assert await client.exists(*made_of(symbol)) == 2 and await all_bars(client, symbol) == bars
    assert await due_work(client, archiving=False) == []


def made_of(symbol: str) -> tuple[str, str]:
    keys = SymbolKeys(symbol)
    return keys.months, keys.rolled_15m


async def all_bars(client: Redis, symbol: str) -> dict[str, Any]:
    queries, market = Queries(client, 6_000), (await Registry(client).symbols())[symbol]
    found = {}
    for name in ("15m", "1h", "7h", "1d"):
        query = CandleQuery(Timeframe.parse(name), Window(None, None, 5_000), "none", "json")
        found[name] = orjson.loads(await candles_of(queries, market, query))["bars"]
    return found


async def test_months_with_days_that_are_due_are_left_to_these(client: Redis, writer: Writer) -> None:
    await write(writer)
    await client.delete(KEYS.months, KEYS.rolled_15m)
    await client.hdel(KEYS.rollup, "months")
    await writer.commit(writer.trade(FIRST_MS + DAY_MS + 5))
    await make(client)
    assert set(await stored(client)) == {DECEMBER} and await MonthStore(client, S).are_made()
    await writer.roll_up()
    await assert_all_is_made(client)


async def test_what_is_begun_goes_on_where_it_was_stopped(client: Redis, writer: Writer) -> None:
    await write(writer)
    await client.delete(KEYS.months, KEYS.rolled_15m)
    await client.hdel(KEYS.rollup, "months")
    asked = iter([False, True])
    await make_months(client, MARKET, lambda: next(asked))
    assert set(await stored(client)) == {DECEMBER} and not await MonthStore(client, S).are_made()
    assert await due_work(client, archiving=False) == [Work(ROLL, S, DECEMBER)]
    await make(client)
    await assert_all_is_made(client)


async def test_a_symbol_that_is_new_has_nothing_to_be_made(client: Redis, writer: Writer) -> None:
    await writer.commit(writer.trade(FIRST_MS), writer.trade(FIRST_MS + DAY_MS))
    assert (await RollupStore(client, S).due()).unrolled_ms is None
    await writer.roll_up()
    assert (await RollupStore(client, S).due()).unrolled_ms is None
    await assert_all_is_made(client, 1)


async def test_another_scale_has_months_made_again(client: Redis, writer: Writer, redis_url: str) -> None:
    await write(writer)
    coarse = await rows(client, (await stored(client))[NOVEMBER])
    changed = await Changer(redis_url, S, Request(price_decimals=4), "tests:2", 6_000, 10_000).run()
    assert not await client.exists(KEYS.months, KEYS.rolled_15m)
    assert await due_work(client, archiving=False) == [Work(ROLL, S, DECEMBER)]
    await make(client, changed.now)
    await assert_all_is_made(client)
    fine = await rows(client, (await stored(client))[NOVEMBER])
    assert fine["high_ticks"].to_list() == [ticks * 100 for ticks in coarse["high_ticks"].to_list()]
    # A day of finer prices beside those.
    writer.instrument = changed.now.instrument
    await writer.claim()
    await writer.commit(writer.trade(FIRST_MS + DAY_MS + 5, 10_000_01))
    await writer.roll_up()
    await assert_all_is_made(client)


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


async def test_a_rebuild_makes_the_months_of_its_days_again(client: Redis, writer: Writer) -> None:
    await write(writer)
    for month_ms in (NOVEMBER, DECEMBER):
        await spoil(client, month_ms)
    assert await RollupStore(client, S).mark(FIRST_MS, FIRST_MS)
    assert set(await stored(client)) == {DECEMBER}
    await writer.roll_up()
    seen = await look_at_months(client, {S: MARKET})
    assert seen.wrong == [(S, DECEMBER)] and seen.looked_at == seen.all == 2
    finding = months(seen)
    assert finding.level is Level.FAIL and f"{S} 2023-12 (all 2)" in finding.found
    assert finding.advice == f"fleet rebuild {S} --from 2023-12-01 --to 2023-12-31 makes them again."
    assert await RollupStore(client, S).mark(DECEMBER, DECEMBER + 30 * DAY_MS)
    await writer.roll_up()
    await assert_all_is_made(client)
    seen = await look_at_months(client, {S: MARKET})
    assert not seen.wrong and months(seen).level is Level.OK


async def spoil(client: Redis, month_ms: int) -> None:
    """Rows that are not those of their days, under a name that says they are."""
    month, block = (await stored(client))[month_ms], await client.hget(KEYS.rolled_15m, str(month_ms))
    assert isinstance(block, bytes)
    members = candle_blocks.members(block)
    other = codec.pack_candle(replace(codec.unpack_candle(members[0]), high_ticks=1 << 20))
    made = candle_blocks.pack([other, *members[1:]])
    await client.hset(KEYS.rolled_15m, str(month_ms), made)
    await client.zremrangebyscore(KEYS.months, month_ms, month_ms)
    await client.zadd(KEYS.months, {month._replace(digest=blocks.digest(made)).member(): month_ms})


def test_a_month_of_another_form_is_none() -> None:
    month = RolledMonth.made(NOVEMBER, 3, "0123456789abcdef", {NOVEMBER: "a" * 16, NOVEMBER + 29 * DAY_MS: "b" * 16})
    text = month.member()
    assert RolledMonth.of(text.encode()) == month
    number, end, form, rest = text.split(":", 3)
    assert form == "1" and end == str(DECEMBER)
    assert RolledMonth.of(f"{number}:{end}:2:whatever it is".encode()) is None


def test_columns_are_those_that_are_shown() -> None:
    both = {"turnover"} | {name for name in NAMES if not name.startswith("turnover")}
    assert both == set(SHOWN) and FORMAT >= 3
