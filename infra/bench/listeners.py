"""What it costs a feed to look whether anybody listens in Redis, and how soon another feed goes on.

Repeat: `python -m infra.bench listeners`.
"""

import asyncio
import os
import signal
import time
from contextlib import AsyncExitStack

import redis

from common.market.instrument import Instrument
from common.store.client import commit_client
from common.store.keys import SymbolKeys
from common.store.registry import Market, Registry
from infra.bench.base import PATIENCE_S, Figure, feed_process, process, store
from infra.bench.fleet import cpu_s

SYMBOLS, REST_S, MEASURED_S = 200, 5.0, 20.0
MAX_CORE_SHARE, MAX_TAKEOVER_S, MAX_END_S = 0.01, 12.0, 5.0
SYMBOL = "BENCH:LIVE"
KEYS, CHANNEL = SymbolKeys(SYMBOL), f"{{{SYMBOL}}}:candles:15m"


def measure() -> list[Figure]:
    with store() as url:
        idle = asyncio.run(_idle_share(url))
    with store() as url:
        takeover_s, end_s = asyncio.run(_takeover(url))
    what = f"feed with {SYMBOLS} registered symbols and no listener: CPU"
    return [
        Figure(what, f"<= {MAX_CORE_SHARE:.0%} of a core", f"{idle:.2%}", idle <= MAX_CORE_SHARE),
        _seconds("derived bars in Redis: next word after the publishing feed is killed", takeover_s, MAX_TAKEOVER_S),
        _seconds("the same: ends after the last subscriber has left", end_s, MAX_END_S),
    ]


def _seconds(what: str, measured_s: float, most_s: float) -> Figure:
    return Figure(what, f"<= {most_s:g} s", f"{measured_s:.2f} s", measured_s <= most_s)


async def _idle_share(url: str) -> float:
    async with commit_client(url) as client:
        for number in range(SYMBOLS):
            await Registry(client).add_symbol(Market(Instrument(f"BENCH:{number}", 2, 8), {"kind": "inbox"}))
    async with feed_process(url) as (_, pid):
        await asyncio.sleep(REST_S)
        used_s, began_s = cpu_s(pid), time.monotonic()
        await asyncio.sleep(MEASURED_S)
        return (cpu_s(pid) - used_s) / (time.monotonic() - began_s)


async def _takeover(url: str) -> tuple[float, float]:
    """Seconds without a word after the first feed is killed, and until nothing is published once nobody listens."""
    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(commit_client(url))
        await Registry(client).add_symbol(Market(Instrument(SYMBOL, 2, 8), {"kind": "simulator"}))
        await stack.enter_async_context(process(url, "-m", "workers", FLEET_SIMULATED_DAYS="0"))
        with redis.Redis.from_url(url) as plain, plain.pubsub(ignore_subscribe_messages=True) as channel:
            channel.subscribe(CHANNEL)
            async with feed_process(url) as (_, pid):
                await asyncio.to_thread(_word, channel)
                await stack.enter_async_context(feed_process(url))
                # The other one has looked by then.
                await asyncio.sleep(REST_S)
                killed_s = _killed(pid)
                while await asyncio.to_thread(_word, channel) < killed_s + 0.1:
                    pass
                takeover_s = time.monotonic() - killed_s
            channel.unsubscribe(CHANNEL)
            left_s = time.monotonic()
            while await client.exists(KEYS.publisher):
                assert time.monotonic() < left_s + PATIENCE_S, "it goes on without subscribers"
                await asyncio.sleep(0.02)
            return takeover_s, time.monotonic() - left_s


def _killed(pid: int) -> float:
    os.kill(pid, signal.SIGKILL)
    return time.monotonic()


def _word(channel: redis.client.PubSub) -> float:
    """When the next message was heard."""
    deadline_s = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline_s:
        if channel.get_message(timeout=1.0):
            return time.monotonic()
    raise TimeoutError(f"nothing was published within {PATIENCE_S:g} s")
