"""The `fleet` command: help, exit codes, and errors in one sentence."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Thread

import pytest
import redis

from common.store.jobs import QUEUED, failure
from common.store.keys import FAILURES
from infra import cli
from infra.cli.commands import COMMANDS
from infra.local import embedded
from tests.kit.processes.worker import start

Fleet = Callable[..., "Result"]


@dataclass
class Result:
    code: int
    out: str
    err: str


@pytest.fixture
def fleet(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Fleet:
    """Run a command line; return what it said and its exit code."""

    def run(*arguments: str) -> Result:
        monkeypatch.setattr(sys, "argv", ["fleet", *arguments])
        with pytest.raises(SystemExit) as caught:
            cli.main()
        said = capsys.readouterr()
        return Result(int(caught.value.code or 0), said.out, said.err)

    return run


@pytest.fixture
def beating(redis_url: str) -> Iterator[redis.Redis]:
    """A store with one symbol whose worker shows signs of life."""
    stop = Event()

    def beat() -> None:
        with redis.Redis.from_url(redis_url) as mine:
            while not stop.wait(0.05):
                mine.hincrby("{A:B}:owner", "beats", 1)

    with redis.Redis.from_url(redis_url) as client:
        client.hset("symbols", "A:B", "{}")
        client.hset("{A:B}:owner", mapping={"token": "t", "holder": "here:1", "epoch": 4, "beats": 1})
        thread = Thread(target=beat)
        thread.start()
        try:
            yield client
        finally:
            stop.set()
            thread.join()


def test_every_command_explains_itself_with_an_example(fleet: Fleet) -> None:
    commands = [name for name, command in COMMANDS.items() if not command.place.endswith(":app")]
    assert {"up", "settings", "doctor"} <= set(commands)
    for command in commands:
        shown = fleet(str(command), "--help")
        assert shown.code == 0
        assert "Example" in shown.out
        assert f"fleet {command}" in shown.out


@pytest.mark.parametrize("name", COMMANDS)
def test_the_list_of_commands_says_of_each_what_its_own_help_begins_with(name: str, fleet: Fleet) -> None:
    said = " ".join(fleet(name, "--help").out.split())
    assert COMMANDS[name].summary.split(". ")[0] in said


def test_without_a_command_the_help_is_shown(fleet: Fleet) -> None:
    shown = fleet()
    assert "Usage" in shown.out + shown.err
    assert "doctor" in shown.out + shown.err


@pytest.mark.parametrize(
    "arguments",
    [
        ("up", "--port", "0"),
        ("up", "--port", "x"),
        ("up", "--symbols", "A/B"),
        ("up", "--venue", "mtgox", "A"),
        ("up", "A"),
        ("doctor", "--no"),
        ("rebuild", "A", "--from", "yesterday"),
        ("rebuild", "A", "--from", "2024-02-01", "--to", "2024-01-31"),
        ("archive", "verify", "--series", "books"),
        ("dance",),
    ],
)
def test_bad_input_is_exit_code_2_without_a_traceback(fleet: Fleet, arguments: tuple[str, ...]) -> None:
    shown = fleet(*arguments)
    assert shown.code == 2
    assert "Traceback" not in shown.err
    assert shown.out == ""


def test_our_errors_are_one_line(fleet: Fleet) -> None:
    shown = fleet("up", "--symbols", "A/B")
    assert shown.err == "fleet: symbol 'A/B' is not 1 to 32 characters of A-Z, 0-9 and :_.-\n"


def test_a_wrong_environment_is_exit_code_1(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLEET_LEASE_TTL", "1")
    shown = fleet("settings")
    assert shown.code == 1
    assert shown.err == "fleet: FLEET_LEASE_TTL is not a setting; the nearest valid name is FLEET_LEASE_TTL_MS\n"


@pytest.mark.process
def test_the_command_is_installed() -> None:
    shown = subprocess.run(
        [Path(sys.executable).parent / "fleet", "settings"], capture_output=True, text=True, check=True
    )
    assert "FLEET_LEASE_TTL_MS" in shown.stdout


def test_settings_marks_what_was_changed(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLEET_LEASE_TTL_MS", "3000")
    (line,) = [line for line in fleet("settings").out.splitlines() if "FLEET_LEASE_TTL_MS" in line]
    assert line.split()[:4] == ["FLEET_LEASE_TTL_MS", "*", "3000", "6000"]


def test_without_an_archive_there_is_nothing_to_list_or_verify(fleet: Fleet) -> None:
    for command in ("list", "verify"):
        shown = fleet("archive", command)
        assert (shown.code, shown.err) == (1, "fleet: FLEET_ARCHIVE_URL is not set: there is no archive\n")


def test_a_day_without_minutes_is_not_rebuilt(fleet: Fleet, redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_URL", redis_url)
    unknown = fleet("rebuild", "A:B", "--from", "2024-02-01")
    assert (unknown.code, unknown.err) == (2, "fleet: symbol A:B is not there: fleet symbols list\n")
    assert fleet("symbols", "add", "A:B", "--source", "inbox").code == 0
    shown = fleet("rebuild", "A:B", "--from", "2024-02-01")
    assert (shown.code, shown.out) == (1, "A:B: 0 days marked\n")


def test_doctor_finds_a_healthy_fleet_healthy(
    fleet: Fleet, beating: redis.Redis, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REDIS_URL", redis_url)
    shown = fleet("doctor")
    assert shown.code == 0
    for check in ("reachable", "version", "role", "persistence", "eviction", "memory", "clock", "leases"):
        assert f"OK    {check}" in shown.out
    assert "A:B" in shown.out
    assert "alive" in shown.out
    assert "here:1" in shown.out
    assert "WARN  queue        0 queued, 0 running, 0 roll-up processes, clock none" in shown.out
    assert "OK    failed jobs  none" in shown.out
    assert "OK    due          nothing" in shown.out
    assert "OK    history" in shown.out


def test_doctor_tells_a_dead_holder_and_a_symbol_without_one(
    fleet: Fleet, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with redis.Redis.from_url(redis_url) as client:
        client.hset("{A:B}:owner", mapping={"token": "t", "holder": "here:1", "epoch": 4, "beats": 1})
        client.hset("{C:D}:owner", mapping={"token": "", "holder": "here:2", "epoch": 4, "beats": 1})
    monkeypatch.setenv("REDIS_URL", redis_url)
    monkeypatch.setenv("FLEET_LEASE_TTL_MS", "300")
    for symbol in ("A:B", "C:D"):
        assert fleet("symbols", "add", symbol, "--source", "inbox").code == 0
    shown = fleet("doctor")
    assert shown.code == 0
    assert "WARN  leases       0 of 2 symbols have a live worker" in shown.out
    assert "standing still" in shown.out
    assert "UNASSIGNED" in shown.out


def test_a_symbol_that_was_just_added_is_no_fault(
    fleet: Fleet, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REDIS_URL", redis_url)
    assert fleet("symbols", "add", "A:B", "--source", "inbox").code == 0
    worker = start(REDIS_URL=redis_url)
    try:
        # It takes the worker a second to begin.
        shown = fleet("doctor")
    finally:
        worker.kill()
        worker.communicate()
    assert "OK    leases       1 of 1 symbols have a live worker" in shown.out
    assert "OK    processes    1 workers with room for 1 symbols, 1 are wanted" in shown.out


def test_doctor_fails_on_a_store_that_may_evict(fleet: Fleet, redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_URL", redis_url)
    with redis.Redis.from_url(redis_url) as client:
        client.config_set("maxmemory-policy", "allkeys-lru")
        try:
            shown = fleet("doctor")
        finally:
            client.config_set("maxmemory-policy", "noeviction")
    assert shown.code == 1
    assert "FAIL  eviction     allkeys-lru" in shown.out
    assert "set 'maxmemory-policy noeviction'" in shown.out


def test_failed_jobs_are_shown_tried_again_and_cleared(
    fleet: Fleet, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLEET_QUEUE_REDIS_URL", redis_url)
    failed = [failure(job, "OSError: disk full", 1, 10_000, refused=job == "evil") for job in ("roll_A_0", "evil")]
    with redis.Redis.from_url(redis_url) as client:
        client.hset(FAILURES, mapping={each.job: each.dump() for each in failed})
        client.rpush(QUEUED, "roll_B_0")
    shown = fleet("jobs")
    assert shown.code == 0
    assert "1 queued, 0 running, 2 failed; 0 roll-up processes" in shown.out
    assert all(text in shown.out for text in ("roll_A_0", "roll_B_0", "OSError: disk full"))
    assert fleet("jobs", "retry", "roll_A_0").out == "roll_A_0 is tried again\n"
    assert "now" in fleet("jobs", "list").out
    refused = fleet("jobs", "retry", "evil")
    assert (refused.code, "evil has not failed, or is none of the queue's" in refused.err) == (2, True)
    assert fleet("jobs", "clear", "evil").out == fleet("jobs", "clear").out == "1 cleared\n"
    assert "0 failed" in fleet("jobs").out


def test_doctor_says_what_to_do_when_nothing_answers(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_URL", "redis://u:secret@127.0.0.1:1/0")
    shown = fleet("doctor")
    assert shown.code == 1
    assert "FAIL  reachable" in shown.out
    assert "Start it with infra/up" in shown.out
    assert "secret" not in shown.out + shown.err


@pytest.mark.process
def test_doctor_finds_the_store_of_a_folder(fleet: Fleet, tmp_path: Path) -> None:
    shown = fleet("doctor", "--data", str(tmp_path))
    assert shown.code == 1
    assert shown.err == f"fleet: no store runs for {tmp_path}: start one with infra/up, or set REDIS_URL\n"
    with embedded.session(tmp_path) as url:
        shown = fleet("doctor", "--data", str(tmp_path))
    assert shown.code == 0
    assert url in shown.out
