"""What the rows share: a figure, percentiles, and a small fleet of real processes on a store of its own."""

import asyncio
import contextlib
import http.client
import os
import signal
import socket
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import redis

from infra.local import embedded
from infra.paths import ROOT

# How long a process may take to do what a row waits for; far above any figure here.
PATIENCE_S = 30.0


@dataclass(frozen=True, slots=True)
class Figure:
    """One line of the table. `met` is None where there is no target, only something to know."""

    what: str
    target: str
    measured: str
    met: bool | None = None


def percentile(values: Sequence[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def best_rate(count: int, run: Callable[[], object]) -> float:
    """How many of `count` a second, by processor time: what one core can do, whatever the others do."""
    times_s = []
    for _ in range(5):
        started_s = time.process_time()
        run()
        times_s.append(time.process_time() - started_s)
    return count / min(times_s)


@contextmanager
def store() -> Iterator[str]:
    """A server of our own, with fsync on every commit, in a folder that goes away."""
    with tempfile.TemporaryDirectory(prefix="fleet-bench-") as folder, embedded.session(Path(folder)) as url:
        yield url


@asynccontextmanager
async def process(url: str, *command: str, **environment: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """`python COMMAND` on the store, stopped (SIGTERM, then SIGKILL) at the end of the block."""
    env = {**os.environ, "REDIS_URL": url, "FLEET_LOG_LEVEL": "error", **environment}
    child = await asyncio.create_subprocess_exec(sys.executable, *command, env=env, cwd=ROOT)
    try:
        yield child
    finally:
        await _stop(child)


async def _stop(child: asyncio.subprocess.Process) -> None:
    if child.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            child.send_signal(signal.SIGTERM)
        try:
            await asyncio.wait_for(child.wait(), 5)
        except TimeoutError:
            child.kill()
            await child.wait()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@asynccontextmanager
async def feed(url: str, **environment: str) -> AsyncIterator[int]:
    """A feed on the store; yields its port once it answers."""
    async with feed_process(url, **environment) as (port, _):
        yield port


@asynccontextmanager
async def feed_process(url: str, **environment: str) -> AsyncIterator[tuple[int, int]]:
    """The same with the id of its process."""
    port = free_port()
    async with process(url, "-m", "feed", PORT=str(port), **environment) as child:
        deadline_s = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline_s:
            with contextlib.suppress(OSError):
                _, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.close()
                break
            await asyncio.sleep(0.02)
        yield port, child.pid


def ask(port: int, path: str, rounds: int) -> list[float]:
    """Ask the feed so often, and return the seconds that each answer took."""
    connection = http.client.HTTPConnection("127.0.0.1", port)
    times = [ask_once(connection, path) for _ in range(rounds)]
    connection.close()
    return times


def ask_once(
    connection: http.client.HTTPConnection,
    path: str,
    status: int = 200,
    headers: Mapping[str, str] = MappingProxyType({}),
) -> float:
    started_s = time.perf_counter()
    connection.request("GET", path, headers=dict(headers))
    answer = connection.getresponse()
    body = answer.read()
    assert answer.status == status, body[:200]
    return time.perf_counter() - started_s


def owner(url: str, symbol: str) -> dict[bytes, bytes]:
    with redis.Redis.from_url(url, protocol=2) as client:
        found: dict[bytes, bytes] = client.hgetall(f"{{{symbol}}}:owner")
    return found


async def await_owner(url: str, symbol: str, other_than: bytes = b"") -> bytes:
    """Wait until there is a holder of the symbol, or another one; return the token."""
    deadline_s = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline_s:
        token = owner(url, symbol).get(b"token", b"")
        if token not in (b"", other_than):
            return token
        await asyncio.sleep(0.005)
    raise TimeoutError(f"{symbol} was not taken within {PATIENCE_S} s")
