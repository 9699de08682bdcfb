"""Roll-up processes, their jobs, clocks and the store, killed at random while two months are rolled up and sealed.

`CHAOS_SEED=123 infra/test tests/chaos -s` repeats the trades and the order of the kills; their moments differ.
"""

import os
import secrets
import signal
import subprocess
import sys
import time
from contextlib import ExitStack, suppress
from pathlib import Path
from random import Random
from typing import Any

import anyio
import orjson
import redis
from redis.asyncio import Redis
from redis.exceptions import RedisError

from common.errors import StoreUnavailable
from common.market.timeframe import DAY_MS
from common.store.client import commit_client
from common.store.keys import SymbolKeys
from common.store.rollups import RollupStore
from infra import die_with_parent, embedded
from tests.feed.writer import START_MS, Writer
from tests.support import wait_until_async

DAYS, MINUTES = 60, 48
KILLS_S = 4.0
# Of the store: each costs a second in which nothing else can be shown.
MOST_STORE_KILLS = 2
SETTINGS = {
    "FLEET_CLOCK_TICK_MS": "50",
    "FLEET_LEASE_TTL_MS": "300",
    "FLEET_JOB_RETRY_MS": "20",
    "FLEET_LOG_LEVEL": "error",
}


class Crew:
    """Two roll-up processes and two clocks, each replaced when it is killed."""

    def __init__(self, stack: ExitStack, url: str, folder: Path, random: Random) -> None:
        self._stack, self._url, self._folder, self._random = stack, url, folder, random
        self._rollups = [self._start("workers.rollup") for _ in range(2)]
        self._clocks = [self._start("workers.clock") for _ in range(2)]
        self.kills: dict[str, int] = {"rollup": 0, "job": 0, "clock": 0, "store": 0}

    def kill(self) -> None:
        kinds = list(self.kills)[: 4 if self.kills["store"] < MOST_STORE_KILLS else 3]
        kind, number = self._random.choice(kinds), self._random.randrange(2)
        killers = (self._kill_rollup, self._kill_job, self._kill_clock, self._kill_store)
        self.kills[kind] += dict(zip(self.kills, killers, strict=True))[kind](number)

    def _kill_rollup(self, number: int) -> bool:
        return self._replace(self._rollups, number, "workers.rollup")

    def _kill_clock(self, number: int) -> bool:
        return self._replace(self._clocks, number, "workers.clock")

    def _replace(self, processes: "list[subprocess.Popen[bytes]]", number: int, module: str) -> bool:
        processes[number].kill()
        # As a supervisor does: until then it is not quite gone.
        processes[number].wait()
        processes[number] = self._start(module)
        return True

    def _kill_job(self, number: int) -> bool:
        """It lives for some 30 ms: wait for one."""
        pid, jobs = self._rollups[number].pid, list[str]()
        until_s = time.monotonic() + 0.3
        while not jobs and time.monotonic() < until_s:
            jobs = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        for job in jobs:
            with suppress(ProcessLookupError):
                os.kill(int(job), signal.SIGKILL)
        return bool(jobs)

    def _kill_store(self, _: int) -> bool:
        with redis.Redis.from_url(self._url) as client:
            info: Any = client.info("server")
        os.kill(int(info["process_id"]), signal.SIGKILL)
        while embedded.locate(self._folder):
            time.sleep(0.005)
        embedded.revive(self._folder)
        return True

    def _start(self, module: str) -> "subprocess.Popen[bytes]":
        command = [sys.executable, die_with_parent.__file__, str(os.getpid()), sys.executable, "-m", module]
        environ = os.environ | SETTINGS | {"REDIS_URL": self._url}
        process = subprocess.Popen(command, env=environ, stderr=subprocess.DEVNULL)
        self._stack.callback(process.wait)
        self._stack.callback(process.kill)
        return process


async def stored(client: Redis, keys: SymbolKeys) -> dict[str, Any]:
    """Everything that roll-ups write, and what they told of days."""
    found: dict[str, Any] = {series: await client.zrange(keys.rolled(series), 0, -1) for series in ("1d", "1w", "1M")}
    for name in (keys.candles, keys.footprints, keys.dirty):
        found[name] = await client.zrange(name, 0, -1)
    for name in (keys.sealed_candles, keys.sealed_footprints):
        found[name] = await client.hgetall(name)
    events: Any = await client.xrange(keys.events)
    told = [fields[b"event"] for _, fields in events]
    found["told"] = sorted(event for event in told if orjson.loads(event).get("timeframe") == "1d")
    return found


async def test_two_months_under_fire_are_as_if_nothing_had_happened(tmp_path: Path) -> None:
    seed = int(os.environ.get("CHAOS_SEED") or secrets.randbelow(1 << 40))
    print(f"CHAOS_SEED={seed}")
    random = Random(seed)
    with embedded.session(tmp_path) as url:
        async with commit_client(url) as client:
            writer = Writer(client)
            await writer.register()
            await writer.claim()
            keys = SymbolKeys(writer.instrument.symbol)
            for day in range(DAYS):
                times = (START_MS + day * DAY_MS + number * 1_200_000 for number in range(MINUTES))
                await writer.commit(*(writer.trade(at_ms, random.randint(9_900, 10_100)) for at_ms in times))
            await writer.commit(writer.trade(START_MS + (DAYS + 2) * DAY_MS))
            before = await writer.save()
            await writer.roll_up()
            undisturbed = await stored(client, keys)
            assert len(undisturbed["1d"]) == len(undisturbed["told"]) >= DAYS
            await client.delete(*keys.all_keys())
            for name, packed in before.keys.items():
                await client.restore(name, 0, packed)

            with ExitStack() as stack:
                crew = Crew(stack, url, tmp_path, random)
                until_s = time.monotonic() + KILLS_S
                while time.monotonic() < until_s:
                    await anyio.sleep(random.uniform(0.02, 0.2))
                    with suppress(RedisError, OSError):
                        await anyio.to_thread.run_sync(crew.kill)

                async def nothing_is_due() -> bool:
                    with suppress(StoreUnavailable):
                        return not (await RollupStore(client, writer.instrument.symbol).due()).days
                    return False

                await wait_until_async(nothing_is_due, 40)
            print(f"kills: {crew.kills}")
            assert await stored(client, keys) == undisturbed
