"""Fifty heavy queries at once: the most memory that a feed ever takes for them, and how long /healthz waits meanwhile.

Repeat: `python -m infra.bench memory`.
"""

import asyncio
import random
import re
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from common.market.timeframes.timeframe import DAY_MS
from common.store.client import commit_client
from infra.bench.base import Figure, feed_process, percentile, store
from infra.bench.heavy import DAYS, HEAVY, START_MS, fill
from infra.bench.heavy_client import QUERIES, get

AT_ONCE = 50
# What a feed may take by default, and the least that can be said.
MEMORIES_MB = (1_024, 384)


@dataclass(frozen=True, slots=True)
class Held:
    peak_mb: int
    took_s: float
    healthz_ms: list[float]
    statuses: Counter[str]


def measure() -> list[Figure]:
    with store() as url:
        found = asyncio.run(_measure(url))
    return [figure for memory_mb, held in found.items() for figure in _figures(memory_mb, held)]


def _figures(memory_mb: int, held: Held) -> list[Figure]:
    told = ", ".join(f"{count} x {status}" for status, count in sorted(held.statuses.items()))
    what = f"{AT_ONCE} heavy queries at once, FLEET_MEMORY_MB={memory_mb}"
    return [
        Figure(f"{what}: peak RSS", f"<= {memory_mb} MB", f"{held.peak_mb} MB", held.peak_mb <= memory_mb),
        Figure("/healthz meanwhile, p99; all answered after", "", f"{_p99(held)}; {held.took_s:.1f} s ({told})"),
    ]


def _p99(held: Held) -> str:
    return f"{percentile(held.healthz_ms, 0.99):.1f} ms"


async def _measure(url: str) -> dict[int, Held]:
    async with commit_client(url) as client:
        await fill(client)
    return {memory_mb: await _held(url, memory_mb) for memory_mb in MEMORIES_MB}


async def _held(url: str, memory_mb: int) -> Held:
    rng, end_ms = random.Random(1), START_MS + DAYS * DAY_MS
    # Each ends elsewhere: no answer is another's.
    paths = [
        QUERIES[number % 3].format(symbol=HEAVY.symbol, end=end_ms - rng.randrange(DAY_MS)) for number in range(AT_ONCE)
    ]
    async with feed_process(url, FLEET_MEMORY_MB=str(memory_mb)) as (port, pid):
        began_s, healthz_ms = time.monotonic(), list[float]()
        looking = asyncio.create_task(_look(port, healthz_ms))
        answers = await asyncio.gather(*(get(port, path) for path in paths))
        took_s = time.monotonic() - began_s
        looking.cancel()
        await asyncio.gather(looking, return_exceptions=True)
        return Held(_peak_mb(pid), took_s, healthz_ms, Counter(status for status, _ in answers))


async def _look(port: int, found_ms: list[float]) -> None:
    while True:
        began_s = time.monotonic()
        await get(port, "/healthz")
        found_ms.append(1e3 * (time.monotonic() - began_s))
        await asyncio.sleep(0.01)


def _peak_mb(pid: int) -> int:
    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text("ascii"))
    assert found, f"no VmHWM of process {pid}"
    return int(found[1]) >> 10
