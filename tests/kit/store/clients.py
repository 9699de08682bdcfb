"""A client of the real embedded server."""

from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis

from common.store.client import commit_client


@pytest.fixture
async def client(redis_url: str) -> AsyncIterator[Redis]:
    async with commit_client(redis_url) as made:
        yield made
