"""Real processes whose wall clock is set while they run: by -3 s, -2 h, +1 h, a day, 500 days, and back each time.

The store's clock is right, and so is that of whoever pushes. Each step alone: tests/workers/symbol/test_clock_steps.py.
"""

import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

from common.market.coding import codec
from common.market.instrument import Instrument
from common.market.timeframes.timeframe import DAY_MS
from common.market.trade import BUY, Trade
from common.store.client import commit_client
from common.store.health import CLOCK
from common.store.jobs import Jobs
from common.store.keys import SymbolKeys
from common.store.parts import Entries, Minutes, Range
from common.store.reads import SymbolReader, View
from common.store.registry import Market, Registry
from infra.exchange import listing_of, serving
from infra.local import die_with_parent
from tests.kit.processes.faked_clock import RIGHT, STEPS, FakedClock
from tests.kit.venue_line import NAME, exchange_of
from tests.kit.waiting import wait_until_async
from workers.rollup.rq_queue import JobQueue, rq_client
from workers.rollup.work import Work

pytestmark = pytest.mark.process

# Python starts slowly on a busy machine.
START_S = 30
EVERYTHING = Range(0, 1 << 50)


@contextmanager
def process(faked: FakedClock, *command: str, **environment: str) -> "Iterator[subprocess.Popen[str]]":
    dying = [sys.executable, die_with_parent.__file__, str(os.getpid()), sys.executable, "-m", *command]
    started = subprocess.Popen(dying, env=os.environ | faked.environ | environment, stderr=subprocess.PIPE, text=True)
    with started:
        try:
            yield started
        finally:
            started.kill()


def now_ms() -> int:
    return time.time_ns() // 1_000_000


@dataclass
class Symbol:
    """A symbol in the store. `expected`: the trades that were to be applied, where the test knows them."""

    client: Redis
    market: Market
    expected: list[Trade] = field(default_factory=list)

    async def view(self) -> View:
        return await SymbolReader(self.client, self.market.symbol).view(Minutes(EVERYTHING), Entries(0))

    async def reason(self) -> str | None:
        return (await self.view()).health.get("reason")

    async def seq(self) -> int:
        state = (await self.view()).state
        return state.seq if state else 0

    async def applied(self) -> list[Trade]:
        return [row for entry in (await self.view()).stream.entries for row in codec.unpack_trades(entry.trades).rows()]

    async def assert_undisturbed(self) -> None:
        """All is there once, nothing was refused, dropped or closed before its time."""
        view, applied = await self.view(), await self.applied()
        state = view.state
        assert state and state.refused == {}
        assert state.watermark_ms <= now_ms()
        trades = sum(codec.unpack_candle(packed).trades for packed in [*view.minutes[0], *filter(None, [state.candle])])
        assert trades == len(applied)
        assert state.candle_floor_ms < 0 or state.candle_floor_ms <= applied[0].ts_ms
        if self.expected:
            assert sorted(applied) == sorted(self.expected)

    async def push(self, ts_ms: int) -> None:
        row = Trade(ts_ms, len(self.expected) + 1, 100 + len(self.expected) % 7, 5, BUY)
        self.expected.append(row)
        price = f"{row.price_ticks / 100:.2f}"
        fields: dict[Any, Any] = {"ts_ms": ts_ms, "price": price, "size": "0.005", "side": "buy", "id": row.id}
        await self.client.xadd(SymbolKeys(self.market.symbol).inbox, fields)


async def step_by_step(faked: FakedClock, symbols: list[Symbol], meanwhile: Callable[[], Any]) -> None:
    """Set the clock to each step and back; each time until all symbols say so, and have gone on."""
    for step in [*STEPS, *reversed(STEPS)]:
        for at, is_right in ((step, False), (RIGHT, True)):
            faked.set(at)
            before = [await symbol.seq() for symbol in symbols]
            await meanwhile()
            for symbol, seq in zip(symbols, before, strict=True):
                await wait_until_async(partial(_says, symbol, is_right))
                await meanwhile()
                await wait_until_async(partial(_is_past, symbol, seq))


async def _says(symbol: Symbol, is_right: bool) -> bool:
    return (await symbol.reason() == CLOCK) != is_right


async def _is_past(symbol: Symbol, seq: int) -> bool:
    return await symbol.seq() > seq


@asynccontextmanager
async def store(url: str) -> AsyncIterator[Redis]:
    async with commit_client(url) as client:
        yield client


def worker(faked: FakedClock, url: str) -> Any:
    settings = {"FLEET_CANDLE_DAYS": "400", "FLEET_SYMBOLS_PER_WORKER": "3", "FLEET_BACKFILL_HOURS": "0"}
    # All that a simulated market has behind it, and makes up for.
    settings["FLEET_TRADES_KEPT"] = "400000"
    return process(faked, "workers", REDIS_URL=url, **settings)


