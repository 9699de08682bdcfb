"""What runs for a data folder, by pid and birth: never another that was given the pid."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.local.running import Launch, LaunchRecord, Running, birth_of, launches, recorded


@pytest.fixture
def sleeper() -> Iterator["subprocess.Popen[bytes]"]:
    with subprocess.Popen(["sleep", "60"], process_group=0) as process:
        yield process
        process.kill()


def test_a_process_has_a_birth_as_long_as_it_lives(sleeper: "subprocess.Popen[bytes]") -> None:
    found = Running.of(sleeper.pid)
    assert found and found.is_alive and birth_of(sleeper.pid) == found.birth != birth_of(os.getpid())
    found.signal(signal.SIGTERM, group=True)
    # Also while nobody has asked how it ended.
    assert found.await_end(5) and Running.of(sleeper.pid) is None
    assert sleeper.wait(5) == -signal.SIGTERM


def test_another_process_under_its_pid_is_left_alone(sleeper: "subprocess.Popen[bytes]") -> None:
    before = Running(sleeper.pid, "of another boot:17", 0)
    assert not before.is_alive
    before.signal(signal.SIGKILL, group=True)
    assert Running.of(sleeper.pid) and sleeper.poll() is None


def test_a_launcher_writes_down_what_it_has_started_and_forgets_it_in_the_end(
    tmp_path: Path, sleeper: "subprocess.Popen[bytes]"
) -> None:
    with recorded(tmp_path, "http://127.0.0.1:1", "unix:///s") as record:
        record.note({"worker.1": sleeper.pid, "web.1": 1 << 22})
        ((path, launch),) = launches(tmp_path)
        assert (launch.feed, launch.store, list(launch.children)) == ("http://127.0.0.1:1", "unix:///s", ["worker.1"])
        assert launch.launcher.pid == os.getpid() and launch.launcher.is_alive and launch.left_behind == {}
        since_ms = launch.children["worker.1"].since_ms
        record.note({"worker.1": sleeper.pid})
        assert launches(tmp_path)[0][1].children["worker.1"].since_ms == since_ms
        assert path.stat().st_mode & 0o777 == 0o600
    assert launches(tmp_path) == []


def test_what_a_launcher_that_is_gone_has_started_is_left_behind(
    tmp_path: Path, sleeper: "subprocess.Popen[bytes]"
) -> None:
    child, gone = Running.of(sleeper.pid), Running(sleeper.pid, "before", 0)
    assert child
    launch = Launch(gone, "http://127.0.0.1:1", "unix:///s", {"worker.1": child, "worker.2": gone})
    assert launch.left_behind == {"worker.1": child}


def test_a_record_of_another_release_and_a_folder_that_takes_none_hinder_nobody(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "1.json").write_text('{"pid": 1}')
    assert launches(tmp_path) == []
    LaunchRecord(tmp_path / "run" / "1.json", "", "").note({})
    assert sys.platform != "linux" or birth_of(1)
