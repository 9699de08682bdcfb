"""Sparse history imported: few trades a day, and sessions of minute candles. The whole command, fsync on every step.

Repeat: `python -m infra.bench sparse`.
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import polars as pl

from common.market.timeframes.timeframe import DAY_MS, MINUTE_MS
from infra.bench.base import Figure, store
from infra.paths import ROOT

MAX_MS_A_DAY = 3.0
# 23 years of weekdays; trades of a quiet market, and the minutes of a stock exchange's session.
DAYS, TRADES_A_DAY, MINUTES_A_DAY = 5_849, 20, 390
_FIRST_DAY, _OPENS_MS = 10_000, 52_200_000  # 1997-05-19, 14:30 UTC
# Retention must not shorten the work.
_KEEP = {"FLEET_CANDLE_DAYS": "20000", "FLEET_FOOTPRINT_DAYS": "20000"}


def measure() -> list[Figure]:
    with tempfile.TemporaryDirectory() as folder:
        trades, candles = Path(folder) / "trades.parquet", Path(folder) / "candles.parquet"
        _trades().write_parquet(trades)
        write_candles(candles)
        return [
            _figure("trades", trades, f"{TRADES_A_DAY} trades a day"),
            _figure("candles", candles, f"{MINUTES_A_DAY} candles a day"),
        ]


def import_candles(url: str, path: Path, symbol: str) -> float:
    """Run the command; return seconds."""
    return _import(url, "candles", path, symbol)


def weekdays(count: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Opens (ms UTC) of so many weekdays."""
    days = _FIRST_DAY + np.arange(count * 7 // 5 + 7)
    # 1970-01-01 was a Thursday.
    return days[(days + 3) % 7 < 5][:count] * DAY_MS


def write_candles(path: Path) -> None:
    """Minutes of 23 years of sessions, a random walk."""
    rng = np.random.default_rng(1)
    opens = np.add.outer(weekdays(DAYS), _OPENS_MS + np.arange(MINUTES_A_DAY) * MINUTE_MS).ravel()
    close = 1_000_000 + np.cumsum(rng.integers(-5, 6, len(opens)))
    prices = {"open": close - rng.integers(-5, 6, len(opens)), "close": close}
    low, high = np.minimum(*prices.values()) - 3, np.maximum(*prices.values()) + 3
    columns = {name: values / 100 for name, values in {**prices, "low": low, "high": high}.items()}
    volume = rng.integers(1, 100_000, len(opens))
    pl.DataFrame({"open_ms": opens, **columns, "volume": volume, "trades": volume // 100 + 1}).write_parquet(path)


def _trades() -> pl.DataFrame:
    rng = np.random.default_rng(1)
    count = DAYS * TRADES_A_DAY
    ts_ms = np.sort(np.repeat(weekdays(DAYS), TRADES_A_DAY) + rng.integers(0, DAY_MS, count))
    price = (1_000_000 + np.cumsum(rng.integers(-5, 6, count))) / 100
    side = np.where(rng.random(count) < 0.5, "buy", "sell")
    columns = {"ts_ms": ts_ms, "price": price, "size": rng.integers(1, 1_000, count), "side": side}
    return pl.DataFrame({**columns, "id": np.arange(1, count + 1)})


def _figure(kind: str, path: Path, what: str) -> Figure:
    with store() as url:
        ms_a_day = _import(url, kind, path, "BENCH:SPARSE") * 1e3 / DAYS
    what = f"import of sparse history, {DAYS:,} days, {what}, the whole command"
    return Figure(what, f"<= {MAX_MS_A_DAY:.0f} ms a day", f"{ms_a_day:.2f} ms a day", ms_a_day <= MAX_MS_A_DAY)


def _import(url: str, kind: str, path: Path, symbol: str) -> float:
    command = [sys.executable, "-m", "infra.cli", "import", kind, str(path), "--symbol", symbol]
    command += ["--price-decimals", "2", "--size-decimals", "0"]
    started_s = time.perf_counter()
    done = subprocess.run(
        command, cwd=ROOT, env={**os.environ, "REDIS_URL": url, **_KEEP}, capture_output=True, text=True, check=False
    )
    elapsed_s = time.perf_counter() - started_s
    assert f"into {DAYS:,} days" in done.stdout, done.stdout + done.stderr
    return elapsed_s
