"""Three feeds as processes: one of them publishes, and when it is killed another goes on."""

import asyncio
import signal
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import httpx2
import pytest
from redis.asyncio import Redis

from common.store.keys import SymbolKeys
from tests.kit.processes.feed import Running, running_feed
from tests.kit.subscribing import Heard, subscribed, wrongs
from tests.kit.waiting import wait_until_async
from tests.kit.writer import INSTRUMENT, START_MS, Writer

pytestmark = pytest.mark.process

S, MINUTE_MS = INSTRUMENT.symbol, 60_000
KEYS, CHANNEL = SymbolKeys(S), f"{{{S}}}:candles:15m"
# What is promised; a busy machine may add to it, so the promise itself is a row of the bench.
TAKEN_OVER_S, ENDED_S, SLACK_S = 12.0, 5.0, 8.0


@pytest.fixture
async def feeds(redis_url: str, writer: Writer, tmp_path: Path) -> AsyncIterator[list[Running]]:
    async with AsyncExitStack() as stack:
        folders = [tmp_path / str(number) for number in range(3)]
        for folder in folders:
            folder.mkdir()
        opening = (stack.enter_async_context(running_feed(redis_url, folder)) for folder in folders)
        yield list(await asyncio.gather(*opening))


async def who_publishes(feeds: list[Running]) -> list[Running]:
    """Those that have published more than nothing."""
    alive = [feed for feed in feeds if feed.process.poll() is None]
    counts = [await feed.metric("feed_redis_messages_total") for feed in alive]
    return [feed for feed, count in zip(alive, counts, strict=True) if count]


async def has_heard(heard: Heard, seq: int, timeout_s: float = 15.0) -> None:
    await wait_until_async(lambda: heard.messages and heard.messages[-1]["seq"] >= seq, timeout_s)


@pytest.mark.timeout(120)
async def test_three_feeds_publish_once_and_a_killed_one_is_followed_by_another_that_leaves_nothing_out(
    feeds: list[Running], writer: Writer, client: Redis, redis_url: str
) -> None:
    await writer.commit(writer.trade())
    async with subscribed(redis_url, CHANNEL) as heard:
        await has_heard(heard, 1)
        for number in range(1, 20):
            await writer.commit(writer.trade(START_MS + number * 5 * MINUTE_MS, ticks=10_000 + number))
        await has_heard(heard, writer.seq)
        (publishing,) = await who_publishes(feeds)
        known = len(heard.messages)
        publishing.process.send_signal(signal.SIGKILL)
        killed_s = time.monotonic()
        for number in range(20, 40):
            await writer.commit(writer.trade(START_MS + number * 5 * MINUTE_MS, ticks=10_000 + number))
        await writer.commit(writer.trade(START_MS, ticks=5))
        await has_heard(heard, writer.seq, TAKEN_OVER_S + SLACK_S)
        assert time.monotonic() - killed_s < TAKEN_OVER_S + SLACK_S
        # In its first word: the amended bar, then all that closed meanwhile, the oldest first.
        amended, others = heard.messages[known : known + 2]
        assert (amended["type"], others["type"]) == ("amend", "candle")
        told = [bar["t"] for bar in others["bars"]]
        assert told == sorted(told) and len(told) >= 7
        (other,) = await who_publishes(feeds)
        async with httpx2.AsyncClient() as http:
            answer = (await http.get(f"http://127.0.0.1:{other.port}/v1/candles/{S}?timeframe=15m")).json()
        assert wrongs(heard, answer["bars"]) == []
        # The check sees what it is there for.
        lost = heard.messages.pop()
        for bar in lost["bars"]:
            heard.bars.pop(bar["t"], None)
        assert wrongs(heard, answer["bars"]) != []
    left_s = time.monotonic()
    await wait_until_async(lambda: _nobody(client), ENDED_S + SLACK_S)
    assert time.monotonic() - left_s < ENDED_S + SLACK_S


async def _nobody(client: Redis) -> bool:
    return not await client.exists(KEYS.publisher, KEYS.published)
