"""Minutes that late trades amended: how their delta ran is made of kept trades before their day is sealed."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

from common.archive.archive import Archive
from common.market.candle import Candle
from common.market.coding import candle_blocks, codec
from common.market.timeframes.timeframe import DAY_MS, MINUTE_MS, day_of
from common.market.trade import SELL, Trade
from common.store.keys import SymbolKeys
from common.store.registry import Market
from common.store.rollups import RollupStore
from tests.kit.delta_oracle import brute_delta
from tests.kit.writer import INSTRUMENT, Writer
from workers.rollup.day import roll_day
from workers.rollup.running_delta import with_ranges
from workers.rollup.trades import archive_trades

MARKET, KEYS = Market(INSTRUMENT), SymbolKeys(INSTRUMENT.symbol)


async def amended_day(writer: Writer) -> tuple[int, Sequence[Trade]]:
    """A day with a minute that a late trade came into, before others of it; and all of its trades."""
    day_ms = day_of(writer.now_ms) + DAY_MS
    trades = [
        writer.trade(day_ms + 10, lots=5),
        writer.trade(day_ms + 30, lots=8, side=SELL),
        writer.trade(day_ms + MINUTE_MS, lots=2),
    ]
    for trade in trades:
        await writer.commit(trade)
    late = writer.trade(day_ms + 20, lots=90)
    await writer.commit(late)
    await writer.commit(writer.trade(day_ms + DAY_MS + 1))
    return day_ms, [*trades, late]


async def minutes(client: Redis) -> list[bytes]:
    """Sealed and open ones."""
    sealed: Any = await client.hvals(KEYS.sealed("candles"))
    opened: Any = await client.zrange(KEYS.candles, 0, -1)
    return [member for block in sealed for member in candle_blocks.members(block)] + list(opened)


async def candle_at(client: Redis, open_ms: int) -> Candle:
    return next(codec.unpack_candle(each) for each in await minutes(client) if codec.candle_open(each) == open_ms)


async def day_at(client: Redis, day_ms: int) -> Candle:
    (member,) = await client.zrange(KEYS.rolled("1d"), day_ms, day_ms, byscore=True)
    assert isinstance(member, bytes)
    return codec.unpack_candle(member)


async def roll(client: Redis, archive: Archive | None) -> None:
    ranged = partial(with_ranges, archive)
    for day_ms in (await RollupStore(client, INSTRUMENT.symbol).due()).days:
        assert await roll_day(client, MARKET, day_ms, ranged=ranged)


@pytest.mark.parametrize("is_archived", [False, True], ids=["kept", "archived"])
async def test_a_sealed_day_tells_how_the_delta_of_an_amended_minute_ran(
    client: Redis, writer: Writer, tmp_path: Path, is_archived: bool
) -> None:
    day_ms, trades = await amended_day(writer)
    assert (await candle_at(client, day_ms)).delta is None
    archive = Archive.open(str(tmp_path))
    if is_archived:
        await archive_trades(client, MARKET, archive)
        await client.delete(KEYS.trades)
    await roll(client, archive)
    first = [trade for trade in trades if trade.ts_ms < day_ms + MINUTE_MS]
    assert (await candle_at(client, day_ms)).delta == brute_delta(first) == (87, 5, 95)
    assert (await candle_at(client, day_ms)).rev == 1
    assert (await day_at(client, day_ms)).delta == brute_delta(trades) == (89, 5, 95)


async def test_without_all_of_its_trades_it_stays_unknown(client: Redis, writer: Writer) -> None:
    """The control: with the trades it is known, above."""
    day_ms, _ = await amended_day(writer)
    found: Any = await client.xrange(KEYS.trades, count=1)
    await client.xdel(KEYS.trades, found[0][0])
    await roll(client, None)
    assert (await candle_at(client, day_ms)).delta is None
    assert (await candle_at(client, day_ms + MINUTE_MS)).delta == (2, 2, 2)
    assert (await day_at(client, day_ms)).delta is None


async def test_a_store_of_an_earlier_format_gets_no_ranges(client: Redis, writer: Writer) -> None:
    writer.upgrade(3)
    day_ms, _ = await amended_day(writer)
    await roll(client, None)
    assert {len(member) for member in await minutes(client)} == {codec.CANDLE.size}
    writer.upgrade(4)
    await writer.commit(writer.trade(day_ms + 2 * DAY_MS))
    assert (await candle_at(client, day_ms)).delta is None
