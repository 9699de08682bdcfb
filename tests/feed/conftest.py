"""Fixtures of the feed: a store, a writer, and a served feed that reads what is written."""

from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis

from common.store.client import commit_client
from tests.kit.served import Served, served
from tests.kit.writer import Writer


@pytest.fixture
async def client(redis_url: str) -> AsyncIterator[Redis]:
    made = commit_client(redis_url)
    yield made
    await made.aclose()


@pytest.fixture
async def writer(client: Redis) -> Writer:
    """A registered, claimed symbol without a commit."""
    return await Writer.begun(client)


@pytest.fixture
async def feed(redis_url: str) -> AsyncIterator[Served]:
    async with served(redis_url) as found:
        yield found
