"""Two months are rolled up, sealed, archived, corrected and read, while everything but the reader is killed at random.

`CHAOS_SEED=123 infra/test tests/chaos -s` repeats the trades and the order of the kills; their moments differ.
"""

import os
import secrets
import signal
import subprocess
import sys
import time
from bisect import bisect_right
from collections.abc import Awaitable, Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import anyio
import orjson
import polars as pl
import pytest
import redis
from redis.asyncio import Redis
from redis.exceptions import RedisError

from common.archive.archive import Archive
from common.archive.series import CANDLE_ROWS, FOOTPRINT_ROWS, TRADE_ROWS
from common.errors import StoreUnavailable
from common.market.timeframes.timeframe import DAY_MS, MINUTE_MS, Timeframe, day_of
from common.market.trade import Trade
from common.series import FOOTPRINTS, MINUTE_SERIES
from common.store.client import commit_client
from common.store.keys import SymbolKeys
from common.store.parts import Seals
from common.store.reads import SymbolReader
from common.store.registry import Market
from common.store.rollups import RollupStore
from feed.queries.candles import CandleQuery
from feed.queries.queries import Queries
from feed.reading.bounds import Window
from infra.local import die_with_parent, embedded
from tests.chaos.scripts import changed_script
from tests.kit.archive.days import archive_all
from tests.kit.asked import candles_of
from tests.kit.bars_oracle import of_applied
from tests.kit.waiting import wait_until_async
from tests.kit.writer import INSTRUMENT, START_MS, Writer
from workers.clock.due import due_work
from workers.rollup.older import older_minutes
from workers.rollup.running_delta import with_ranges
from workers.rollup.trades import archive_trades
from workers.symbol.commit import Retention

pytestmark = pytest.mark.chaos

