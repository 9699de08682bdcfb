"""What subscribers of Redis hear from a feed, and what it keeps for them."""

from collections.abc import AsyncIterator
from typing import Any

import orjson
import pytest
from redis.asyncio import Redis

from common.store.client import blocking_client
from common.store.keys import SymbolKeys
from common.store.registry import Market, Registry
from tests.kit.served import Served, served
from tests.kit.store.leaks import leaks
from tests.kit.subscribing import Heard, subscribed
from tests.kit.waiting import wait_until_async
from tests.kit.writer import INSTRUMENT, START_MS, Writer

S, MINUTE_MS = INSTRUMENT.symbol, 60_000
KEYS = SymbolKeys(S)


@pytest.fixture
async def feed(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Served]:
    """It looks often, so that no test waits for a look."""
    monkeypatch.setattr("feed.publishing.publisher.LOOK_S", 0.05)
    async with served(redis_url) as found:
        yield found


def channel(timeframe: str, symbol: str = S) -> str:
    return f"{{{symbol}}}:candles:{timeframe}"


async def bars(feed: Served, timeframe: str) -> dict[int, dict[str, Any]]:
    answer = await feed.json(f"/v1/candles/{S}", timeframe=timeframe, limit=1000)
    return {bar["t"]: bar for bar in answer["bars"]}


async def has_heard(heard: Heard, seq: int) -> None:
    await wait_until_async(lambda: heard.messages and heard.messages[-1]["seq"] >= seq)


async def latest(client: Redis, name: str) -> dict[str, Any]:
    await wait_until_async(lambda: client.exists(KEYS.latest(name)))
    found: dict[str, Any] = orjson.loads(await client.get(KEYS.latest(name)) or b"")
    return found


async def listening(client: Redis, name: str) -> int:
    ((_, count),) = await client.pubsub_numsub(name)
    return int(count)


@pytest.mark.parametrize("timeframe", ["15m", "90s", "1s", "2d"])
async def test_a_derived_timeframe_is_published_as_http_has_it(
    feed: Served, writer: Writer, redis_url: str, timeframe: str
) -> None:
    await writer.commit(writer.trade())
    async with subscribed(redis_url, channel(timeframe)) as heard:
        await has_heard(heard, 1)
        for minutes in (1, 7, 16, 40, 3_000):
            await writer.commit(writer.trade(START_MS + minutes * MINUTE_MS, ticks=10_000 + minutes))
            await has_heard(heard, writer.seq)
        assert heard.bars == await bars(feed, timeframe)
        assert heard.closed == sorted(set(heard.closed)) and len(heard.closed) == len(heard.bars) - 1
        first = heard.messages[0]
        named = {"type": "candle", "symbol": S, "seq": 1, "token": writer.token, "timeframe": timeframe}
        assert list(first.items())[:-1] == list(named.items())


async def test_the_form_is_that_of_the_minutes(feed: Served, writer: Writer, redis_url: str) -> None:
    await writer.commit(writer.trade())
    async with subscribed(redis_url, channel("1m")) as minutes, subscribed(redis_url, channel("60s")) as derived:
        await has_heard(derived, 1)
        await writer.commit(writer.trade(START_MS + 5 * MINUTE_MS))
        await writer.commit(writer.trade(START_MS, ticks=5))
        await has_heard(derived, writer.seq)
        told = [orjson.loads(orjson.dumps(each)) | {"timeframe": "1m"} for each in derived.messages[1:]]
        assert told == [each for each in minutes.messages if each["type"] == "amend" or each["seq"] == 2]


async def test_a_correction_is_published(feed: Served, writer: Writer, redis_url: str) -> None:
    await writer.commit(writer.trade(), writer.trade(START_MS + 20 * MINUTE_MS))
    async with subscribed(redis_url, channel("15m")) as heard:
        await has_heard(heard, 1)
        await writer.commit(writer.trade(START_MS, ticks=77_700))
        await has_heard(heard, 2)
        amended = heard.messages[-1]
        assert (amended["type"], [bar["rev"] for bar in amended["bars"]], amended["bars"][0]["h"]) == (
            "amend",
            [1],
            777,
        )
        assert heard.bars == await bars(feed, "15m")


