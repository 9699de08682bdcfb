"""`fleet backup` beside workers and backups that are killed: every copy answers what one pass over its trades makes."""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest
import redis

from common.market.instrument import Instrument
from common.market.timeframes.timeframe import MINUTE_MS
from common.store.client import commit_client
from common.store.registry import Market, Registry
from infra.local import embedded
from infra.paths import ROOT
from tests.kit.asked import all_answers
from tests.kit.processes.worker import start
from tests.kit.served import served
from tests.kit.waiting import wait_until, wait_until_async

pytestmark = [pytest.mark.process, pytest.mark.chaos]

LOAD_S = float(os.environ.get("CHAOS_S", 6))
INSTRUMENT = Instrument("CHAOS:BACKUP", 2, 2, "contiguous")
INBOX = f"{{{INSTRUMENT.symbol}}}:inbox"
# A market of 2023: a trade each 400 ms of its own time, 5,000 a second of ours at most.
FIRST_MS, STEP_MS, PUSHED = 1_700_006_400_000, 400, 50
LEASE_MS = 300
# Of the backups, and of the rewrites of the store's files beside them.
KILLED_SHARE, REWRITE_SHARE = 0.4, 0.5

# Price in ticks, size in lots; the id is the place.
Pushed = tuple[int, int]


def fields(number: int, ticks: int, lots: int) -> dict[Any, Any]:
    found = {"price": f"{ticks / 100:.2f}", "size": f"{lots / 100:.2f}", "side": "buy", "id": number + 1}
    return {"ts_ms": FIRST_MS + number * STEP_MS, **found}


@contextmanager
def pushing(url: str, pushed: list[Pushed]) -> Iterator[None]:
    rng, stop = random.Random(len(pushed)), Event()

    def push() -> None:
        with redis.Redis.from_url(url) as client:
            while not stop.wait(0.01):
                some = [(rng.randint(9_000, 11_000), rng.randint(1, 500)) for _ in range(PUSHED)]
                with client.pipeline() as pipe:
                    for number, trade in enumerate(some, len(pushed)):
                        pipe.xadd(INBOX, fields(number, *trade))
                    pipe.execute()
                pushed.extend(some)

    thread = Thread(target=push)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


@contextmanager
def worker(url: str) -> Iterator["subprocess.Popen[str]"]:
    process = start(REDIS_URL=url, FLEET_LEASE_TTL_MS=str(LEASE_MS), FLEET_LOG_LEVEL="error")
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def backup(data: Path, copy: Path) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-m", "infra.cli", "backup", str(copy), "--data", str(data)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def one_pass(pushed: Sequence[Pushed]) -> list[list[Any]]:
    """Minutes of these trades: open, prices, volume in lots and their number."""
    minutes: dict[int, list[Pushed]] = {}
    for number, trade in enumerate(pushed):
        at_ms = FIRST_MS + number * STEP_MS
        minutes.setdefault(at_ms - at_ms % MINUTE_MS, []).append(trade)
    return [
        [open_ms, ticks[0], max(ticks), min(ticks), ticks[-1], sum(lots), len(ticks)]
        for open_ms, trades in minutes.items()
        for ticks, lots in [tuple(zip(*trades, strict=True))]
    ]


async def minutes_of(url: str) -> list[list[Any]]:
    async with served(url) as feed:
        found = await feed.json(f"/v1/candles/{INSTRUMENT.symbol}", timeframe="1m", limit=50_000)
    return [
        [bar["t"], *(round(bar[name] * 100) for name in ("o", "h", "l", "c", "v")), bar["n"]] for bar in found["bars"]
    ]


async def answers(url: str) -> dict[Any, Any]:
    async with served(url) as feed:
        return await all_answers(feed, INSTRUMENT.symbol)


async def applied(url: str, count: int) -> None:
    """Wait for so many trades."""

    async def is_so() -> bool:
        found: int = sum(minute[-1] for minute in await minutes_of(url))
        return found == count

    await wait_until_async(is_so, 30)


@dataclass(slots=True)
class Attempts:
    """Backups, and the `copies` that became whole."""

    folder: Path
    rng: random.Random
    copies: list[Path] = field(default_factory=list)
    killed: int = 0

    def back_up(self, data: Path) -> None:
        """Killed now and then: there is no copy, then, or it was whole by that time."""
        copy = self.folder / f"copy{len(self.copies)}-{self.killed}"
        process = backup(data, copy)
        if self.rng.random() < KILLED_SHARE:
            with suppress(subprocess.TimeoutExpired):
                process.wait(self.rng.uniform(0.2, 0.8))
            process.kill()
        _, said = process.communicate()
        if copy.exists():
            self.copies.append(copy)
        else:
            self.killed += 1
            assert process.returncode == -signal.SIGKILL, said

    @property
    def are_enough(self) -> bool:
        return self.killed > 0 and len(self.copies) > 1


async def test_each_copy_is_of_one_moment_and_goes_on_from_there(tmp_path: Path) -> None:
    rng, data, pushed = random.Random(os.environ.get("CHAOS_SEED", "1")), tmp_path / "data", list[Pushed]()
    attempts = Attempts(tmp_path, rng)
    with embedded.session(data) as url, ExitStack() as stack:
        async with commit_client(url) as client:
            await Registry(client).add_symbol(Market(INSTRUMENT, {"kind": "inbox"}))
        workers = [stack.enter_context(worker(url)) for _ in range(2)]
        with pushing(url, pushed), redis.Redis.from_url(url) as store:
            wait_until(lambda: store.exists(f"{{{INSTRUMENT.symbol}}}:state"), 20)
            end_s = time.monotonic() + LOAD_S
            while time.monotonic() < end_s or not attempts.are_enough:
                workers.pop(0).kill()
                workers.append(stack.enter_context(worker(url)))
                if rng.random() < REWRITE_SHARE:
                    store.bgrewriteaof()
                attempts.back_up(data)
        await applied(url, len(pushed))
        for each in workers:
            each.terminate()
            each.wait(5)
        before = await answers(url)
        assert await minutes_of(url) == one_pass(pushed)
        with backup(data, tmp_path / "last") as last_one:
            assert last_one.wait() == 0
    print(f"{len(attempts.copies)} copies, {attempts.killed} backups killed, {len(pushed):,} trades")
    for copy in attempts.copies:
        with embedded.session(copy) as url:
            found = await minutes_of(url)
            count = sum(minute[-1] for minute in found)
            assert 0 < count < len(pushed) and found == one_pass(pushed[:count])
            # What is compared would show a single trade that the copy has not.
            assert found != one_pass(pushed[: count - 1])
    with embedded.session(attempts.copies[-1]) as url, worker(url):
        # What lay in its inbox is applied there as it was here.
        with redis.Redis.from_url(url) as store:
            last: Any = store.xrevrange(INBOX, count=1)
        await applied(url, int(last[0][1][b"id"]))
        assert await minutes_of(url) == one_pass(pushed[: int(last[0][1][b"id"])])
    with embedded.session(tmp_path / "last") as url:
        assert await answers(url) == before
