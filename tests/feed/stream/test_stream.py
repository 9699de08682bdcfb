"""What a client may say on `/v1/stream`, and what it hears."""

from collections.abc import Awaitable
from dataclasses import replace
from typing import Any

import orjson
import pytest
from redis.asyncio import Redis
from websockets.exceptions import ConnectionClosed, InvalidStatus

from common.store.keys import SymbolKeys
from common.store.registry import Market, Registry
from feed.stream.session import BURST, MAX_BYTES, MAX_REFUSALS, MAX_SUBSCRIPTIONS
from tests.kit.served import Served, hear, say, served
from tests.kit.waiting import wait_until_async
from tests.kit.writer import INSTRUMENT, START_MS, Writer

S = INSTRUMENT.symbol
MINUTE_MS = 60_000


async def test_a_subscription_begins_with_a_snapshot_and_goes_on_with_growing_and_closed_bars(
    feed: Served, writer: Writer
) -> None:
    first = await writer.commit(writer.trade(ticks=100))
    async with feed.connect() as socket:
        await say(socket, action="subscribe", symbol=S, timeframe="1min", id=7)
        snapshot = await hear(socket)
        assert (snapshot["type"], snapshot["id"], snapshot["cursor"]) == ("snapshot", 7, first)
        assert (snapshot["seq"], snapshot["timeframe"], len(snapshot["bars"])) == (1, "1m", 1)
        assert snapshot["health"]["mode"] == "LIVE" and snapshot["gaps"] == []
        second = await writer.commit(writer.trade(ticks=200))
        grown = await hear(socket)
        assert (grown["type"], grown["cursor"], grown["bar"]["h"]) == ("candle", second, 2)
        assert not grown["bar"]["isFinal"]
        await writer.commit(writer.trade(START_MS + MINUTE_MS, ticks=300))
        closed, opened = await hear(socket), await hear(socket)
        assert (closed["bar"]["isFinal"], opened["bar"]["isFinal"]) == (True, False)
        assert opened["bar"]["t"] == closed["bar"]["t"] + MINUTE_MS
        # Only the last of the bars that changed together carries the new cursor.
        assert (closed["cursor"], opened["cursor"]) == (second, writer.cursor)


async def test_a_late_trade_amends_a_final_bar(feed: Served, writer: Writer) -> None:
    await writer.commit(writer.trade(START_MS), writer.trade(START_MS + MINUTE_MS))
    async with feed.connect() as socket:
        await say(socket, action="subscribe", symbol=S, timeframe="1m")
        await hear(socket, "snapshot")
        await writer.commit(writer.trade(START_MS, ticks=77_700))
        amended = await hear(socket)
        assert (amended["type"], amended["bar"]["rev"], amended["bar"]["h"]) == ("amend", 1, 777)
        assert amended["bar"]["isFinal"]


async def test_the_clock_closes_a_bar_without_a_trade(feed: Served, writer: Writer) -> None:
    await writer.commit(writer.trade())
    async with feed.connect() as socket:
        for timeframe in ("15m", "1s"):
            await say(socket, action="subscribe", symbol=S, timeframe=timeframe)
            await hear(socket, "snapshot")
        writer.now_ms += 16 * MINUTE_MS
        await writer.commit()
        closed = {message["timeframe"]: message["bar"] for message in (await hear(socket), await hear(socket))}
        assert closed["15m"]["isFinal"] and closed["1s"]["isFinal"]


