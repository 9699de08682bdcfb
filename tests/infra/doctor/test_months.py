"""15m candles that are not those of their days: told by the doctor, and made again by a rebuild."""

from dataclasses import replace

from redis.asyncio import Redis

from common.market.coding import blocks, candle_blocks, codec
from common.market.timeframes.timeframe import DAY_MS
from common.store.rollups import RollupStore
from infra.doctor.checks import Level
from infra.doctor.months import judged, look_at_months
from tests.kit.months import DECEMBER, FIRST_MS, KEYS, MARKET, NOVEMBER, S, assert_all_is_made, stored, write
from tests.kit.writer import Writer


async def test_a_rebuild_makes_the_months_of_its_days_again(client: Redis, writer: Writer) -> None:
    await write(writer)
    for month_ms in (NOVEMBER, DECEMBER):
        await spoil(client, month_ms)
    assert await RollupStore(client, S).mark(FIRST_MS, FIRST_MS)
    assert set(await stored(client)) == {DECEMBER}
    await writer.roll_up()
    seen = await look_at_months(client, {S: MARKET})
    assert seen.wrong == [(S, DECEMBER)] and seen.looked_at == seen.all == 2
    finding = judged(seen)
    assert finding.level is Level.FAIL and f"{S} 2023-12 (all 2)" in finding.found
    assert finding.advice == f"fleet rebuild {S} --from 2023-12-01 --to 2023-12-31 makes them again."
    assert await RollupStore(client, S).mark(DECEMBER, DECEMBER + 30 * DAY_MS)
    await writer.roll_up()
    await assert_all_is_made(client)
    seen = await look_at_months(client, {S: MARKET})
    assert not seen.wrong and judged(seen).level is Level.OK


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