@pytest.mark.parametrize("timeframe", ["1m", "1d", "1w", "1M"])
async def test_what_the_commit_and_the_roll_up_publish_is_not_published_twice(
    feed: Served, writer: Writer, client: Redis, redis_url: str, timeframe: str
) -> None:
    await writer.commit(writer.trade())
    async with subscribed(redis_url, channel(timeframe)) as heard:
        assert (await latest(client, f"ohlcv:{timeframe}"))["seq"] == 1
        await writer.commit(writer.trade(ticks=20_000))
        await wait_until_async(lambda: _is_at(client, timeframe, 2))
        assert len(heard.messages) == (1 if timeframe == "1m" else 0)
        assert not await client.exists(KEYS.published)


async def _is_at(client: Redis, timeframe: str, seq: int) -> bool:
    return bool((await latest(client, f"ohlcv:{timeframe}"))["seq"] == seq)


async def test_the_newest_value_has_the_long_names_and_lives_twice_its_bar(
    feed: Served, writer: Writer, client: Redis, redis_url: str
) -> None:
    await writer.commit(writer.trade(ticks=12_345, lots=7))
    ttls_ms = {"1s": 120_000, "1m": 120_000, "5m": 600_000, "4h": 28_800_000, "1d": 172_800_000, "1w": 172_800_000}
    async with subscribed(redis_url, *map(channel, ttls_ms)):
        for timeframe, ttl_ms in ttls_ms.items():
            found = await latest(client, f"ohlcv:{timeframe}")
            assert ttl_ms - 20_000 < await client.pttl(KEYS.latest(f"ohlcv:{timeframe}")) <= ttl_ms
            prices = dict.fromkeys(("open", "high", "low", "close"), 123.45)
            (bar,) = (await bars(feed, timeframe)).values()
            assert {name: value for name, value in found.items() if name != "partial"} == {
                "ts": bar["t"] / 1_000,
                **prices,
                "volume": 0.007,
                "timeframe": timeframe,
                "is_complete": False,
                "rev": 0,
                "seq": 1,
                "token": writer.token,
            }
            assert found.get("partial") == bar.get("partial")
        assert leaks(redis_url) == []


async def test_between_two_bars_the_newest_value_is_the_closed_one_and_no_older_one_that_is_amended(
    feed: Served, writer: Writer, client: Redis, redis_url: str
) -> None:
    await writer.commit(writer.trade(), writer.trade(START_MS + MINUTE_MS))
    async with subscribed(redis_url, channel("5m")) as heard:
        await has_heard(heard, 1)
        writer.now_ms += 6 * MINUTE_MS
        await writer.commit()
        await wait_until_async(lambda: _is_at(client, "5m", 2))
        assert (await latest(client, "ohlcv:5m"))["is_complete"]
        await writer.commit(writer.trade(START_MS - 60 * MINUTE_MS))
        await has_heard(heard, 3)
        await writer.commit(writer.trade(START_MS, ticks=5))
        await wait_until_async(lambda: _is_at(client, "5m", 4))
        assert (await latest(client, "ohlcv:5m"))["low"] == 0.05


async def test_the_newest_value_is_written_once_a_second_and_at_each_close(
    feed: Served, writer: Writer, client: Redis, redis_url: str
) -> None:
    await writer.commit(writer.trade())
    async with subscribed(redis_url, channel("15m")) as heard:
        await has_heard(heard, 1)
        for _ in range(20):
            await writer.commit(writer.trade())
        await has_heard(heard, 21)
        assert (await latest(client, "ohlcv:15m"))["seq"] < 21
        await writer.commit(writer.trade(START_MS + 15 * MINUTE_MS))
        await has_heard(heard, 22)
        # The growing bar of the same commit; and a second later what came since, though nothing more happens.
        assert (await latest(client, "ohlcv:15m"))["seq"] < 22
        await wait_until_async(lambda: _is_at(client, "15m", 22))


