"""The functions that the queue may call, and nothing else: what a job names is looked up here.

Each is safe to run twice and side by side: the store takes a result only if what it was made of is still there.
Polars is loaded by those that need it, in the forked process: its threads don't survive a fork.
"""

import asyncio
from functools import partial

# numpy loads it when it first looks for unique values: that would be in every job's process, 10 ms of its 80.
import numpy.ma  # noqa: F401

from common.store.client import commit_client
from common.store.registry import Registry
from workers.rollup.day import roll_day
from workers.rollup.rq_worker import Functions
from workers.rollup.work import ROLL


def functions(store_url: str, events_kept: int) -> Functions:
    """By the names that jobs use."""
    return {ROLL: partial(roll, store_url, events_kept)}


def roll(store_url: str, events_kept: int, symbol: str, day_ms: int) -> None:
    """Roll the day up and seal it; nothing to do for a symbol that has been removed."""

    async def run() -> None:
        async with commit_client(store_url) as client:
            market = await Registry(client).market(symbol)
            if market:
                await roll_day(client, market, day_ms, events_kept)

    asyncio.run(run())
