"""`python -m feed` as a process: starts, says what is wrong, ends in order."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import httpx2
import orjson
import pytest
from redis.asyncio import Redis
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from common.settings import variable
from common.store.client import commit_client
from tests.kit.ports import reserved_port
from tests.kit.processes.delay import waited_s
from tests.kit.store.own_server import own_server
from tests.kit.waiting import wait_until_async
from tests.kit.writer import INSTRUMENT, Writer

pytestmark = pytest.mark.process

# What a process with Polars may take, idle; it is 110 MB here.
MAX_RSS_KB = 160_000
MAX_STOP_S = 2.0


@contextmanager
def running(redis_url: str, port: int) -> Iterator[subprocess.Popen[str]]:
    environment = {**os.environ, variable("redis_url"): redis_url, variable("port"): str(port)}
    process = subprocess.Popen([sys.executable, "-m", "feed"], env=environment, stderr=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


@pytest.fixture
def port() -> Iterator[int]:
    with reserved_port() as found:
        yield found


async def ready(port: int) -> bool:
    try:
        async with httpx2.AsyncClient() as http:
            return (await http.get(f"http://127.0.0.1:{port}/readyz")).status_code == 200
    except httpx2.ConnectError:
        return False


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_it_ends_in_order_in_under_two_seconds_with_open_streams(
    redis_url: str, writer: Writer, number: signal.Signals, port: int
) -> None:
    await writer.commit(writer.trade())
    with running(redis_url, port) as process, ExitStack() as connections:
        await wait_until_async(lambda: ready(port), 20)
        connections.enter_context(stalled(port))
        async with connect(f"ws://127.0.0.1:{port}/v1/stream") as open_stream:
            subscribe = {"action": "subscribe", "symbol": INSTRUMENT.symbol, "timeframe": "1m"}
            await open_stream.send(orjson.dumps(subscribe).decode())
            await open_stream.recv()
            assert rss_kb(process.pid) < MAX_RSS_KB
            began_s, before_s = time.monotonic(), waited_s(process.pid)
            process.send_signal(number)
            with pytest.raises(ConnectionClosed):
                while True:
                    await open_stream.recv()
            assert open_stream.close_code in (1001, 1012)
            # It has ended, and can still be asked how long it had to wait for a core.
            await asyncio.to_thread(os.waitid, os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
            assert time.monotonic() - began_s - (waited_s(process.pid) - before_s) < MAX_STOP_S
        assert process.stderr and process.wait() == 0
        log = process.stderr.read()
        assert "Traceback" not in log, log


async def test_a_request_still_under_way_when_it_stops_is_told_so_without_a_traceback(port: int) -> None:
    with own_server() as store, running(store.url, port) as process:
        async with commit_client(store.url) as client:
            await Writer.begun(client)
        await wait_until_async(lambda: ready(port), 20)
        store.process.send_signal(signal.SIGSTOP)
        try:
            reader, sender = await asyncio.open_connection("127.0.0.1", port)
            sender.write(
                f"GET /v1/candles/{INSTRUMENT.symbol}?timeframe=1m HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
            )
            # Sent later and answered: the other is under way.
            assert await answers(port)
            process.terminate()
            told = await asyncio.wait_for(reader.read(), 20)
            sender.close()
        finally:
            store.process.send_signal(signal.SIGCONT)
        assert told.startswith(b"HTTP/1.1 503 ") and b'"stopping"' in told, told
        assert await asyncio.to_thread(process.wait, 10) == 0
        assert process.stderr and "Traceback" not in process.stderr.read()


@contextmanager
def stalled(port: int) -> Iterator[None]:
    """A connection in the middle of its handshake."""
    with socket.create_connection(("127.0.0.1", port)) as raw:
        raw.sendall(b"GET /v1/stream HTTP/1.1\r\nHost: x\r\n")
        yield


def rss_kb(pid: int) -> int:
    with open(f"/proc/{pid}/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS"))


async def test_without_a_store_to_read_it_does_not_start(redis_url: str) -> None:
    environment = {name: value for name, value in os.environ.items() if name != variable("redis_url")}
    done = await asyncio.to_thread(
        subprocess.run, [sys.executable, "-m", "feed"], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 1
    assert done.stderr == "REDIS_URL is not set: start with infra/up, or name a running Redis\n"


async def test_it_starts_before_the_store_does(client: Redis, port: int) -> None:
    with running("unix:///tmp/there/is/no/such/socket", port) as process:
        await wait_until_async(lambda: answers(port), 20)
        assert not await ready(port)
        assert process.poll() is None


async def answers(port: int) -> bool:
    try:
        async with httpx2.AsyncClient() as http:
            return (await http.get(f"http://127.0.0.1:{port}/healthz")).status_code == 200
    except httpx2.ConnectError:
        return False
