"""The fixture of tests that run twice: on fakeredis (with Lua) and on the real embedded server."""

from collections.abc import AsyncIterator

import pytest
from fakeredis import FakeServer
from fakeredis.aioredis import FakeRedis
from redis.asyncio import Redis

from common.store.client import commit_client


@pytest.fixture(params=["fakeredis", "real"])
async def client(request: pytest.FixtureRequest, redis_url: str) -> AsyncIterator[Redis]:
    made = fake() if request.param == "fakeredis" else commit_client(redis_url)
    yield made
    await made.aclose()


def fake() -> Redis:
    """A server of its own: by default all fakes of a process share one."""
    made: Redis = FakeRedis(server=FakeServer(), protocol=3)
    return made
