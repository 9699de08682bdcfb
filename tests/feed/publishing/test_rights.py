"""Of two feeds that both take a symbol to be theirs, one speaks; and what was not told by one is told by the next."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
from redis.asyncio import Redis

from common.store.client import blocking_client, commit_client
from common.store.keys import SymbolKeys
from common.store.publishing import SymbolPublishing
from feed.metrics import Metrics
from feed.publishing.publisher import DerivedPublisher
from feed.queries.queries import Queries
from feed.stream.hub import Hub
from tests.kit.served import Served
from tests.kit.subscribing import Heard, subscribed, wrongs
from tests.kit.waiting import wait_until_async
from tests.kit.writer import INSTRUMENT, START_MS, Writer, random_step
from tests.scale import scaled

KEYS, MINUTE_MS = SymbolKeys(INSTRUMENT.symbol), 60_000
LEASE_TTL_MS, DEMAND_MS = 6_000, 30_000


@asynccontextmanager
async def publisher(redis_url: str) -> AsyncIterator[DerivedPublisher]:
    """Of a feed that looks when it is told to."""
    async with commit_client(redis_url) as client, blocking_client(redis_url) as pubsub:
        queries, metrics = Queries(client, LEASE_TTL_MS), Metrics()
        hub = Hub(queries, pubsub, metrics, DEMAND_MS)
        hearing = asyncio.create_task(hub.run())
        made = DerivedPublisher(queries, hub, metrics)
        try:
            yield made
        finally:
            await made.close()
            hub.close()
            hearing.cancel()
            await asyncio.gather(hearing, return_exceptions=True)
            queries.workers.close()


async def taken_over(client: Redis, by: DerivedPublisher) -> None:
    """The right expires, as of a feed that was paused or killed; the other feed looks first."""
    await client.delete(KEYS.publisher)
    await by.look()
    assert by.symbols == {INSTRUMENT.symbol}


async def has_heard(heard: Heard, seq: int) -> None:
    await wait_until_async(lambda: heard.messages and heard.messages[-1]["seq"] >= seq)


async def under_fire(
    feed: Served, writer: Writer, client: Redis, redis_url: str, timeframe: str, seed: int
) -> list[str]:
    """Commits of all kinds while two feeds take the right from each other. Return what is wrong with what was heard."""
    rng = random.Random(seed)
    await writer.commit(writer.trade())
    async with (
        publisher(redis_url) as one,
        publisher(redis_url) as other,
        subscribed(redis_url, f"{{{INSTRUMENT.symbol}}}:candles:{timeframe}") as heard,
    ):
        for _ in range(25):
            if rng.random() < 0.3:
                await taken_over(client, rng.choice((one, other)))
            if rng.random() < 0.2:
                await rng.choice((one, other)).look()
            for _ in range(rng.randint(1, 3)):
                await random_step(writer, rng)
        await taken_over(client, one)
        await writer.commit(writer.trade(writer.now_ms + MINUTE_MS))
        await has_heard(heard, writer.seq)
        # Whoever still believes to have the right speaks by then as well.
        await other.look()
        answer = await feed.json(f"/v1/candles/{INSTRUMENT.symbol}", timeframe=timeframe, limit=10_000)
    return wrongs(heard, answer["bars"])


@pytest.fixture(params=["15m", "20s"])
def timeframe(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(autouse=True)
def _no_looks_of_the_feed_that_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    async def none(self: DerivedPublisher) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(DerivedPublisher, "run", none)


@pytest.mark.parametrize("seed", range(scaled(5)))
async def test_however_often_the_right_changes_hands_every_bar_is_told_once_and_none_is_missing(
    feed: Served, writer: Writer, client: Redis, redis_url: str, timeframe: str, seed: int
) -> None:
    assert await under_fire(feed, writer, client, redis_url, timeframe, seed) == []


def forgetful(monkeypatch: pytest.MonkeyPatch) -> None:
    async def nothing(self: SymbolPublishing) -> dict[str, object]:
        return {}

    monkeypatch.setattr(SymbolPublishing, "progress", nothing)


def without_a_right(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("feed.publishing.publisher.new_token", lambda: "of everybody")


@pytest.mark.parametrize("broken", [forgetful, without_a_right])
async def test_without_the_right_or_without_what_was_told_it_is_found_out(
    feed: Served,
    writer: Writer,
    client: Redis,
    redis_url: str,
    monkeypatch: pytest.MonkeyPatch,
    broken: Callable[[pytest.MonkeyPatch], None],
) -> None:
    broken(monkeypatch)
    assert await under_fire(feed, writer, client, redis_url, "20s", 0)


async def test_a_feed_that_lost_its_right_says_nothing_more_and_the_other_tells_the_rest_oldest_first(
    writer: Writer, client: Redis, redis_url: str
) -> None:
    await writer.commit(writer.trade())
    async with (
        publisher(redis_url) as one,
        publisher(redis_url) as other,
        subscribed(redis_url, f"{{{INSTRUMENT.symbol}}}:candles:5m") as heard,
    ):
        await one.look()
        await other.look()
        assert one.symbols and not other.symbols
        await has_heard(heard, 1)
        await client.delete(KEYS.publisher)
        for minutes in (6, 12, 18):
            await writer.commit(writer.trade(START_MS + minutes * MINUTE_MS))
        assert len(heard.messages) == 1
        await other.look()
        await has_heard(heard, 4)
        told = [bar["t"] for bar in heard.messages[1]["bars"]]
        assert told == sorted(told) and len(told) == 4
        await one.look()
        assert not one.symbols


async def test_what_the_trade_stream_does_not_reach_back_to_is_told_all_the_same(
    writer: Writer, client: Redis, redis_url: str
) -> None:
    await writer.commit(writer.trade())
    async with (
        publisher(redis_url) as one,
        publisher(redis_url) as other,
        subscribed(redis_url, f"{{{INSTRUMENT.symbol}}}:candles:5m") as heard,
    ):
        await one.look()
        await has_heard(heard, 1)
        await client.delete(KEYS.publisher)
        for minutes in range(6, 66, 6):
            await writer.commit(writer.trade(START_MS + minutes * MINUTE_MS))
        await client.xtrim(KEYS.trades, maxlen=3, approximate=False)
        await other.look()
        await has_heard(heard, writer.seq)
        assert len(heard.bars) == 11 and len(heard.closed) == len(set(heard.closed)) == 10


async def test_a_feed_that_ends_hands_over_at_once(writer: Writer, client: Redis, redis_url: str) -> None:
    await writer.commit(writer.trade())
    async with publisher(redis_url) as other:
        async with subscribed(redis_url, f"{{{INSTRUMENT.symbol}}}:candles:5m") as heard:
            async with publisher(redis_url) as one:
                await one.look()
                await has_heard(heard, 1)
            assert await client.exists(KEYS.published)
            await writer.commit(writer.trade(START_MS + 6 * MINUTE_MS))
            await other.look()
            await has_heard(heard, 2)
            assert [bar["isFinal"] for bar in heard.messages[-1]["bars"]] == [True, False]
