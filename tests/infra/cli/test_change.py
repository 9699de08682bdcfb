"""`fleet symbols change` beside a worker at work: as processes, killed at random moments."""

import asyncio
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from decimal import Decimal
from functools import partial
from typing import Any

import orjson
import pytest
from redis.asyncio import Redis

from common.market.builder import validity
from common.market.instrument import Instrument
from common.market.timeframes.timeframe import day_of
from common.market.trade import BUY, Trade
from common.store.client import commit_client
from common.store.cut import wrong_times
from common.store.instrument import instrument_fields, stored_instrument
from common.store.keys import SYMBOLS, SYMBOLS_VERSION, SymbolKeys
from common.store.reads import SymbolReader
from common.store.registry import Market, Registry
from infra import cli
from tests.kit.processes.worker import start
from tests.kit.served import Served, served
from tests.kit.waiting import wait_until_async
from tests.kit.writer import Writer

pytestmark = pytest.mark.process

S = "MY:BTCUSD"
KEYS = SymbolKeys(S)
INSTRUMENT = Instrument(S, 2, 3, "contiguous")
# A test may share its machine with others; docs/reliability.md has what it takes on one that is free: 0.3 s.
MAX_STALL_S = 5.0
# About as long as a change takes once it has begun.
MAX_CHANGE_S = 0.1
KILLS = int(os.environ.get("CHANGE_KILLS", "3"))


@dataclass(slots=True)
class Pusher:
    """Pushes trades for as long as it runs, each with the time it was pushed for an id."""

    client: Redis
    pushed: list[tuple[Decimal, Decimal]] = field(default_factory=list)
    # Decimals of the prices that are pushed.
    decimals: int = 2
    _rng: random.Random = field(default_factory=lambda: random.Random(1))

    async def run(self) -> None:
        while True:
            price = Decimal(self._rng.randrange(6_400_000, 6_400_900)).scaleb(-2)
            price += Decimal(self._rng.randrange(10 ** (self.decimals - 2))).scaleb(-self.decimals)
            size = Decimal(self._rng.randrange(1, 900)).scaleb(-3)
            self.pushed.append((price, size))
            fields = {"ts_ms": time.time_ns() // 10**6, "price": str(price), "size": str(size), "side": "buy"}
            await self.client.xadd(KEYS.inbox, fields | {"id": len(self.pushed)})  # type: ignore[arg-type]
            await asyncio.sleep(0.01)


@asynccontextmanager
async def live(redis_url: str) -> AsyncIterator[tuple[Redis, Pusher]]:
    """A worker, and somebody who pushes trades to it."""
    async with commit_client(redis_url) as client:
        await Registry(client).add_symbol(Market(INSTRUMENT, {"kind": "inbox", "trim": True}))
        worker = await asyncio.to_thread(start, REDIS_URL=redis_url)
        pusher = Pusher(client)
        pushing = asyncio.create_task(pusher.run())
        try:
            await wait_until_async(lambda: applied_to(client, 50), 30)
            yield client, pusher
        finally:
            pushing.cancel()
            await asyncio.gather(pushing, return_exceptions=True)
            worker.kill()
            await asyncio.to_thread(worker.communicate)


async def applied_to(client: Redis, count: int) -> bool:
    return int(await client.hget(KEYS.state, "applied") or 0) >= count


async def registered_as(client: Redis) -> Instrument | None:
    market = await Registry(client).market(S)
    return market.instrument if market else None


async def goes_on(client: Redis, pusher: Pusher) -> None:
    """Wait until what has been pushed by now, and some more, is applied."""
    count = len(pusher.pushed) + 20
    await wait_until_async(lambda: applied_to(client, count), 40)


def fleet(
    redis_url: str, *arguments: str, command: Sequence[str] = ("symbols", "change", S)
) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "infra.cli", *command, *arguments]
    environment = os.environ | {"REDIS_URL": redis_url}
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


async def ended(process: "subprocess.Popen[str]") -> tuple[int, str]:
    out, err = await asyncio.to_thread(process.communicate)
    return process.returncode, out + err


