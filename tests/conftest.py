"""Fixtures of every test. The real server is never skipped: it comes with the dependencies."""

import gc
import os
from collections.abc import Iterator

import pytest
import redis

from common.settings import FOREIGN_NAMES, PORT, PREFIX, REDIS_URL, variable
from infra.local import embedded
from tests.kit.clocks import FakeClock

pytest_plugins = (
    "tests.kit.selection",
    "tests.kit.calendars",
    "tests.kit.store.clients",
    "tests.kit.store.writing",
    "tests.kit.archive.s3",
)


def pytest_collection_finish() -> None:
    """What the tests themselves are is never garbage, and far fewer looks for some save an eighth of all the time."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 50, 100)


@pytest.fixture
def anyio_backend() -> str:
    """What async tests run on: what we run on."""
    return "asyncio"


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever runs the tests may have settings of a real fleet in the shell: not ours."""
    for name in list(os.environ):
        # COLUMNS: what is printed into a pipe would be folded, as on a terminal.
        if name in (REDIS_URL, PORT, "COLUMNS") or (name.startswith(PREFIX) and name not in FOREIGN_NAMES):
            monkeypatch.delenv(name)
    # A week of a simulated market takes seconds to make.
    monkeypatch.setenv(variable("simulated_days"), "0")


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a real server on a Unix socket, with its data in a temporary folder."""
    with embedded.session(tmp_path_factory.mktemp("fleet")) as url:
        yield url


@pytest.fixture
def redis_url(redis_server: str) -> str:
    """The URL of the real server, emptied."""
    with redis.Redis.from_url(redis_server) as client:
        client.flushall()
        client.script_flush()
    return redis_server


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()
