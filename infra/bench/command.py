"""How long each `fleet` command takes that only reads: most of it is Python's start and imports.

Repeat: `python -m infra.bench command`.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from statistics import median

from common.settings import REDIS_URL, variable
from infra.bench.base import Figure, store
from infra.paths import ROOT

ROUNDS = 11
# Seconds at most.
READING_S = 0.6
READING = ("status", "jobs", "calendars list", "archive list", "settings")
# doctor listens for heartbeats, and for what that takes there is no target.
TARGETS = {"--help": 0.25, "symbols list": 0.45, **dict.fromkeys(READING, READING_S), "doctor": None}


def measure() -> list[Figure]:
    with store() as url, tempfile.TemporaryDirectory(prefix="fleet-bench-") as archive:
        environment = {**os.environ, REDIS_URL: url, variable("archive_url"): archive}
        return [_figure(line, target_s, environment) for line, target_s in TARGETS.items()]


def _figure(line: str, target_s: float | None, environment: Mapping[str, str]) -> Figure:
    took_s = median(_took_s(line.split(), environment) for _ in range(ROUNDS))
    if target_s is None:
        return Figure(f"fleet {line}", "", f"{took_s:.2f} s")
    return Figure(f"fleet {line}", f"<= {target_s:.2f} s", f"{took_s:.2f} s", took_s <= target_s)


def _took_s(arguments: list[str], environment: Mapping[str, str]) -> float:
    started_s = time.perf_counter()
    command = [sys.executable, "-m", "infra.cli", *arguments]
    # Doctor's exit code is of what it found.
    subprocess.run(command, env=environment, cwd=ROOT, stdout=subprocess.DEVNULL, check=False)
    return time.perf_counter() - started_s
