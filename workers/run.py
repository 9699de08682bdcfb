"""A worker process: claims symbols, serves them, ends in order on SIGTERM or SIGINT."""

import asyncio
import os
import random
import signal
import sys
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING

import orjson

from common import log
from common.clock import JudgedClock, SystemClock
from common.errors import OperatorError
from common.garbage import keep_loaded
from common.market.kinds import parse_caps
from common.market.timeframes.timeframe import MINUTE_MS
from common.series import MINUTE_SERIES
from common.store.client import blocking_client, commit_client
from common.store.commit import StreamBounds
from common.store.demand import Caps
from common.store.lease import holder_name
from common.store.owners import Owners
from common.store.presence import WORKER, present
from common.store.registry import Registry
from common.store.server import await_admission
from common.store.stream_reader import SharedReads
from common.store.symbol import SymbolStore
from common.store.together import Together
from common.store.trade_archive import TRADES
from common.store.wanted import WantedFleet
from common.watchdog import watched
from workers.change.beside import OwnChanges
from workers.change.request import Request, registered
from workers.sources import SOURCES, SourceContext
from workers.symbol.claims import Claimer, WorkerContext
from workers.symbol.commit import Retention
from workers.symbol.term import TermSettings

if TYPE_CHECKING:
    # A worker never loads it (workers.__main__).
    from common.settings import Settings

# Where `workers.__main__` puts the checked settings.
SETTINGS_VARIABLE = "WORKER_SETTINGS"


@dataclass(frozen=True, slots=True)
class WorkerSettings:
    """The part of common.settings.Settings a worker needs, under the same names and in the same units."""

    redis_url: str
    symbols_per_worker: int
    lease_ttl_ms: int
    commit_interval_ms: int
    batch_trades: int
    close_grace_ms: int
    trades_kept: int
    events_kept: int
    candle_days: int
    footprint_days: int
    backfill_hours: int
    depth_hours: int
    streams_per_venue: int
    streams_in_all: int
    streams_per_kind: str
    archive_url: str | None
    archive_trades: bool
    binance_key: str = field(repr=False)
    log_level: str
    log_format: log.Format
    unsafe_store: bool = False

    @classmethod
    def of(cls, settings: "Settings", **changed: object) -> "WorkerSettings":
        """`changed`: fields that are otherwise than there, as the URL of a store that is our own."""
        taken = settings.model_dump(include={each.name for each in fields(cls)})
        return cls(**taken | changed)

    @property
    def term(self) -> TermSettings:
        return TermSettings(
            lease_ttl_ms=self.lease_ttl_ms,
            commit_interval_ms=self.commit_interval_ms,
            batch_trades=self.batch_trades,
            close_grace_ms=self.close_grace_ms,
            retention=Retention(self.candle_days, self.footprint_days),
            # So that the processes of a machine do not all beat at once.
            beat_phase_ms=random.randrange(self.lease_ttl_ms),
        )

    @property
    def bounds(self) -> StreamBounds:
        archived = {*MINUTE_SERIES, *([TRADES] if self.archive_trades else [])}
        return StreamBounds(self.trades_kept, self.events_kept, frozenset(archived if self.archive_url else ()))

    async def change(self, symbol: str, request: Request) -> None:
        """Change a symbol to finer decimals, as its venue has them now."""
        # Loaded when it is needed: it takes numpy, to look at what is sealed.
        from workers.change.procedure import Changer

        await Changer(self.redis_url, symbol, request, holder_name(), self.lease_ttl_ms, self.events_kept).run()


async def work(settings: WorkerSettings) -> None:
    """Serve until told to stop."""
    clock = JudgedClock(SystemClock())
    changes = OwnChanges(settings.change)
    commands, blocking = commit_client(settings.redis_url), blocking_client(settings.redis_url)
    # One that has one inbox at most has its trades a little sooner without.
    shared = SharedReads(commands, blocking) if settings.symbols_per_worker > 1 else None
    means = SourceContext(
        commands,
        blocking,
        clock,
        settings.backfill_hours * 60 * MINUTE_MS,
        settings.depth_hours * 60,
        Caps(settings.streams_per_venue, settings.streams_in_all, parse_caps(settings.streams_per_kind)),
        settings.binance_key,
        changes.change,
        shared,
    )
    beats = Together(commands, "beats of many symbols")
    place = WorkerContext(
        holder=holder_name(),
        clock=clock,
        settings=settings.term,
        owners=Owners(means.commands).look,
        stores=lambda symbol: SymbolStore(means.commands, symbol, settings.bounds, clock, beats),
        sources=lambda market: SOURCES[market.kind](market, means),
        follow=lambda market, instrument: registered(Registry(means.commands), market, instrument),
    )
    claimer = Claimer(WantedFleet(means.commands), place, frozenset(SOURCES), settings.symbols_per_worker)
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, claimer.stop)
    try:
        await await_admission(means.commands, unsafe=settings.unsafe_store, stopping=lambda: claimer.stopping)
        saying = present(means.commands, WORKER, settings.symbols_per_worker, lambda: claimer.held)
        async with watched(settings.lease_ttl_ms), saying:
            await claimer.run()
    finally:
        await changes.close()
        if shared:
            await shared.close()
        await means.commands.aclose()
        await means.blocking.aclose()


def main() -> int:
    settings = WorkerSettings(**orjson.loads(os.environ[SETTINGS_VARIABLE]))
    log.setup(settings.log_level, settings.log_format)
    keep_loaded()
    try:
        asyncio.run(work(settings))
    except OperatorError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
