"""A whole fleet of real processes on a store that dies, and everything that may happen to them."""

import asyncio
import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import httpx2
import redis
from redis.asyncio import Redis

from common.market.instrument import Instrument
from common.market.trade import Trade
from common.store.client import commit_client
from common.store.keys import SymbolKeys
from infra.exchange import listing_of
from infra.paths import ROOT
from tests.chaos.processes import Processes, Running
from tests.chaos.pusher import Pusher
from tests.chaos.store import MortalStore
from tests.chaos.symbols import PUSHED, TRADED, VENUE_NAME, register, replay
from tests.kit.ports import reserved_port
from tests.kit.store.proxy import Proxy
from tests.kit.waiting import wait_until_async

LEASE_MS = 600
# How long a process is stopped: from a moment to more than a lease; the store to more than a command may take.
STOPS_S, STORE_STOPS_S = (0.05, 1.5 * LEASE_MS / 1_000), (0.05, 2.6)
ENVIRON = {
    "FLEET_LEASE_TTL_MS": str(LEASE_MS),
    "FLEET_CLOCK_TICK_MS": "2000",
    "FLEET_JOB_RETRY_MS": "50",
    "FLEET_BACKFILL_HOURS": "0",
    "FLEET_DEPTH_HOURS": "0",
    # All steps are to be seen at the end.
    "FLEET_TRADES_KEPT": "1000000",
    "FLEET_LOG_FORMAT": "json",
}


@dataclass(slots=True)
class Hostile:
    """`happened` counts faults. `held`: the symbols whose holders they hit."""

    folder: Path
    random: Random
    store: MortalStore
    processes: Processes
    pusher: Pusher
    client: Redis
    ports: list[int]
    exchange: httpx2.AsyncClient
    happened: Counter[str] = field(default_factory=Counter)
    held: Sequence[Instrument] = (PUSHED, TRADED)

    def faults(self) -> dict[str, Callable[[], Awaitable[None]]]:
        """All that can happen, by name."""
        found: dict[str, Callable[[], Awaitable[None]]] = {
            "kill store": self._kill_store,
            "stop store": self._stop_store,
            "rewind store": self._rewind_store,
            "kill holder": self._kill_holder,
            "stop holder": self._stop_holder,
            "kill job": self._kill_job,
            "reset venue": self._reset_venue,
        }
        for kind in ("worker", "clock", "rollup", "web", "replay"):
            found |= {f"kill {kind}": partial(self._kill, kind), f"stop {kind}": partial(self._stop, kind)}
        return found | {"stop exchange": partial(self._stop, "exchange")}

    def start(self, recording: Path) -> None:
        """All kinds; of workers a spare, too."""
        self.processes.start("worker", "workers", count=3)
        self.processes.start("clock", "workers.clock")
        self.processes.start("rollup", "workers.rollup", count=2)
        for port in self.ports:
            self.processes.start("web", "feed", PORT=str(port))
        self.processes.start("replay", *replay(recording), ends=True)

    @property
    def has_replayed(self) -> bool:
        return all(each.is_done for each in self.processes.of("replay"))

    async def happen(self, name: str) -> None:
        self.happened[name] += 1
        await self.faults()[name]()

    def logged(self, kind: str) -> Counter[str]:
        """Events of a kind's logs."""
        told = Counter[str]()
        for line in (self.folder / f"{kind}.log").read_bytes().splitlines():
            # Standard error of a process that was killed may end midway in a line.
            with suppress(json.JSONDecodeError, TypeError, KeyError):
                record = json.loads(line)
                told[f"{record['event']}{_reason(record.get('error', ''))}"] += 1
        return told

    def tracebacks(self) -> list[str]:
        """What was written with one. RQ writes one of each job that a store takes with it."""
        kinds = {each.kind for each in self.processes.all} - {"rollup"}
        lines = (line for kind in kinds for line in (self.folder / f"{kind}.log").read_text().splitlines())
        return [line for line in lines if "Traceback" in line]

    async def get(self, path: str, **params: Any) -> Any:
        """Of either feed."""
        url = f"http://127.0.0.1:{self.random.choice(self.ports)}{path}"
        async with httpx2.AsyncClient(timeout=30) as http:
            answer = await http.get(url, params=params)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def comes_to_rest(self) -> None:
        """Nothing new is traded, and both feeds answer."""
        (await self.exchange.post("/time", json={"speed": 0})).raise_for_status()
        await self.pusher.finish()
        await wait_until_async(self.is_answered, 30)

    async def traded(self) -> list[Trade]:
        """All that the exchange has traded, in the decimals of the symbol."""
        scale = 10 ** (8 - listing_of(VENUE_NAME).instrument.size_decimals)
        found: list[Trade] = []
        while True:
            from_id = found[-1].id + 1 if found else 0
            answer = (await self.exchange.get(f"/truth/{VENUE_NAME}/trades", params={"from_id": from_id})).json()
            page = [Trade(*row) for row in answer["trades"]]
            if not page:
                return found
            found += [trade._replace(size_lots=trade.size_lots * scale) for trade in page]

    def fleet(self, *command: str) -> "subprocess.CompletedProcess[str]":
        """The `fleet` command."""
        line = [sys.executable, "-m", "infra.cli", *command]
        return subprocess.run(line, cwd=ROOT, env=self.processes.environ, capture_output=True, text=True)

    async def is_answered(self) -> bool:
        """By both feeds."""
        async with httpx2.AsyncClient() as http:
            with suppress(httpx2.HTTPError):
                answers = [await http.get(f"http://127.0.0.1:{port}/readyz") for port in self.ports]
                return all(answer.status_code == 200 for answer in answers)
        return False

    # Faults.

    async def _kill_store(self) -> None:
        await asyncio.to_thread(self.store.kill)
        await asyncio.to_thread(self.store.revive)

    async def _stop_store(self) -> None:
        pid = self.store.pid
        self.processes.stop_pid(pid, self.random.uniform(*STORE_STOPS_S), lambda: self.store.pid == pid)

    async def _rewind_store(self) -> None:
        """While a holder does not look."""
        holder = await self._holder()
        self.processes.stop(holder, self.random.uniform(0.5, STOPS_S[1]))
        await asyncio.to_thread(self.store.kill)
        self.store.forget_end(self.random)
        await asyncio.to_thread(self.store.revive)
        for each in self.processes.of("replay"):
            if each.is_done:
                each.start()
        await self.pusher.again()

    async def _kill_holder(self) -> None:
        self.processes.kill(await self._holder())

    async def _stop_holder(self) -> None:
        """Until its lease is over and another has what it held. Nothing else happens meanwhile: it is to be fenced."""
        self.processes.stop(await self._holder(), STOPS_S[1])
        await self.processes.all_go_on()

    async def _kill_job(self) -> None:
        """It lives for a moment: make work, and wait for one."""
        await self.pusher.push_late()
        until_s = time.monotonic() + 6.0
        while time.monotonic() < until_s:
            for job in (int(pid) for each in self.processes.of("rollup") for pid in _children(each.pid)):
                with suppress(ProcessLookupError):
                    os.kill(job, 9)
                    self.happened["killed job"] += 1
                    return
            await asyncio.sleep(0.002)

    async def _reset_venue(self) -> None:
        with suppress(httpx2.HTTPError):
            await self.exchange.post("/faults", json={"kind": "reset"})

    async def _kill(self, kind: str) -> None:
        process = self.random.choice(self.processes.of(kind))
        if not process.is_done:
            self.processes.kill(process)

    async def _stop(self, kind: str) -> None:
        self.processes.stop(self.random.choice(self.processes.of(kind)), self.random.uniform(*STOPS_S))

    async def _holder(self) -> Running:
        """Of one of the symbols that workers serve, or any worker."""
        workers = {each.pid: each for each in self.processes.of("worker")}
        symbol = self.random.choice(self.held).symbol
        name: Any = b""
        with suppress(redis.RedisError, OSError, TimeoutError):
            name = await self.client.hget(SymbolKeys(symbol).owner, "holder")
        pid = int((name or b":0").rpartition(b":")[2])
        return workers.get(pid) or self.random.choice(list(workers.values()))


