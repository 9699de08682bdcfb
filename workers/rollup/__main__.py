"""`python -m workers.rollup`: a process that does the queue's jobs, one at a time."""

import asyncio
import gc
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial

from common import log
from common import settings as settings_module
from common.errors import OperatorError, StoreUnavailable
from common.store.client import commit_client
from common.store.presence import ROLLUP, Presence
from common.store.server import await_admission
from workers.rollup.calendars import CalendarCache
from workers.rollup.jobs import functions
from workers.rollup.rq_worker import RollupHooks, Stopping
from workers.rollup.serve import serve

# An idle one gives a sign of life every 15 s (rq_worker.WORKER_TTL_S): two may be lost.
PRESENT_FOR_MS = 45_000


def main() -> int:
    try:
        settings = settings_module.load()
        store_url, queue_url = settings.store_url, settings.queue_url
        log.setup(settings.log_level, settings.log_format)
        asyncio.run(_admission(store_url, unsafe=settings.unsafe_store))
    except OperatorError as error:
        print(error, file=sys.stderr)
        return 1
    # A job's process shares our memory until it writes to it: its garbage collector must not visit what was here.
    gc.freeze()
    word, stopping = partial(_word, store_url), Stopping()
    hooks = RollupHooks(stopping, CalendarCache(store_url, stopping).prepare, partial(word, Presence.say))
    serve(queue_url, functions(settings, stopping), settings.job_retry_ms, hooks)
    word(Presence.leave)
    return 0


async def _admission(store_url: str, *, unsafe: bool) -> None:
    async with commit_client(store_url) as client:
        await await_admission(client, unsafe=unsafe)


def _word(store_url: str, word: Callable[[Presence], Awaitable[None]]) -> None:
    """Say that we are there, or not any more: RQ leaves this process no event loop of its own."""

    async def say() -> None:
        async with commit_client(store_url) as client:
            await word(Presence(client, ROLLUP, for_ms=PRESENT_FOR_MS))

    with suppress(StoreUnavailable):
        asyncio.run(say())


if __name__ == "__main__":
    sys.exit(main())
