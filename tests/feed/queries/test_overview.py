"""`/v1/overview`: every symbol in a row."""

import random
import time
from typing import Any

import pytest
from redis.asyncio import Redis

from common.market.instrument import Instrument
from common.market.timeframes.timeframe import DAY_MS, day_of
from common.market.trade import Trade
from common.store.keys import SymbolKeys
from feed.reading.price_lines import POINTS, STEP_MS
from tests.kit.served import Served
from tests.kit.writer import INSTRUMENT, Writer

S = INSTRUMENT.symbol
HOUR_MS = 3_600_000


async def row_of(feed: Served, symbol: str = S) -> dict[str, Any]:
    # As if a second had passed.
    feed.services.fleet.overview.answer.kept_s = 0
    rows: dict[str, dict[str, Any]] = {row["symbol"]: row for row in (await feed.json("/v1/overview"))["symbols"]}
    return rows[symbol]


async def days_of_trades(writer: Writer, seed: int, hours: int, count: int) -> list[Trade]:
    """Random ones up to now, with pauses of hours among them."""
    rng, now_ms = random.Random(seed), int(time.time() * 1_000)
    times_ms = sorted(now_ms - rng.randrange(hours * HOUR_MS) for _ in range(count))
    trades = [writer.trade(at_ms, ticks=rng.randrange(9_000, 11_000)) for at_ms in times_ms]
    await writer.commit(*trades)
    return trades


def expected(trades: list[Trade], from_ms: int) -> tuple[list[float | None], float | None]:
    """The price at the end of each step, and before the first one."""

    def price_before(ms: int) -> float | None:
        return next((trade.price_ticks / 100 for trade in reversed(trades) if trade.ts_ms < ms), None)

    return [price_before(from_ms + at * STEP_MS) for at in range(1, POINTS + 1)], price_before(from_ms)


@pytest.mark.parametrize("seed", range(3))
async def test_the_line_and_the_change_are_those_of_the_trades_wherever_their_minutes_lie(
    feed: Served, writer: Writer, seed: int
) -> None:
    writer.builder.watermark_ms = -1
    trades = await days_of_trades(writer, seed, hours=(20, 60, 40)[seed], count=(40, 25, 400)[seed])
    found: list[Any] = []
    for seal in (False, True):
        if seal:
            await writer.roll_up()
            assert await writer.client.exists(SymbolKeys(S).seals)
        feed.services.fleet.overview.lines._kept.clear()
        row = await row_of(feed)
        answer = await feed.json("/v1/overview")
        line, before = expected(trades, answer["from"])
        assert answer["stepMs"] == STEP_MS and answer["from"] + DAY_MS >= answer["at"] > answer["from"]
        assert row["line"] == line
        last, first = trades[-1].price_ticks / 100, before or next(price for price in line if price)
        assert (row["last"], row["lastT"], row["change"]) == (last, trades[-1].ts_ms, round(last - first, 2))
        assert abs(row["changeBp"] - (last - first) / first * 10_000) <= 0.5001
        found.append((row["line"], row["last"], row["change"]))
    assert found[0] == found[1]


async def test_a_late_minute_of_a_sealed_day_counts(feed: Served, writer: Writer) -> None:
    now_ms = int(time.time() * 1_000)
    end_ms = day_of(now_ms)
    await writer.commit(writer.trade(end_ms - 7_200_000, ticks=100), writer.trade(now_ms, ticks=300))
    await writer.roll_up()
    await writer.commit(writer.trade(end_ms - 7_200_000 + 1, ticks=200))
    row, answer = await row_of(feed), await feed.json("/v1/overview")
    at = (end_ms - 7_200_000 - answer["from"]) // STEP_MS
    if at >= 0:
        assert row["line"][at] == 2.0
    else:
        assert row["change"] == 1.0