async def test_a_pattern_starts_nothing(feed: Served, writer: Writer, client: Redis, redis_url: str) -> None:
    await writer.commit(writer.trade())
    async with blocking_client(redis_url) as other, other.pubsub() as pattern:
        await pattern.psubscribe("*")
        # Somebody else's channel is looked at, and so is everything there is.
        async with subscribed(redis_url, channel("4h")) as heard:
            await has_heard(heard, 1)
            assert await client.hkeys(KEYS.published) == [b"candles:4h"]
            assert not await client.exists(KEYS.latest("ohlcv:15m"))


async def test_with_the_last_subscriber_it_ends_and_leaves_nothing_behind(
    feed: Served, writer: Writer, client: Redis, redis_url: str
) -> None:
    await writer.commit(writer.trade())
    async with subscribed(redis_url, channel("1h")) as stays:
        async with subscribed(redis_url, channel("15m")) as leaves:
            await has_heard(leaves, 1)
            await has_heard(stays, 1)
        await wait_until_async(lambda: _is_gone(client, "candles:15m"))
        await writer.commit(writer.trade())
        await has_heard(stays, 2)
    await wait_until_async(lambda: _is_free(client))
    assert await listening(client, KEYS.commits) == 0 and not await client.exists(KEYS.published)
    assert "feed_redis_channels 0.0" in (await feed.get("/metrics")).text


async def _is_gone(client: Redis, name: str) -> bool:
    return not await client.hexists(KEYS.published, name)


async def _is_free(client: Redis) -> bool:
    return not await client.exists(KEYS.publisher)


@pytest.mark.parametrize("asked", ["candles:15m", "candles:1m", "trades"])
async def test_a_subscriber_of_a_symbol_on_demand_asks_for_it(
    feed: Served, client: Redis, redis_url: str, asked: str
) -> None:
    await Registry(client).add_symbol(Market(INSTRUMENT, {"kind": "venue", "venue": "LOCAL", "demand": "on_demand"}))
    async with subscribed(redis_url, f"{{{S}}}:{asked}"):
        await wait_until_async(lambda: client.exists(KEYS.demand))


async def test_channels_that_are_none_start_nothing_and_are_told_of_once(
    feed: Served, writer: Writer, client: Redis, redis_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    await writer.commit(writer.trade())
    wrong = [
        channel("5min"),
        channel("0m"),
        channel("x\n"),
        channel(""),
        channel("15m", "TEST:NOBODY"),
        channel("15m", "a"),
    ]
    async with subscribed(redis_url, *wrong, channel("15m")) as heard:
        for _ in range(3):
            await writer.commit(writer.trade())
            await has_heard(heard, writer.seq)
        # Looks go on meanwhile.
        await client.delete(KEYS.publisher)
        await wait_until_async(lambda: client.exists(KEYS.publisher))
        told = [record for record in caplog.records if record.levelname == "WARNING"]
        assert len([each for each in told if each.message == "channel not understood"]) == 5
        (vain,) = (each for each in told if each.message == "subscribers of Redis wait in vain")
        assert "TEST:NOBODY is not registered" in str(vain.__dict__["error"])
        assert await client.keys("*:publisher") == [KEYS.publisher.encode()]


async def test_a_symbol_that_is_registered_later_is_published_then(feed: Served, client: Redis, redis_url: str) -> None:
    async with subscribed(redis_url, channel("15m")) as heard:
        writer = await Writer.begun(client)
        await writer.commit(writer.trade())
        await has_heard(heard, 1)


async def test_a_feed_may_be_told_to_publish_nothing(
    writer: Writer, client: Redis, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("feed.publishing.publisher.LOOK_S", 0.05)
    await writer.commit(writer.trade())
    async with subscribed(redis_url, channel("15m")) as heard, served(redis_url, publish_derived=False) as silent:
        await silent.json(f"/v1/candles/{S}", timeframe="15m")
        assert not await client.exists(KEYS.publisher) and not heard.messages
        async with served(redis_url):
            await has_heard(heard, 1)