@pytest.mark.timeout(120)
async def test_a_worker_with_an_inbox_a_simulator_and_a_venue(redis_url: str, tmp_path: Path) -> None:
    faked, exchange = FakedClock(tmp_path), exchange_of(orders_per_s=20)
    async with store(redis_url) as client, serving(exchange) as address:
        exchange.speed = 1.0
        inbox = Symbol(client, Market(Instrument("TEST:A", 2, 3, "contiguous"), {"kind": "inbox"}))
        simulated = Symbol(client, Market(Instrument("SIM:A", 2, 3, "contiguous"), {"kind": "simulator"}))
        source = {"kind": "venue", "venue": "LOCAL", "name": NAME, "price_step_ticks": 1, "size_step_lots": 1}
        urls = {"rest_url": address.rest, "socket_url": address.ws}
        listed = replace(listing_of(NAME).instrument, symbol=f"LOCAL:{NAME}", size_decimals=8)
        venue = Symbol(client, Market(listed, source | urls))
        symbols = [inbox, simulated, venue]
        for symbol in symbols:
            await Registry(client).add_symbol(symbol.market)
        # All history that is kept; and the first trade of now, after which it is a day less than all of that.
        await inbox.push(now_ms() - 399 * DAY_MS)
        await inbox.push(now_ms())
        with worker(faked, redis_url):
            for symbol in symbols:
                await wait_until_async(symbol.seq, START_S)
            await step_by_step(faked, symbols, lambda: inbox.push(now_ms()))
            await wait_until_async(lambda: _has_all(inbox))
        for symbol in symbols:
            await symbol.assert_undisturbed()
        ids = [row.id for row in await simulated.applied()]
        assert ids == list(range(1, len(ids) + 1))
        times = [row.ts_ms for row in await simulated.applied()]
        assert times == sorted(times) and times[-1] <= now_ms()
        state = (await venue.view()).state
        assert state
        (span,) = state.coverage("contiguous").spans()
        truth = [(row.id, row.ts_ms) for row in exchange.market(NAME).trades(span.first, span.last).rows()]
        assert sorted((row.id, row.ts_ms) for row in await venue.applied()) == truth


async def _has_all(symbol: Symbol) -> bool:
    return len(await symbol.applied()) == len(symbol.expected)


@pytest.mark.timeout(120)
async def test_a_replay_at_its_own_pace(redis_url: str, tmp_path: Path) -> None:
    faked, path = FakedClock(tmp_path), tmp_path / "trades.csv"
    begins_ms = now_ms() - DAY_MS
    rows = [Trade(begins_ms + 60 * at, at + 1, 100 + at % 7, 5, BUY) for at in range(120)]
    lines = [f"{row.ts_ms},{row.price_ticks / 100:.2f},0.005,buy,{row.id}" for row in rows]
    path.write_text("ts_ms,price,size,side,id\n" + "\n".join(lines) + "\n", "utf-8")
    options = ["--price-decimals", "2", "--size-decimals", "3", "--ids", "contiguous", "--speed", "1"]
    async with store(redis_url) as client:
        symbol = Symbol(client, Market(Instrument("TEST:R", 2, 3, "contiguous")), rows)
        command = ["infra.cli", "replay", str(path), "--symbol", "TEST:R", *options]
        with process(faked, *command, REDIS_URL=redis_url) as ran:
            await wait_until_async(symbol.seq, START_S)
            for step in STEPS:
                for at in (step, RIGHT):
                    faked.set(at)
                    seq = await symbol.seq()
                    await wait_until_async(partial(_is_past, symbol, seq + 3))
            await wait_until_async(lambda: ran.poll() is not None, 60)
            assert ran.returncode == 0, ran.stderr and ran.stderr.read()
        await symbol.assert_undisturbed()


@pytest.mark.parametrize("step", STEPS)
async def test_a_job_that_failed_by_a_clock_that_was_set_is_tried_again_in_time(
    step: str, redis_url: str, tmp_path: Path
) -> None:
    """By one 500 days ahead it would wait for 500 days."""
    faked, work = FakedClock(tmp_path), Work("fail", "T:S", 0)
    faked.set(step)
    with rq_client(redis_url) as rq, process(faked, "tests.kit.processes.rollup_main", redis_url, "20") as ran:
        queue = JobQueue(rq)
        queue.offer([work])
        async with store(redis_url) as client:
            jobs = Jobs(client)
            await wait_until_async(jobs.failures, START_S)
            failed = (await jobs.failures())[work.job]
            assert abs(failed.at_ms - now_ms() - STEPS[step]) < 60_000
            rq.set("ok", 1)

            async def done() -> int:
                found = (await jobs.failures()).get(work.job)
                if found and not found.waits(now_ms()):
                    queue.offer([work])
                return int(rq.llen("done"))

            await wait_until_async(done)
        assert ran.poll() is None
