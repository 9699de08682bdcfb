"""A disk that is full: said where one looks, nothing lost that was acknowledged, and over once there is room."""

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import redis

from common.errors import StoreUnavailable
from common.store import server
from common.store.client import commit_client
from infra.local import embedded
from tests.kit.processes.launched import fleet, port, project, ready_line, said_before
from tests.kit.served import Served, served
from tests.kit.store.own_server import own_server
from tests.kit.store.small_disk import SmallDisk, small_disk
from tests.kit.waiting import wait_until, wait_until_async
from tests.kit.writer import INSTRUMENT, Writer

pytestmark = pytest.mark.process

__all__ = ["port", "project"]


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    folder = tmp_path / "disk"
    folder.mkdir()
    with small_disk(folder) as found:
        yield found


async def test_a_store_that_can_write_no_more_is_told_of_and_goes_on_by_itself(
    disk: SmallDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "LOOK_EVERY_S", 0.02)
    flags = ("--appendonly", "yes", "--appendfsync", "everysec")
    with own_server(*flags, folder=disk.folder) as own:
        async with commit_client(own.url) as client, served(own.url) as feed:
            writer = await Writer.begun(client)
            await writer.commit(writer.trade())
            await wait_until_async(lambda: is_told(feed, []))
            disk.fill(own.process.pid)
            with pytest.raises(StoreUnavailable, match="MISCONF"):
                while True:
                    await writer.commit(writer.trade())
                    await client.set("filler", os.urandom(20_000))
            await wait_until_async(lambda: is_told(feed, ["disk"]))
            health = await feed.json("/v1/health")
            assert health["store"]["writable"] is False
            assert (health["symbols"][INSTRUMENT.symbol]["mode"], health["status"]) == ("DEGRADED", "degraded")
            disk.free(own.process.pid)
            await wait_until_async(lambda: is_told(feed, []), timeout_s=10)
            seq = (await feed.json("/v1/health"))["symbols"][INSTRUMENT.symbol]["seq"]
        own.process.kill()
    with own_server(*flags, folder=disk.folder) as again, again.client() as found:
        assert int(found.hget(f"{{{INSTRUMENT.symbol}}}:state", "seq") or 0) == seq


async def is_told(feed: Served, troubles: list[str]) -> bool:
    found = (await feed.json("/v1/health"))["store"]["troubles"]
    return [trouble["what"] for trouble in found] == troubles


def test_a_store_that_ends_at_every_write_is_revived_and_complained_of(
    disk: SmallDisk, project: Path, port: int
) -> None:
    """That is what `appendfsync always` does on a full disk: it acknowledges nothing that is not there."""
    data = disk.folder / "data"
    arguments = ("up", "--port", str(port), "--data", str(data), "--symbols", "none")
    with fleet(project, *arguments) as process:
        try:
            ready_line(process)
            url = embedded.locate(data)
            assert url
            disk.fill(process.pid if not disk.is_mounted else 0)
            written = [key for _ in range(3) for key in written_until_it_ends(url)]
            said = said_before(process, "the store had ended and runs again")
            # What it says goes to the same disk: where the last page of its log is full, there is no room for a word.
            assert "AOF" in said[-1] or "it said nothing" in said[-1]
            disk.free(process.pid)
            wait_until(lambda: written_until_it_ends(url, most=1), 30)
            with redis.Redis.from_url(url) as client:
                assert written and client.exists(*written) == len(written)
            process.terminate()
            rest, _ = process.communicate(timeout=5)
            assert process.returncode == 0
            # Once a minute, however often it happened.
            assert not any("runs again" in line or "unknown" in line for line in rest.splitlines())
        finally:
            embedded.stop(data)


def written_until_it_ends(url: str, most: int = 1_000) -> list[str]:
    """Keys that were acknowledged, until the server answers no more."""
    wait_until(lambda: answers(url), 30)
    keys: list[str] = []
    with suppress(redis.RedisError, OSError), redis.Redis.from_url(url, retry=None) as client:
        while len(keys) < most:
            key = os.urandom(8).hex()
            client.set(key, os.urandom(20_000))
            keys.append(key)
    return keys


def answers(url: str) -> bool:
    with suppress(redis.RedisError, OSError), redis.Redis.from_url(url, retry=None) as client:
        return bool(client.ping())
    return False
