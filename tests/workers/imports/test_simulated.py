"""Simulated markets with a past: made in bulk, gone on with by a worker without a seam, whole whatever is killed."""

import asyncio
import os
import signal
import subprocess
import sys
from asyncio.subprocess import PIPE
from typing import Any

import orjson
import pytest
from redis.asyncio import Redis

from common.market.instrument import Instrument
from common.market.timeframes.timeframe import DAY_MS, day_of
from common.market.walk import Walk
from common.settings import Settings
from common.store.client import commit_client
from common.store.keys import SymbolKeys
from common.store.registry import Market, Registry
from common.store.wanted import WantedFleet
from infra.local import markets
from infra.paths import ROOT
from tests.kit.processes.worker import start
from tests.kit.served import Served, served
from tests.kit.waiting import wait_until_async
from workers.imports.simulated import RECENT_MS, SimulatedPast, make_past

pytestmark = pytest.mark.process

S = "SIMULATED:TESTUSD"
KEYS = SymbolKeys(S)
MARKET = markets.simulated(S)


async def made(redis_url: str, days: int) -> bool:
    return await make_past(Settings(redis_url=redis_url), MARKET, days, print)


async def assert_whole(client: Redis, feed: Served, days: int) -> Walk:
    """Days of minutes with footprints, without a hole, and a source that goes on where they end."""
    market = await Registry(client).market(S)
    assert market == MARKET
    position: Any = await client.hget(KEYS.state, "position")
    walk = Walk.at(position.decode())
    assert walk.next_id > days * 400_000
    from_ms = day_of(int(walk.ts_ms)) - days * DAY_MS
    found = await feed.json(f"/v1/candles/{S}", timeframe="1d", start=from_ms)
    assert len(found["coverage"]) == 1 and found["gaps"] == [] and found["bars"][0]["t"] == from_ms
    assert sum(bar["n"] for bar in found["bars"]) == walk.next_id - 1
    assert {bar["source"] for bar in found["bars"]} == {"simulated"}
    hour = await feed.json(f"/v1/footprint/{S}", timeframe="1h", start=from_ms, limit=1, fields="vah")
    assert hour["bars"][0]["rows"] and "missing" not in hour["bars"][0]
    return walk


async def test_a_worker_goes_on_where_the_past_ends(redis_url: str) -> None:
    assert await made(redis_url, 1)
    async with commit_client(redis_url) as client, served(redis_url) as feed:
        walk = await assert_whole(client, feed, 1)
        # It is there now, and stays as it is.
        assert not await made(redis_url, 1)
        worker = start(REDIS_URL=redis_url)
        try:

            async def has_caught_up() -> bool:
                health = await feed.json(f"/v1/health/{S}")
                return bool(health["mode"] == "LIVE" and int(await client.hget(KEYS.state, "applied") or 0) > 0)

            await wait_until_async(has_caught_up, 40)
            trades = (await feed.json(f"/v1/trades/{S}", start=0, take="oldest", limit=1))["trades"]
            assert trades[0]["id"] == walk.next_id
            whole = await feed.json(f"/v1/candles/{S}", timeframe="1d")
            assert len(whole["coverage"]) == 1 and whole["gaps"] == []
            minutes = await feed.json(f"/v1/candles/{S}", timeframe="1m", start=int(walk.ts_ms) - 600_000, limit=20)
            closes = [bar["c"] for bar in minutes["bars"]]
            assert max(closes) < 1.05 * min(closes)
        finally:
            worker.kill()
            worker.communicate()


async def test_one_that_was_killed_half_way_is_no_market_and_is_made_again(redis_url: str) -> None:
    rows = markets.past_command([MARKET])[-1]
    async with commit_client(redis_url) as client:
        environment = os.environ | {"REDIS_URL": redis_url, "FLEET_SIMULATED_DAYS": "3", "FLEET_LEASE_TTL_MS": "500"}
        command = [sys.executable, "-m", "workers.imports.simulated", rows]
        maker = await asyncio.create_subprocess_exec(*command, env=environment, cwd=ROOT, stdout=PIPE, stderr=PIPE)
        # Something of it is written.
        await wait_until_async(lambda: client.exists(KEYS.state), 40)
        maker.kill()
        await maker.communicate()
        assert maker.returncode == -signal.SIGKILL
        left = await Registry(client).market(S)
        assert left and left.is_unfinished and not left.is_fed
        assert S not in {symbol for symbol, market in (await WantedFleet(client).symbols()).items() if market.is_fed}
        found = await markets.lacking(redis_url, None)
        assert found.are_begun and found.markets == [MARKET]
        again = await asyncio.create_subprocess_exec(*command, env=environment, cwd=ROOT, stdout=PIPE, stderr=PIPE)
        out, err = await again.communicate()
        assert again.returncode == 0, err
        assert out.startswith(f"{S}: ".encode()) and out.endswith(b" simulated trades of 4 days\n")
        async with served(redis_url) as feed:
            await assert_whole(client, feed, 3)


async def test_without_days_a_market_begins_now(redis_url: str) -> None:
    assert await made(redis_url, 0)
    async with commit_client(redis_url) as client:
        assert await Registry(client).market(S) == MARKET and not await client.exists(KEYS.state)


def test_the_same_past_is_read_again_and_begins_with_a_utc_day() -> None:
    now_ms = 1_796_083_200_000 + 7_000_000
    past = SimulatedPast.of(Market(Instrument(S, 2, 8, "contiguous"), MARKET.source), 2, now_ms)
    first, again = list(past.batches()), list(past.batches())
    assert [rows.frame.equals(other.frame) for rows, other in zip(first, again, strict=True)] == [True] * len(first)
    assert past.from_ms == 1_796_083_200_000 - 2 * DAY_MS and past.to_ms == now_ms - RECENT_MS
    assert Walk.at(past.position).ts_ms == past.to_ms and first[-1].fraction == 1
    assert orjson.loads(past.position)[0] == 1 + sum(len(rows.frame) for rows in first)


@pytest.mark.parametrize("days", ["-1", "366", "x"])
def test_a_number_of_days_that_can_t_be_is_refused(days: str) -> None:
    environment = os.environ | {"FLEET_SIMULATED_DAYS": days, "REDIS_URL": "unix:///nowhere"}
    command = [sys.executable, "-m", "workers.imports.simulated", "[]"]
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1 and "FLEET_SIMULATED_DAYS" in done.stderr and "Traceback" not in done.stderr
