"""A thousand WebSocket clients, with and without twenty others that ask for much: how long everybody waits.

What a core that is kept busy by a stranger does to the same streams is told beside it: on a machine whose cores are all
in use, waiting for one of them is most of what streams wait for.

Repeat: `python -m infra.bench crowd`.
"""

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from redis.asyncio import Redis

from common.market.instrument import Instrument
from common.store.client import commit_client
from common.store.keys import SymbolKeys
from common.store.registry import Market, Registry
from infra.bench import heavy
from infra.bench.base import Figure, await_owner, feed, percentile, process, store
from infra.paths import ROOT

SYMBOLS = [f"BENCH:CROWD{number}" for number in range(20)]
CLIENTS, FEWER_CLIENTS, ASKERS = 1_000, 200, 20
# Of each symbol, and so of each client.
MESSAGES_PER_S = 10
WARM_S, MEASURED_S = 3.0, 15.0
LOOK_EVERY_S = 0.01
MAX_HEALTHZ_MS, MAX_HEALTHZ_FEWER_MS, MAX_RATIO = 150.0, 50.0, 2.0


@dataclass(frozen=True, slots=True)
class Waits:
    """In ms: of each look at /healthz, and from each trade to each client. What was asked meanwhile, by its status."""

    healthz: list[float]
    streams: list[float]
    asked: dict[str, int]

    @property
    def text(self) -> str:
        return f"p50 {percentile(self.streams, 0.5):.1f} ms, p99 {percentile(self.streams, 0.99):.1f} ms"


def measure() -> list[Figure]:
    with store() as url:
        alone, beside, many, fewer = asyncio.run(_measure(url))
    per_s, expected = len(many.streams) / MEASURED_S, CLIENTS * MESSAGES_PER_S
    ratio, beside_ratio = (percentile(each.streams, 0.99) / percentile(alone.streams, 0.99) for each in (many, beside))
    asked = ", ".join(f"{count} x {status}" for status, count in sorted(many.asked.items()) if status != "bytes")
    return [
        _healthz(f"{CLIENTS:,} WebSocket clients", alone, None),
        _healthz(f"{CLIENTS:,} WebSocket clients, {ASKERS} heavy ones", many, MAX_HEALTHZ_MS),
        _healthz(f"{FEWER_CLIENTS} WebSocket clients, {ASKERS} heavy ones", fewer, MAX_HEALTHZ_FEWER_MS),
        Figure(f"trade to each of {CLIENTS:,} clients of {len(SYMBOLS)} symbols", "", alone.text),
        Figure(
            f"the same with {ASKERS} heavy clients: p99",
            f"<= {MAX_RATIO:g} x",
            f"{ratio:.2f} x ({many.text})",
            ratio <= MAX_RATIO,
        ),
        Figure(
            "the same without them, one core busy with a stranger's loop", "", f"{beside_ratio:.2f} x ({beside.text})"
        ),
        Figure(f"messages a second of {expected:,} meanwhile; heavy answers", "", f"{per_s:,.0f}; {asked}"),
    ]


def _healthz(what: str, waits: Waits, max_ms: float | None) -> Figure:
    found_ms = percentile(waits.healthz, 0.99)
    target = f"<= {max_ms:g} ms" if max_ms else ""
    measured = f"{found_ms:.1f} ms (p50 {percentile(waits.healthz, 0.5):.1f} ms)"
    return Figure(f"{what}: /healthz, p99", target, measured, None if max_ms is None else found_ms <= max_ms)


