"""Whatever is sent, nothing but what is promised happens: no 5xx but 503, no traceback, no other close.

FUZZ_SEED repeats a run, FUZZ=10 makes it ten times as long.
"""

import asyncio
import os
import random
from collections.abc import AsyncIterator
from pathlib import Path

import orjson
import pytest
from websockets.asyncio.client import ClientConnection, connect

from common.market.timeframes.timeframe import MINUTE_MS
from feed.stream.session import BURST
from tests.feed.web import fuzzing
from tests.kit.processes.feed import Running, running_feed
from tests.kit.writer import INSTRUMENT, Writer

S = INSTRUMENT.symbol
SCALE = float(os.environ.get("FUZZ", "1"))
REQUESTS, MESSAGES = int(2_000 * SCALE), int(500 * SCALE)
SEED = int(os.environ.get("FUZZ_SEED", random.randrange(1 << 30)))
# Of requests that were broken one after the other; a process that keeps what they send would have more.
MAX_GROWTH_KB = 40_000
KEY = b"dGhlIHNhbXBsZSBub25jZQ=="


@pytest.fixture
async def feed(redis_url: str, tmp_path: Path, writer: Writer) -> AsyncIterator[Running]:
    for _ in range(10):
        await writer.commit(writer.trade())
        writer.now_ms += MINUTE_MS
    async with running_feed(redis_url, tmp_path) as found:
        yield found
        assert (await found.get("/healthz")).status_code == 200
        assert found.process.poll() is None
        assert "traceback" not in found.log.lower(), found.log


async def test_requests_of_any_kind_are_answered_and_their_connection_stays(feed: Running) -> None:
    print(f"FUZZ_SEED={SEED}")
    rng = random.Random(SEED)
    reader, writer = await asyncio.open_connection("127.0.0.1", feed.port, limit=1 << 20)
    for _ in range(REQUESTS):
        asked = fuzzing.request(rng, S)
        writer.write(asked)
        async with asyncio.timeout(10):
            status, body = await _answer(reader, has_body=not asked.startswith(b"HEAD"))
        assert status < 500 or status == 503, (asked, status, body)
        if status >= 400 and body:
            error = orjson.loads(body)["error"]
            assert set(error) == {"code", "message"} and error["message"], asked
    writer.close()


