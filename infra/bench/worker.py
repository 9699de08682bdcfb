"""One symbol worker: its memory when idle, and how soon a spare takes over."""

import asyncio
import re
import time
from pathlib import Path

from common.market.instrument import Instrument
from common.settings import Settings
from common.store.client import commit_client
from common.store.registry import Market, Registry
from infra.bench.base import Figure, await_owner, owner, process, store

SYMBOL = "BENCH:IDLE"
MAX_RSS_MB = 33.0
KILLS = 5


def measure() -> list[Figure]:
    with store() as url:
        found_mb, takeover_s = asyncio.run(_measure(url))
    max_s = Settings().lease_ttl_ms / 1e3 + 1
    return [
        Figure("one symbol worker, idle", f"<= {MAX_RSS_MB:g} MB RSS", f"{found_mb:.1f} MB", found_mb <= MAX_RSS_MB),
        Figure(
            f"spare takes over after SIGKILL, worst of {KILLS}",
            f"<= lease TTL + 1 s = {max_s:g} s",
            f"{takeover_s:.2f} s",
            takeover_s <= max_s,
        ),
    ]


async def _measure(url: str) -> tuple[float, float]:
    async with commit_client(url) as client:
        await Registry(client).add_symbol(Market(Instrument(SYMBOL, 2, 8), {"kind": "inbox"}))
    async with process(url, "-m", "workers") as only:
        await await_owner(url, SYMBOL)
        # Beats, reads and garbage of a while: what it is when nothing happens, not just after the start.
        await asyncio.sleep(5)
        found_mb = rss_mb(only.pid)
    return found_mb, max([await _takeover_s(url) for _ in range(KILLS)])


async def _takeover_s(url: str) -> float:
    """Kill the holder of two workers; time until the other one holds the symbol."""
    async with process(url, "-m", "workers") as one, process(url, "-m", "workers") as other:
        token = await await_owner(url, SYMBOL)
        pid = int(owner(url, SYMBOL)[b"holder"].rpartition(b":")[2])
        # Both have been up for a while, and the spare has seen a beat or two.
        await asyncio.sleep(2)
        next(child for child in (one, other) if child.pid == pid).kill()
        killed_s = time.monotonic()
        await await_owner(url, SYMBOL, other_than=token)
        return time.monotonic() - killed_s


def rss_mb(pid: int) -> float:
    found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text("ascii"))
    assert found, f"no VmRSS of process {pid}"
    return int(found[1]) / 1_000
