"""How long each `fleet` command takes that only reads: most of it is Python's start and imports.

Repeat: `python -m infra.bench command`.
"""

import os
import subprocess
import sys
import time
from statistics import median

from infra.bench.base import Figure, store
from infra.paths import ROOT

ROUNDS = 11
# Seconds at most.
READING_S = 0.6
READING = ("status", "jobs", "calendars list", "archive list", "settings", "doctor")
TARGETS = {"--help": 0.25, "symbols list": 0.45, **dict.fromkeys(READING, READING_S)}


def measure() -> list[Figure]:
    with store() as url, tempfile.TemporaryDirectory(prefix="fleet-bench-") as archive:
        os.environ[variable("archive_url")] = archive
        return [_figure(line, target_s, url) for line, target_s in TARGETS.items()]


def _figure(line: str, target_s: float, url: str) -> Figure:
    took_s = median(_took_s(line.split(), url) for _ in range(ROUNDS))
    return Figure(f"fleet {line}", f"<= {target_s:.2f} s", f"{took_s:.2f} s", took_s <= target_s)


def _took_s(arguments: list[str], url: str) -> float:
    started_s = time.perf_counter()
    command = [sys.executable, "-m", "infra.cli", *arguments]
    subprocess.run(command, env={**os.environ, "REDIS_URL": url}, cwd=ROOT, stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - started_s
