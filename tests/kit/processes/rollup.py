"""Roll-up and clock processes: with functions of the tests' own, and as the fleet runs them."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from infra.local import die_with_parent

RETRY_MS = 20
LEASE_MS = 600
# Importing takes a second on a busy machine.
START_S = 20


@contextmanager
def process(*command: str, **environment: str) -> "Iterator[subprocess.Popen[bytes]]":
    dying = [sys.executable, die_with_parent.__file__, str(os.getpid()), sys.executable, "-m", *command]
    started = subprocess.Popen(dying, env=os.environ | environment, stderr=subprocess.DEVNULL)
    with started:
        try:
            yield started
        finally:
            started.kill()


def rollup(url: str) -> Any:
    return process("tests.kit.processes.rollup_main", url, str(RETRY_MS))


def clock(url: str, **more: str) -> Any:
    return process("workers.clock", REDIS_URL=url, FLEET_LEASE_TTL_MS=str(LEASE_MS), FLEET_CLOCK_TICK_MS="50", **more)


def rollup_of_fleet(url: str, archive: Path) -> Any:
    return process("workers.rollup", REDIS_URL=url, FLEET_ARCHIVE_URL=str(archive))
