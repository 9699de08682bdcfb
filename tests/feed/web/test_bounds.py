"""What one connection, and all of them together, may cost: each bound is told in the log and counted."""

import asyncio
import logging
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import orjson
import pytest
from websockets.exceptions import InvalidStatus

from common.market.timeframes.timeframe import MINUTE_MS
from feed.metrics import Metrics
from feed.stream.session import BURST, MAX_REFUSALS
from feed.web.bounded_socket import BoundedWebSocket
from feed.web.connections import MAX_PER_ADDRESS, MAX_REFUSED, OTHER_FILES, Connections, is_local
from feed.web.unread import MAX_LOOKS, MIN_READ_BYTES, Unread, look
from tests.feed.web import fuzzing
from tests.kit.processes.feed import running_feed
from tests.kit.served import Served, hear, say, served
from tests.kit.waiting import wait_until_async
from tests.kit.writer import INSTRUMENT, Writer

S = INSTRUMENT.symbol
HEALTHZ = b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
HANDSHAKE = (
    b"GET /v1/stream HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
# Small, so that a client that does not read shows after some kilobytes.
BUFFER_BYTES = 4_096
MEGABYTE_KB = 1_024


@asynccontextmanager
async def connected(port: int, said: bytes = b"") -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    raw = socket.socket()
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER_BYTES)
    raw.setblocking(False)
    await asyncio.get_running_loop().sock_connect(raw, ("127.0.0.1", port))
    reader, writer = await asyncio.open_connection(sock=raw, limit=BUFFER_BYTES)
    try:
        writer.write(said)
        yield reader, writer
    finally:
        writer.close()


async def cut(feed: Served, why: str) -> float:
    return _value(await feed.get("/metrics"), f'feed_connections_cut_total{{why="{why}"}} ')


async def refused(feed: Served, why: str) -> float:
    return _value(await feed.get("/metrics"), f'feed_connections_refused_total{{why="{why}"}} ')


def _value(metrics: httpx2.Response, name: str) -> float:
    lines = [line for line in metrics.text.splitlines() if line.startswith(name)]
    return float(lines[0].split()[-1]) if lines else 0.0


# what waits to be read


@pytest.mark.process
async def test_pongs_that_are_not_read_cost_next_to_nothing(redis_url: str, tmp_path: Path, writer: Writer) -> None:
    pings = fuzzing.frame(fuzzing.PING, b"x" * 125) * 8_000
    async with running_feed(redis_url, tmp_path) as feed, connected(feed.port, HANDSHAKE) as (_, hostile):
        before_kb = feed.memory_kb("VmHWM")
        for _ in range(40):
            hostile.write(pings)
            try:
                async with asyncio.timeout(0.2):
                    await hostile.drain()
            except (TimeoutError, ConnectionError):
                break
        await wait_until_async(lambda: _counted(feed.metric('feed_connections_cut_total{why="flood"}'), 1))
        assert feed.memory_kb("VmHWM") - before_kb < 20 * MEGABYTE_KB
        assert '"why": "flood"' in feed.log


async def _counted(found: object, wanted: float) -> bool:
    return await found >= wanted  # type: ignore[misc,no-any-return]