DAYS, MINUTES = 60, 48
KILLS_S = 4.0
# Of the store: each costs a second in which nothing else can be shown.
MAX_STORE_KILLS = 2
# Corrections of minutes that Redis has and, under fire for as long again, of those that the archive alone has; days of
# minutes that Redis keeps.
LATE, FAR, FAR_KILLS_S, KEPT_DAYS, FOOTPRINT_DAYS = 4, 4, 2.0, 50, 5
TIMEFRAMES = ("1h", "1d", "1w")
MARKET = Market(INSTRUMENT, {"kind": "inbox"})
SETTINGS = {
    "FLEET_CLOCK_TICK_MS": "200",
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
        kinds = list(self.kills)[: 4 if self.kills["store"] < MAX_STORE_KILLS else 3]
        # Where most is under way: in a job, if one runs.
        kind, number = self._random.choice([*kinds, "job", "job"]), self._random.randrange(2)
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
        until_s = time.monotonic() + 0.6
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
        environ = os.environ | SETTINGS | {"REDIS_URL": self._url, "FLEET_ARCHIVE_URL": str(self._folder / "fired")}
        process = subprocess.Popen(command, env=environ, stderr=subprocess.DEVNULL)
        self._stack.callback(process.wait)
        self._stack.callback(process.kill)
        return process


@dataclass(slots=True)
class Checker:
    """Every bar there is, asked for again and again. `truth`: the bars after each late trade, by timeframe.

    `late_seqs`: the commits of those trades. An answer is judged by its cursor, once these are known.
    """

    client: Redis
    archive: Archive | None
    truth: list[dict[str, Any]] = field(default_factory=list)
    late_seqs: list[int] = field(default_factory=list)
    seen: dict[tuple[str, int, bytes], int] = field(default_factory=dict)
    away: int = 0

    async def look(self, kept: Queries) -> None:
        """By a feed that keeps what it has read, and by one that has just been started."""
        for queries in (kept, self.fresh()):
            for timeframe in TIMEFRAMES:
                asked = CandleQuery(Timeframe.parse(timeframe), Window(None, None, 5_000), "none", "json")
                try:
                    answer = orjson.loads(await candles_of(queries, MARKET, asked))
                except StoreUnavailable:
                    self.away += 1
                    continue
                one = timeframe, int(answer["cursor"].partition("-")[0]), orjson.dumps(answer["bars"])
                self.seen[one] = self.seen.get(one, 0) + 1

    def fresh(self) -> Queries:
        return Queries(self.client, 6_000, archive=self.archive)

    def seen_to(self) -> int:
        """The newest commit that an answer was true of."""
        return max((seq for _, seq, _ in self.seen), default=0)

    def wrong(self) -> list[tuple[str, int]]:
        """Timeframe and commit of the answers that were not the truth."""
        return [
            (timeframe, seq)
            for timeframe, seq, bars in self.seen
            if orjson.loads(bars) != self.truth[bisect_right(self.late_seqs, seq)][timeframe]
        ]


def bars(writer: Writer) -> dict[str, Any]:
    return {name: of_applied(writer, Timeframe.parse(name)) for name in TIMEFRAMES}


async def write(writer: Writer, random: Random, days: int) -> None:
    """Random trades of so many days, and the first of a later one."""
    for day in range(days):
        times = (START_MS + day * DAY_MS + number * 1_200_000 for number in range(MINUTES))
        await writer.commit(*(writer.trade(at_ms, random.randint(9_900, 10_100)) for at_ms in times))
    await writer.commit(writer.trade(START_MS + (days + 2) * DAY_MS))


async def write_surely(writer: Writer, trade: Trade) -> int:
    """Commit a trade whatever becomes of the store; return its commit."""
    while True:
        before = writer.seq
        try:
            await writer.commit(trade)
        except StoreUnavailable:
            await claim_surely(writer)
        if writer.seq > before:
            return before + 1


async def claim_surely(writer: Writer) -> None:
    while True:
        with suppress(StoreUnavailable):
            return await writer.claim()
        await anyio.sleep(0.01)


async def drop(writer: Writer) -> int:
    """The next minute: with what it closes, all is dropped that is archived and older than the retention."""
    return await write_surely(writer, writer.trade(writer.now_ms + MINUTE_MS))


async def stored(client: Redis, keys: SymbolKeys) -> dict[str, Any]:
    """Everything that roll-ups write, and what they last told of each day."""
    found: dict[str, Any] = {series: await client.zrange(keys.rolled(series), 0, -1) for series in ("1d", "1w", "1M")}
    late = map(keys.late, MINUTE_SERIES)
    for name in (keys.candles, keys.minutes(FOOTPRINTS), keys.dirty, keys.unarchived, keys.months, *late):
        found[name] = await client.zrange(name, 0, -1)
    for name in (keys.sealed("candles"), keys.sealed("footprints"), keys.rolled_15m):
        found[name] = await client.hgetall(name)
    for name in ("candle_floor_ms", "footprint_floor_ms"):
        found[name] = await client.hget(keys.state, name)
    events: Any = await client.xrange(keys.events)
    told = [orjson.loads(fields[b"event"]) for _, fields in events]
    days = [event["bar"] for event in told if event.get("timeframe") == "1d"]
    found["told"] = {bar["t"]: bar for bar in days}
    assert len({(bar["t"], bar["n"]) for bar in days}) == len(days), "told twice of the same"
    return found


def archived(archive: Archive) -> list[pl.DataFrame]:
    """Every period of the archive."""
    return [
        archive.read(rows, INSTRUMENT, period_ms, rows.period.next_open(period_ms))
        for rows in (CANDLE_ROWS, FOOTPRINT_ROWS, TRADE_ROWS)
        for period_ms in archive.periods(rows, INSTRUMENT.symbol)
    ]


# On a machine that does much else; alone it takes a quarter of a minute.
@pytest.mark.timeout(180)
async def test_two_months_under_fire_are_as_if_nothing_had_happened(tmp_path: Path) -> None:
    seed = int(os.environ.get("CHAOS_SEED") or secrets.randbelow(1 << 40))
    print(f"CHAOS_SEED={seed}")
    random = Random(seed)
    calm, fired = (Archive.open(str(tmp_path / name)) for name in ("calm", "fired"))
    with embedded.session(tmp_path) as url:
        async with commit_client(url) as client, commit_client(url) as reading:
            writer = Writer(client, archived=frozenset({"candles", "footprints", "trades"}))
            await writer.register()
            await writer.claim()
            keys = SymbolKeys(INSTRUMENT.symbol)
            await write(writer, random, DAYS)
            # As retention has it, footprints are kept for less time; each of their days is an object of the archive.
            first_ms = START_MS + (DAYS - FOOTPRINT_DAYS) * DAY_MS
            await client.zremrangebyscore(keys.minutes(FOOTPRINTS), "-inf", first_ms)
            before = await writer.save()

            checker = Checker(reading, fired, [bars(writer)])
            # Of days that are not dropped: those take none any more.
            late_days = sorted(random.randrange(DAYS - KEPT_DAYS + 3, 30) for _ in range(LATE))
            late = [writer.trade(START_MS + day * DAY_MS + random.randrange(DAY_MS), 11_000) for day in late_days]
            for trade in late:
                await writer.commit(trade)
                checker.truth.append(bars(writer))
            writer.ranged = partial(with_ranges, calm)
            await writer.roll_up()
            await archive_all(client, calm, MARKET)
            writer.retention, writer.older = Retention(KEPT_DAYS, KEPT_DAYS), partial(older_minutes, calm)
            next_id, last_ms = writer.next_id, writer.now_ms
            await drop(writer)
            checker.truth.append(bars(writer))
            far_days = [random.randrange(1, DAYS - KEPT_DAYS) for _ in range(FAR)]
            far = [writer.trade(START_MS + day * DAY_MS + random.randrange(DAY_MS), 11_500) for day in far_days]
            for trade in far:
                await writer.commit(trade)
                checker.truth.append(bars(writer))
            assert await client.zcard(keys.late("candles")) == FAR
            await writer.roll_up()
            await archive_all(client, calm, MARKET)
            await archive_trades(client, MARKET, calm)
            undisturbed = await stored(client, keys)
            assert len(undisturbed["1d"]) == len(undisturbed["told"]) >= DAYS
            assert len(undisturbed[keys.sealed("candles")]) <= KEPT_DAYS
            assert len(undisturbed[keys.months]) == len(undisturbed[keys.rolled_15m]) == 3

            writer.now_ms = last_ms
            await writer.rewind(before)
            writer.next_id = next_id
            stop = anyio.Event()

            async def read() -> None:
                kept = checker.fresh()
                while not stop.is_set():
                    await checker.look(kept)
                    await anyio.sleep(0.2)

            async def correct(trades: list[Trade], is_ready: Callable[[int], Awaitable[bool]]) -> None:
                for number, trade in enumerate(trades):
                    if number % 2:
                        await wait_until_async(partial(is_ready, day_of(trade.ts_ms)), 40)
                    checker.late_seqs.append(await write_surely(writer, trade))
                    await wait_until_async(lambda: checker.seen_to() >= checker.late_seqs[-1], 40)

            async def is_sealed(day_ms: int) -> bool:
                with suppress(StoreUnavailable):
                    view = await SymbolReader(client, INSTRUMENT.symbol).view(Seals(day_ms))
                    return any(seal.day_ms == day_ms for seal in view.seals)
                return False

            async def nothing_is_due(_: int = 0) -> bool:
                with suppress(StoreUnavailable):
                    return not await due_work(client, archiving=True, trades_kept=writer.trades_kept)
                return False

            async def fire(seconds: float) -> None:
                until_s = time.monotonic() + seconds
                while time.monotonic() < until_s:
                    await anyio.sleep(random.uniform(0.02, 0.2))
                    with suppress(RedisError, OSError):
                        await anyio.to_thread.run_sync(crew.kill)

            with ExitStack() as stack:
                crew = Crew(stack, url, tmp_path, random)
                async with anyio.create_task_group() as reader:
                    reader.start_soon(read)
                    async with anyio.create_task_group() as tasks:
                        tasks.start_soon(correct, late, is_sealed)
                        await fire(KILLS_S)
                    await wait_until_async(nothing_is_due, 40)
                    checker.late_seqs.append(await drop(writer))
                    writer.next_id = far[-1].id + 1
                    async with anyio.create_task_group() as tasks:
                        # Every other one while an earlier one is on its way into the archive.
                        tasks.start_soon(correct, far, nothing_is_due)
                        await fire(FAR_KILLS_S)
                    await wait_until_async(nothing_is_due, 40)
                    stop.set()
            assert not checker.wrong()
            assert len({seq for _, seq, _ in checker.seen}) >= LATE + FAR
            # Of trades the last ones may wait for an hour.
            await archive_trades(client, MARKET, fired)
            print(f"kills: {crew.kills}; answers: {sum(checker.seen.values())}, of them different: {len(checker.seen)}")
            print(f"store away: {checker.away}")
            assert await stored(client, keys) == undisturbed
            both = list(zip(archived(calm), archived(fired), strict=True))
            assert len(both) > FOOTPRINT_DAYS + DAYS and all(one.equals(other) for one, other in both)


GUARDS = {
    "open minutes are removed, and nobody is told of the block": (
        "redis.call('ZADD', seals, day, table.concat({day, unpack(ARGV, seal.first, seal.last)}, ':'))",
        "",
    ),
    "a trade that came since the job read is lost": ("(redis.call('ZSCORE', dirty, day) or '') ~= score", "false"),
}


def without(guard: tuple[str, str], text: str) -> str:
    assert text.count(guard[0]) == 1
    return text.replace(*guard)


@pytest.mark.parametrize("guard", GUARDS)
async def test_a_guard_that_is_missing_is_found_out(redis_url: str, guard: str) -> None:
    """Negative control of the checker, without kills."""
    async with commit_client(redis_url) as client:
        assert not await is_wrong(client)
        await client.flushall()
        with changed_script("roll.lua", partial(without, GUARDS[guard])):
            assert await is_wrong(client)


async def is_wrong(client: Redis) -> bool:
    """Three days, of which the first is corrected while its job is under way, without kills."""
    writer, checker = Writer(client), Checker(client, None)
    await writer.register()
    await writer.claim()
    await write(writer, Random(1), 3)
    checker.truth.append(bars(writer))
    kept, late, stage = checker.fresh(), [writer.trade(START_MS + 1, 11_000)], RollupStore.stage

    async def meanwhile(self: RollupStore, *args: Any) -> Any:
        found = await stage(self, *args)
        if late:
            checker.late_seqs.append(await write_surely(writer, late.pop()))
            checker.truth.append(bars(writer))
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RollupStore, "stage", meanwhile)
        await writer.roll_up()
    await checker.look(kept)
    return bool(checker.wrong())
