"""One exchange for all tests of a module that only look."""

from collections.abc import AsyncIterator

import pytest

from infra.exchange import Rules
from tests.kit.clocks import FakeClock
from tests.kit.exchange import Served, served, still


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
async def one(anyio_backend: str) -> AsyncIterator[Served]:
    # A clock that stands still: no minute ends between two requests.
    rules = Rules(weight_limit=1_000_000, message_limit=1_000_000)
    async with served(still(rules=rules, clock=FakeClock(), history_ms=10_000)) as running:
        yield running
