"""Sealed days of two months, and what their 15m candles are to be."""

import random
from typing import Any

import polars as pl
from redis.asyncio import Redis

from common.frames import decode
from common.frames.resample import resample
from common.frames.schema import SHOWN
from common.market.coding import blocks, candle_blocks
from common.market.timeframes.periods import MONTH, QUARTER_HOUR
from common.market.timeframes.timeframe import DAY_MS, day_of
from common.store.keys import SymbolKeys
from common.store.months import RolledMonth, RolledMonths
from common.store.parts import Seals
from common.store.reads import SymbolReader
from common.store.registry import Market
from tests.kit.writer import INSTRUMENT, START_MS, Writer
from workers.rollup.month import make_months

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


async def make(client: Redis, market: Market = MARKET) -> None:
    await make_months(client, market, lambda: False)
