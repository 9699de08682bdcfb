"""Control messages and the life of a connection, by the venue's rules."""

import asyncio
from contextlib import AsyncExitStack
from functools import partial
from typing import Any

import orjson
import pytest
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.frames import Frame, Opcode

from infra.exchange import Rules
from infra.exchange.connection import ExchangeConnection
from tests.kit.clocks import FakeClock
from tests.kit.exchange import SYMBOL, Feed, Served, served, still
from tests.kit.waiting import wait_until_async

BAD_ID = "Invalid request: request ID must be an unsigned integer"


async def closed(feed: Feed) -> tuple[int | None, str | None]:
    """Code and reason the exchange closed with."""
    with pytest.raises(ConnectionClosed):
        while True:
            await feed.socket.recv()
    return feed.socket.close_code, feed.socket.close_reason


def only(running: Served) -> ExchangeConnection:
    (connection,) = running.exchange.hub.open
    return connection


async def test_streams_come_and_go_with_the_subscription() -> None:
    async with served(still()) as running, running.feed() as feed:
        assert await feed.ask("SUBSCRIBE", "btcusdt@trade", "btcusdt@depth", "btcusdt@trade") == {
            "result": None,
            "id": 1,
        }
        assert await feed.ask("LIST_SUBSCRIPTIONS", request_id=2) == {
            "result": ["btcusdt@trade", "btcusdt@depth"],
            "id": 2,
        }
        running.exchange.advance(3_000)
        assert {each["e"] for each in await feed.messages()} == {"trade", "depthUpdate"}
        assert await feed.ask("UNSUBSCRIBE", "btcusdt@trade", "never@subscribed") == {"result": None, "id": 1}
        running.exchange.advance(3_000)
        assert {each["e"] for each in await feed.messages()} == {"depthUpdate"}
        await feed.ask("UNSUBSCRIBE", "btcusdt@depth")
        assert not running.exchange.hub.wants("btcusdt@depth")
        assert running.exchange.hub.streams_of(SYMBOL) == []


async def test_the_combined_property_can_be_read_and_set() -> None:
    async with served(still()) as running, running.feed("/ws/btcusdt@trade") as feed:
        assert (await feed.ask("GET_PROPERTY", "combined"))["result"] is False
        assert (await feed.ask("SET_PROPERTY", "combined", True))["result"] is None
        assert (await feed.ask("GET_PROPERTY", "combined"))["result"] is True
        running.exchange.advance(2_000)
        assert {each["stream"] for each in await feed.messages()} == {"btcusdt@trade"}
        async with running.feed("/stream?streams=btcusdt@trade") as other:
            assert (await other.ask("GET_PROPERTY", "combined"))["result"] is True


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ('{"method":"GET_PROPERTY","params":["x"],"id":7}', {"code": 0, "msg": "Unknown property", "id": 7}),
        (
            '{"method":"SET_PROPERTY","params":["combined",1],"id":"a-1"}',
            {"code": 1, "msg": "Invalid value type: expected Boolean", "id": "a-1"},
        ),
        (
            '{"method":"SET_PROPERTY","params":[1],"id":null}',
            {"code": 2, "msg": "Invalid request: property name must be a string"},
        ),
        (
            '{"method":"GET_PROPERTY","params":["combined",1],"id":1}',
            {"code": 2, "msg": "Invalid request: too many parameters", "id": 1},
        ),
        ('{"method":"LIST_SUBSCRIPTIONS"}', {"code": 2, "msg": BAD_ID}),
        ('{"method":"LIST_SUBSCRIPTIONS","id":1.5}', {"code": 2, "msg": BAD_ID}),
        (f'{{"method":"LIST_SUBSCRIPTIONS","id":"{"x" * 37}"}}', {"code": 2, "msg": BAD_ID}),
        ('{"id":1}', {"code": 2, "msg": "Invalid request: missing field `method`", "id": 1}),
        ("nonsense", {"code": 3, "msg": "Invalid JSON: expected value at line 1 column 1"}),
        ("[]", {"code": 2, "msg": "Invalid request: expected an object"}),
    ],
)
async def test_a_bad_control_message_gets_the_venues_words(one: Served, text: str, answer: dict[str, Any]) -> None:
    async with one.feed() as feed:
        await feed.socket.send(text)
        assert orjson.loads(await feed.socket.recv()) == answer


