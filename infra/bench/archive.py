"""The archive in a folder: a month of minutes read cold, and how large each series is."""

import os
import tempfile
import time
from pathlib import Path

import numpy as np
import polars as pl

from common.archive.archive import Archive
from common.archive.series import CANDLE_ROWS, FOOTPRINT_ROWS, TRADE_ROWS, ArchiveSeries
from common.frames import bulk
from common.market.candle import BACKFILL
from common.market.instrument import Instrument
from common.market.timeframes.timeframe import DAY_MS, MINUTE
from infra.bench.base import Figure, percentile

MAX_READ_MS = 60.0
ROUNDS = 20
# 31 days with a trade a second: every minute has a candle.
_START_MS, _DAYS, _TRADES_A_DAY = 1_704_067_200_000, 31, 86_400
_BTC = Instrument("BENCH:BTCUSDT", 2, 8)


def measure() -> list[Figure]:
    trades = _walk()
    candles = bulk.candles(trades, MINUTE, BACKFILL)
    day = trades.filter(pl.col("ts_ms") < _START_MS + DAY_MS)
    with tempfile.TemporaryDirectory(prefix="fleet-bench-") as folder:
        archive = Archive.open(folder)
        write_ms, size = _write(archive, CANDLE_ROWS, candles)
        sizes = [_write(archive, series, frame)[1] for series, frame in _of_a_day(day)]
        reads = [_read_cold(archive, Path(folder)) for _ in range(ROUNDS)]
    p50, worst = percentile(reads, 0.5), max(reads)
    return [
        Figure(
            f"archive: a month of {len(candles):,} minutes, all columns, cold",
            f"<= {MAX_READ_MS:.0f} ms",
            f"p50 {p50:.1f} ms, first {reads[0]:.1f} ms, worst {worst:.1f} ms",
            worst <= MAX_READ_MS,
        ),
        Figure("archive: that month written, read back, on disk", "", f"{write_ms:.0f} ms"),
        Figure("archive: bytes a candle, a level, a trade", "", ", ".join(f"{each:.1f}" for each in (size, *sizes))),
    ]


def _of_a_day(trades: pl.DataFrame) -> list[tuple[ArchiveSeries, pl.DataFrame]]:
    return [(FOOTPRINT_ROWS, bulk.footprints(trades)), (TRADE_ROWS, trades)]


def _write(archive: Archive, series: ArchiveSeries, frame: pl.DataFrame) -> tuple[float, float]:
    """Return ms, and bytes a row."""
    started_s = time.perf_counter()
    receipt = archive.replace(archive.version(series, _BTC, _START_MS), frame)
    return (time.perf_counter() - started_s) * 1e3, receipt.bytes / receipt.rows


def _read_cold(archive: Archive, root: Path) -> float:
    """Return ms of a read whose file has been dropped from the page cache."""
    descriptor = os.open(root / CANDLE_ROWS.path(_BTC.symbol, _START_MS), os.O_RDONLY)
    os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(descriptor)
    started_s = time.perf_counter()
    found = archive.read(CANDLE_ROWS, _BTC, _START_MS, _START_MS + _DAYS * DAY_MS)
    elapsed_ms = (time.perf_counter() - started_s) * 1e3
    assert len(found) == _DAYS * 1_440
    return elapsed_ms


def _walk() -> pl.DataFrame:
    """A random walk of single ticks up to 30, sizes with a heavy tail."""
    rng = np.random.default_rng(1)
    count = _DAYS * _TRADES_A_DAY
    return pl.DataFrame(
        {
            "ts_ms": _START_MS + np.arange(count) * (DAY_MS // _TRADES_A_DAY) + rng.integers(0, 1_000, count),
            "id": np.arange(count) + 10**9,
            "price_ticks": 6_000_000 + np.cumsum(rng.integers(-30, 31, count)),
            "size_lots": rng.lognormal(14, 1.5, count).astype(np.int64) + 1,
            "side": rng.integers(0, 2, count).astype(np.uint8),
        }
    )