async def test_an_opened_gap_is_told_and_its_bars_become_partial(feed: Served, writer: Writer) -> None:
    await writer.commit(writer.trade(START_MS // MINUTE_MS * MINUTE_MS + MINUTE_MS))
    await writer.commit(writer.trade(writer.now_ms + MINUTE_MS))
    async with feed.connect() as socket:
        await say(socket, action="subscribe", symbol=S, timeframe="1m")
        assert not (await hear(socket, "snapshot"))["bars"][-1].get("partial")
        lost = writer.trade(writer.now_ms + 2 * MINUTE_MS)
        await writer.commit(writer.trade(writer.now_ms))
        gap = await hear(socket)
        assert gap["type"] == "gap"
        assert [(hole["firstId"], hole["lastId"]) for hole in gap["gaps"]] == [(lost.id, lost.id)]
        told = {message["bar"]["t"]: message["bar"] for message in (await hear(socket), await hear(socket))}
        assert all(bar["partial"] for bar in told.values()) and len(told) == 2
        await writer.commit(lost)
        filled = await hear(socket, "gap")
        assert filled["gaps"] == []
        again = [await hear(socket), await hear(socket)]
        assert not any("partial" in message["bar"] for message in again)


async def test_a_client_that_returns_hears_exactly_what_changed(feed: Served, writer: Writer) -> None:
    await writer.commit(writer.trade(START_MS), writer.trade(START_MS + MINUTE_MS))
    async with feed.connect() as socket:
        await say(socket, action="subscribe", symbol=S, timeframe="1m")
        cursor = (await hear(socket))["cursor"]
    amended, grown = writer.trade(START_MS, ticks=5), writer.trade(writer.now_ms, ticks=6)
    await writer.commit(amended)
    await writer.commit(grown)
    await writer.claim()
    await writer.commit(writer.trade(writer.now_ms + MINUTE_MS))
    async with feed.connect() as socket:
        await say(socket, action="subscribe", symbol=S, timeframe="1m", cursor=cursor, id="again")
        resumed = await hear(socket)
        assert (resumed["type"], resumed["id"], resumed["cursor"]) == ("resumed", "again", cursor)
        told = [await hear(socket) for _ in range(3)]
        assert [message["type"] for message in told] == ["amend", "candle", "candle"]
        assert [message["cursor"] for message in told] == [cursor, cursor, writer.cursor]
        assert [message["bar"]["isFinal"] for message in told] == [True, True, False]
        # And nothing else.
        await say(socket, action="ping")
        assert (await hear(socket))["type"] == "pong"


@pytest.mark.parametrize("timeframe", ["1m", "1h", "1M", "1s", "90s"])
async def test_every_cursor_that_was_told_can_be_resumed_from(feed: Served, writer: Writer, timeframe: str) -> None:
    await writer.commit(writer.trade())
    cursors = [(await feed.json(f"/v1/candles/{S}", timeframe=timeframe))["cursor"]]
    async with feed.connect() as socket:
        await say(socket, action="subscribe", symbol=S, timeframe=timeframe)
        cursors.append((await hear(socket))["cursor"])
        for _ in range(5):
            await writer.commit(writer.trade(writer.now_ms + 400), writer.trade(writer.now_ms + 50_000))
            while (message := await hear(socket))["cursor"] != writer.cursor:
                cursors.append(message["cursor"])
            cursors.append(message["cursor"])
        for cursor in cursors:
            await say(socket, action="subscribe", symbol=S, timeframe=timeframe, cursor=cursor)
            resumed = await hear(socket)
            assert resumed["type"] == "resumed" and resumed["seq"] == writer.seq
            while resumed["cursor"] != writer.cursor:
                resumed = await hear(socket)


@pytest.mark.parametrize("cursor", ["99-0123456789abcdef0123456789abcdef", "1-0123456789abcdef0123456789abcdef", "0-"])
async def test_a_cursor_the_store_does_not_have_gets_a_fresh_snapshot(
    feed: Served, writer: Writer, cursor: str
) -> None:
    await writer.commit(writer.trade())
    async with feed.connect() as socket:
        await say(socket, action="subscribe", symbol=S, timeframe="1m", cursor=cursor)
        snapshot = await hear(socket)
        assert (snapshot["type"], snapshot["reset"]) == ("snapshot", True)


async def test_a_symbol_without_a_commit_begins_empty_and_then_goes_on(feed: Served, writer: Writer) -> None:
    async with feed.connect() as socket:
        await say(socket, action="subscribe", symbol=S, timeframe="1h")
        snapshot = await hear(socket)
        assert (snapshot["bars"], snapshot["seq"], snapshot["cursor"]) == ([], 0, "0-")
        await writer.commit(writer.trade())
        snapshot = await hear(socket)
        assert (len(snapshot["bars"]), snapshot["reset"]) == (1, True)


async def test_health_is_told_when_the_mode_or_its_reason_changes(feed: Served, writer: Writer) -> None:
    await writer.commit(writer.trade())
    async with feed.connect() as socket:
        await say(socket, action="subscribe", symbol=S, timeframe="1m")
        assert (await hear(socket))["health"]["mode"] == "LIVE"
        await wait_until_async(lambda: _mode(feed) == "LIVE")
        for reason in ("throttled", "disconnected"):
            await writer.store.beat(writer.token, writer.seq, {"mode": "DEGRADED", "reason": reason})
            told = (await hear(socket, "health"))["health"]
            assert (told["mode"], told["reason"]) == ("DEGRADED", reason)
        await writer.store.release(writer.token)
        told = await hear(socket, "health")
        assert (told["health"]["mode"], told["cursor"]) == ("UNASSIGNED", writer.cursor)


def _mode(feed: Served) -> str:
    (symbol,) = feed.services.hub.feeds
    return symbol.signs.standing.mode if symbol.signs else ""


async def test_list_and_unsubscribe(feed: Served, writer: Writer, client: Redis) -> None:
    await writer.commit(writer.trade())
    async with feed.connect() as socket:
        for timeframe in ("1m", "5"):
            await say(socket, action="subscribe", symbol=S, timeframe=timeframe)
            await hear(socket, "snapshot")
        await say(socket, action="list", id=1)
        listed = await hear(socket)
        assert listed == {
            "type": "list",
            "id": 1,
            "subscriptions": [{"symbol": S, "timeframe": "1m"}, {"symbol": S, "timeframe": "5m"}],
        }
        await say(socket, action="unsubscribe", symbol=S, timeframe="5m", id=2)
        assert (await hear(socket)) == {"type": "unsubscribed", "id": 2, "symbol": S, "timeframe": "5m"}
        await writer.commit(writer.trade())
        assert (await hear(socket))["timeframe"] == "1m"


async def test_the_hub_listens_only_while_somebody_does(feed: Served, writer: Writer, client: Redis) -> None:
    channel = f"{{{S}}}:commits"

    async def listening() -> int:
        ((_, count),) = await client.pubsub_numsub(channel)
        return int(count)

    async with feed.connect() as one, feed.connect() as other:
        for socket in (one, other):
            await say(socket, action="subscribe", symbol=S, timeframe="1m")
            await hear(socket, "snapshot")
        assert await listening() == 1
        await say(one, action="unsubscribe", symbol=S, timeframe="1m")
        await hear(one, "unsubscribed")
        assert await listening() == 1
    await wait_until_async(lambda: _is_zero(listening()))
    assert feed.services.hub.channels == frozenset()


async def _is_zero(count: Awaitable[int]) -> bool:
    return await count == 0


async def test_leaving_and_joining_at_once_gets_a_subscription_that_works(feed: Served, writer: Writer) -> None:
    async with feed.connect() as socket:
        for number in range(20):
            await say(socket, action="subscribe", symbol=S, timeframe="1m", id=number)
        while (await hear(socket, "snapshot")).get("id") != 19:
            pass
        await writer.commit(writer.trade())
        while (await hear(socket))["seq"] < 1:
            pass
        await writer.commit(writer.trade(lots=9))
        while (message := await hear(socket))["seq"] < 2:
            pass
        # What is read again meanwhile may have it already.
        bar = message["bar"] if message["type"] == "candle" else message["bars"][-1]
        assert bar["v"] == 0.014


WRONG: list[tuple[Any, str]] = [
    ("{", "bad_input"),
    ("[]", "bad_input"),
    ("7", "bad_input"),
    ("null", "bad_input"),
    (b"\x00\xff", "bad_input"),
    (b"{}", "bad_input"),
    ("", "bad_input"),
    ({}, "bad_input"),
    ({"action": "buy"}, "bad_input"),
    ({"action": 5}, "bad_input"),
    ({"action": "subscribe"}, "bad_input"),
    ({"action": "subscribe", "symbol": 5, "timeframe": "1m"}, "bad_input"),
    ({"action": "subscribe", "symbol": None, "timeframe": "1m"}, "bad_input"),
    ({"action": "subscribe", "symbol": "TEST:NONE", "timeframe": "1m"}, "unknown_symbol"),
    ({"action": "subscribe", "symbol": "{}", "timeframe": "1m"}, "bad_input"),
    ({"action": "subscribe", "symbol": S + "\n", "timeframe": "1m"}, "bad_input"),
    ({"action": "subscribe", "symbol": S, "timeframe": "1y"}, "bad_input"),
    ({"action": "subscribe", "symbol": S, "timeframe": "0m"}, "bad_input"),
    ({"action": "subscribe", "symbol": S, "timeframe": "99999999M"}, "bad_input"),
    ({"action": "subscribe", "symbol": S, "timeframe": ["1m"]}, "bad_input"),
    ({"action": "subscribe", "symbol": S, "timeframe": "1m", "limit": 0}, "bad_input"),
    ({"action": "subscribe", "symbol": S, "timeframe": "1m", "limit": -1}, "bad_input"),
    ({"action": "subscribe", "symbol": S, "timeframe": "1m", "limit": 10**18}, "bad_input"),
    ({"action": "subscribe", "symbol": S, "timeframe": "1m", "limit": 1.5}, "bad_input"),
    ({"action": "subscribe", "symbol": S, "timeframe": "1m", "limit": True}, "bad_input"),
    ({"action": "subscribe", "symbol": S, "timeframe": "1m", "limit": "5"}, "bad_input"),
    ({"action": "subscribe", "symbol": S, "timeframe": "1m", "cursor": 1}, "bad_input"),
    ({"action": "subscribe", "symbol": S, "timeframe": "1m", "cursor": "x"}, "bad_input"),
    ({"action": "subscribe", "symbol": S, "timeframe": "1m", "cursor": "9999999999999999999-a"}, "bad_input"),
    ({"action": "subscribe", "symbol": S, "timeframe": "1m", "since": 1}, "bad_input"),
    ({"action": "unsubscribe", "symbol": S, "timeframe": "1m"}, "bad_input"),
    ({"action": "ping", "extra": 1}, "bad_input"),
    ({"action": "ping", "pad": "x" * MAX_BYTES}, "too_large"),
    ("x" * (2 * MAX_BYTES), "too_large"),
    (b"x" * (4 * MAX_BYTES), "bad_input"),
    ('{"action":"ping","id":' + "9" * 5_000 + "}", "bad_input"),
    ("[" * 5_000, "bad_input"),
]


async def test_what_is_not_understood_is_answered_and_the_socket_stays_up(feed: Served, writer: Writer) -> None:
    for message, code in WRONG:
        async with feed.connect() as socket:
            await socket.send(orjson.dumps(message).decode() if isinstance(message, dict) else message)
            answer = await hear(socket)
            assert (answer["type"], answer["code"]) == ("error", code), message
            assert "\n" not in answer["message"] and len(answer["message"]) < 200
            await say(socket, action="ping", id="still here")
            assert await hear(socket) == {"type": "pong", "id": "still here"}, message


async def test_an_error_carries_the_id_of_its_message(feed: Served) -> None:
    async with feed.connect() as socket:
        await say(socket, action="subscribe", symbol="TEST:NONE", timeframe="1m", id="a")
        assert (await hear(socket))["id"] == "a"


async def test_a_connection_has_a_limited_number_of_subscriptions(
    feed: Served, writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert MAX_SUBSCRIPTIONS == 500
    # So many messages at once would be refused for their rate.
    monkeypatch.setattr("feed.stream.session.MAX_SUBSCRIPTIONS", 50)
    async with feed.connect() as socket:
        for minutes in range(1, 51):
            await say(socket, action="subscribe", symbol=S, timeframe=f"{minutes}m")
            await hear(socket, "snapshot")
        await say(socket, action="subscribe", symbol=S, timeframe="1000m")
        assert (await hear(socket))["code"] == "bad_input"


async def test_too_many_messages_are_refused_and_a_flood_ends_the_connection(feed: Served) -> None:
    async with feed.connect() as socket:
        for _ in range(BURST + 1):
            await say(socket, action="ping")
        for _ in range(BURST):
            assert (await hear(socket))["type"] == "pong"
        assert (await hear(socket))["code"] == "rate_limited"
        with pytest.raises(ConnectionClosed):
            # All at once: one after the other a busy machine is slower than the rate.
            for _ in range(2 * MAX_REFUSALS):
                await say(socket, action="ping")
            while True:
                await hear(socket)
        assert socket.close_code == 1008


async def test_pages_of_other_sites_may_not_open_a_stream(redis_url: str) -> None:
    async with served(redis_url, allowed_origins=["https://charts.example.org"]) as feed:
        for allowed in (f"http://127.0.0.1:{feed.port}", "https://charts.example.org"):
            async with feed.connect(origin=allowed) as socket:
                await say(socket, action="ping")
                assert (await hear(socket))["type"] == "pong"
        for foreign in ("https://evil.example.org", "http://127.0.0.1:1", "null"):
            with pytest.raises(InvalidStatus) as refused:
                async with feed.connect(origin=foreign):
                    pass
            assert refused.value.response.status_code == 403


async def test_a_subscription_asks_for_a_symbol_on_demand(feed: Served, writer: Writer) -> None:
    await writer.client.delete("symbols")
    await writer.register(demand="on_demand")
    key = SymbolKeys(S).demand
    async with feed.connect() as socket:
        assert not await writer.client.exists(key)
        await say(socket, action="subscribe", symbol=S, timeframe="1m")
        await hear(socket, "snapshot")
        await wait_until_async(lambda: writer.client.exists(key))


async def test_nobody_asks_for_a_symbol_that_is_always_served(feed: Served, writer: Writer) -> None:
    other = replace(INSTRUMENT, symbol="OTHER:A")
    await Registry(writer.client).add_symbol(Market(other, {"kind": "venue", "demand": "on_demand"}))
    async with feed.connect() as socket:
        for symbol in (S, other.symbol):
            await say(socket, action="subscribe", symbol=symbol, timeframe="1m")
            await hear(socket, "snapshot")
        # Both are asked for together, if at all.
        await wait_until_async(lambda: writer.client.exists(SymbolKeys(other.symbol).demand))
        assert not await writer.client.exists(SymbolKeys(S).demand)
