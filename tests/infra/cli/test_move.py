"""`fleet move`: a data folder's store to a Redis and back, also when it is killed, and what a feed answers then."""

import random
import signal
import time
from pathlib import Path
from typing import Any

import pytest
import redis

from common.market.timeframes.timeframe import DAY_MS, MINUTE_MS
from common.store.client import commit_client
from common.store.keys import MOVING
from infra.local import embedded
from tests.kit.asked import all_answers
from tests.kit.processes.command import Fleet
from tests.kit.served import served
from tests.kit.store.own_server import OwnServer, own_server
from tests.kit.writer import INSTRUMENT, Writer, some_trades

pytestmark = pytest.mark.process

# A market of 2023.
FIRST_MS = 1_700_006_400_000


async def write_market(url: str) -> None:
    """Days of trades: sealed, open, with events, gaps and late trades."""
    rng = random.Random(1)
    async with commit_client(url) as client:
        writer = await Writer.begun(client)
        await writer.register(kind="inbox")
        for day in range(3):
            times = (FIRST_MS + day * DAY_MS + number * 11 * MINUTE_MS for number in range(120))
            await writer.commit(*(writer.trade(at_ms, rng.randint(9_000, 11_000)) for at_ms in times))
        await writer.commit(writer.trade(FIRST_MS + 4 * DAY_MS))
        await writer.roll_up()
        await writer.commit(writer.trade(FIRST_MS + 5_000, 12_345))
        for _ in range(5):
            await writer.commit(*some_trades(writer, rng, 20))


async def answers(url: str) -> dict[Any, Any]:
    async with served(url) as feed:
        return await all_answers(feed, INSTRUMENT.symbol)


async def test_a_feed_answers_the_same_there_and_back_again(
    fleet: Fleet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The writer has not released the symbol: whether it lives is watched for so long.
    monkeypatch.setenv("FLEET_LEASE_TTL_MS", "300")
    there, back = tmp_path / "there", tmp_path / "back"
    with embedded.session(there) as url:
        await write_market(url)
        before = await answers(url)
    with own_server() as server:
        done = fleet("move", "--data", str(there), "--to", server.url)
        assert done.code == 0, done.err
        first, second = done.out.splitlines()
        assert f"keys moved from {there} to {server.url}; both were compared, and are the same" in first
        assert second == "next: set REDIS_URL to it, in fleet.env or the environment, then infra/up"
        assert done.err == "warning: the store keeps nothing on disk (appendonly no), expected appendonly yes\n"
        assert await answers(server.url) == before
        done = Fleet(server.url, fleet.data)("move", "--to", str(back))
        assert done.code == 0, done.err
        assert done.out.splitlines()[1] == f"next: infra/up --data {back}, without REDIS_URL"
    for folder in (there, back):
        with embedded.session(folder) as url:
            assert await answers(url) == before


def test_killed_and_run_again_it_goes_on(fleet: Fleet, tmp_path: Path) -> None:
    folder, keys = tmp_path / "data", 2_000
    with embedded.session(folder) as url, redis.Redis.from_url(url) as client:
        for number in range(keys):
            client.set(f"key:{number}", random.randbytes(20_000))
        with own_server() as server, server.client() as target:
            kills = 0
            while kill_soon(fleet, server, "--data", str(folder), "--to", server.url):
                kills += 1
                assert target.hget(MOVING, "from") == str(folder).encode()
                refused = Fleet(server.url, fleet.data)("symbols", "list")
                assert refused.code == 1 and f"the store is half moved from {folder}" in refused.err
            assert kills > 0
            assert target.dbsize() == client.dbsize() == keys
            for number in range(0, keys, 100):
                assert target.get(f"key:{number}") == client.get(f"key:{number}")


def kill_soon(fleet: Fleet, server: OwnServer, *arguments: str) -> bool:
    """Have a move write some more, and kill it; False if it has ended."""
    running = fleet.start("move", *arguments)
    with server.client() as target:
        before = target.dbsize()
        while running.poll() is None and target.dbsize() < before + 700:
            time.sleep(0.005)
    running.send_signal(signal.SIGKILL)
    running.communicate()
    return running.returncode == -signal.SIGKILL


def test_what_can_t_be_is_refused(fleet: Fleet, tmp_path: Path) -> None:
    nothing = fleet("move", "--from", str(tmp_path / "mistyped"), "--to", str(tmp_path / "new"))
    assert nothing.code == 2 and "has no store to move, expected a data folder that infra/up has made" in nothing.err
    assert not (tmp_path / "mistyped").exists() and not (tmp_path / "new").exists()
    elsewhere = fleet("move", "--to", "http://me:secret@there")
    assert elsewhere.code == 2 and "http://***@there is no store, expected redis://host:port/db" in elsewhere.err
    empty = fleet("move", "--to", str(tmp_path / "new"))
    assert empty.code == 2 and "the source has no keys: there is nothing to move" in empty.err
    with redis.Redis.from_url(fleet.url) as client:
        client.set("key", "1")
    itself = fleet("move", "--to", fleet.url)
    assert itself.code == 2 and "the target has 1 keys, expected an empty store" in itself.err
