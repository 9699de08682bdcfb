"""`python -m workers`: one worker process. Claims symbols, serves them, ends in order on SIGTERM or SIGINT."""

import asyncio
import logging
import os
import signal
import socket
import sys

from common import log as logs
from common import settings as settings_module
from common.clock import SystemClock
from common.errors import OperatorError
from common.settings import Settings
from common.store.client import blocking_client, commit_client
from common.store.registry import Registry
from common.store.symbol import Bounds, SymbolStore
from workers.claims import Claimer, Workplace
from workers.commit import Retention
from workers.sources import SOURCES, Means
from workers.term import TermSettings

log = logging.getLogger("workers")


def holder_name() -> str:
    """Who holds a lease, for people: host and process."""
    return f"{socket.gethostname()}:{os.getpid()}"


def term_settings(settings: Settings) -> TermSettings:
    return TermSettings(
        lease_ttl_ms=settings.lease_ttl_ms,
        commit_interval_ms=settings.commit_interval_ms,
        batch_trades=settings.batch_trades,
        close_grace_ms=settings.close_grace_ms,
        retention=Retention(settings.candle_days, settings.footprint_days),
    )


def bounds(settings: Settings) -> Bounds:
    return Bounds(settings.trades_kept, settings.events_kept)


async def work(settings: Settings) -> None:
    commands, blocking = commit_client(settings.store_url), blocking_client(settings.store_url)
    means = Means(commands, blocking, SystemClock())
    place = Workplace(
        holder=holder_name(),
        clock=means.clock,
        settings=term_settings(settings),
        stores=lambda symbol: SymbolStore(commands, symbol, bounds(settings)),
        sources=lambda market: SOURCES[market.kind](market, means),
    )
    claimer = Claimer(Registry(commands), place, frozenset(SOURCES), settings.symbols_per_worker)
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, claimer.stop)
    try:
        await claimer.run()
    finally:
        await commands.aclose()
        await blocking.aclose()


def main() -> int:
    try:
        settings = settings_module.load()
        logs.setup(settings.log_level, settings.log_format)
        asyncio.run(work(settings))
    except OperatorError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
