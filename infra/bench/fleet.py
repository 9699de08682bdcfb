"""A large fleet at rest: what each process costs while nothing is traded, and how soon spares have what one lost."""

import asyncio
import os
import time
from contextlib import AsyncExitStack
from pathlib import Path

import redis

from common.market.instrument import Instrument
from common.settings import Settings
from common.store.client import commit_client
from common.store.keys import SymbolKeys
from common.store.registry import Market, Registry
from infra.bench.base import Figure, process, store

SYMBOLS, PER_WORKER, SPARES = 1_000, 50, 3
WORKERS = SYMBOLS // PER_WORKER
# Twenty processes start on two cores, and a thousand symbols are claimed.
MAX_START_S = 180.0
# After the last claim, before anything is measured; and for how long.
REST_S, MEASURED_S = 10.0, 20.0
MAX_CORE_SHARE = 0.01
POLL_S = 0.01
TICKS_PER_S = os.sysconf("SC_CLK_TCK")

Owners = dict[str, tuple[str, int]]


def measure() -> list[Figure]:
    with store() as url:
        shares, takeovers_s = asyncio.run(_measure(url))
    max_s, worst = Settings().lease_ttl_ms / 1e3 + 1, max(shares)
    what = f"{SYMBOLS:,} symbols, {WORKERS} workers of {PER_WORKER}, {SPARES} spares, nothing traded"
    mean = sum(shares) / len(shares)
    return [
        Figure(
            f"{what}: CPU of each process",
            f"< {MAX_CORE_SHARE:.0%} of a core",
            f"{worst:.2%} at most, {mean:.2%} on average",
            worst < MAX_CORE_SHARE,
        ),
        Figure(
            f"the same: spares have all {PER_WORKER} symbols of a killed worker, worst of {SPARES}",
            f"<= lease TTL + 1 s = {max_s:g} s",
            f"{max(takeovers_s):.2f} s",
            max(takeovers_s) <= max_s,
        ),
    ]


async def _measure(url: str) -> tuple[list[float], list[float]]:
    symbols = [f"BENCH:{number}" for number in range(SYMBOLS)]
    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(commit_client(url))
        for symbol in symbols:
            await Registry(client).add_symbol(Market(Instrument(symbol, 2, 8), {"kind": "inbox"}))
        environ = {"FLEET_SYMBOLS_PER_WORKER": str(PER_WORKER)}
        children = [
            await stack.enter_async_context(process(url, "-m", "workers", **environ)) for _ in range(WORKERS + SPARES)
        ]
        deadline_s = time.monotonic() + MAX_START_S
        while len(owners(url, symbols)) < SYMBOLS:
            assert time.monotonic() < deadline_s, f"not all symbols held within {MAX_START_S:g} s"
            await asyncio.sleep(0.2)
        await asyncio.sleep(REST_S)
        before, began_s = [cpu_s(child.pid) for child in children], time.monotonic()
        await asyncio.sleep(MEASURED_S)
        shares = [
            (cpu_s(child.pid) - used_s) / (time.monotonic() - began_s)
            for child, used_s in zip(children, before, strict=True)
        ]
        takeovers_s = []
        for _ in range(SPARES):
            held = owners(url, symbols)
            victim = next(child for child in children if child.returncode is None and _holds(held, child.pid))
            takeovers_s.append(await _takeover_s(url, victim, held))
    return shares, takeovers_s


async def _takeover_s(url: str, victim: asyncio.subprocess.Process, held: Owners) -> float:
    """Kill the process; seconds until all it held is held by others."""
    lost = [symbol for symbol, (_, pid) in held.items() if pid == victim.pid]
    victim.kill()
    killed_s = time.monotonic()
    await asyncio.to_thread(_await_others, url, lost, victim.pid)
    return time.monotonic() - killed_s


def _await_others(url: str, symbols: list[str], pid: int) -> None:
    while _holds(owners(url, symbols), pid):
        time.sleep(POLL_S)


def _holds(held: Owners, pid: int) -> bool:
    return any(holder == pid for _, holder in held.values())


def owners(url: str, symbols: list[str]) -> Owners:
    """Token and process of each symbol that is held."""
    with redis.Redis.from_url(url, protocol=2, decode_responses=True) as client:
        pipe = client.pipeline(transaction=False)
        for symbol in symbols:
            pipe.hmget(SymbolKeys(symbol).owner, "token", "holder")
        found = zip(symbols, pipe.execute(), strict=True)
    return {symbol: (token, int(holder.rpartition(":")[2])) for symbol, (token, holder) in found if token}


def cpu_s(pid: int) -> float:
    """Seconds of CPU that the process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text("ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_PER_S
