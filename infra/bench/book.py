"""A book of a venue: from a change on its socket to a patch of a live heatmap, and what its worker takes meanwhile.

Ten changes a second of 20 levels. Repeat: `python -m infra.bench book`.
"""

import asyncio
import json
import time
from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path

from redis.asyncio import Redis
from redis.asyncio.client import PubSub
from websockets.asyncio.client import ClientConnection, connect
from websockets.asyncio.server import ServerConnection, serve
from websockets.datastructures import Headers
from websockets.http11 import Request, Response

from common.store.client import blocking_client, commit_client
from common.store.registry import Registry
from infra.bench.base import PATIENCE_S, Figure, feed, percentile, process, store
from infra.bench.latency import raw_round_trip_s
from infra.bench.venue import LEVELS, NAME, SYMBOL, venue_market
from infra.bench.worker import rss_mb

ROUNDS, CHANGE_S = 200, 0.1
MAX_P50, MAX_RSS_MB, MAX_CORE_SHARE = 12.0, 60.0, 0.03
# Without listeners, after those rounds.
QUIET_S = 15
MID = 100_000


def measure() -> list[Figure]:
    with store() as url:
        raw_s, path_s, found_mb, share = asyncio.run(_measure(url))
    raw_p50_s = percentile(raw_s, 0.5)
    p50, p99 = (percentile(path_s, at) / raw_p50_s for at in (0.5, 0.99))
    what = f"book change on the venue's socket to heatmap patch; raw publish to subscribe p50 {1e3 * raw_p50_s:.3f} ms"
    measured = f"p50 {p50:.1f} x ({1e3 * percentile(path_s, 0.5):.2f} ms), p99 {p99:.1f} x"
    load = f"symbol worker with a book at 10 changes/s of {LEVELS} levels"
    return [
        Figure(what, f"p50 <= {MAX_P50:g} x", measured, p50 <= MAX_P50),
        Figure(f"{load}: memory", f"<= {MAX_RSS_MB:g} MB RSS", f"{found_mb:.1f} MB", found_mb <= MAX_RSS_MB),
        Figure(f"{load}: CPU", f"<= {MAX_CORE_SHARE:.0%} of a core", f"{share:.1%}", share <= MAX_CORE_SHARE),
    ]


async def _measure(url: str) -> tuple[list[float], list[float], float, float]:
    sockets: list[ServerConnection] = []
    opened = asyncio.Event()

    async def venue(socket: ServerConnection) -> None:
        sockets.append(socket)
        opened.set()
        await socket.wait_closed()

    async with serve(venue, "127.0.0.1", 0, process_request=_book_by_rest) as server:
        port = server.sockets[0].getsockname()[1]
        async with commit_client(url) as client, blocking_client(url) as listener:
            await Registry(client).add_symbol(venue_market(port))
            worker = process(url, "-m", "workers", FLEET_DEPTH_HOURS="1", FLEET_BACKFILL_HOURS="0")
            async with worker as child, feed(url) as web, listener.pubsub() as raw:
                await asyncio.wait_for(opened.wait(), PATIENCE_S)
                await raw.subscribe("bench")
                await raw.get_message(timeout=1)
                numbers = iter(range(2, 1_000_000))
                await _until_known(client, sockets, numbers)
                async with connect(f"ws://127.0.0.1:{web}/v1/stream", max_size=None) as socket:
                    await socket.send(json.dumps(_subscription()))
                    await _heard(socket, "snapshot")
                    pairs = [await _round(client, raw, sockets[-1], socket, next(numbers)) for _ in range(ROUNDS)]
                share = await _core_share(child.pid, sockets[-1], numbers)
                return [a for a, _ in pairs], [b for _, b in pairs], rss_mb(child.pid), share


def _subscription() -> dict[str, str | int]:
    asked: dict[str, str | int] = {
        "kind": "depth",
        "bucket": "1s",
        "row": "0.01",
        "price_min": "999.00",
        "price_max": "1001.00",
        "cols": 120,
    }
    return {"action": "subscribe", "channel": "heatmap", "symbol": SYMBOL, **asked}


async def _round(
    client: Redis, raw: PubSub, venue: ServerConnection, socket: ClientConnection, number: int
) -> tuple[float, float]:
    """One change, as a venue tells it every 100 ms, and a raw round trip between two."""
    await asyncio.sleep(CHANGE_S / 2)
    raw_s = await raw_round_trip_s(client, raw)
    await asyncio.sleep(CHANGE_S / 2)
    while await _is_waiting(socket):
        # What the history made other of former columns.
        pass
    started_s = time.perf_counter()
    await venue.send(_change(number))
    await _heard(socket, "heatmap")
    return raw_s, time.perf_counter() - started_s


async def _is_waiting(socket: ClientConnection) -> bool:
    try:
        async with asyncio.timeout(0.001):
            await socket.recv()
    except TimeoutError:
        return False
    return True


async def _heard(socket: ClientConnection, kind: str) -> None:
    """A message of that kind, and the frame behind it."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            message = await socket.recv()
            if isinstance(message, str) and json.loads(message)["type"] == kind:
                await socket.recv()
                return


async def _until_known(client: Redis, sockets: list[ServerConnection], numbers: Iterator[int]) -> None:
    deadline_s = time.monotonic() + PATIENCE_S
    while not await client.exists(f"{{{SYMBOL}}}:book"):
        if time.monotonic() > deadline_s:
            raise TimeoutError(f"no book within {PATIENCE_S} s")
        await sockets[-1].send(_change(next(numbers)))
        await asyncio.sleep(CHANGE_S)


async def _core_share(pid: int, venue: ServerConnection, numbers: Iterator[int]) -> float:
    """Of a core, while nobody listens."""
    began_s, before_s = time.monotonic(), _cpu_s(pid)
    while time.monotonic() - began_s < QUIET_S:
        await venue.send(_change(next(numbers)))
        await asyncio.sleep(CHANGE_S)
    return (_cpu_s(pid) - before_s) / (time.monotonic() - began_s)


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text("ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100


def _levels(number: int, step: int, count: int) -> list[list[str]]:
    prices = (MID + step * (1 + at) for at in range(count))
    return [[f"{price / 100:.8f}", f"{1 + (number + at) % 7}.00000000"] for at, price in enumerate(prices)]


def _change(number: int) -> str:
    bids, asks = (_levels(number, step, LEVELS // 2) for step in (-1, 1))
    now_ms = time.time_ns() // 1_000_000
    data = {"e": "depthUpdate", "E": now_ms, "s": NAME, "U": number, "u": number, "b": bids, "a": asks}
    return json.dumps({"stream": f"{NAME.lower()}@depth@100ms", "data": data})


def _book_by_rest(_: ServerConnection, request: Request) -> Response | None:
    if "Upgrade" in request.headers:
        return None
    bids, asks = (_levels(1, step, 400) for step in (-1, 1))
    is_book = "/depth" in request.path
    body = json.dumps({"lastUpdateId": 1, "bids": bids, "asks": asks}).encode() if is_book else b"[]"
    headers = Headers({"Content-Length": str(len(body)), "Content-Type": "application/json"})
    return Response(HTTPStatus.OK, "OK", headers, body)
