"""The right to publish a symbol, and what is written by whoever has it."""

from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis

from common.store.client import commit_client
from common.store.keys import SymbolKeys
from common.store.publishing import PROGRESS_KEPT_MS, TERM_MS, Latest, Publishing, RightLost, ToldTo
from tests.kit.subscribing import subscribed
from tests.kit.waiting import wait_until_async

S = "V:A"
KEYS, CHANNEL = SymbolKeys(S), "{V:A}:candles:15m"
AT = ToldTo(7, "a" * 32, 1_700_000_000_000)


@pytest.fixture
async def client(redis_url: str) -> AsyncIterator[Redis]:
    """Of the real server alone: subscribers listen there."""
    async with commit_client(redis_url) as made:
        yield made


def value(seq: int, token: str = "a" * 32, name: str = "ohlcv:15m") -> Latest:
    return Latest(name, b'{"ts":1,"seq":%d,"token":"%s"}' % (seq, token.encode()), seq, token, 1_800_000)


async def test_one_has_the_right_until_it_is_given_up_or_expires(client: Redis) -> None:
    publishing = Publishing(client)
    assert await publishing.take(S, "one") and not await publishing.take(S, "other")
    assert 0 < await client.pttl(KEYS.publisher) <= TERM_MS
    assert await publishing.keep(S, "one") and not await publishing.keep(S, "other")
    await publishing.release(S, "other")
    assert await publishing.keep(S, "one")
    await publishing.release(S, "one")
    # Lost for a moment is lost: another may have published in between.
    assert not await publishing.keep(S, "one") and await publishing.take(S, "other")


async def test_only_who_has_the_right_publishes_and_how_far_goes_with_the_words(client: Redis, redis_url: str) -> None:
    publishing = Publishing(client)
    one, other = publishing.of(S, "one"), publishing.of(S, "other")
    await publishing.take(S, "one")
    async with subscribed(redis_url, CHANNEL) as heard:
        assert await publishing.channels() == [CHANNEL]
        await one.publish(CHANNEL, [b'{"seq":7,"bars":[]}', b'{"seq":7,"bars":[{"t":1}]}'], AT)
        for word in ([b'{"seq":8,"bars":[]}'], []):
            with pytest.raises(RightLost):
                await other.publish(CHANNEL, word, AT._replace(seq=8), value(8))
        assert await other.progress() == {"candles:15m": AT}
        assert 0 < await client.pttl(KEYS.published) <= PROGRESS_KEPT_MS
        assert not await client.exists(KEYS.latest("ohlcv:15m"))
        await one.publish(CHANNEL)
        assert await one.progress() == {}
        await wait_until_async(lambda: len(heard.messages) == 2)
        assert [len(message["bars"]) for message in heard.messages] == [0, 1]


async def test_a_newest_value_is_not_replaced_by_an_older_one_of_the_same_writer(client: Redis) -> None:
    publishing = Publishing(client)
    await publishing.take(S, "one")
    one, key = publishing.of(S, "one"), KEYS.latest("ohlcv:15m")
    for given, kept in ((9, 9), (8, 9), (10, 10)):
        await one.publish(CHANNEL, latest=value(given))
        assert await client.get(key) == value(kept).value
    # Of a store that went back in time: another writer's.
    await one.publish(CHANNEL, latest=value(3, "b" * 32))
    assert await client.get(key) == value(3, "b" * 32).value
    assert 1_790_000 < await client.pttl(key) <= 1_800_000


async def test_who_listens_to_a_pattern_or_to_what_feeds_tell_each_other_is_not_seen(
    client: Redis, redis_url: str
) -> None:
    async with subscribed(redis_url, KEYS.commits, KEYS.depth, KEYS.events, "candles:15m"), client.pubsub() as pattern:
        await pattern.psubscribe("{V:A}:candles:*")
        assert await Publishing(client).channels() == []
