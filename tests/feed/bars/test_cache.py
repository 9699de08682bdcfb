"""What is kept in the process never shows: answers are those of a feed that keeps nothing, and of the oracle."""

import random
from typing import Any

import orjson
import pytest
from redis.asyncio import Redis

from common.market.instrument import Instrument
from common.market.timeframes.timeframe import Timeframe
from common.store.registry import Market
from common.store.state import AMENDED_KEPT
from feed.bars.tail import Tails
from feed.queries.candles import CandleQuery
from feed.queries.queries import Queries
from feed.reading.bounds import Window
from tests.kit.asked import candles_of
from tests.kit.bars_oracle import expected
from tests.kit.writer import START_MS, Saved, Writer, random_step
from tests.scale import scaled
from workers.symbol.commit import Retention

TIMEFRAMES = ["1m", "15m", "1h", "1d", "1w", "1M", "7m", "1s", "250ms", "90s"]


def query(timeframe: Timeframe, rng: random.Random) -> CandleQuery:
    """Most look at the newest bars, as charts do."""
    some_ms = START_MS + rng.randint(-3_600_000, 40 * 3_600_000)
    window = rng.choice(
        [
            Window(None, None, rng.choice((1, 3, 20, 500))),
            Window(None, None, 5_000),
            Window(None, some_ms, rng.choice((1, 5, 100))),
            Window(some_ms, None, rng.choice((1, 5, 100))),
            Window(some_ms, some_ms + rng.randint(0, 10 * 3_600_000), rng.choice((2, 50))),
        ]
    )
    return CandleQuery(timeframe, window, "none", "json")


async def answer(queries: Queries, market: Market, asked: CandleQuery) -> dict[str, Any]:
    found: dict[str, Any] = orjson.loads(await candles_of(queries, market, asked))
    del found["health"]["lastUpdateMsAgo"]
    return found


def cut(bars: list[dict[str, Any]], window: Window) -> list[dict[str, Any]]:
    start_ms, end_ms = window.start_ms or 0, window.end_ms or 1 << 60
    inside = [bar for bar in bars if start_ms <= bar["t"] < end_ms]
    return inside[: window.limit] if window.oldest_first else inside[-window.limit :]


@pytest.mark.parametrize("seed", range(scaled(12)))
async def test_kept_answers_equal_fresh_ones_and_the_oracle_after_any_commits(client: Redis, seed: int) -> None:
    rng = random.Random(seed)
    writer = Writer(
        client,
        Instrument("TEST:A", 2, 3, rng.choice(("contiguous", "unique"))),
        Retention(rng.choice((1, 400)), 400),
    )
    await writer.register()
    await writer.claim()
    market = Market(writer.instrument, {"kind": "inbox"})
    kept = Queries(client, 6_000, Tails(rng.choice((1 << 20, 4_000))))
    saved: Saved | None = None
    for _ in range(120):
        await random_step(writer, rng)
        if rng.random() < 0.03:
            await writer.claim()
        if rng.random() < 0.05:
            saved = await writer.save()
        if saved and rng.random() < 0.03:
            await writer.rewind(saved)
        for name in rng.sample(TIMEFRAMES, 2):
            timeframe = Timeframe.parse(name)
            asked = query(timeframe, rng)
            found = await answer(kept, market, asked)
            assert found["cursor"] == writer.cursor
            assert found == await answer(Queries(client, 6_000), market, asked), (seed, asked)
            bars = await expected(client, writer, timeframe)
            assert found["bars"] == cut(list(bars.values()), asked.window), (seed, asked)


async def test_more_amendments_than_the_store_notes_are_all_noticed(writer: Writer) -> None:
    market, kept = Market(writer.instrument, {"kind": "inbox"}), Queries(writer.client, 6_000)
    asked = CandleQuery(Timeframe.parse("1m"), Window(None, None, 500), "none", "json")
    for minute in range(30):
        await writer.commit(writer.trade(START_MS + minute * 60_000))
    await candles_of(kept, market, asked)
    for minute in range(AMENDED_KEPT + 4):
        await writer.commit(writer.trade(START_MS + minute * 60_000, ticks=20_000))
    found = await answer(kept, market, asked)
    assert found["bars"] == list((await expected(writer.client, writer, asked.timeframe)).values())


async def test_a_growing_bar_longer_than_retention_loses_what_was_dropped(client: Redis) -> None:
    writer = Writer(client, retention=Retention(1, 400))
    await writer.register()
    await writer.claim()
    market, kept = Market(writer.instrument, {"kind": "inbox"}), Queries(client, 6_000)
    asked = CandleQuery(Timeframe.parse("1M"), Window(None, None, 500), "none", "json")
    for hour in range(0, 72, 6):
        await writer.commit(writer.trade(START_MS + hour * 3_600_000, lots=hour + 1))
        found = await answer(kept, market, asked)
        assert found["bars"] == list((await expected(client, writer, asked.timeframe)).values())
    assert found["bars"][0]["partial"]
