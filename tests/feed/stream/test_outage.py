"""The store goes away, goes back in time, or forgets us: nothing is lost, and it is said."""

import asyncio
import struct
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

from common.market.timeframes.timeframe import Timeframe
from common.store.client import commit_client
from common.store.messages import CommitMessage
from common.store.registry import Registry
from feed.stream.hub import SymbolInUse
from feed.stream.series import LiveSeries
from infra.local import embedded
from tests.kit.bars_oracle import expected
from tests.kit.folding import Folding
from tests.kit.served import Served, hear, say, served
from tests.kit.waiting import wait_until_async
from tests.kit.writer import INSTRUMENT, Writer

S = INSTRUMENT.symbol
MINUTE_MS = 60_000


async def kill_pubsub(client: Redis) -> None:
    await client.execute_command("CLIENT", "KILL", "TYPE", "pubsub")  # type: ignore[no-untyped-call]


async def settled(client: Redis, writer: Writer, *clients: Folding) -> None:
    for one in clients:
        bars = await expected(client, writer, Timeframe.parse(one.timeframe))
        await wait_until_async(lambda one=one, bars=bars: not one.differences(bars), 10)  # type: ignore[misc]


@pytest.mark.parametrize("timeframe", ["1m", "1s", "1h"])
async def test_nothing_is_lost_when_the_subscription_is_lost(
    feed: Served, writer: Writer, client: Redis, timeframe: str
) -> None:
    await writer.commit(writer.trade())
    one = Folding(feed, S, timeframe, 5_000)
    one.join()
    await wait_until_async(lambda: one.cursor)
    for _ in range(5):
        await kill_pubsub(client)
        for _ in range(10):
            writer.now_ms += 7_000
            await writer.commit(writer.trade())
    await settled(client, writer, one)
    # It was told what it had missed; it did not have to begin again.
    assert one.heard.count("snapshot") == 1
    assert feed.services.metrics.outages._value.get() >= 1
    await one.leave()


async def test_after_a_rewind_under_a_new_writer_everybody_begins_anew(
    feed: Served, writer: Writer, client: Redis
) -> None:
    await writer.commit(writer.trade())
    saved = await writer.save()
    clients = [Folding(feed, S, timeframe, 5_000) for timeframe in ("1m", "1s", "15m")]
    for one in clients:
        one.join()
    await wait_until_async(lambda: all(one.cursor for one in clients))
    for _ in range(3):
        writer.now_ms += MINUTE_MS
        await writer.commit(writer.trade(lots=7))
    await settled(client, writer, *clients)
    await writer.rewind(saved)
    for _ in range(3):
        writer.now_ms += 2 * MINUTE_MS
        await writer.commit(writer.trade(lots=9))
    await settled(client, writer, *clients)
    for one in clients:
        assert one.heard.count("snapshot") == 2
        await one.leave()


