"""Calendars of a roll-up process: worked out once, elsewhere, and there in every job's process."""

import asyncio
import subprocess
import sys
import time
from functools import partial

import pytest
from redis.asyncio import Redis

from common.market.instrument import Instrument
from common.market.timeframes import calendars
from common.store.client import commit_client
from common.store.registry import Market, Registry
from infra.paths import ROOT
from workers.rollup import calendars as cached
from workers.rollup.calendars import CalendarCache

pytestmark = pytest.mark.anyio

# What a process does for three jobs, of which two are of one calendar, and one is of none that is known.
PROGRAM = """
import os, sys
from common.market.timeframes.calendars import is_known, sessions_of
from workers.rollup.calendars import CalendarCache
cache = CalendarCache(sys.argv[1], lambda: False)
assert not is_known("XTKS", "UTC", "regular")
for symbol in ("T:ONE", "T:TWO", "T:NONE", "T:ALWAYS"):
    cache.prepare(symbol)
assert is_known("XTKS", "UTC", "regular") and is_known("24x7", "UTC", "regular")
assert "pandas" not in sys.modules
child = os.fork()
if child == 0:
    sessions = sessions_of("XTKS")
    os._exit(0 if len(sessions.opens) > 60_000 and "pandas" not in sys.modules else 1)
assert os.waitpid(child, 0)[1] == 0
"""


async def registered(client: Redis, symbol: str, calendar: str) -> None:
    await Registry(client).add_symbol(Market(Instrument(symbol, 2, 0, calendar=calendar), {"kind": "inbox"}))


async def test_a_calendar_is_worked_out_once_and_leaves_no_pandas_behind(redis_url: str) -> None:
    async with commit_client(redis_url) as client:
        for symbol, calendar in (("T:ONE", "XTKS"), ("T:TWO", "XTKS"), ("T:ALWAYS", "24x7")):
            await registered(client, symbol, calendar)
    run = partial(subprocess.run, cwd=ROOT, capture_output=True, text=True)
    done = await asyncio.to_thread(run, [sys.executable, "-c", PROGRAM, redis_url])
    assert done.returncode == 0, done.stderr


def test_of_a_process_that_is_to_stop_nothing_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calendars, "sessions_of", lambda *asked: time.sleep(60))
    began_s = time.monotonic()
    assert cached._built_apart(Instrument("T:S", 2, 0, calendar="XTKS"), lambda: True) is None
    assert time.monotonic() - began_s < 1


async def test_a_calendar_that_can_not_be_worked_out_is_left_to_the_job(redis_url: str) -> None:
    async with commit_client(redis_url) as client:
        await registered(client, "T:LOST", "XNOWHERE")
    await asyncio.to_thread(CalendarCache(redis_url, lambda: False).prepare, "T:LOST")
    assert not calendars.is_known("XNOWHERE", "UTC", "regular")
