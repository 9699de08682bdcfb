"""A replay of trades whose ids come odd ones first, then even ones: thousands of holes, opened and filled again."""

import asyncio
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import mean

import polars as pl
from redis.asyncio import Redis

from common.market.candle import IMPORT
from common.market.instrument import Instrument
from common.settings import Settings
from common.store.commit import Commit
from common.store.lease import holder_name
from common.store.registry import Market
from common.store.symbol import SymbolStore
from infra.bench.base import Figure, store
from infra.bench.replay import write_trades
from workers.recordings import TradeFile
from workers.replay import KIND, Replayer
from workers.run import WorkerSettings
from workers.sources.replay import Replay

TRADES = 1_000_000
# Of so many ids first all odd ones come, then all even ones: half as many holes at once.
BLOCK = 100_000
MIN_PER_S = 100_000
MAX_COMMIT_RATIO = 2.0
# Each in turn, so that both meet the same machine; the best of them counts.
ROUNDS = 3
INSTRUMENT = Instrument("BENCH:HOLES", 2, 8, "contiguous")


@dataclass(slots=True)
class TimedReplayer(Replayer):
    """`commits_s`: how long each commit took."""

    commits_s: list[float] = field(default_factory=list)

    def _store(self, client: Redis) -> SymbolStore:
        return TimedStore(client, self.market.symbol, self.bounds, self.clock).into(self.commits_s)


class TimedStore(SymbolStore):
    def into(self, commits_s: list[float]) -> "TimedStore":
        self._commits_s = commits_s
        return self

    async def commit(self, commit: Commit) -> int:
        started_s = time.perf_counter()
        listeners = await super().commit(commit)
        self._commits_s.append(time.perf_counter() - started_s)
        return listeners


@dataclass(frozen=True, slots=True)
class Run:
    took_s: float
    commit_s: float


def measure() -> list[Figure]:
    with tempfile.TemporaryDirectory() as folder:
        in_order, odd_first = Path(folder) / "in-order.parquet", Path(folder) / "odd-first.parquet"
        write_trades(in_order, TRADES)
        _odd_first(pl.read_parquet(in_order)).write_parquet(odd_first)
        runs = [(asyncio.run(_replayed(in_order)), asyncio.run(_replayed(odd_first))) for _ in range(ROUNDS)]
    per_s = TRADES / min(holes.took_s for _, holes in runs)
    ratio = _commit_s([holes for _, holes in runs]) / _commit_s([whole for whole, _ in runs])
    what = f"replay of {TRADES:,} trades, odd ids first in blocks of {BLOCK:,}; none lost"
    return [
        Figure(what, f">= {MIN_PER_S:,} trades/s", f"{per_s:,.0f} trades/s", per_s >= MIN_PER_S),
        Figure(
            "a commit of it, to one of the same trades in order (mean)",
            f"<= {MAX_COMMIT_RATIO:g} x",
            f"{ratio:.2f} x ({1e3 * _commit_s([holes for _, holes in runs]):.2f} ms)",
            ratio <= MAX_COMMIT_RATIO,
        ),
    ]


def _odd_first(trades: pl.DataFrame) -> pl.DataFrame:
    return trades.sort((pl.col("id") - 1) // BLOCK, pl.col("id") % 2 == 0, maintain_order=True)


def _commit_s(runs: Sequence[Run]) -> float:
    return min(run.commit_s for run in runs)


async def _replayed(path: Path) -> Run:
    with store() as url:
        settings = WorkerSettings.of(Settings(), redis_url=url)
        replay, market = Replay([TradeFile(path, INSTRUMENT)], IMPORT), Market(INSTRUMENT, {"kind": KIND})
        work = TimedReplayer(url, market, replay, settings.term, settings.bounds, holder_name())
        started_s = time.perf_counter()
        progress = await work.run()
        took_s = time.perf_counter() - started_s
    assert progress.applied == TRADES and not progress.refused, (
        f"{progress.applied} applied, {progress.refused} refused"
    )
    return Run(took_s, mean(work.commits_s))
