"""Every store test runs on both servers."""

import pytest
from redis.asyncio import Redis

from common.store.commit import StreamBounds
from common.store.reads import SymbolReader
from common.store.symbol import SymbolStore
from tests.kit.store.both import client
from tests.kit.store.steps import SYMBOL

__all__ = ["client"]


@pytest.fixture
def store(client: Redis) -> SymbolStore:
    return SymbolStore(client, SYMBOL, StreamBounds(trades=1_000, events=1_000))


@pytest.fixture
def reader(client: Redis) -> SymbolReader:
    return SymbolReader(client, SYMBOL)
