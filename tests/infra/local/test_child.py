"""One supervised process: relayed, restarted, stopped."""

import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from infra.local.child import MAX_LINE, Backoff, Child, Output
from tests.kit.processes.supervised import QUICK, Shown, is_alive
from tests.kit.waiting import wait_until, wait_until_async

pytestmark = pytest.mark.process

# Starts a child that would live for long, says its pid, and waits to be killed.
PARENT = """
import asyncio, os, pathlib, sys
from infra.local.child import Backoff, Child, Output

async def main():
    child = Child("long.1", "sleep 1000", environ=os.environ, cwd=pathlib.Path("."),
                  output=Output(sys.stderr.buffer), backoff=Backoff())
    child.start()
    while not child.pid:
        await asyncio.sleep(0.01)
    print(child.pid, flush=True)
    await asyncio.sleep(1000)

asyncio.run(main())
"""


@asynccontextmanager
async def running(command: str, shown: Shown, backoff: Backoff = QUICK, grace_s: float = 5) -> AsyncIterator[Child]:
    child = Child("job.1", command, environ=os.environ, cwd=Path("."), output=shown.output, backoff=backoff)
    child.start()
    try:
        yield child
    finally:
        await child.stop(grace_s)


def script(tmp_path: Path, text: str) -> str:
    (tmp_path / "script.sh").write_text(text)
    return f"sh {tmp_path}/script.sh"


def count(shown: Shown, word: str) -> Callable[[], int]:
    return lambda: shown.text.count(word)


async def test_each_line_is_relayed_behind_the_name_of_its_process(tmp_path: Path) -> None:
    shown = Shown()
    async with running(script(tmp_path, "echo one; echo two >&2; printf three"), shown, Backoff(first_s=1000)):
        await wait_until_async(count(shown, "ended"))
    assert shown.lines[:3] == ["job.1    | one", "job.1    | two", "job.1    | three"]


async def test_bytes_that_are_no_text_are_relayed_as_they_are(tmp_path: Path) -> None:
    shown = Shown()
    async with running(script(tmp_path, r"printf 'a\377b\n'; sleep 1000"), shown):
        await wait_until_async(lambda: "a\ufffdb" in shown.text)


async def test_a_line_without_end_is_cut(tmp_path: Path) -> None:
    shown = Shown()
    command = script(tmp_path, f"head -c {3 * MAX_LINE} /dev/zero | tr '\\0' x; echo; echo done; sleep 1000")
    async with running(command, shown):
        await wait_until_async(lambda: shown.lines[-1:] == ["job.1    | done"])
    assert shown.text.count("x") == 3 * MAX_LINE
    assert max(map(len, shown.lines)) <= 2 * MAX_LINE + 20


async def test_a_lost_terminal_does_not_stop_the_relay() -> None:
    read_fd, write_fd = os.pipe()
    os.close(read_fd)
    with os.fdopen(write_fd, "wb", buffering=0) as stream:
        output = Output(stream)
        output.line("job.1", b"nobody listens")
        output.line("job.1", b"still not")


async def test_a_process_that_ends_is_started_again_and_the_wait_is_told(tmp_path: Path) -> None:
    shown = Shown()
    async with running(script(tmp_path, "echo up; exit 3"), shown):
        await wait_until_async(lambda: count(shown, "| up")() >= 4)
    assert "fleet    | job.1 ended with exit code 3; starting again in 0.0 s" in shown.lines


async def test_a_process_that_is_killed_is_started_again(tmp_path: Path) -> None:
    shown = Shown()
    async with running(script(tmp_path, "echo up; exec sleep 1000"), shown) as child:
        await wait_until_async(count(shown, "| up"))
        assert child.pid
        os.kill(child.pid, signal.SIGKILL)
        await wait_until_async(lambda: count(shown, "| up")() == 2)
    assert "ended by SIGKILL" in shown.text


async def test_a_command_that_does_not_exist_is_tried_again() -> None:
    shown = Shown()
    async with running("/no/such/program", shown):
        await wait_until_async(lambda: count(shown, "exit code 127")() >= 2)


def test_the_wait_doubles_up_to_its_cap() -> None:
    backoff = Backoff(first_s=1, cap_s=8)
    for failures, whole_s in [(1, 1), (2, 2), (3, 4), (4, 8), (5, 8), (10_000, 8)]:
        waits_s = [backoff.delay_s(failures) for _ in range(100)]
        assert whole_s / 2 <= min(waits_s) < max(waits_s) <= whole_s


async def test_a_process_that_was_healthy_waits_as_after_the_first_failure(tmp_path: Path) -> None:
    shown = Shown()
    # Whatever its uptime, it counts as healthy: without that the fourth wait would be 8 times as long.
    backoff = Backoff(first_s=0.05, cap_s=100, healthy_s=0)
    async with running(script(tmp_path, "echo up; exit 1"), shown, backoff):
        await wait_until_async(lambda: count(shown, "again in")() >= 5)
    assert {line.rpartition(" in ")[2] for line in shown.lines if "again" in line} <= {"0.0 s", "0.1 s"}


async def test_stop_lets_a_process_finish(tmp_path: Path) -> None:
    shown = Shown()
    command = script(tmp_path, "trap 'echo bye; exit 0' TERM; echo up; while :; do sleep 0.01; done")
    async with running(command, shown):
        await wait_until_async(count(shown, "| up"))
    assert "job.1    | bye" in shown.lines
    assert "killed" not in shown.text


async def test_stop_kills_a_process_that_does_not_listen_and_what_it_started(tmp_path: Path) -> None:
    shown = Shown()
    command = script(tmp_path, "trap '' TERM; sleep 1000 & echo $!; while :; do sleep 0.01; done")
    async with running(command, shown, grace_s=0.2):
        await wait_until_async(lambda: shown.lines)
        stray_pid = int(shown.lines[0].rpartition(" ")[2])
    assert "job.1 still there after 0.2 s: killed" in shown.text
    wait_until(lambda: not is_alive(stray_pid))


async def test_stop_does_not_wait_for_the_next_start() -> None:
    shown = Shown()
    async with running("false", shown, Backoff(first_s=1000)):
        await wait_until_async(count(shown, "again in"))


async def test_a_stray_that_holds_the_pipe_does_not_hide_the_end(tmp_path: Path) -> None:
    shown = Shown()
    # It is gone before the stray is, however long that takes to be seen.
    async with running(script(tmp_path, "setsid sleep 60 & echo $!; exit 1"), shown, Backoff(first_s=1000)):
        await wait_until_async(count(shown, "exit code 1"))
        stray_pid = int(shown.lines[0].rpartition(" ")[2])
        assert is_alive(stray_pid)
        os.kill(stray_pid, signal.SIGKILL)


async def test_the_terminals_ctrl_c_does_not_reach_a_child(tmp_path: Path) -> None:
    shown = Shown()
    async with running(script(tmp_path, "echo up; exec sleep 1000"), shown) as child:
        await wait_until_async(count(shown, "| up"))
        assert child.pid
        assert os.getpgid(child.pid) == child.pid != os.getpgrp()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process that its parent is gone")
def test_a_child_does_not_outlive_a_launcher_that_was_killed() -> None:
    with subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout
        child_pid = int(parent.stdout.readline())
        assert is_alive(child_pid)
        parent.kill()
    wait_until(lambda: not is_alive(child_pid))
