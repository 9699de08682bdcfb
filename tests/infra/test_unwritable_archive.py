"""An archive that can't be written: DEGRADED with its reason, told once, and over once something is written."""

import re
import signal
import time
from collections.abc import Iterator
from glob import glob
from pathlib import Path

import orjson
import pytest
import redis

from common.store.client import commit_client
from common.store.jobs import Jobs
from common.store.keys import ARCHIVE_TROUBLE
from tests.infra.cli.conftest import fleet
from tests.kit.processes.command import Fleet
from tests.kit.processes.launched import fleet as launched
from tests.kit.processes.launched import port, project, said_before
from tests.kit.processes.rollup import START_S, clock, rollup_of_fleet
from tests.kit.served import served
from tests.kit.waiting import wait_until_async
from tests.kit.writer import Writer

pytestmark = pytest.mark.process

__all__ = ["fleet", "port", "project"]


@pytest.fixture
def archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Below a file, until that is removed: root may write into any folder."""
    (tmp_path / "file").touch()
    monkeypatch.setenv("FLEET_JOB_RETRY_MS", "50")
    yield tmp_path / "file" / "archive"


async def test_health_and_doctor_say_so_until_something_is_written(redis_url: str, archive: Path, fleet: Fleet) -> None:
    async with commit_client(redis_url) as client, served(redis_url, archive_url=str(archive)) as feed:

        async def is_degraded() -> bool:
            return (await feed.json("/v1/health"))["archive"]["mode"] == "DEGRADED"  # type: ignore[no-any-return]

        async def is_well() -> bool:
            return (await feed.json("/v1/health"))["archive"] == well  # type: ignore[no-any-return]

        well = {"on": True, "where": str(archive), "mode": "LIVE", "reason": None}
        writer = await Writer.begun(client)
        await writer.commit(writer.trade())
        assert await is_well()
        with rollup_of_fleet(redis_url, archive), clock(redis_url, FLEET_ARCHIVE_URL=str(archive)):
            await wait_until_async(is_degraded, START_S)
            found = await feed.json("/v1/health")
            assert found["status"] == "degraded"
            assert re.fullmatch(f"archive {archive}/.*: Not a directory", found["archive"]["reason"])
            assert "DEGRADED: archive" in " ".join(fleet("doctor").out.split())
            archive.parent.unlink()
            await wait_until_async(is_well, START_S)
        assert glob(f"{archive}/*/*/*.parquet") and not await client.exists(ARCHIVE_TROUBLE)


def test_the_launcher_says_it_before_anything_starts_and_health_knows_from_then_on(
    project: Path, port: int, redis_url: str, archive: Path
) -> None:
    run = ("up", "--port", str(port), "--data", str(project / "data"), "--symbols", "none")
    with launched(project, *run, REDIS_URL=redis_url, FLEET_ARCHIVE_URL=str(archive)) as process:
        said = "".join(said_before(process, "Fleet ready"))
        assert said.count("DEGRADED") == 1 and f"archive is DEGRADED: {archive} can't be written (Not a" in said
        with redis.Redis.from_url(redis_url) as client:
            assert client.get(ARCHIVE_TROUBLE) == f"{archive} can't be written (Not a directory)".encode()
    archive.parent.unlink()
    with launched(project, *run, REDIS_URL=redis_url, FLEET_ARCHIVE_URL=str(archive)) as process:
        assert "DEGRADED" not in "".join(said_before(process, "Fleet ready"))
        with redis.Redis.from_url(redis_url) as client:
            assert client.get(ARCHIVE_TROUBLE) is None


async def test_what_others_found_is_said_of_a_fleet_with_an_archive_alone(redis_url: str) -> None:
    async with commit_client(redis_url) as client, served(redis_url) as feed:
        await Jobs(client).archive_fails("gone")
        found = await feed.json("/v1/health")
        assert (found["status"], found["archive"]["mode"]) == ("ok", None)


def test_an_import_that_waits_for_it_says_so_once(
    fleet: Fleet, archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "trades.csv").write_text("ts_ms,price,size,side,id\n1736690400123,1,1,buy,1\n1736790400123,1,1,buy,2\n")
    monkeypatch.setenv("FLEET_ARCHIVE_URL", str(archive))
    monkeypatch.setenv("FLEET_LEASE_TTL_MS", "400")
    run = ("--symbol", "MY:BTC", "--price-decimals", "2", "--size-decimals", "0")
    with fleet.start("import", "trades", str(tmp_path / "trades.csv"), *run) as process:
        assert process.stderr
        first = orjson.loads(process.stderr.readline())
        # It is tried some twenty times meanwhile.
        time.sleep(0.5)
        process.send_signal(signal.SIGINT)
        _, rest = process.communicate()
    assert first["event"] == "lost" and str(archive) in first["error"]
    assert "lost" not in rest
