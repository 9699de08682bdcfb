"""Archived trades over HTTP: a page of time and sales, and bars of seconds, of a day of three million trades.

Repeat: `python -m infra.bench past`.
"""

import asyncio
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from common.archive.archive import Archive
from common.archive.series import TRADE_ROWS
from common.market.builder.builder import Builder
from common.market.instrument import Instrument
from common.market.timeframes.timeframe import DAY_MS
from common.market.trade import Trade, Trades
from common.store.client import commit_client
from common.store.commit import StreamBounds
from common.store.keys import SymbolKeys
from common.store.lease import NOTHING_SEEN, new_token
from common.store.registry import Market, Registry
from common.store.symbol import Claim, SymbolStore
from infra.bench.base import Figure, ask, feed, percentile, store
from workers.symbol.commit import CommitHead, Retention, make_commit

PAST = Instrument("BENCH:PAST", 2, 8, "contiguous")
TRADES, ROUNDS, COLD_ROUNDS = 3_000_000, 25, 3
_START_MS = 1_723_161_600_000
_NOON_MS = _START_MS + DAY_MS // 2
_ASKED = {
    "a page of 1,000 trades of the archive": f"/v1/trades/{PAST.symbol}?limit=1000&end={_NOON_MS}",
    "500 x 10s of the archive": f"/v1/candles/{PAST.symbol}?timeframe=10s&limit=500&end={_NOON_MS}",
    "500 x 1s of the archive": f"/v1/candles/{PAST.symbol}?timeframe=1s&limit=500&end={_NOON_MS}",
}


def measure() -> list[Figure]:
    with store() as url, tempfile.TemporaryDirectory(prefix="fleet-bench-") as folder:
        asyncio.run(_fill(url, Archive.open(folder)))
        return asyncio.run(_measure(url, Path(folder)))


async def _measure(url: str, folder: Path) -> list[Figure]:
    figures = []
    for what, path in _ASKED.items():
        cold: list[float] = []
        for _ in range(COLD_ROUNDS):
            async with feed(url, FLEET_ARCHIVE_URL=str(folder)) as port:
                # What Python loads with the first answer of a process is not what is measured.
                await asyncio.to_thread(ask, port, f"{path.partition('?')[0]}?limit=1", 3)
                first, *warm = await asyncio.to_thread(ask, port, path, ROUNDS)
                cold.append(first)
        shown = f"{percentile(warm, 0.5) * 1e3:.1f} ms, {percentile(cold, 0.5) * 1e3:.1f} ms"
        figures.append(Figure(f"{what}, p50: warm, cold", "", shown))
    return figures


async def _fill(url: str, archive: Archive) -> None:
    """A day in the archive, of which the stream has the last trade."""
    day = _day()
    archive.replace(archive.version(TRADE_ROWS, PAST, _START_MS), day)
    async with commit_client(url) as client:
        await Registry(client).add_symbol(Market(PAST, {"kind": "inbox"}))
        symbol_store, token = SymbolStore(client, PAST.symbol, StreamBounds(1, 10_000)), new_token()
        assert isinstance(await symbol_store.claim(token, NOTHING_SEEN, "bench"), Claim)
        builder = Builder.new(PAST)
        for seq, row in enumerate(day[-2:].iter_rows()):
            trades = Trades.of([Trade(*row)])
            changes = builder.step(trades, trades.ts_ms[0], {})
            await symbol_store.commit(
                make_commit(CommitHead(token, seq, "", {}), builder, changes, Retention(400, 400))
            )
        fields: Any = {"trades_seq": 1, "trades_ms": day["ts_ms"][-2], "trades_from_ms": -1, "trades_version": 1}
        await client.hset(SymbolKeys(PAST.symbol).archive, mapping=fields)


def _day() -> pl.DataFrame:
    """A random walk of single ticks up to 30, sizes with a heavy tail."""
    rng = np.random.default_rng(1)
    return pl.DataFrame(
        {
            "ts_ms": _START_MS + np.sort(rng.integers(0, DAY_MS, TRADES)),
            "id": np.arange(TRADES) + 10**9,
            "price_ticks": 6_000_000 + np.cumsum(rng.integers(-30, 31, TRADES)),
            "size_lots": rng.lognormal(14, 1.5, TRADES).astype(np.int64) + 1,
            "side": rng.integers(0, 2, TRADES).astype(np.uint8),
        }
    )