async def longest_stall_s(client: Redis, until: asyncio.Event) -> float:
    """The longest time without a commit."""
    seen, at_s, longest_s = b"", time.monotonic(), 0.0
    while not until.is_set():
        seq: Any = await client.hget(KEYS.state, "seq")
        if seq != seen:
            longest_s, seen, at_s = max(longest_s, time.monotonic() - at_s), seq, time.monotonic()
        await asyncio.sleep(0.002)
    return longest_s


async def told(feed: Served) -> list[tuple[int, Decimal, Decimal]]:
    answer = await feed.get(f"/v1/trades/{S}", limit="10000")
    trades = orjson.loads(answer.content)["trades"]
    return [(t["id"], Decimal(str(t["p"])), Decimal(str(t["q"]))) for t in trades]


async def all_applied(feed: Served, client: Redis, pusher: Pusher) -> None:
    """Each trade that was pushed, once, with its numbers; none refused."""
    count = len(pusher.pushed)
    await wait_until_async(lambda: applied_to(client, count), 30)
    expected = [(at, *pair) for at, pair in enumerate(pusher.pushed[:count], 1)]
    assert sorted(await told(feed))[:count] == expected
    health = await feed.json(f"/v1/health/{S}")
    assert (health["mode"], health["refused"]) == ("LIVE", {})


async def test_live_trades_hardly_wait_while_their_symbol_is_changed(redis_url: str) -> None:
    async with live(redis_url) as (client, pusher), served(redis_url) as feed:
        done = asyncio.Event()
        stall = asyncio.create_task(longest_stall_s(client, done))
        for arguments, decimals in (
            (("--price-decimals", "4", "--size-decimals", "6"), 4),
            (("--calendar", "FOREX"), 4),
        ):
            code, said = await ended(fleet(redis_url, *arguments))
            assert code == 0, said
            # What did not fit before comes through.
            pusher.decimals = decimals
            await goes_on(client, pusher)
        done.set()
        stall_s = await stall
        print(f"the longest time without a commit was {stall_s:.3f} s")
        assert stall_s < MAX_STALL_S
        await all_applied(feed, client, pusher)
        changed = Instrument(S, 4, 6, "contiguous", "FOREX")
        assert await registered_as(client) == changed
        # As a change leaves it that is killed between its data and the registry.
        entry = instrument_fields(replace(changed, calendar="24x7")) | {"source": {"kind": "inbox", "trim": True}}
        await client.hset(SYMBOLS, S, orjson.dumps(entry))
        await client.incr(SYMBOLS_VERSION)

        async def followed() -> bool:
            return await registered_as(client) == changed

        await wait_until_async(followed, 30)
        await goes_on(client, pusher)


async def test_a_change_that_is_killed_at_random_moments_ends_when_it_is_run_again(redis_url: str) -> None:
    """And whatever it was cut off from, the worker goes on by itself, a lease later at most."""
    rng = random.Random(int(os.environ.get("CHANGE_SEED", "3")))
    async with live(redis_url) as (client, pusher), served(redis_url) as feed:
        killed = 0
        for decimals in range(3, 3 + KILLS):
            process = fleet(redis_url, "--price-decimals", str(decimals))
            # The first one is killed right there.
            await wait_until_async(partial(begun, client, process), 60)
            await asyncio.sleep(rng.uniform(0, MAX_CHANGE_S) if killed else 0)
            process.send_signal(signal.SIGKILL)
            killed += (await ended(process))[0] == -signal.SIGKILL
            await goes_on(client, pusher)
        code, said = await ended(fleet(redis_url, "--price-decimals", "8"))
        assert code == 0 and killed, said
        data = await stored_instrument(client, S)
        assert data and data.instrument == await registered_as(client) == Instrument(S, 8, 3, "contiguous")
        await all_applied(feed, client, pusher)


async def begun(client: Redis, process: "subprocess.Popen[str]") -> bool:
    """Whether a change is being made, or was before anybody saw it."""
    return bool(await client.exists(KEYS.changing)) or process.poll() is not None


