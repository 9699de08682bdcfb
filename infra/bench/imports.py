"""`fleet import trades`: Parquet to sealed days with footprints, the whole command, fsync on every step."""

import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from infra.bench.base import Figure, store
from infra.bench.replay import write_trades
from infra.paths import ROOT

# Some 40 hours of a busy market: a day is far more than one batch.
TRADES = 15_000_000
TARGET_PER_S = 3_000_000
MAX_MB = 1_000


def measure() -> list[Figure]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "trades.parquet"
        # In a process of its own: a child's peak begins with what its parent had when it was made.
        writer = multiprocessing.get_context("spawn").Process(target=write_trades, args=(path, TRADES))
        writer.start()
        writer.join()
        per_s, peak_mb = _import(path)
        archived_per_s, archived_peak_mb = _import(path, FLEET_ARCHIVE_URL=str(Path(folder) / "archive"))
    what = f"import of Parquet, {TRADES:,} trades, footprints, the whole command"
    return [
        Figure(what, f">= {TARGET_PER_S:,} trades/s", f"{per_s:,.0f} trades/s", per_s >= TARGET_PER_S),
        Figure("peak memory of it", f"<= {MAX_MB:,} MB", f"{peak_mb:,} MB", peak_mb <= MAX_MB),
        Figure("the same, and every trade into an archive", "", f"{archived_per_s:,.0f} trades/s"),
        Figure("peak memory of it", f"<= {MAX_MB:,} MB", f"{archived_peak_mb:,} MB", archived_peak_mb <= MAX_MB),
    ]


def _import(path: Path, **environment: str) -> tuple[float, int]:
    """Run the command; return trades/s and its peak memory (MB)."""
    command = [sys.executable, "-m", "infra.cli", "import", "trades", str(path), "--symbol", "BENCH:IMPORT"]
    command += ["--price-decimals", "2", "--size-decimals", "8"]
    with store() as url:
        started_s = time.perf_counter()
        env = {**os.environ, "REDIS_URL": url, **environment}
        with subprocess.Popen(command, cwd=ROOT, env=env, stdout=subprocess.PIPE) as child:
            assert child.stdout
            report = child.stdout.read().decode()
            _, status, usage = os.wait4(child.pid, 0)
            child.returncode = os.waitstatus_to_exitcode(status)
        per_s = TRADES / (time.perf_counter() - started_s)
    assert f"{TRADES:,} trades imported" in report, report
    return per_s, usage.ru_maxrss >> 10
