"""What the jobs write to."""

import pytest
from redis.asyncio import Redis

from common.store.rollups import RollupStore
from tests.kit.writer import INSTRUMENT


@pytest.fixture
def store(client: Redis) -> RollupStore:
    return RollupStore(client, INSTRUMENT.symbol)