async def test_a_rewind_is_noticed_even_if_nobody_writes_any_more(
    feed: Served, writer: Writer, client: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("feed.stream.hub.HEALTH_EVERY_S", 0.05)
    await writer.commit(writer.trade())
    saved = await writer.save()
    one = Folding(feed, S, "1m", 5_000)
    one.join()
    await wait_until_async(lambda: one.cursor)
    await writer.commit(writer.trade())
    await settled(client, writer, one)
    await writer.rewind(saved)
    await settled(client, writer, one)
    assert one.cursor == saved.cursor
    await one.leave()


async def test_a_silent_subscription_is_noticed(
    feed: Served, writer: Writer, client: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("feed.stream.hub.HEALTH_EVERY_S", 0.05)
    await writer.commit(writer.trade())
    one = Folding(feed, S, "1m", 5_000)
    one.join()
    await wait_until_async(lambda: one.cursor)
    # The messages come, but mean nothing to us: as if the writer were of another release.
    monkeypatch.setattr("common.store.messages.VERSIONS", (99,))
    await writer.commit(writer.trade())
    monkeypatch.undo()
    await settled(client, writer, one)
    await one.leave()


async def test_commits_of_another_release_are_read_with_the_next_look(
    feed: Served, writer: Writer, client: Redis, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    # The test itself looks.
    monkeypatch.setattr("feed.stream.hub.HEALTH_EVERY_S", 1_000)
    hub, head = feed.services.hub, CommitMessage.head
    await writer.commit(writer.trade())
    clients = [Folding(feed, S, timeframe, 5_000) for timeframe in ("1m", "1s", "15m")]
    for one in clients:
        one.join()
    await wait_until_async(lambda: all(one.cursor for one in clients))
    monkeypatch.setattr(CommitMessage, "head", lambda self: struct.pack("<I", 99) + head(self)[4:])
    (symbol,) = hub.feeds
    for _ in range(3):
        for _ in range(4):
            writer.now_ms += 40_000
            await writer.commit(writer.trade())
        await wait_until_async(lambda: symbol.is_blind)
        await hub._look(symbol)
        await settled(client, writer, *clients)
        assert not symbol.is_blind
    # Told once until it is read, not with each message; no client had to begin again.
    assert caplog.messages.count("message not understood") == 3
    assert all(one.heard.count("snapshot") == 1 for one in clients)
    assert feed.services.metrics.outages._value.get() == 0
    for one in clients:
        await one.leave()


async def test_a_bug_in_one_symbol_does_not_stop_the_others(
    feed: Served, writer: Writer, client: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("feed.stream.hub.HEALTH_EVERY_S", 0.05)
    other = await Writer.begun(client, instrument=replace(INSTRUMENT, symbol="TEST:OTHER"))
    await writer.commit(writer.trade())
    await other.commit(other.trade())
    one, two = Folding(feed, S, "1m", 5_000), Folding(feed, "TEST:OTHER", "1m", 5_000)
    for each in (one, two):
        each.join()
    await wait_until_async(lambda: one.cursor and two.cursor)
    (broken,) = [symbol for symbol in feed.services.hub.feeds if symbol.market.symbol == S]

    def fail(*arguments: object) -> None:
        raise KeyError("a bug")

    with monkeypatch.context() as patch:
        patch.setattr(SymbolInUse, "take", lambda self, message: fail() if self is broken else take(self, message))
        patch.setattr(SymbolInUse, "look", lambda self, *found: fail() if self is broken else look(self, *found))
        for each_writer in (writer, other):
            each_writer.now_ms += 40_000
            await each_writer.commit(each_writer.trade())
        await settled(client, other, two)
    await settled(client, writer, one)
    assert feed.services.metrics.outages._value.get() == 0
    for each in (one, two):
        await each.leave()


async def test_a_bug_while_a_series_catches_up_does_not_leave_it_behind(
    feed: Served, writer: Writer, client: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    await writer.commit(writer.trade())
    one = Folding(feed, S, "1m", 5_000)
    one.join()
    await wait_until_async(lambda: one.cursor)
    left, drained = [KeyError("a bug")], LiveSeries._drained

    def failing(self: LiveSeries[Any]) -> bool:
        if left:
            raise left.pop()
        return drained(self)

    monkeypatch.setattr(LiveSeries, "_drained", failing)
    await kill_pubsub(client)
    for _ in range(3):
        writer.now_ms += 40_000
        await writer.commit(writer.trade())
    await wait_until_async(lambda: not left)
    await writer.commit(writer.trade())
    await settled(client, writer, one)
    await one.leave()


take, look = SymbolInUse.take, SymbolInUse.look


async def test_who_listens_to_a_symbol_that_is_removed_is_told(
    feed: Served, writer: Writer, client: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("feed.stream.hub.HEALTH_EVERY_S", 0.02)
    monkeypatch.setattr("feed.queries.queries.MARKET_TTL_S", 0)
    await writer.commit(writer.trade())
    registry = Registry(client)
    async with feed.connect() as socket:
        await say(socket, action="subscribe", symbol=S, timeframe="1m")
        await hear(socket, "snapshot")
        await registry.remove_symbol(S)
        error = await hear(socket, "error")
        assert (error["code"], error["symbol"], error["timeframe"]) == ("unknown_symbol", S, "1m")
    await wait_until_async(lambda: not feed.services.hub.channels)


@pytest.fixture
async def own_store(tmp_path: Path) -> AsyncIterator[str]:
    """A store that may be stopped and started."""
    url = embedded.ensure(tmp_path)
    yield url
    await asyncio.to_thread(embedded.stop, tmp_path)


@pytest.mark.process
async def test_without_the_store_it_is_503_and_afterwards_everything_goes_on(
    own_store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Who subscribes to a symbol we know waits for the store.
    monkeypatch.setattr("feed.queries.queries.MARKET_TTL_S", 60)
    client = commit_client(own_store)
    writer = Writer(client)
    await writer.register()
    await writer.claim()
    await writer.commit(writer.trade())
    async with served(own_store) as feed:
        one, late = Folding(feed, S, "1m", 5_000), Folding(feed, S, "1s", 5_000)
        one.join()
        await wait_until_async(lambda: one.cursor)
        assert (await feed.get("/readyz")).status_code == 200
        await asyncio.to_thread(embedded.stop, tmp_path)
        of_symbol = ("candles", "trades", "book", "quote", "gaps")
        paths = ["/readyz", f"/v1/candles/{S}?format=csv", "/v1/symbols", "/v1/health"]
        for path in (*paths, *(f"/v1/{kind}/{S}" for kind in of_symbol)):
            response = await feed.get(path)
            assert response.status_code == 503, path
            assert response.headers["retry-after"] == "1"
            assert response.json()["error"]["message"] == "the store does not answer, try again in a second"
        assert (await feed.get("/healthz")).status_code == 200
        assert (await feed.get("/metrics")).status_code == 200
        async with feed.connect() as socket:
            await say(socket, action="subscribe", symbol="TEST:OTHER", timeframe="1m", id=1)
            assert (await hear(socket))["code"] == "store_unavailable"
            await say(socket, action="ping")
            assert (await hear(socket))["type"] == "pong"
        late.join()
        await asyncio.to_thread(embedded.ensure, tmp_path)
        assert (await feed.get("/readyz")).status_code == 200
        assert len((await feed.json(f"/v1/candles/{S}"))["bars"]) == 1
        await writer.claim()
        await writer.commit(writer.trade())
        await settled(client, writer, one, late)
        assert one.heard.count("snapshot") == 1
        await one.leave()
        await late.leave()
    await client.aclose()
