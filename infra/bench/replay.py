"""Replay at `max`: Parquet through the worker and Redis, with footprints, one symbol, fsync on every commit."""

import asyncio
import tempfile
import time
from pathlib import Path

import numpy as np
import polars as pl

from common.market.candle import IMPORT
from common.market.instrument import Instrument
from common.settings import Settings
from common.store.lease import holder_name
from common.store.registry import Market
from infra.bench.base import Figure, store
from workers.recordings import TradeFile
from workers.replay import KIND, Replayer
from workers.run import WorkerSettings
from workers.sources.replay import Replay

TRADES = 3_000_000
TARGET_PER_S = 1_300_000


def measure() -> list[Figure]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "trades.parquet"
        write_trades(path, TRADES)
        per_s = replayed_per_s(path, TRADES)
    what = f"replay of Parquet at max, {TRADES:,} trades, footprints, fsync on every commit"
    return [Figure(what, f">= {TARGET_PER_S:,} trades/s", f"{per_s:,.0f} trades/s", per_s >= TARGET_PER_S)]


def replayed_per_s(path: Path, count: int) -> float:
    """Replay a file of so many trades; return how many a second."""
    with store() as url:
        started_s = time.perf_counter()
        applied = asyncio.run(_replayer(url, path).run()).applied
        took_s = time.perf_counter() - started_s
    assert applied == count, f"{applied} trades applied, expected {count}"
    return applied / took_s


def _replayer(url: str, path: Path) -> Replayer:
    instrument = Instrument("BENCH:REPLAY", 2, 8, "contiguous")
    settings = WorkerSettings.of(Settings(), redis_url=url)
    files = [TradeFile(path, instrument)]
    market = Market(instrument, {"kind": KIND})
    return Replayer(url, market, Replay(files, IMPORT), settings.term, settings.bounds, holder_name())


def write_trades(path: Path, count: int) -> None:
    """Parquet of a walk of a busy market: 100 trades/s, some 300 levels a minute."""
    rng = np.random.default_rng(1)
    ts_ms = 1_700_000_000_000 + np.cumsum(rng.integers(0, 20, count))
    ticks = 6_000_000 + np.cumsum(rng.integers(-3, 4, count))
    columns = {
        "ts_ms": ts_ms,
        "price": ticks / 100,
        "size": rng.integers(1, 10**9, count) / 1e8,
        "side": np.where(rng.random(count) < 0.5, "buy", "sell"),
        "id": np.arange(1, count + 1),
    }
    pl.DataFrame(columns).write_parquet(path)
