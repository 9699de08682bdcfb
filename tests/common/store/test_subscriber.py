"""To listen is never over, whatever happens."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest
from redis.asyncio import Redis
from redis.asyncio.client import PubSub

from common.store.client import blocking_client, commit_client
from common.store.subscriber import Subscriber
from tests.kit.waiting import wait_until_async


@dataclass
class Ear:
    """What was heard. `fails`: texts that whoever is told can't take."""

    client: Redis
    heard: list[bytes] = field(default_factory=list)
    begun: int = 0
    outages: int = 0
    fails: set[bytes] = field(default_factory=set)

    def on_message(self, channel: str, data: bytes) -> None:
        self.heard.append(data)
        if data in self.fails:
            raise KeyError(f"no place for {data!r}")

    def on_subscribed(self, channel: str) -> None:
        self.begun += 1

    def on_outage(self) -> None:
        self.outages += 1

    async def tell(self, data: bytes) -> None:
        assert await self.client.publish("news", data) == 1


@asynccontextmanager
async def listening(redis_url: str) -> AsyncIterator[Ear]:
    async with blocking_client(redis_url) as pubsub, commit_client(redis_url) as client:
        ear = Ear(client)
        subscriber = Subscriber(pubsub, ear.on_message, ear.on_subscribed, ear.on_outage)
        subscriber.add("news")
        running = asyncio.create_task(subscriber.run())
        try:
            await wait_until_async(lambda: ear.begun == 1)
            yield ear
            assert not running.done()
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)


async def test_an_error_of_who_is_told_ends_a_connection_and_not_the_listening(
    redis_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with listening(redis_url) as ear:
        ear.fails = {b"2"}
        await ear.tell(b"1")
        await ear.tell(b"2")
        # What comes until then is not coming: it is told that the subscription has begun again.
        await wait_until_async(lambda: ear.begun == 2)
        await ear.tell(b"3")
        await wait_until_async(lambda: ear.heard == [b"1", b"2", b"3"])
        assert ear.outages == 1
    (record,) = [record for record in caplog.records if record.message == "subscription lost"]
    # It is a bug, and the log says where.
    assert record.exc_info


@pytest.mark.parametrize(
    "error", [ValueError("no answer of Redis"), RuntimeError("reader is closed"), AttributeError()]
)
async def test_an_error_of_the_library_that_is_no_outage_is_one(
    redis_url: str, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with listening(redis_url) as ear:
        parse, left = PubSub.parse_response, [error, error, error]

        async def failing(self: PubSub, *arguments: object, **options: object) -> object:
            if left:
                raise left.pop()
            return await parse(self, *arguments, **options)  # type: ignore[arg-type]

        monkeypatch.setattr(PubSub, "parse_response", failing)
        # Whoever waits for a message now waits in the old one.
        await ear.tell(b"1")
        await wait_until_async(lambda: ear.outages == 3 and ear.begun == 2)
        await ear.tell(b"2")
        await wait_until_async(lambda: ear.heard[-1] == b"2")
