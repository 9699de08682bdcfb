"""Faults of connections and of REST."""

import time
from contextlib import AsyncExitStack

import anyio
import orjson
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus

from infra.exchange import Ban, Refuse, Reset, ServerError, Shutdown, Slow, SocketCut, Stall, Throttle
from infra.exchange.faults import Body
from tests.kit.clocks import FakeClock
from tests.kit.exchange import SYMBOL, served, still
from tests.kit.waiting import wait_until_async

TRADES = "/ws/btcusdt@trade"


async def test_a_reset_ends_without_a_word() -> None:
    async with served(still()) as running, AsyncExitStack() as stack:
        feed = await stack.enter_async_context(running.feed(TRADES))
        running.exchange.advance(3_000)
        ids = await feed.trade_ids()
        injection = running.exchange.inject(Reset())
        with pytest.raises(ConnectionClosed) as caught:
            await feed.socket.recv()
        assert caught.value.rcvd is None and isinstance(caught.value.__cause__, ConnectionResetError)
        assert injection.done and list(injection.trades[SYMBOL]) == [(ids[-1], ids[-1])]
        await wait_until_async(lambda: running.exchange.stats.disconnects == {"reset": 1})
        # What happens before the client is back is nowhere but in REST.
        running.exchange.advance(3_000)
        async with running.feed(TRADES) as again:
            running.exchange.advance(3_000)
            later = await again.trade_ids()
        assert running.exchange.missed(SYMBOL) == [(ids[-1] + 1, later[0] - 1)]


async def test_a_stalled_connection_is_silent_and_then_says_all_of_it() -> None:
    clock = FakeClock()
    async with served(still(clock=clock)) as running, running.feed(TRADES) as stalled, running.feed(TRADES) as other:
        first, _ = running.exchange.hub.open
        injection = running.exchange.inject(Stall(ms=5_000, connection=first.number))
        running.exchange.advance(4_000)
        assert await other.trade_ids() == running.exchange.market(SYMBOL).trades().ids
        with pytest.raises(TimeoutError):
            # What came to the other would have come here as well.
            with anyio.fail_after(0.02):
                await stalled.socket.recv()
        clock.advance(5_000)
        assert await stalled.trade_ids() == running.exchange.market(SYMBOL).trades().ids
        await wait_until_async(lambda: injection.done)
        assert injection.connections == [first.number] and injection.trades == {}


async def test_a_losing_stall_loses_what_the_log_says() -> None:
    clock = FakeClock()
    async with served(still(clock=clock)) as running, running.feed(TRADES) as feed:
        running.exchange.advance(2_000)
        before = await feed.trade_ids()
        injection = running.exchange.inject(Stall(ms=1_000, lose=True))
        running.exchange.advance(2_000)
        clock.advance(1_000)
        await wait_until_async(lambda: injection.done)
        running.exchange.advance(2_000)
        after = await feed.trade_ids()
        assert list(injection.trades[SYMBOL]) == [(before[-1] + 1, after[0] - 1)] == running.exchange.missed(SYMBOL)


async def test_a_cut_is_the_end_after_24_hours() -> None:
    async with served(still()) as running, running.feed(TRADES) as feed:
        injection = running.exchange.inject(SocketCut())
        with pytest.raises(ConnectionClosed):
            await feed.socket.recv()
        assert feed.socket.close_code == 1001
        await wait_until_async(lambda: not running.exchange.hub.open)
        assert injection.connections == [1] and running.exchange.stats.disconnects == {"cut": 1}


async def test_a_shutdown_gives_notice_first() -> None:
    clock = FakeClock()
    async with served(still(clock=clock)) as running, running.feed("/stream?streams=btcusdt@trade") as feed:
        injection = running.exchange.inject(Shutdown(after_ms=30_000))
        notice = {"e": "serverShutdown", "E": running.exchange.now_ms}
        assert orjson.loads(await feed.socket.recv()) == {"stream": "!serverShutdown", "data": notice}
        running.exchange.advance(2_000)
        assert await feed.messages()
        async with running.feed(TRADES) as renewed:
            clock.advance(30_000)
            with pytest.raises(ConnectionClosed):
                await feed.socket.recv()
            assert injection.done
            running.exchange.advance(2_000)
            assert await renewed.trade_ids()
        assert running.exchange.missed(SYMBOL) == []


async def test_handshakes_are_refused_as_often_as_told() -> None:
    async with served(still()) as running:
        injection = running.exchange.inject(Refuse(count=2))
        for _ in range(2):
            with pytest.raises(InvalidStatus, match="503"):
                async with running.feed():
                    pass
        async with running.feed():
            assert injection.done and running.exchange.stats.connects == {503: 2, 101: 1}


@pytest.mark.parametrize(("kind", "status"), [(Throttle, 429), (Ban, 418)])
async def test_throttled_until_retry_after_has_passed(kind: type[Throttle] | type[Ban], status: int) -> None:
    clock = FakeClock()
    async with served(still(clock=clock)) as running:
        injection = running.exchange.inject(kind(retry_after_s=30, path="klines"))
        found = await running.http.get(f"/api/v3/klines?symbol={SYMBOL}&interval=1m")
        assert (found.status_code, found.headers["retry-after"], found.json()["code"]) == (status, "30", -1003)
        assert await running.get("time")
        clock.advance(29_001)
        found = await running.http.get("/api/v3/klines")
        assert (found.status_code, found.headers["retry-after"]) == (status, "1")
        clock.advance(999)
        assert await running.get("klines", symbol=SYMBOL, interval="1m") == []
        assert injection.requests == 2 and injection.done
        # Injected answers are no violation of the client's.
        assert running.exchange.stats.injected_answers == 2 and not running.exchange.stats.violations


@pytest.mark.parametrize(("body", "start"), [("json", '{"code":-1008'), ("html", "<html>"), ("empty", "")])
async def test_server_errors_come_as_often_as_told(body: Body, start: str) -> None:
    async with served(still()) as running:
        injection = running.exchange.inject(ServerError(status=502, count=2, path="depth", body=body))
        assert await running.get("ping") == {}
        for _ in range(2):
            found = await running.http.get(f"/api/v3/depth?symbol={SYMBOL}")
            assert found.status_code == 502 and found.text.startswith(start) and bool(found.text) == bool(start)
        assert (await running.get("depth", symbol=SYMBOL))["bids"]
        assert injection.done and injection.requests == 2


async def test_slow_answers_are_late_and_others_are_not() -> None:
    async with served(still()) as running:
        injection = running.exchange.inject(Slow(ms=150, count=1, path="time"))
        before = time.monotonic()
        assert await running.get("ping") == {}
        quick_s = time.monotonic() - before
        assert await running.get("time")
        assert time.monotonic() - before >= 0.15 + quick_s
        assert injection.done and injection.requests == 1
        assert await running.get("time")


async def test_a_fault_of_no_connection_is_over_at_once() -> None:
    async with served(still()) as running:
        for fault in (Reset(), SocketCut(), Stall(ms=1_000), Shutdown(), Reset(connection=99)):
            injection = running.exchange.inject(fault)
            assert injection.done and injection.connections == []
