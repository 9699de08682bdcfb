"""A writer of the tests' symbol, of the kind that a module says."""

from typing import Any

import pytest
from redis.asyncio import Redis

from tests.kit.writer import Writer


@pytest.fixture
def writer_options() -> dict[str, Any]:
    """What a module's writer has beyond the usual: to be overridden there."""
    return {}


@pytest.fixture
async def writer(client: Redis, writer_options: dict[str, Any]) -> Writer:
    """Of a symbol that is registered and claimed, without a commit."""
    return await Writer.begun(client, **writer_options)
