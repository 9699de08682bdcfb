"""15m candles that months lack, made in the background: after an upgrade, and after a change of decimals."""

import asyncio
from typing import Any

import orjson
from redis.asyncio import Redis

from common.market.timeframes.timeframe import DAY_MS, Timeframe
from common.settings import Settings
from common.store.keys import FORMAT_KEY, SymbolKeys
from common.store.months import MonthStore
from common.store.registry import Registry
from common.store.rollups import RollupStore
from common.store.upgrading import upgrade
from feed.queries.candles import CandleQuery
from feed.queries.queries import Queries
from feed.reading.bounds import Window
from tests.kit.asked import candles_of
from tests.kit.months import (
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
from tests.kit.store.recorded import CONTIGUOUS, UNIQUE, restore
from tests.kit.writer import Writer
from workers.change.procedure import Changer
from workers.change.request import Request
from workers.clock.due import due_work
from workers.rollup.day import roll_days
from workers.rollup.jobs import functions
from workers.rollup.month import make_months
from workers.rollup.work import ROLL, Work


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


async def test_a_job_makes_what_other_months_lack(client: Redis, writer: Writer, redis_url: str) -> None:
    await write(writer)
    await client.delete(KEYS.months, KEYS.rolled_15m)
    await client.hdel(KEYS.rollup, "months")
    (work,) = await due_work(client, archiving=False)
    job = functions(Settings().model_copy(update={"redis_url": redis_url}), lambda: False)[work.function]
    await asyncio.to_thread(job, *work.arguments)
    await assert_all_is_made(client)
    assert await due_work(client, archiving=False) == []


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