async def test_an_unknown_method_is_told_the_known_ones(one: Served) -> None:
    async with one.feed() as feed:
        answer = await feed.ask("SUBSCRIB")
        assert answer["code"] == 2 and "unknown variant `SUBSCRIB`, expected one of `SUBSCRIBE`" in answer["msg"]


async def test_streams_of_a_connection_are_limited() -> None:
    async with served(still(rules=Rules(max_streams=3))) as running:
        async with running.feed("/ws/a@trade/b@trade") as feed:
            assert (await feed.ask("SUBSCRIBE", "c@trade", "d@trade"))["code"] == 2
            assert (await feed.ask("SUBSCRIBE", "c@trade"))["result"] is None
        with pytest.raises(InvalidStatus, match="400"):
            async with running.feed("/ws/a@trade/b@trade/c@trade/d@trade"):
                pass
        assert running.exchange.stats.violations == {"streams": 2}


async def test_a_thousand_streams_on_one_connection() -> None:
    async with served(still()) as running, running.feed() as feed:
        names = [f"x{number}@trade" for number in range(1_023)]
        assert (await feed.ask("SUBSCRIBE", "btcusdt@trade", *names))["result"] is None
        assert (await feed.ask("SUBSCRIBE", "one@more"))["code"] == 2
        running.exchange.advance(2_000)
        assert len(await feed.trade_ids()) > 3


@pytest.mark.parametrize("kind", ["message", "ping", "pong"])
async def test_the_sixth_message_within_a_second_closes(kind: str) -> None:
    async with served(still(rules=Rules(), clock=FakeClock())) as running, running.feed() as feed:
        for _ in range(6):
            await _send(feed.socket, kind)
        assert await closed(feed) == (1008, "Too many requests")
        await wait_until_async(lambda: not running.exchange.hub.open)
        assert running.exchange.stats.violations == {"messages": 1}
        assert running.exchange.stats.disconnects == {"messages": 1}


async def _send(socket: ClientConnection, kind: str) -> None:
    if kind == "message":
        await socket.send('{"method":"LIST_SUBSCRIPTIONS","id":1}')
    elif kind == "ping":
        await socket.ping()
    else:
        await socket.pong()


async def test_five_messages_a_second_are_fine() -> None:
    clock = FakeClock()
    async with served(still(rules=Rules(), clock=clock)) as running, running.feed() as feed:
        for request_id in range(20):
            assert (await feed.ask("LIST_SUBSCRIPTIONS", request_id=request_id))["id"] == request_id
            clock.advance(200)
        assert not running.exchange.stats.violations


async def test_connection_attempts_of_an_ip_are_limited() -> None:
    async with served(still(rules=Rules(connect_limit=2), clock=FakeClock())) as running, AsyncExitStack() as stack:
        for _ in range(2):
            await stack.enter_async_context(running.feed())
        with pytest.raises(InvalidStatus, match="429"):
            await stack.enter_async_context(running.feed())
        assert running.exchange.stats.connects == {101: 2, 429: 1}


async def test_a_path_that_is_no_stream_is_not_found(one: Served) -> None:
    with pytest.raises(InvalidStatus, match="404"):
        async with one.feed("/nothing"):
            pass


async def test_a_ping_comes_every_20_seconds_and_its_pong_keeps_the_connection() -> None:
    clock = FakeClock()
    async with served(still(clock=clock)) as running, running.feed("/ws/btcusdt@trade"):
        connection = only(running)
        for _ in range(6):
            clock.advance(20_000)
            sent_ms = clock.now_ms()
            await wait_until_async(partial(_was_pinged_at, connection, sent_ms))
            assert connection.ping_payload == str(sent_ms).encode()
            await wait_until_async(lambda: connection.unanswered_since_ms == 0)
        assert connection.is_open


