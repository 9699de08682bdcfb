"""A loop that hangs ends its process; one that lives, sleeps or is paused does not."""

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from common import watchdog
from common.watchdog import EXIT_CODE, LEASES, LOOKS, Watchdog
from infra.local import die_with_parent
from infra.paths import ROOT
from tests.kit.waiting import wait_until, wait_until_async

SILENCE_S = 0.3


async def test_a_loop_that_hangs_is_told_with_what_it_does() -> None:
    found, told = list[str](), threading.Event()

    def hang() -> None:
        told.wait(5)

    def tell(stack: str) -> None:
        found.append(stack)
        told.set()

    dog = Watchdog(SILENCE_S, tell)
    dog.start()
    await wait_until_async(lambda: dog.looks > 2 * LOOKS)
    assert not found
    began_s = time.monotonic()
    hang()
    assert told.is_set() and time.monotonic() - began_s >= 0.9 * SILENCE_S
    assert "told.wait(5)" in found[0]


async def test_a_loop_that_turns_or_that_has_ended_is_left_alone() -> None:
    found = list[str]()
    dog = Watchdog(SILENCE_S, found.append)
    dog.start()
    while dog.looks < 2 * LOOKS:
        # Busy, and yet it turns.
        until_s = time.monotonic() + SILENCE_S / 10
        while time.monotonic() < until_s:
            pass
        await asyncio.sleep(0)
    dog.stop()
    # Its thread ends, though the loop does not turn any more.
    wait_until(lambda: "watchdog" not in [thread.name for thread in threading.enumerate()])
    assert not found


HANGS = """
import asyncio, os, sys, time
from common import log, watchdog
watchdog.MIN_SILENCE_S = 0.5
log.setup("info", "json")
async def main():
    async with watchdog.watched(100):
        print("up", flush=True)
        await asyncio.sleep(float(sys.argv[1]))
        {hang}
asyncio.run(main())
"""


def start(hang: str, idle_s: float) -> "subprocess.Popen[str]":
    command = [sys.executable, die_with_parent.__file__, str(os.getpid()), sys.executable, "-c"]
    return subprocess.Popen(
        [*command, HANGS.format(hang=hang), str(idle_s)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.process
def test_a_process_whose_loop_hangs_ends_with_code_70_and_says_where() -> None:
    process = start("time.sleep(1000)", 0)
    _, log = process.communicate(timeout=20)
    assert process.returncode == EXIT_CODE == 70
    assert "event loop hangs, process ends" in log and ", in main" in log


@pytest.mark.process
def test_a_process_that_hangs_in_its_log_ends_too() -> None:
    process = start("import logging; [each.acquire() for each in logging.getLogger().handlers]; time.sleep(1000)", 0)
    process.communicate(timeout=20)
    assert process.returncode == EXIT_CODE


@pytest.mark.process
def test_a_process_that_was_paused_as_a_whole_goes_on() -> None:
    process = start("os._exit(0)", 3)
    assert process.stdout and process.stdout.readline() == "up\n"
    process.send_signal(signal.SIGSTOP)
    stopped_s = time.monotonic()
    wait_until(lambda: time.monotonic() > stopped_s + 1.5)
    process.send_signal(signal.SIGCONT)
    process.communicate(timeout=20)
    assert process.returncode == 0


@pytest.mark.process
@pytest.mark.skipif(not Path("/proc/self/schedstat").exists(), reason="this kernel does not tell who waits for a core")
def test_a_process_that_gets_no_core_goes_on() -> None:
    """It has 1 % of one, beside a process that keeps it busy."""
    core = min(os.sched_getaffinity(0))
    busy = subprocess.Popen(
        [sys.executable, die_with_parent.__file__, str(os.getpid()), sys.executable, "-c", "while True: pass"]
    )
    work = "os.nice(19); until = time.process_time() + 0.03\n        while time.process_time() < until: pass"
    process = start(work, 0)
    try:
        os.sched_setaffinity(busy.pid, {core})
        assert process.stdout and process.stdout.readline() == "up\n"
        for thread in Path(f"/proc/{process.pid}/task").iterdir():
            os.sched_setaffinity(int(thread.name), {core})
        process.communicate(timeout=50)
        assert process.returncode == 0
    finally:
        busy.kill()
        busy.wait()
        process.kill()
        process.wait()


def test_it_is_three_leases() -> None:
    assert LEASES == 3 and watchdog.MIN_SILENCE_S <= 3 * 6
