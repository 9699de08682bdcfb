"""`fleet backup` of a store of 1 GB, and what commits wait meanwhile. Fsync on every commit.

Repeat: `python -m infra.bench backup`.
"""

import asyncio
import os
import sys
import tempfile
import time
from pathlib import Path

from redis.asyncio import Redis

from common.market.builder.builder import Builder
from common.market.instrument import Instrument
from common.market.trade import Trade, Trades
from common.store.client import commit_client
from common.store.commit import StreamBounds
from common.store.lease import NOTHING_SEEN, new_token
from common.store.registry import Market, Registry
from common.store.symbol import Claim, SymbolStore
from infra.bench.base import Figure, percentile
from infra.local import embedded
from infra.paths import ROOT
from workers.symbol.commit import CommitHead, Retention, make_commit

SIZE_MB, MAX_S, MAX_RATIO = 1_000, 20.0, 3.0
# Between two commits of a busy symbol.
PACE_S = 0.02
ALONE_S = 10.0
_INSTRUMENT = Instrument("BENCH:BACKUP", 2, 8, "contiguous")
_KEEP = Retention(10_000, 10_000)


def measure() -> list[Figure]:
    with tempfile.TemporaryDirectory(prefix="fleet-bench-") as folder:
        data = Path(folder) / "data"
        with embedded.session(data) as url:
            took_s, alone_s, beside_s = asyncio.run(_measure(url, data))
    alone, beside = (percentile(times, 0.99) * 1e3 for times in (alone_s, beside_s))
    ratio = beside / alone
    return [
        Figure(f"backup of a store of {SIZE_MB:,} MB", f"<= {MAX_S:.0f} s", f"{took_s:.1f} s", took_s <= MAX_S),
        Figure(
            "commits meanwhile, p99, against before",
            f"<= {MAX_RATIO:.0f} x",
            f"{ratio:.1f} x ({beside:.1f} ms)",
            ratio <= MAX_RATIO,
        ),
    ]


async def _measure(url: str, data: Path) -> tuple[float, list[float], list[float]]:
    async with commit_client(url) as client:
        await _fill(client)
        committer = await _Committer.of(client)
        alone_s = await committer.commit_until(asyncio.create_task(asyncio.sleep(ALONE_S)))
        started_s = time.perf_counter()
        copy = asyncio.create_task(_back_up(data))
        beside_s = await committer.commit_until(copy)
        return time.perf_counter() - started_s, alone_s, beside_s


async def _fill(client: Redis) -> None:
    """Bytes that do not compress, and nothing of which the server would make less by writing its files anew."""
    for number in range(SIZE_MB):
        await client.set(f"bench:{number}", os.urandom(1 << 20))


async def _back_up(data: Path) -> None:
    command = [sys.executable, "-m", "infra.cli", "backup", str(data.with_name("copy")), "--data", str(data)]
    child = await asyncio.create_subprocess_exec(*command, cwd=ROOT, stdout=asyncio.subprocess.DEVNULL)
    assert await child.wait() == 0


class _Committer:
    """A worker's commits, one trade each."""

    def __init__(self, store: SymbolStore, token: str) -> None:
        self._store, self._token, self._seq = store, token, 0
        self._builder = Builder.new(_INSTRUMENT)

    @classmethod
    async def of(cls, client: Redis) -> "_Committer":
        await Registry(client).add_symbol(Market(_INSTRUMENT, {"kind": "inbox"}))
        store, token = SymbolStore(client, _INSTRUMENT.symbol, StreamBounds(100_000, 10_000)), new_token()
        assert isinstance(await store.claim(token, NOTHING_SEEN, "bench"), Claim)
        return cls(store, token)

    async def commit_until(self, end: "asyncio.Task[None]") -> list[float]:
        """Commit at a pace; return the seconds of each."""
        times_s = []
        while not end.done():
            now_ms = time.time_ns() // 1_000_000
            trades = Trades.of([Trade(now_ms, self._seq + 1, 6_000_000 + self._seq % 100, 5, 0)])
            changes = self._builder.step(trades, now_ms, {})
            commit = make_commit(CommitHead(self._token, self._seq, "", {}), self._builder, changes, _KEEP)
            started_s = time.perf_counter()
            await self._store.commit(commit)
            times_s.append(time.perf_counter() - started_s)
            self._seq += 1
            await asyncio.sleep(PACE_S)
        await end
        return times_s
