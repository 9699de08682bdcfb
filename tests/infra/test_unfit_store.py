"""Every process of the fleet, on a store that it must not work with, and the launcher on one that it should not."""

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from infra.local import procfile
from infra.paths import ROOT
from tests.kit.processes.launched import fleet, port, project, ready_line, said_before, stop
from tests.kit.store.own_server import OwnServer, own_server
from tests.kit.waiting import wait_until

pytestmark = pytest.mark.process

__all__ = ["port", "project"]

REFUSAL = (
    "the store may evict keys (maxmemory-policy allkeys-lru), expected noeviction;"
    " FLEET_UNSAFE_STORE=1 works with it all the same\n"
)
KINDS = {kind: command.split()[1:] for kind, command in procfile.read(ROOT / "Procfile").items()}
COMMANDS = {
    "symbols": ["-m", "infra.cli", "symbols", "list"],
    "up": ["-m", "infra.cli", "up", "--symbols", "none"],
    "replay": "-m infra.cli replay FILE --symbol T:A --price-decimals 2 --size-decimals 8".split(),
}


@pytest.fixture(scope="module")
def evicting() -> Iterator[OwnServer]:
    flags = ("--appendonly", "yes", "--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru")
    with own_server(*flags) as found:
        yield found


def environ(url: str, port: int, **more: str) -> dict[str, str]:
    return {**os.environ, "REDIS_URL": url, "PORT": str(port), **more}


@pytest.mark.parametrize("kind", [*KINDS, *COMMANDS])
def test_no_process_starts_on_a_store_that_evicts(evicting: OwnServer, kind: str, port: int, tmp_path: Path) -> None:
    file = tmp_path / "trades.csv"
    file.write_text("ts_ms,price,size,side,id\n1700000000000,1,1,buy,1\n")
    command = [sys.executable, *(str(file) if word == "FILE" else word for word in (KINDS | COMMANDS)[kind])]
    done = subprocess.run(
        command, env=environ(evicting.url, port), cwd=ROOT, capture_output=True, text=True, timeout=30, check=False
    )
    assert (done.returncode, done.stderr.removeprefix("fleet: ")) == (1, REFUSAL)
    with evicting.client() as client:
        assert client.dbsize() == 0


@pytest.mark.parametrize("kind", ["web", "worker"])
def test_one_that_was_started_before_the_store_ends_when_it_has_seen_it(kind: str, port: int) -> None:
    with tempfile.TemporaryDirectory(prefix="fleet-test-") as folder:
        path = Path(folder) / "s"
        process = subprocess.Popen(
            [sys.executable, *KINDS[kind]],
            env=environ(f"unix://{path}", port),
            cwd=ROOT,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            with own_server("--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru") as evicting:
                path.symlink_to(evicting.socket)
                _, said = process.communicate(timeout=30)
        finally:
            process.kill()
            process.communicate()
    assert process.returncode == 1
    assert said.endswith(REFUSAL) and "Traceback" not in said


def test_unsafe_is_possible_on_purpose(evicting: OwnServer, port: int) -> None:
    process = subprocess.Popen(
        [sys.executable, *KINDS["worker"]], env=environ(evicting.url, port, FLEET_UNSAFE_STORE="1"), cwd=ROOT
    )
    try:
        with evicting.client() as client:
            wait_until(lambda: client.zcard("{}:workers"), 30)
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
    finally:
        process.kill()
        process.wait()


def test_the_launcher_says_in_one_line_what_is_wrong_with_the_store(project: Path, port: int) -> None:
    arguments = ("up", "--port", str(port), "--data", str(project / "data"), "--symbols", "none")
    with own_server("--appendonly", "yes") as own, fleet(project, *arguments, REDIS_URL=own.url) as process:
        ready_line(process)
        with own.client() as client:
            client.config_set("appendonly", "no")
            (said,) = said_before(process, "keeps nothing on disk")[-1:]
            assert said == "fleet    | the store keeps nothing on disk (appendonly no), expected appendonly yes"
            client.replicaof("127.0.0.1", "1")
            (said,) = said_before(process, "replica")
            assert said == "fleet    | the store is a replica and takes no writes, expected its primary"
        stop(process)


def test_the_launcher_says_the_last_words_of_a_store_that_died(project: Path, port: int) -> None:
    arguments = ("up", "--port", str(port), "--data", str(project / "data"), "--symbols", "none")
    with fleet(project, *arguments) as process:
        ready_line(process)
        with redis.Redis.from_url(f"unix://{project}/data/store/s") as client:
            # It goes in order, as after a SIGTERM from outside.
            os.kill(int(client.info("server")["process_id"]), signal.SIGTERM)
        (said,) = said_before(process, "the store had ended and runs again")[-1:]
        assert "it said last: Valkey is now ready to exit" in said and "server.log.1)" in said
        stop(process)