async def test_before_a_weekend_the_price_is_that_of_the_last_day(feed: Served, client: Redis) -> None:
    """Of a market that has not traded for days: its daily candle has the close."""
    now_ms = int(time.time() * 1_000)
    writer = await Writer.begun(client, instrument=Instrument("TEST:OLD", 2, 3, "contiguous"))
    await writer.commit(writer.trade(now_ms - 5 * DAY_MS, ticks=10_000), writer.trade(now_ms - 5 * DAY_MS + 70_000))
    await writer.commit(
        writer.trade(now_ms - 3 * DAY_MS, ticks=12_000), writer.trade(now_ms - 3 * DAY_MS + 70_000, ticks=12_000)
    )
    await writer.roll_up()
    row = await row_of(feed, "TEST:OLD")
    assert row["line"] == [120.0] * POINTS and (row["change"], row["changeBp"]) == (0, 0)


async def test_what_is_wrong_with_a_symbol_is_in_its_row_and_in_no_other(
    feed: Served, writer: Writer, client: Redis
) -> None:
    await writer.commit(writer.trade())
    broken = {
        "BAD:HEALTH": SymbolKeys("BAD:HEALTH").health,
        "BAD:CANDLES": SymbolKeys("BAD:CANDLES").candles,
    }
    for symbol, key in broken.items():
        await Writer(client, Instrument(symbol, 2, 2)).register()
        await client.set(key, "no such thing")
    await Writer(client, Instrument("TEST:NEVER", 2, 2)).register()
    rows = {symbol: await row_of(feed, symbol) for symbol in (*broken, "TEST:NEVER", S)}
    for symbol in broken:
        assert set(rows[symbol]) == {"symbol", "error"} and rows[symbol]["error"]["code"] == "store_unavailable"
    never = rows["TEST:NEVER"]
    assert (never["mode"], never["last"], never["line"], never["coverage"]) == ("UNASSIGNED", None, [None] * POINTS, [])
    assert (rows[S]["mode"], rows[S]["last"]) == ("LIVE", 100)


async def test_what_its_holder_says_is_told_while_there_is_one(feed: Served, writer: Writer) -> None:
    told = {"lag_p50_ms": "12", "lag_p99_ms": "", "trades_per_s": "3.50", "gaps_open": "2", "amended": "9"}
    health = {"mode": "LIVE", "source": "inbox", "mismatches": "4", "mismatchT": "60000", **told}
    await writer.commit(writer.trade(), health=health)
    row = await row_of(feed)
    names = ("lagP50Ms", "lagP99Ms", "tradesPerS", "gapsOpen", "amended", "differs")
    assert [row[name] for name in names] == [12, None, 3.5, 2, 9, 4]
    await writer.store.release(writer.token)
    row = await row_of(feed)
    assert [row[name] for name in names] == [None, None, None, None, 9, 4]
    assert (row["mode"], row["source"]) == ("UNASSIGNED", "cache")


async def test_the_row_says_the_same_as_the_symbols_health(feed: Served, writer: Writer) -> None:
    now_ms = int(time.time() * 1_000)
    await writer.commit(writer.trade(now_ms - 100_000), writer.trade(now_ms))
    row, health = await row_of(feed), await feed.json(f"/v1/health/{S}")
    shared = row.keys() & health.keys() - {"lastUpdateMsAgo"}
    assert len(shared) > 10 and {name: row[name] for name in shared} == {name: health[name] for name in shared}
    assert row["coverage"] == [[now_ms - 100_000, now_ms]]


async def test_it_is_worked_out_once_a_second_however_many_ask(feed: Served, writer: Writer) -> None:
    await writer.commit(writer.trade())
    kept = feed.services.fleet.overview.answer
    now_s = [time.monotonic()]
    kept.monotonic_s = lambda: now_s[0]
    first = await feed.json("/v1/overview")
    await writer.commit(writer.trade(ticks=20_000))
    assert await feed.json("/v1/overview") == first
    now_s[0] += 0.999
    assert await feed.json("/v1/overview") == first
    now_s[0] += 0.002
    (row,) = (await feed.json("/v1/overview"))["symbols"]
    # The line is as it was, but for its end.
    assert (row["last"], row["line"][-1]) == (200, 200)


async def test_a_symbol_that_is_gone_has_no_row_and_nothing_is_kept_of_it(
    feed: Served, writer: Writer, client: Redis
) -> None:
    await writer.commit(writer.trade())
    assert await row_of(feed)
    await client.delete("symbols")
    assert (await feed.json("/v1/overview"))["symbols"] == []
    assert not feed.services.fleet.overview.lines._kept
