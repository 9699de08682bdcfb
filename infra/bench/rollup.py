"""A backlog rolled up: 23 years of minutes of symbols with an exchange calendar, by one roll-up process and a clock.

Repeat: `python -m infra.bench rollup`.
"""

import asyncio
import tempfile
import time
from pathlib import Path

from redis.asyncio import Redis

from common.market.instrument import Instrument
from common.store.client import commit_client
from common.store.registry import Market, Registry
from common.store.rollups import RollupStore
from infra.bench import sparse
from infra.bench.base import Figure, process, store
from workers.replay import KIND

MAX_S_A_SYMBOL, MAX_NEWEST_S, NEWEST = 75.0, 10.0, 30
CALENDAR = "XNYS"
# A look costs as much as some days.
LOOK_S = 0.25


def measure() -> list[Figure]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "candles.parquet"
        sparse.write_candles(path)
        return [figure for count in (1, 3) for figure in asyncio.run(_measure(path, count))]


async def _measure(path: Path, count: int) -> list[Figure]:
    symbols = [f"BENCH:ROLL{number}" for number in range(count)]
    with store() as url:
        async with commit_client(url) as client:
            for symbol in symbols:
                market = Market(Instrument(symbol, 2, 0, calendar=CALENDAR), {"kind": KIND, "simulated": False})
                await Registry(client).add_symbol(market)
                await asyncio.to_thread(sparse.import_candles, url, path, symbol)
            newest_s, all_s = await _rolled_up(url, client, symbols)
    what = f"{count} x {sparse.DAYS:,} days of {sparse.MINUTES_A_DAY} minutes, {CALENDAR}, rolled up by one process"
    max_s = count * MAX_S_A_SYMBOL
    return [
        Figure(what, f"<= {max_s:.0f} s", f"{all_s:.1f} s", all_s <= max_s),
        Figure(
            f"the newest {NEWEST} days of each of them",
            f"<= {MAX_NEWEST_S:.0f} s",
            f"{newest_s:.1f} s",
            newest_s <= MAX_NEWEST_S,
        ),
    ]


async def _rolled_up(url: str, client: Redis, symbols: list[str]) -> tuple[float, float]:
    """Return when the newest days of all symbols are done, and when all days are: in s from the processes' start."""
    stores = [RollupStore(client, symbol) for symbol in symbols]
    newest = {each: (await each.due()).days[-NEWEST] for each in stores}
    started_s, newest_s = time.perf_counter(), 0.0
    async with process(url, "-m", "workers.rollup"), process(url, "-m", "workers.clock"):
        while due := {each: found for each in stores if (found := (await each.due()).days)}:
            elapsed_s = time.perf_counter() - started_s
            newest_s = newest_s or (all(days[-1] < newest[each] for each, days in due.items()) and elapsed_s) or 0.0
            await asyncio.sleep(LOOK_S)
    return newest_s, time.perf_counter() - started_s