@asynccontextmanager
async def hostile(folder: Path, random: Random) -> AsyncIterator[Hostile]:
    """A store with what was pushed so far, an exchange, and the symbols of the fleet, whose processes don't run yet."""
    async with AsyncExitStack() as stack:
        store, pushing = begun(stack, folder, random)
        client = commit_client(store.url)
        stack.push_async_callback(client.aclose)
        pusher_client = commit_client(f"unix://{folder / 'i'}")
        stack.push_async_callback(pusher_client.aclose)
        environ = os.environ | ENVIRON | {"REDIS_URL": store.proxied_url, "FLEET_ARCHIVE_URL": str(folder / "archive")}
        processes = Processes(folder, environ)
        stack.callback(processes.close)
        exchange_port, *ports = (stack.enter_context(reserved_port()) for _ in range(3))
        token = f"{random.getrandbits(64):x}"
        processes.start(
            "exchange", "infra.exchange", "--port", str(exchange_port), "--symbols", VENUE_NAME, "--orders", "20",
            "--history-hours", "0.01", "--token", token,
        )  # fmt: skip
        url, headers = f"http://127.0.0.1:{exchange_port}/_admin", {"Authorization": f"Bearer {token}"}
        admin = httpx2.AsyncClient(base_url=url, headers=headers, timeout=30)
        await stack.enter_async_context(admin)
        await register(client, exchange_port)
        made = Hostile(
            folder, random, store, processes, Pusher(pusher_client, pushing, PUSHED, random), client, ports, admin
        )
        await made.pusher.history()
        yield made


def begun(stack: AsyncExitStack, folder: Path, random: Random) -> tuple[MortalStore, Proxy]:
    """A store, and the proxy of who pushes."""
    store = MortalStore(folder)
    stack.callback(store.close)
    pushing = Proxy(store.socket)
    pushing.listen(folder / "i")
    stack.callback(pushing.close)
    return store, pushing


def _children(pid: int) -> Iterator[str]:
    with suppress(OSError):
        yield from Path(f"/proc/{pid}/task/{pid}/children").read_text().split()


def _reason(error: str) -> str:
    return " fenced" if "another holder" in error else " stale" if "not at seq" in error else ""
