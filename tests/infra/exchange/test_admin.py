"""The admin surface, the command, and the clock that shows market time."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx2
import pytest

from common.errors import BadInput
from infra.exchange import Drop, Exchange, MarketClock, Skew
from infra.exchange.faults import KINDS, fault_of
from infra.paths import ROOT
from tests.kit.exchange import START_MS, SYMBOL, Served, served, still
from tests.kit.waiting import wait_until_async


async def admin(running: Served, path: str, **params: str | int) -> Any:
    async with running.admin() as http:
        answer = await http.get(path, params=params)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def post(running: Served, path: str, data: object) -> tuple[int, Any]:
    async with running.admin() as http:
        answer = await http.post(path, json=data)
    return answer.status_code, answer.json()


async def test_without_the_token_nothing_is_told(one: Served) -> None:
    for headers in ({}, {"Authorization": "Bearer x"}):
        answer = await one.http.get("/_admin/stats", headers=headers)
        assert answer.status_code == 401


async def test_the_truth_is_told() -> None:
    async with served(still(history_ms=70_000)) as running:
        market = running.exchange.market(SYMBOL)
        first_id = market.tape.ids[20]
        told = await admin(running, f"truth/{SYMBOL}/trades", from_id=first_id, to_id=first_id + 4)
        assert told["trades"] == [list(trade) for trade in market.trades(first_id, first_id + 4).rows()]
        assert told["kept"] == [market.tape.ids[0], market.tape.ids[-1]]
        klines = await admin(running, f"truth/{SYMBOL}/klines", interval="1m")
        minute = market.minutes.minute(START_MS)
        assert minute and klines[0]["turnover"] == minute.turnover and klines[0]["buy_lots"] == minute.buy_lots
        update_id = market.book.last_id - 50
        book = await admin(running, f"truth/{SYMBOL}/book", update_id=update_id)
        state = market.book.at(update_id)
        assert book["update_id"] == update_id and dict(map(tuple, book["bids"])) == state.bids
        assert (await admin(running, f"truth/{SYMBOL}/book"))["update_id"] == market.book.last_id


async def test_faults_are_injected_and_logged_and_time_is_moved() -> None:
    async with served(still()) as running, running.feed("/ws/btcusdt@trade") as feed:
        status, injection = await post(running, "faults", {"kind": "drop", "symbol": SYMBOL, "count": 2})
        assert status == 200 and (injection["number"], injection["left"]) == (1, 2)
        status, planned = await post(running, "faults", {"kind": "skew", "ms": -5, "at_ms": START_MS + 4_000})
        assert status == 200 and planned == {"planned": "skew", "at_ms": START_MS + 4_000}
        assert (await post(running, "time", {"advance_ms": 5_000}))[1]["now_ms"] == START_MS + 5_000
        first_id = running.exchange.market(SYMBOL).tape.ids[0]
        assert (await feed.trade_ids())[0] == first_id + 2
        drop, skew = await admin(running, "faults")
        assert drop["done"] and drop["trades"] == {SYMBOL: [[first_id, first_id + 1]]}
        assert skew["market_ms"] == START_MS + 4_000 and skew["parameters"] == {"ms": -5}
        # What came before the first that was sent, nobody was promised.
        assert await admin(running, f"truth/{SYMBOL}/missed") == []
        assert (await post(running, "time", {"speed": 1_000}))[1]["speed"] == 1_000
        await wait_until_async(lambda: running.exchange.now_ms > START_MS + 6_000)
        await post(running, "time", {"speed": 0})


async def test_everything_is_counted() -> None:
    async with served(still()) as running, running.feed("/ws/btcusdt@trade"):
        await running.get("depth", symbol=SYMBOL)
        stats = await admin(running, "stats")
        assert stats["requests"] == {"depth": 1} and stats["weight"] == {"depth": 5}
        (connection,) = stats["connections"]
        assert connection["streams"] == 1 and connection["path"] == "/ws/btcusdt@trade"
        (asked,) = await admin(running, "requests")
        assert (asked["query"], asked["weight"], asked["status"]) == (f"symbol={SYMBOL}", 5, 200)
        assert await admin(running, "violations") == []


@pytest.mark.parametrize(
    ("data", "error"),
    [
        ({}, "kind None is no fault, expected one of drop"),
        ({"kind": "drop"}, "drop lacks a parameter"),
        ({"kind": "drop", "symbol": "NOPE"}, "symbol 'NOPE' is not traded here"),
        ({"kind": "drop", "symbol": SYMBOL, "count": "3"}, "count is '3', expected int"),
        ({"kind": "drop", "symbol": SYMBOL, "count": -3}, "count is -3, expected int"),
        ({"kind": "drop", "symbol": SYMBOL, "n": 3}, "'n' is no parameter of drop, expected symbol"),
        ({"kind": "gap", "symbol": SYMBOL, "rest": "all"}, "rest is 'all', expected trades, klines, nothing"),
        ({"kind": "reset", "connection": True}, "connection is True"),
        ({"kind": "retick", "symbol": SYMBOL, "price_decimals": 2}, "price_decimals is 2, expected 3 to 3"),
        ([], "the body is no JSON object"),
    ],
)
async def test_a_bad_fault_is_named(one: Served, data: object, error: str) -> None:
    status, answer = await post(one, "faults", data)
    assert status == 400 and error in answer["error"]
    assert len(one.exchange.faults) == 0


@pytest.mark.parametrize("data", [{"advance_ms": -1}, {"advance_ms": 1 << 40}, {"speed": "fast"}, {"speed": -1}])
async def test_bad_time_is_named(one: Served, data: object) -> None:
    status, answer = await post(one, "time", data)
    assert status == 400 and "expected" in answer["error"]


async def test_bad_questions_are_named(one: Served) -> None:
    async with one.admin() as http:
        for path in (f"truth/{SYMBOL}/trades?from_id=x", f"truth/{SYMBOL}/book?update_id=1", "truth/NOPE/missed"):
            answer = await http.get(path)
            assert answer.status_code == 400 and "expected" in answer.json()["error"]
        assert (await http.get(f"truth/{SYMBOL}/klines?interval=7m")).status_code == 400


def test_every_fault_can_be_read_from_json() -> None:
    values: dict[str, object] = {"symbol": SYMBOL, "ms": 5, "price_decimals": 3}
    for name, kind in KINDS.items():
        needed = {each: values[each] for each in values if each in kind.__annotations__}
        assert isinstance(fault_of({"kind": name, **needed}), kind)
    assert fault_of({"kind": "drop", "symbol": SYMBOL, "connection": None}) == Drop(SYMBOL)
    assert fault_of({"kind": "skew", "ms": -5}) == Skew(ms=-5)
    with pytest.raises(BadInput):
        fault_of({"kind": "Drop", "symbol": SYMBOL})


async def test_the_market_clock_shows_market_time_and_sleeps_by_it() -> None:
    exchange = still()
    clock = MarketClock(exchange)
    woken: list[int] = []

    async def sleep(ms: int) -> None:
        await clock.sleep_ms(ms)
        woken.append(ms)

    sleeps = [asyncio.create_task(sleep(ms)) for ms in (3_000, 1_000, 0)]
    await asyncio.sleep(0)
    exchange.advance(999)
    await wait_until_async(lambda: woken == [0])
    exchange.advance(1)
    await wait_until_async(lambda: woken == [0, 1_000])
    exchange.advance(10_000)
    await asyncio.gather(*sleeps)
    assert clock.now_ms() == clock.monotonic_ms() == START_MS + 11_000


@contextmanager
def command(*arguments: str) -> Iterator[tuple["subprocess.Popen[str]", dict[str, str]]]:
    """The command running, and what it printed of itself."""
    line = [sys.executable, "-m", "infra.exchange", "--port", "0", *arguments]
    with subprocess.Popen(line, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process, dict(process.stdout.readline().split() for _ in range(4))
        finally:
            process.kill()


@pytest.mark.process
async def test_the_command_serves_until_it_is_told_to_stop() -> None:
    with command("--symbols", "ETHUSDT,SOLUSDT", "--history-hours", "0.05", "--token", "secret") as (process, printed):
        async with httpx2.AsyncClient(base_url=printed["rest"]) as http:
            info = (await http.get("/api/v3/exchangeInfo")).json()
            assert [each["symbol"] for each in info["symbols"]] == ["ETHUSDT", "SOLUSDT"]
            klines = (await http.get("/api/v3/klines?symbol=ETHUSDT&interval=1m")).json()
            assert len(klines) >= 3
            stats = await http.get(f"{printed['admin']}/stats", headers={"Authorization": "Bearer secret"})
            assert stats.json()["speed"] == 1
        os.kill(process.pid, signal.SIGTERM)
        assert process.wait(5) == 0
        assert process.stderr is not None and process.stderr.read() == ""


@pytest.mark.process
@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (("--symbols", "BTC"), "exchange: symbol 'BTC' is not a base and a quote"),
        (("--symbols", "BTCUSDT,BTCUSDT"), "names one twice"),
    ],
)
def test_the_command_says_what_is_wrong(arguments: tuple[str, ...], error: str) -> None:
    line = [sys.executable, "-m", "infra.exchange", *arguments]
    done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 2 and error in done.stderr and "Traceback" not in done.stderr


@pytest.mark.process
def test_a_taken_port_is_named() -> None:
    with command("--symbols", "BTCUSDT", "--history-hours", "0") as (_, printed):
        port = printed["rest"].rpartition(":")[2]
        line = [sys.executable, "-m", "infra.exchange", "--history-hours", "0", "--port", port]
        done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, timeout=30, check=False)
        assert done.returncode == 1 and f"port {port} on 127.0.0.1 is taken" in done.stderr


def test_symbols_must_be_known() -> None:
    exchange = Exchange([], start_ms=START_MS)
    with pytest.raises(BadInput, match="is not traded here"):
        exchange.inject(Drop(SYMBOL))