async def test_answers_that_are_not_read_end_their_connection(
    redis_url: str, writer: Writer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("feed.web.unread.MAX_LOOKS", 1)
    await writer.commit(writer.trade())
    async with served(redis_url, send_buffer_bytes=BUFFER_BYTES) as feed:
        asked = b"GET /v1/candles/%s HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n" % S.encode()
        async with connected(feed.port, asked * 400):
            await wait_until_async(lambda: _counted(cut(feed, "unread"), 1))
    assert [(r.why, r.address) for r in caplog.records if r.message == "connection cut off"] == [  # type: ignore[attr-defined]
        ("unread", "127.0.0.1")
    ]


async def test_a_connection_that_is_over_ends_though_its_last_bytes_are_not_read(
    redis_url: str, writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A close waits for what was written before it, and that for the client."""
    monkeypatch.setattr("feed.web.unread.MAX_LOOKS", 1)
    for _ in range(300):
        await writer.commit(writer.trade())
        writer.now_ms += MINUTE_MS
    async with served(redis_url, send_buffer_bytes=BUFFER_BYTES) as feed:
        asked = b"GET /v1/candles/%s HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n" % S.encode()
        async with connected(feed.port, asked):
            await wait_until_async(lambda: _counted(cut(feed, "unread"), 1))
        await wait_until_async(lambda: feed.app.state.connections.count <= 1)


async def test_what_is_sent_after_we_have_ended_a_connection_is_no_error(
    redis_url: str, writer: Writer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A client without pongs, say, is cut off while news are on their way to it."""
    send, sent = BoundedWebSocket.send, list[str]()

    async def overtaken(self: BoundedWebSocket, message: Any) -> None:
        if message["type"] == "websocket.send":
            self.conn.fail(1011, "keepalive ping timeout")
            self.handle_parser_exception()
            sent.append(message["type"])
        await send(self, message)

    monkeypatch.setattr(BoundedWebSocket, "send", overtaken)
    said = fuzzing.frame(fuzzing.TEXT, orjson.dumps({"action": "subscribe", "symbol": S, "timeframe": "1m"}))
    async with served(redis_url) as feed, connected(feed.port, HANDSHAKE + said) as (reader, _):
        async with asyncio.timeout(15):
            assert b"keepalive" in await reader.read()
    assert sent and not [record.message for record in caplog.records if record.levelno >= logging.ERROR]


class Peer:
    """A connection as feed.web.unread sees it."""

    def __init__(self) -> None:
        self.resumes = self.waiting_bytes = self.cuts = 0
        self.waiting: Unread | None = None

    def unread(self) -> None:
        self.cuts += 1

    def looked_at(self, *waiting_bytes: int) -> int:
        for self.waiting_bytes in waiting_bytes:
            look(self)
        return self.cuts


def test_whoever_reads_something_is_not_cut_off() -> None:
    many = MAX_LOOKS + 1
    assert Peer().looked_at(*[0] * 100) == 0
    assert Peer().looked_at(*[500] * many) == 1
    assert Peer().looked_at(*([500] * MAX_LOOKS + [0]) * 3) == 0
    long_answer = [20 * MIN_READ_BYTES - look * MIN_READ_BYTES // MAX_LOOKS for look in range(100)]
    assert Peer().looked_at(*long_answer) == 0
    steady = Peer()
    for _ in range(100):
        steady.resumes += 1
        assert steady.looked_at(500) == 0


# what does not come to its end


async def test_a_body_that_drips_ends_its_connection(feed: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("feed.web.bounded_http.BODY_TIMEOUT_S", 0.2)
    asked = b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1000\r\n\r\n"
    async with connected(feed.port, asked) as (reader, writer):
        with pytest.raises((ConnectionError, EOFError)):
            async with asyncio.timeout(10):
                while True:
                    writer.write(b"x")
                    await writer.drain()
                    if not await _some(reader):
                        raise EOFError
    assert await cut(feed, "body") == 1


async def _some(reader: asyncio.StreamReader) -> bool:
    """False at the end of the connection; after a moment without anything, True."""
    try:
        async with asyncio.timeout(0.02):
            return bool(await reader.read(1_000))
    except TimeoutError:
        return True


async def test_a_body_without_an_end_ends_its_connection(feed: Served) -> None:
    asked = b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\n"
    async with connected(feed.port, asked) as (reader, writer):
        with pytest.raises(ConnectionError):
            async with asyncio.timeout(10):
                while True:
                    writer.write(b"10000\r\n" + bytes(1 << 16) + b"\r\n")
                    await writer.drain()
                    await asyncio.sleep(0)
    assert await cut(feed, "body") == 1


async def test_messages_that_are_never_whole_have_a_bound_together(
    feed: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("feed.web.connections.MAX_UNFINISHED_BYTES", 100_000)
    half = fuzzing.frame(fuzzing.TEXT, bytes(60_000))[:50_000]
    async with AsyncExitStack() as stack:
        for _ in range(5):
            await stack.enter_async_context(connected(feed.port, HANDSHAKE + half))
        await wait_until_async(lambda: _counted(cut(feed, "memory"), 3))
        assert feed.app.state.connections.unfinished_bytes <= 100_000
    await wait_until_async(lambda: feed.app.state.connections.unfinished_bytes == 0)


async def test_what_comes_behind_the_handshake_at_once_is_heard(feed: Served) -> None:
    ping = fuzzing.frame(fuzzing.TEXT, b'{"action":"ping","id":1}')
    async with connected(feed.port, HANDSHAKE + ping * 3) as (reader, _):
        async with asyncio.timeout(5):
            for _ in range(3):
                await reader.readuntil(b'{"type":"pong","id":1}')


# how many


async def test_more_connections_than_there_may_be_are_refused_in_words(
    redis_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with served(redis_url, connections_max=20) as feed, AsyncExitStack() as stack:
        idle = [await stack.enter_async_context(connected(feed.port)) for _ in range(20)]
        await wait_until_async(lambda: feed.app.state.connections.count == 20)
        for said in (HEALTHZ, HANDSHAKE):
            async with connected(feed.port, said) as (reader, _):
                status, body = await _refusal(reader)
                assert (status, body["code"]) == (503, "too_many_connections")
        idle[0][1].close()
        await wait_until_async(lambda: feed.app.state.connections.count == 19)
        async with connected(feed.port, HEALTHZ) as (reader, _):
            assert (await reader.readline()).startswith(b"HTTP/1.1 200 ")
    assert [record.message for record in caplog.records if record.levelno >= logging.WARNING] == ["connection refused"]


async def test_many_more_are_cut_off_without_a_word(redis_url: str) -> None:
    async with served(redis_url, connections_max=5) as feed, AsyncExitStack() as stack:
        for _ in range(5 + MAX_REFUSED):
            await stack.enter_async_context(connected(feed.port))
        await wait_until_async(lambda: feed.app.state.connections.count >= 5 + MAX_REFUSED)
        async with connected(feed.port) as (reader, _):
            with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
                await reader.readexactly(1)


async def _refusal(reader: asyncio.StreamReader) -> tuple[int, dict[str, str]]:
    async with asyncio.timeout(5):
        head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    assert b"\r\nretry-after: 1\r\n" in head and b"\r\ncontent-type: application/json\r\n" in head
    error: dict[str, str] = orjson.loads(body)["error"]
    return int(head.split()[1]), error


async def test_idle_sockets_stop_nobody_and_are_closed(feed: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("feed.web.bounded_http.HEAD_TIMEOUT_S", 1.0)
    async with AsyncExitStack() as stack:
        for _ in range(300):
            await stack.enter_async_context(connected(feed.port))
        assert (await feed.get("/healthz")).status_code == 200
        await wait_until_async(lambda: _counted(cut(feed, "head"), 300))


async def test_an_address_beyond_this_machine_has_a_bound_of_its_own(
    feed: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("feed.web.connections.is_local", lambda address: False)
    monkeypatch.setattr("feed.web.connections.MAX_PER_ADDRESS", 3)
    async with AsyncExitStack() as stack:
        for _ in range(3):
            await stack.enter_async_context(connected(feed.port, HANDSHAKE))
        await wait_until_async(lambda: feed.app.state.connections.count == 3)
        async with connected(feed.port, HEALTHZ) as (reader, _):
            status, body = await _refusal(reader)
        assert (status, body["code"]) == (429, "too_many_connections")
    await wait_until_async(lambda: feed.app.state.connections.count == 0)
    assert (await feed.get("/healthz")).status_code == 200


async def test_behind_a_proxy_the_address_that_it_tells_has_that_bound(
    redis_url: str, writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("feed.web.connections.MAX_PER_ADDRESS", 2)
    async with served(redis_url, trusted_proxies="127.0.0.1") as feed, AsyncExitStack() as stack:
        for _ in range(2):
            of_one = feed.connect(additional_headers={"x-forwarded-for": "203.0.113.9"})
            await stack.enter_async_context(of_one)
        with pytest.raises(InvalidStatus) as caught:
            async with feed.connect(additional_headers={"x-forwarded-for": "203.0.113.9"}):
                pass
        assert caught.value.response.status_code == 429
        answer = await feed.http.get("/healthz", headers={"x-forwarded-for": "203.0.113.9"})
        assert (answer.status_code, answer.headers["retry-after"]) == (429, "1")
        # Others are others.
        assert (await feed.http.get("/healthz", headers={"x-forwarded-for": "203.0.113.8"})).status_code == 200
        assert (await feed.get("/healthz")).status_code == 200
        assert await refused(feed, "address") == 2
        await stack.aclose()
        again = {"x-forwarded-for": "203.0.113.9"}
        await wait_until_async(lambda: _is_answered(feed, again))


async def _is_answered(feed: Served, headers: dict[str, str]) -> bool:
    return (await feed.http.get("/healthz", headers=headers)).status_code == 200


def test_peers_on_this_machine_are_bounded_in_all_only() -> None:
    crowd = Connections(Metrics(), 1_000)
    for address in ("127.0.0.1", "127.8.8.8", "::1", "::ffff:127.0.0.1", None):
        assert is_local(address)
        assert not any(crowd.enter(address) for _ in range(MAX_PER_ADDRESS // 2 + 1))
    for address in ("10.0.0.1", "::ffff:10.0.0.1", "2001:db8::1", "proxy"):
        assert not is_local(address)
    assert not any(crowd.enter("10.0.0.1") for _ in range(MAX_PER_ADDRESS))
    assert crowd.enter("10.0.0.1") and not crowd.enter("10.0.0.2")


@pytest.mark.process
async def test_the_file_limit_is_raised_and_what_it_has_no_room_for_is_refused_in_words(
    redis_url: str, tmp_path: Path, writer: Writer
) -> None:
    room = 40
    limits = f'ulimit -Sn 100; ulimit -Hn {OTHER_FILES + room}; exec "$@"'
    async with running_feed(redis_url, tmp_path, command=("sh", "-c", limits, "sh")) as feed, AsyncExitStack() as stack:
        assert f'"file_limit": {OTHER_FILES + room}, "room": {room}' in feed.log
        for _ in range(room):
            await stack.enter_async_context(connected(feed.port))
        await wait_until_async(lambda: _says_503(feed.port))
        assert '"event": "connection refused"' in feed.log


async def _says_503(port: int) -> bool:
    async with connected(port, HEALTHZ) as (reader, _), asyncio.timeout(5):
        return (await reader.readline()).startswith(b"HTTP/1.1 503 ")


# floods


async def test_a_flood_in_one_piece_ends_with_the_code_that_is_promised(feed: Served, writer: Writer) -> None:
    await writer.commit(writer.trade())
    async with feed.connect() as subscribed:
        await say(subscribed, action="subscribe", symbol=S, timeframe="1m")
        await hear(subscribed, "snapshot")
        asked = fuzzing.frame(fuzzing.TEXT, b'{"action":"ping"}') * 5_000
        async with connected(feed.port, HANDSHAKE + asked) as (reader, _), asyncio.timeout(10):
            said = await _all(reader)
        assert said.endswith((1008).to_bytes(2, "big"))
        assert said.count(b'"pong"') >= BURST and 100 < said.count(b'"rate_limited"') <= MAX_REFUSALS
        await say(subscribed, action="ping")
        await hear(subscribed, "pong")


async def _all(reader: asyncio.StreamReader) -> bytes:
    found = b""
    while part := await reader.read(BUFFER_BYTES):
        found += part
    return found
