"""How long `infra/up` takes until the fleet is ready, with its dependencies installed: in a new data folder, and again.

What the installation takes before that is `infra/tryout`'s to measure. Repeat: `python -m infra.bench start`.
"""

import subprocess
import tempfile
import time
from pathlib import Path
from statistics import median

from infra.bench.base import PATIENCE_S, Figure, free_port
from infra.paths import ROOT

ROUNDS, READY_S = 3, 3.0


def measure() -> list[Figure]:
    with tempfile.TemporaryDirectory(prefix="fleet-bench-") as folder:
        first_s, *again_s = [_ready_s(Path(folder) / "data") for _ in range(1 + ROUNDS)]
    took_s = median(again_s)
    return [
        Figure("infra/up until the fleet is ready, a new data folder", "", f"{first_s:.1f} s"),
        Figure("again", f"<= {READY_S:.0f} s", f"{took_s:.1f} s", took_s <= READY_S),
    ]


def _ready_s(data: Path) -> float:
    command = [str(ROOT / "infra" / "up"), "--data", str(data), "--port", str(free_port())]
    started_s = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as fleet:
        try:
            assert fleet.stdout
            if not any(line.startswith("Fleet ready") for line in fleet.stdout):
                raise TimeoutError("infra/up ended before it was ready")
            return time.perf_counter() - started_s
        finally:
            fleet.terminate()
            fleet.communicate(timeout=PATIENCE_S)
