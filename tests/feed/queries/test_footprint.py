"""`GET /v1/footprint/{symbol}`."""

import random
from itertools import product
from typing import Any

import orjson
import pytest
from redis.asyncio import Redis

from common.market.timeframes.timeframe import DAY_MS, Timeframe, day_of
from common.store.keys import SymbolKeys
from tests.kit.footprints_oracle import summed, told_sums
from tests.kit.served import Served
from tests.kit.writer import INSTRUMENT, START_MS, Writer, some_trades
from workers.symbol.commit import Retention

S = INSTRUMENT.symbol
PATH = f"/v1/footprint/{S}"
MINUTE_MS = 60_000


async def test_footprints_of_any_timeframe_and_row_height_hold_every_trade_once(feed: Served, writer: Writer) -> None:
    rng = random.Random(4)
    for at in range(15):
        await writer.commit(*some_trades(writer, rng, 30))
        if at % 5 == 4:
            # On the next day, the days before are sealed.
            writer.now_ms += DAY_MS
            await writer.commit(writer.trade())
            await writer.roll_up()
    assert await writer.client.zcard(SymbolKeys(S).seals)
    for timeframe, row in product(("1m", "15m", "1d", "1M", "1s", "90s"), ("0.01", "0.5", "7")):
        answer = await feed.json(PATH, timeframe=timeframe, row=row, limit=5_000)
        expected = summed(writer.applied, Timeframe.parse(timeframe), INSTRUMENT.price_ticks(row))
        assert told_sums(answer) == expected, (timeframe, row)
        assert answer["cursor"] == writer.cursor and answer["symbol"] == S


def flags(answer: dict[str, Any]) -> list[tuple[Any, ...]]:
    return [(bar["t"], bar["isFinal"], bar.get("partial")) for bar in answer["bars"]]


async def test_windows_limits_and_finality_are_those_of_candles(feed: Served, writer: Writer) -> None:
    rng = random.Random(5)
    for _ in range(10):
        await writer.commit(*some_trades(writer, rng, 20))
    middle_ms = (START_MS + writer.now_ms) // 2
    for asked in (
        {"limit": 3},
        {"start": START_MS, "limit": 2},
        {"end": middle_ms, "limit": 4},
        {"start": START_MS, "end": middle_ms},
        {"timeframe": "1h"},
        {"timeframe": "1s", "limit": 5},
    ):
        footprints = await feed.json(PATH, **asked)
        candles = await feed.json(f"/v1/candles/{S}", **asked)
        assert flags(footprints) == flags(candles), asked
        for name in ("cursor", "coverage", "gaps"):
            assert footprints[name] == candles[name]


async def test_partial_footprints_are_marked(feed: Served, writer: Writer) -> None:
    for minute in range(4):
        if minute == 2:
            writer.trade()
        await writer.commit(writer.trade(START_MS + minute * MINUTE_MS))
    bars = orjson.loads((await feed.get(PATH)).content)["bars"]
    assert [bar.get("partial", False) for bar in bars] == [True, True, True, False]
    assert all(list(bar)[:1] == ["t"] and bar["rows"] for bar in bars)


async def test_a_long_history_of_footprints_is_read_in_parts(
    feed: Served, writer: Writer, client: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("feed.bars.recipe.FOOTPRINT_CHUNK", 3)
    rng = random.Random(6)
    for _ in range(20):
        await writer.commit(*some_trades(writer, rng, 20))
    for timeframe in ("1m", "15m", "1d"):
        answer = await feed.json(PATH, timeframe=timeframe, limit=5_000)
        assert told_sums(answer) == summed(writer.applied, Timeframe.parse(timeframe), 1)
        newest = await feed.json(PATH, timeframe=timeframe, limit=2)
        assert newest["bars"] == answer["bars"][-2:]


async def test_footprints_that_were_dropped_are_not_missed(feed: Served, client: Redis) -> None:
    """Those of a day go before its candles, and its seal with these."""
    writer = Writer(client, retention=Retention(candle_days=400, footprint_days=2))
    await writer.register()
    await writer.claim()
    for _ in range(6):
        await writer.commit(writer.trade())
        writer.now_ms += DAY_MS
        await writer.roll_up()
    await writer.commit()
    assert len((await feed.json(f"/v1/candles/{S}"))["bars"]) == 6
    found = await feed.json(PATH)
    opens = [day_of(bar["t"]) for bar in found["bars"]]
    # Two whole days before that of the newest trade.
    assert opens == [day_of(writer.now_ms) - days * DAY_MS for days in (3, 2, 1)]
    assert not any("partial" in bar for bar in found["bars"])


async def test_a_symbol_without_a_commit_has_no_footprints(feed: Served, writer: Writer) -> None:
    for timeframe in ("1m", "1s"):
        assert (await feed.json(PATH, timeframe=timeframe))["bars"] == []