async def test_a_symbol_that_was_registered_otherwise_by_hand_is_mended_by_the_command_that_is_told(
    redis_url: str,
) -> None:
    """Today: 64000.5 reads as 64.0005 and a worker that goes on mixes both for good."""
    async with live(redis_url) as (client, pusher), served(redis_url) as feed:
        entry = {
            "price_decimals": 5,
            "size_decimals": 3,
            "ids": "contiguous",
            "source": {"kind": "inbox", "trim": True},
        }
        await client.hset(SYMBOLS, S, orjson.dumps(entry))
        await client.incr(SYMBOLS_VERSION)

        async def failed() -> bool:
            health = await feed.json(f"/v1/health/{S}")
            return health["mode"] == "FAILED" and not await client.hget(KEYS.owner, "token")

        await wait_until_async(failed, 30)
        health = await feed.json(f"/v1/health/{S}")
        assert health["reason"] == "instrument"
        command = health["detail"].partition("`fleet symbols change ")[2].partition("`")[0]
        assert command == f"{S} --price-decimals 5"
        code, said = await ended(fleet(redis_url, *command.split()[1:]))
        assert code == 0, said
        await goes_on(client, pusher)
        await all_applied(feed, client, pusher)


async def test_coverage_since_1970_is_told_by_doctor_and_cut_by_the_command_it_names(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An earlier release took a 0 for the time of a trade. The worker goes on, and so does a feed that has seen it."""
    day_ms = day_of(time.time_ns() // 10**6)
    async with commit_client(redis_url) as client:
        writer = await Writer.begun(client, instrument=INSTRUMENT)
        with monkeypatch.context() as patch:
            patch.setattr(validity, "MIN_TS_MS", 0)
            await writer.commit(Trade(0, 0, 100, 5, BUY))
        await writer.store.release(writer.token)
    async with live(redis_url) as (client, pusher), served(redis_url) as feed:

        async def complete_since() -> list[int]:
            answer = await feed.json(f"/v1/candles/{S}", timeframe="1m", start=0)
            return [answer["coverage"][0][0], answer["bars"][0]["t"]]

        # The minute itself goes with the first trade of today, by retention.
        assert (await complete_since())[0] == 0
        code, said = await ended(fleet(redis_url, command=["doctor"]))
        assert f"{S} is said to be complete since 1970-01-01" in said
        assert f"fleet symbols change {S} --from DAY" in said
        day = datetime.fromtimestamp(day_ms // 1_000, UTC).date()
        code, said = await ended(fleet(redis_url, "--from", str(day)))
        assert (code, said) == (0, f"{S}: its history begins at {day} 00:00 UTC now\n")
        await goes_on(client, pusher)
        coverage_ms, candle_ms = await complete_since()
        assert coverage_ms == day_ms <= candle_ms
        state = (await SymbolReader(client, S).view()).state
        assert state and wrong_times(Market(INSTRUMENT), state) is None
        health = await feed.json(f"/v1/health/{S}")
        assert (health["mode"], health["refused"]) == ("LIVE", {})


def test_what_can_t_be_is_refused_in_a_sentence(
    redis_url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def a_symbol_with_trades() -> None:
        async with commit_client(redis_url) as client:
            writer = await Writer.begun(client, instrument=replace(INSTRUMENT, ids="unique"))
            await writer.commit(writer.trade())

    asyncio.run(a_symbol_with_trades())
    monkeypatch.setenv("REDIS_URL", redis_url)
    for arguments, sentence in [
        ((), "nothing is to be changed: fleet symbols change --help"),
        (("--calendar", "NOWHERE"), "calendar 'NOWHERE'"),
        (("--ids", "contiguous"), "has trades whose ids need not be contiguous"),
        (("--price-decimals", "1", "--size-decimals", "2"), "size 0.005 has more than 2 decimals"),
        (("--from", "yesterday"), "'yesterday'"),
        (("--from", "1970-01-01"), "--from is 1970-01-01, expected a day from 1990-01-01 on"),
        (("--from", "2031-05-07"), "nothing would be left from 2031-05-07 on"),
        (("--from", "2023-11-14", "--candle-days", "9"), "expected no other change with it"),
    ]:
        monkeypatch.setattr(sys, "argv", ["fleet", "symbols", "change", S, *arguments])
        with pytest.raises(SystemExit) as caught:
            cli.main()
        said = capsys.readouterr()
        assert caught.value.code == 2 and sentence in said.err, said
