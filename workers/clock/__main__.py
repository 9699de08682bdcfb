"""`python -m workers.clock`: enqueues what is due. One ticks, others wait to take its place."""

import asyncio
import signal
import sys
from collections.abc import Sequence

from redis.asyncio import Redis

from common import log
from common import settings as settings_module
from common.clock import SystemClock
from common.errors import OperatorError
from common.settings import Settings
from common.store.agreed import Agreed, agree
from common.store.client import commit_client
from common.store.clock_lease import ClockLease
from common.store.jobs import Jobs
from common.store.lease import holder_name, new_token
from common.store.presence import CLOCK, present
from common.store.server import await_admission
from common.watchdog import watched
from workers.clock.due import adopt_calendars, due_work
from workers.clock.ticker import Ticker
from workers.rollup.rq_queue import JobQueue, rq_client
from workers.rollup.work import Work


async def tick(settings: Settings) -> None:
    """Until told to stop."""
    async with commit_client(settings.store_url) as store, commit_client(settings.queue_url) as queue:
        # The name is for people.
        token = f"{holder_name()} {new_token()}"
        with rq_client(settings.queue_url) as rq:
            ticker = Ticker(
                due=lambda: _due(store, settings),
                jobs=Jobs(queue),
                queue=JobQueue(rq),
                lease=ClockLease(store, token, settings.lease_ttl_ms),
                clock=SystemClock(),
                lease_ttl_ms=settings.lease_ttl_ms,
                tick_ms=settings.clock_tick_ms,
            )
            for number in (signal.SIGTERM, signal.SIGINT):
                asyncio.get_running_loop().add_signal_handler(number, ticker.stop)
            await await_admission(store, unsafe=settings.unsafe_store, stopping=lambda: ticker.stopping)
            async with watched(settings.lease_ttl_ms), present(store, CLOCK):
                await ticker.run()


async def _due(store: Redis, settings: Settings) -> Sequence[Work]:
    await agree(store, Agreed.of(settings.model_dump()))
    await adopt_calendars(store)
    archiving, kept = bool(settings.archive_url), settings.trades_kept
    trades_kept = kept if settings.archives_trades else None
    return await due_work(store, archiving=archiving, trades_kept=trades_kept, tiles_of=kept)


def main() -> int:
    try:
        settings = settings_module.load()
        _ = settings.store_url
        log.setup(settings.log_level, settings.log_format)
        asyncio.run(tick(settings))
    except OperatorError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