def _was_pinged_at(connection: ExchangeConnection, sent_ms: int) -> bool:
    return connection.last_ping_ms == sent_ms


async def test_without_pongs_the_connection_is_closed_after_a_minute() -> None:
    clock = FakeClock()
    async with served(still(clock=clock)) as running:
        reader, writer = await _raw_handshake(running)
        for _ in range(4):
            clock.advance(20_000)
            # A pong of something else is no answer.
            writer.write(Frame(Opcode.PONG, b"unasked").serialize(mask=True))
            expected = clock.now_ms()
            frame = await _frame(reader)
            if frame[0] & 0x0F == Opcode.CLOSE:
                break
            assert frame == bytes([0x80 | Opcode.PING]) + bytes([13]) + str(expected).encode()
        assert frame[0] & 0x0F == Opcode.CLOSE and frame[4:] == b"Pong timeout"
        writer.close()
        await writer.wait_closed()
        await wait_until_async(lambda: running.exchange.stats.disconnects == {"pong": 1})


async def _raw_handshake(running: Served) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A client that answers no ping by itself."""
    reader, writer = await asyncio.open_connection("127.0.0.1", running.address.port)
    writer.write(
        b"GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
    )
    assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101")
    return reader, writer


async def _frame(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readexactly(2)
    return head + await reader.readexactly(head[1])


async def test_after_24_hours_the_connection_ends() -> None:
    clock = FakeClock()
    async with served(still(rules=Rules(max_age_ms=24 * 3_600_000, ping_every_ms=1 << 50), clock=clock)) as running:
        async with running.feed("/ws/btcusdt@trade") as feed:
            clock.advance(24 * 3_600_000 - 1)
            running.exchange.advance(1_000)
            assert await feed.trade_ids()
            clock.advance(1)
            assert (await closed(feed))[0] == 1001
        await wait_until_async(lambda: running.exchange.stats.disconnects == {"age": 1})
        (record,) = running.exchange.hub.ended
        assert record["closed_ms"] - record["opened_ms"] == 24 * 3_600_000
        assert record["trade_ids"][SYMBOL][1] == running.exchange.market(SYMBOL).tape.ids[-1]


async def test_a_client_that_does_not_read_is_cut_and_others_are_not_delayed() -> None:
    rules = Rules(max_unsent_bytes=200_000, message_limit=1_000_000)
    async with served(still(rules=rules)) as running:
        reader, writer = await _raw_handshake(running)
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        text = '{"method":"SUBSCRIBE","params":["btcusdt@depth20@100ms"],"id":1}'
        writer.write(Frame(Opcode.TEXT, text.encode()).serialize(mask=True))
        async with running.feed("/ws/btcusdt@trade") as feed:
            await wait_until_async(lambda: running.exchange.hub.wants("btcusdt@depth20@100ms"))
            told = 0
            while not running.exchange.stats.disconnects:
                running.exchange.advance(60_000)
                told += len(await feed.trade_ids())
            assert running.exchange.stats.disconnects == {"slow": 1}
            assert told == len(running.exchange.market(SYMBOL).tape)
        writer.transport.abort()


async def test_when_the_exchange_stops_clients_are_told_and_it_can_come_back_where_it_was() -> None:
    exchange = still()
    async with AsyncExitStack() as stack:
        async with served(exchange) as running:
            port = running.address.port
            raw = await stack.enter_async_context(running.feed("/ws/btcusdt@trade"))
            combined = await stack.enter_async_context(running.feed("/stream?streams=btcusdt@trade"))
        notice = {"e": "serverShutdown", "E": exchange.now_ms}
        assert orjson.loads(await raw.socket.recv()) == notice
        assert orjson.loads(await combined.socket.recv()) == {"stream": "!serverShutdown", "data": notice}
        assert (await closed(raw))[0] == 1001
    assert exchange.hub.open == [] and not exchange.hub.wants("btcusdt@trade")
    exchange.advance(5_000)
    async with served(exchange, port) as running, running.feed("/ws/btcusdt@trade") as feed:
        running.exchange.advance(5_000)
        assert await feed.trade_ids()