async def _measure(url: str) -> tuple[Waits, Waits, Waits, Waits]:
    async with commit_client(url) as client:
        await heavy.fill(client)
        for symbol in SYMBOLS:
            await Registry(client).add_symbol(Market(Instrument(symbol, 5, 0, "contiguous"), {"kind": "inbox"}))
        several = {"FLEET_SYMBOLS_PER_WORKER": str(len(SYMBOLS))}
        async with process(url, "-m", "workers", **several), feed(url) as port, pushing(client):
            for symbol in SYMBOLS:
                await await_owner(url, symbol)
            # A crowd each: who parses nothing answers no ping, and is cut off after 40 s.
            async with talking("crowd_client", port, CLIENTS, *SYMBOLS) as crowd:
                alone = await _waits(port, crowd, None)
            async with talking("crowd_client", port, CLIENTS, *SYMBOLS) as crowd, spinning():
                beside = await _waits(port, crowd, None)
            async with (
                talking("crowd_client", port, CLIENTS, *SYMBOLS) as crowd,
                talking("heavy_client", port, ASKERS) as askers,
            ):
                many = await _waits(port, crowd, askers)
            async with (
                talking("crowd_client", port, FEWER_CLIENTS, *SYMBOLS) as crowd,
                talking("heavy_client", port, ASKERS) as askers,
            ):
                return alone, beside, many, await _waits(port, crowd, askers)


@asynccontextmanager
async def talking(module: str, *arguments: object) -> AsyncIterator[asyncio.subprocess.Process]:
    """A process that we tell what to do by lines, ready to begin."""
    pipe = asyncio.subprocess.PIPE
    command = (sys.executable, "-m", f"infra.bench.{module}", *map(str, arguments))
    child = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe, cwd=ROOT, limit=1 << 28)
    try:
        if module == "crowd_client":
            assert await _heard(child) == "ready"
        yield child
    finally:
        child.kill()
        await child.wait()


@asynccontextmanager
async def spinning() -> AsyncIterator[None]:
    """A process that does nothing but take a core."""
    child = await asyncio.create_subprocess_exec(sys.executable, "-c", "while True: pass")
    try:
        yield
    finally:
        child.kill()
        await child.wait()


async def _waits(port: int, crowd: asyncio.subprocess.Process, askers: asyncio.subprocess.Process | None) -> Waits:
    if askers:
        _say(askers, "begin")
    await asyncio.sleep(WARM_S)
    _say(crowd, str(MEASURED_S))
    healthz = await _look(port, MEASURED_S)
    streams = json.loads(await _heard(crowd))
    if askers is None:
        return Waits(healthz, streams, {})
    _say(askers, "end")
    return Waits(healthz, streams, json.loads(await _heard(askers)))


def _say(child: asyncio.subprocess.Process, line: str) -> None:
    assert child.stdin
    child.stdin.write(line.encode() + b"\n")


async def _heard(child: asyncio.subprocess.Process) -> str:
    assert child.stdout
    return (await child.stdout.readline()).decode().strip()


async def _look(port: int, seconds: float) -> list[float]:
    """Ask for /healthz on one connection; return ms."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    until_s, found = time.monotonic() + seconds, []
    while time.monotonic() < until_s:
        await asyncio.sleep(LOOK_EVERY_S)
        began_s = time.monotonic()
        writer.write(b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        await reader.readuntil(b"ok\n")
        found.append(1e3 * (time.monotonic() - began_s))
    writer.close()
    return found


@asynccontextmanager
async def pushing(client: Redis) -> AsyncIterator[None]:
    """Push trades meanwhile, evenly; a price is the time at which it was pushed."""
    task = asyncio.create_task(_push(client))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def _push(client: Redis) -> None:
    began_s, every_s, number = time.monotonic(), 1 / (MESSAGES_PER_S * len(SYMBOLS)), 0
    while True:
        await asyncio.sleep(max(0.0, began_s + number * every_s - time.monotonic()))
        now_ms, price = time.time_ns() // 1_000_000, f"{time.monotonic():.5f}"
        fields = {"ts_ms": now_ms, "price": price, "size": "1", "side": "buy", "id": number // len(SYMBOLS) + 1}
        await client.xadd(SymbolKeys(SYMBOLS[number % len(SYMBOLS)]).inbox, fields)  # type: ignore[arg-type]
        number += 1