async def test_what_is_no_request_at_all_is_refused_or_waited_for_and_costs_nothing(feed: Running) -> None:
    print(f"FUZZ_SEED={SEED}")
    rng = random.Random(SEED + 1)
    await asyncio.gather(*(_broken(feed.port, fuzzing.broken_request(rng, S)) for _ in range(20)))
    before_kb = feed.memory_kb()
    for _ in range(REQUESTS // 20):
        asked = [fuzzing.broken_request(rng, S) for _ in range(20)]
        found = await asyncio.gather(*(_broken(feed.port, each) for each in asked))
        for request, answer in zip(asked, found, strict=True):
            assert not answer.startswith(b"HTTP/1.1 5") or answer.startswith(b"HTTP/1.1 503"), (request, answer)
    assert feed.memory_kb() - before_kb < MAX_GROWTH_KB


async def _broken(port: int, request: bytes) -> bytes:
    """What is answered, once we say that no more is coming."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(request)
        writer.write_eof()
        async with asyncio.timeout(10):
            return await reader.read()
    except ConnectionResetError:
        return b""
    finally:
        writer.close()


async def _answer(reader: asyncio.StreamReader, *, has_body: bool) -> tuple[int, bytes]:
    """Read one answer off a connection that stays."""
    head = await reader.readuntil(b"\r\n\r\n")
    lines = head.split(b"\r\n")
    headers = dict(line.lower().split(b": ", 1) for line in lines[1:-2])
    assert headers.get(b"connection") != b"close", head
    return int(lines[0].split()[1]), await reader.readexactly(int(headers[b"content-length"]) if has_body else 0)


async def test_messages_of_any_kind_are_answered_and_their_connection_stays(feed: Running) -> None:
    print(f"FUZZ_SEED={SEED}")
    rng = random.Random(SEED + 2)
    messages = [fuzzing.message(rng, S) for _ in range(MESSAGES)]
    # Each is followed by a ping; more at once would be refused.
    at_once = BURST // 2 - 2
    batches = [messages[at : at + at_once] for at in range(0, MESSAGES, at_once)]
    await asyncio.gather(*(_say_all(feed.port, batch) for batch in batches))


async def _say_all(port: int, batch: list[bytes | str]) -> None:
    async with connect(f"ws://127.0.0.1:{port}/v1/stream", max_size=None) as socket:
        for number, said in enumerate(batch):
            await socket.send(said)
            await socket.send(orjson.dumps({"action": "ping", "id": f"p{number}"}).decode())
            # What is sent is answered in order; a ping of ours tells that the message before it has been heard.
            async with asyncio.timeout(10):
                heard = await _until_pong(socket, f"p{number}", said)
            if not isinstance(said, str) or not said.startswith('{"'):
                assert any(each["type"] == "error" for each in heard), (said, heard)


async def _until_pong(socket: ClientConnection, wanted: str, said: object) -> list[dict[str, object]]:
    heard: list[dict[str, object]] = []
    while True:
        found = orjson.loads(await socket.recv())
        assert "type" in found, (said, found)
        if found.get("id") == wanted:
            return heard
        heard.append(found)


async def test_handshakes_of_any_kind_are_answered_in_words(feed: Running) -> None:
    print(f"FUZZ_SEED={SEED}")
    rng = random.Random(SEED + 3)
    for _ in range(REQUESTS // 20):
        asked = [fuzzing.handshake(rng) for _ in range(20)]
        answers = await asyncio.gather(*(_shaken(feed.port, each) for each in asked))
        for handshake, answer in zip(asked, answers, strict=True):
            head, _, body = answer.partition(b"\r\n\r\n")
            status = int(head.split(b" ", 2)[1])
            assert status < 500, (handshake, answer)
            assert status < 400 or orjson.loads(body)["error"]["message"], (handshake, answer)


async def _shaken(port: int, handshake: bytes) -> bytes:
    """What is answered: the head of one that is accepted, else all."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(handshake)
    try:
        async with asyncio.timeout(10):
            head = await reader.readuntil(b"\r\n\r\n")
            if head.startswith(b"HTTP/1.1 101 "):
                return head
            headers = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:-2])
            return head + await reader.readexactly(int(headers[b"content-length"]))
    finally:
        writer.close()


async def test_frames_against_the_protocol_end_their_connection_as_promised(feed: Running) -> None:
    attacks = fuzzing.attacks()
    codes = await asyncio.gather(*(_attacked(feed.port, attack) for attack in attacks))
    found = {attack.name: code for attack, code in zip(attacks, codes, strict=True)}
    assert found == {attack.name: attack.code for attack in attacks}


async def _attacked(port: int, attack: fuzzing.Attack) -> int | str | None:
    reader, writer = await _handshake(port)
    try:
        writer.writelines(attack.frames)
        if attack.code is None:
            writer.write(fuzzing.frame(fuzzing.TEXT, b'{"action":"ping","id":"last"}'))
        async with asyncio.timeout(20):
            return await _close_code(reader)
    except (OSError, EOFError, TimeoutError) as error:
        return repr(error)
    finally:
        writer.close()


async def _handshake(port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 20)
    headers = b"Host: 127.0.0.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    writer.write(b"GET /v1/stream HTTP/1.1\r\n%sSec-WebSocket-Key: %s\r\n\r\n" % (headers, KEY))
    assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101 ")
    return reader, writer


async def _close_code(reader: asyncio.StreamReader) -> int | None:
    """The code of the close, or None at the answer to the last message."""
    while True:
        first, second = await reader.readexactly(2)
        size = second & 0x7F
        if size >= 126:
            size = int.from_bytes(await reader.readexactly(2 if size == 126 else 8), "big")
        payload = await reader.readexactly(size)
        if first & 0x0F == fuzzing.CLOSE:
            return int.from_bytes(payload[:2], "big")
        if b'"id":"last"' in payload:
            return None
