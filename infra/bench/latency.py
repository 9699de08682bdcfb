"""From a trade pushed to the inbox to its candle on a WebSocket client, against a raw publish-to-subscribe."""

import asyncio
import json
import time

from redis.asyncio import Redis
from redis.asyncio.client import PubSub
from websockets.asyncio.client import ClientConnection, connect

from common.market.instrument import Instrument
from common.store.client import blocking_client, commit_client
from common.store.keys import SymbolKeys
from common.store.registry import Market, Registry
from infra.bench.base import Figure, await_owner, feed, percentile, process, store

SYMBOL = "BENCH:INBOX"
ROUNDS = 400
# Idle between rounds, and longer than the least time between two commits.
REST_S = 0.025
MAX_P50, MAX_P99 = 5.0, 12.0


def measure() -> list[Figure]:
    with store() as url:
        raw_s, path_s, warm_s = asyncio.run(_measure(url))
    raw_p50_s = percentile(raw_s, 0.5)
    p50, p99 = (percentile(path_s, share) / raw_p50_s for share in (0.5, 0.99))
    p50_ms, p99_ms, raw_ms = (1e3 * s for s in (percentile(path_s, 0.5), percentile(path_s, 0.99), raw_p50_s))
    what = f"inbox to candle on a WebSocket, {ROUNDS} rounds; raw publish to subscribe p50 {raw_ms:.3f} ms"
    measured = f"p50 {p50:.1f} x ({p50_ms:.2f} ms), p99 {p99:.1f} x ({p99_ms:.2f} ms)"
    met = p50 <= MAX_P50 and p99 <= MAX_P99
    warm = f"{1e3 * percentile(warm_s, 0.5):.3f} ms"
    return [
        Figure(what, f"p50 <= {MAX_P50:g} x, p99 <= {MAX_P99:g} x", measured, met),
        # The same without a rest before it: how much of either is a machine that wakes up.
        Figure("raw publish to subscribe, back to back, p50", "", warm),
    ]


async def _measure(url: str) -> tuple[list[float], list[float], list[float]]:
    async with commit_client(url) as client, blocking_client(url) as listener:
        await Registry(client).add_symbol(Market(Instrument(SYMBOL, 2, 8, "contiguous"), {"kind": "inbox"}))
        async with process(url, "-m", "workers"), feed(url) as port:
            await await_owner(url, SYMBOL)
            await _push(client, 1)
            async with connect(f"ws://127.0.0.1:{port}/v1/stream") as socket, listener.pubsub() as raw:
                await raw.subscribe("bench")
                await raw.get_message(timeout=1)
                await socket.send(json.dumps({"action": "subscribe", "symbol": SYMBOL, "timeframe": "1m"}))
                pairs = [await _round(client, raw, socket, number) for number in range(2, ROUNDS + 2)]
                warm_s = [await raw_round_trip_s(client, raw) for _ in range(ROUNDS)]
    return [a for a, _ in pairs], [b for _, b in pairs], warm_s


async def raw_round_trip_s(client: Redis, raw: PubSub) -> float:
    started_s = time.perf_counter()
    await client.publish("bench", b"x" * 200)
    while await raw.get_message(ignore_subscribe_messages=True, timeout=1) is None:
        pass
    return time.perf_counter() - started_s


async def _round(client: Redis, raw: PubSub, socket: ClientConnection, number: int) -> tuple[float, float]:
    """One raw round trip and one trade's way, each after a rest: both meet the same machine."""
    await asyncio.sleep(REST_S)
    raw_s = await raw_round_trip_s(client, raw)
    await asyncio.sleep(REST_S)
    started_s = time.perf_counter()
    await _push(client, number)
    while not shows(await socket.recv(), number):
        pass
    return raw_s, time.perf_counter() - started_s


async def _push(client: Redis, number: int) -> None:
    fields = {"ts_ms": time.time_ns() // 1_000_000, "price": f"{number}", "size": "1", "side": "buy", "id": number}
    await client.xadd(SymbolKeys(SYMBOL).inbox, fields)  # type: ignore[arg-type]


def shows(text: str | bytes, number: int) -> bool:
    message = json.loads(text)
    return message["type"] == "candle" and bool(message["bar"]["c"] == number)
