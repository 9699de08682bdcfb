"""`python -m workers` as a process: it serves the wanted fleet, and it ends in order."""

import asyncio
import signal
from collections.abc import Iterator

import orjson
import pytest
import redis

from common.market.instrument import Instrument
from common.settings import Settings
from common.store.keys import SymbolKeys
from common.store.registry import Market, open_store
from tests.kit.processes import hanging_main
from tests.kit.processes.worker import start
from tests.kit.store.leaks import leaks
from tests.kit.waiting import wait_until
from workers.run import SETTINGS_VARIABLE, WorkerSettings

pytestmark = pytest.mark.process

SYMBOLS = ("SIM:A", "SIM:B")
# A lease outlasts this test: what is freed, was released.
LEASE_MS = 60_000


@pytest.fixture
def store(redis_url: str) -> "Iterator[redis.Redis]":
    asyncio.run(want(redis_url))
    with redis.Redis.from_url(redis_url, decode_responses=False) as client:
        yield client


async def want(url: str) -> None:
    async with open_store(url) as registry:
        for symbol in SYMBOLS:
            await registry.add_symbol(Market(Instrument(symbol, 2, 3, "contiguous"), {"kind": "simulator"}))


def seq(store: redis.Redis, symbol: str) -> int:
    return int(store.hget(SymbolKeys(symbol).state, "seq") or 0)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_worker_serves_its_symbols_and_gives_them_back_when_told_to_stop(
    store: redis.Redis, redis_url: str, number: signal.Signals
) -> None:
    worker = start(REDIS_URL=redis_url, FLEET_SYMBOLS_PER_WORKER="2", FLEET_LEASE_TTL_MS=str(LEASE_MS))
    try:
        wait_until(lambda: all(seq(store, symbol) > 3 for symbol in SYMBOLS), 20)
        worker.send_signal(number)
        _, log = worker.communicate(timeout=5)
    finally:
        worker.kill()
        worker.communicate()
    assert worker.returncode == 0, log
    assert [store.hget(SymbolKeys(symbol).owner, "token") for symbol in SYMBOLS] == [b"", b""]
    assert leaks(redis_url) == []


def test_a_setting_that_does_not_exist_stops_the_start_with_a_sentence(redis_url: str) -> None:
    worker = start(REDIS_URL=redis_url, FLEET_LEASE_TTL="6000")
    _, log = worker.communicate(timeout=20)
    assert worker.returncode == 1
    assert log == "FLEET_LEASE_TTL is not a setting; the nearest valid name is FLEET_LEASE_TTL_MS\n"


def test_a_worker_without_a_store_says_what_to_do() -> None:
    worker = start()
    _, log = worker.communicate(timeout=20)
    assert worker.returncode == 1
    assert log.startswith("REDIS_URL is not set") and log.count("\n") == 1


def test_a_worker_whose_loop_hangs_ends_with_code_70_and_says_where(redis_url: str) -> None:
    """Its lease is lost by then, and a spare goes on; but for this it would hold its memory and its place for ever."""

    async def want_hanging() -> None:
        async with open_store(redis_url) as registry:
            await registry.add_symbol(Market(Instrument("HANG:A", 2, 3, "contiguous"), {"kind": hanging_main.KIND}))

    asyncio.run(want_hanging())
    made = WorkerSettings.of(Settings(), redis_url=redis_url, lease_ttl_ms=1_000, log_format="json")
    settings = orjson.dumps(made).decode()
    worker = start("tests.kit.processes.hanging_main", **{SETTINGS_VARIABLE: settings})
    try:
        _, log = worker.communicate(timeout=30)
    finally:
        worker.kill()
    assert worker.returncode == 70, log
    (last,) = [line for line in map(orjson.loads, log.splitlines()) if line["level"] == "critical"]
    assert last["event"] == "event loop hangs, process ends" and "in read" in last["stack"]
    with redis.Redis.from_url(redis_url) as client:
        assert seq(client, "HANG:A") == 1
