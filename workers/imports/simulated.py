"""Simulated markets with a past: made in bulk, as an import is, before a worker first claims them.

A market is registered as its own import, and as a simulated market once all of its past is written; so whatever dies,
and whenever, a worker never begins in the middle of one. What is left of one is removed, and made again.
"""

import asyncio
import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from redis.asyncio import Redis

from common import log
from common.archive.archive import Archive
from common.clock import JudgedClock, SystemClock
from common.errors import OperatorError
from common.frames.simulated import simulated_trades
from common.market.candle import SIMULATED
from common.market.instrument import Instrument
from common.market.kinds import InstrumentKind
from common.market.timeframes.timeframe import DAY_MS, MINUTE_MS, day_of
from common.market.walk import Walk
from common.settings import Settings, load
from common.store.client import commit_client
from common.store.lease import holder_name
from common.store.reads import SymbolReader
from common.store.registry import UNFINISHED, Market, Registry
from workers.imports.files import Rows
from workers.imports.importer import Importer
from workers.replay import KIND
from workers.run import WorkerSettings
from workers.symbol.claims import LOOKS_PER_LEASE
from workers.withdrawal import withdraw

# Where the past ends: what comes after it the market's own source makes up for, and its trades are kept.
RECENT_MS = 2 * 60 * MINUTE_MS - 5 * MINUTE_MS


@dataclass(slots=True)
class SimulatedPast:
    """A "file" of an import (workers.imports.files.Readable): trades from `from_ms` to `to_ms`, a UTC day at a time.

    `position`: of the market's source, where they have ended; empty before that.
    """

    instrument: Instrument
    seed: int
    start_price_ticks: int
    from_ms: int
    to_ms: int
    position: str = ""
    of_minutes: bool = False
    path: Path = field(default_factory=lambda: Path("a simulated market"))

    @classmethod
    def of(cls, market: Market, days: int, now_ms: int) -> "SimulatedPast":
        """That many whole UTC days, and what there is of the next one."""
        price, to_ms = market.instrument.price_ticks(str(market.source["price"])), now_ms - RECENT_MS
        return cls(market.instrument, int(market.source["seed"]), price, day_of(to_ms) - days * DAY_MS, to_ms)

    def batches(self) -> Iterator[Rows]:
        walk, rng = Walk(1, self.start_price_ticks, float(self.from_ms)), np.random.default_rng(self.seed)
        while walk.ts_ms < self.to_ms:
            until_ms = min(day_of(int(walk.ts_ms)) + DAY_MS, self.to_ms)
            trades = simulated_trades(walk, until_ms, self.instrument, rng)
            yield Rows(trades, 0, (until_ms - self.from_ms) / (self.to_ms - self.from_ms))
        self.position = walk.position

    def check(self) -> None:
        """It is sound."""

    def first_ms(self) -> int | None:
        return self.from_ms

    def last_ms(self) -> int:
        return self.to_ms

    def fingerprint(self) -> str:
        return f"{self.instrument.symbol}:{self.seed}:{self.from_ms}:{self.to_ms}"

    def dump(self) -> str:
        return ""


async def make_past(settings: Settings, market: Market, days: int, say: Callable[[str], None]) -> bool:
    """Register a simulated market with so many days behind it. False if it was there, or we are to stop."""
    worker = WorkerSettings.of(settings, redis_url=settings.store_url)
    async with commit_client(worker.redis_url) as client:
        if await _is_there(client, market.symbol, worker):
            return False
        if not days:
            return await Registry(client).add_symbol(market)
        past = SimulatedPast.of(market, days, SystemClock().now_ms())
        importer = _importer(settings, worker, market, past)
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, importer.stop)
        done = await importer.run()
        if not importer.ended:
            await _remove(client, market.symbol, worker)
            return False
        # From here on a worker may claim it.
        await Registry(client).change_symbol(market.symbol, lambda entry: replace(entry, source=market.source))
    say(f"{market.symbol}: {done.trades:,} simulated trades of {done.days} days")
    return True


def _importer(settings: Settings, worker: WorkerSettings, market: Market, past: SimulatedPast) -> Importer:
    archive = Archive.open(settings.archive_url, settings.archive_s3_endpoint) if settings.archive_url else None
    begun = replace(market, source={"kind": KIND, "simulated": True, UNFINISHED: True})
    kept = archive if settings.archive_trades else None
    return Importer(
        worker.redis_url,
        begun,
        [past],
        SIMULATED,
        worker.term,
        worker.bounds,
        holder_name(),
        kept,
        archive,
        within_retention=True,
        ends_at=lambda: past.position,
    )


async def _is_there(client: Redis, symbol: str, worker: WorkerSettings) -> bool:
    """Whether the symbol is registered. One whose past was left unfinished is removed, once its maker has died."""
    while True:
        found = await Registry(client).market(symbol)
        if found is None or not found.is_unfinished:
            return found is not None
        view = await SymbolReader(client, symbol).view()
        if view.owner.token and view.server_ms - view.owner.beat_ms < worker.lease_ttl_ms:
            await asyncio.sleep(worker.lease_ttl_ms / LOOKS_PER_LEASE / 1_000)
        else:
            await _remove(client, symbol, worker)


async def _remove(client: Redis, symbol: str, worker: WorkerSettings) -> None:
    clock = JudgedClock(SystemClock())
    await withdraw(client, symbol, worker.bounds, clock, holder_name(), with_data=True, force=True)


def _market(
    *, symbol: str, price_decimals: int, size_decimals: int, source: dict[str, Any], kind: InstrumentKind
) -> Market:
    return Market(Instrument(symbol, price_decimals, size_decimals, "contiguous"), source, instrument_kind=kind)


async def _make_all(settings: Settings, markets: list[Market]) -> None:
    for market in markets:
        await make_past(settings, market, settings.simulated_days, lambda text: print(text, flush=True))


def main() -> int:
    """`python -m workers.imports.simulated MARKETS`: what is to be made, as JSON (infra.local.markets)."""
    try:
        settings = load()
        log.setup("warning", settings.log_format)
        markets = [_market(**each) for each in orjson.loads(sys.argv[1])]
        asyncio.run(_make_all(settings, markets))
    except OperatorError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
