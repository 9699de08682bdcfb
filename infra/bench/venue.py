"""A venue: how fast its frames are read, how long a frame takes to a client, how fast a missed hour comes back."""

import asyncio
import json
import sys
import time
from contextlib import suppress
from dataclasses import replace
from http import HTTPStatus
from typing import Any
from urllib.request import urlopen

from redis.asyncio import Redis
from redis.asyncio.client import PubSub
from websockets.asyncio.client import ClientConnection, connect
from websockets.asyncio.server import ServerConnection, serve
from websockets.datastructures import Headers
from websockets.http11 import Request, Response

from common.market.depth.history import BookHistory
from common.market.depth.runs import DepthLimits
from common.market.instrument import Instrument
from common.store.client import blocking_client, commit_client
from common.store.reads import SymbolReader
from common.store.registry import Market, Registry
from infra.bench.base import PATIENCE_S, Figure, await_owner, best_rate, feed, free_port, percentile, process, store
from infra.bench.latency import MAX_P50, REST_S, ROUNDS, raw_round_trip_s, shows
from workers.venues.binance.book_rule import BinanceSpotRule
from workers.venues.binance.wire import BinanceParser
from workers.venues.shared.base import DepthEvent, Listing

NAME = "BENCHUSDT"
SYMBOL = f"LOCAL:{NAME}"
INSTRUMENT = Instrument(SYMBOL, 2, 8, "contiguous")
LISTING = Listing(NAME, INSTRUMENT, 1, 1)
MIN_TRADES_PER_S, MIN_DIFFS_PER_S = 200_000, 30_000
LEVELS = 20
# Frames whose events wait for one commit, on a busy day.
FRAMES_KEPT = 500
# A busy hour: what is missing when a worker comes back.
HOUR_TRADES, MAX_CATCH_UP_S = 200_000, 5.0


def measure() -> list[Figure]:
    return [_parse_trades(), _parse_depth(), *_frame_to_client(), *_catch_up()]


# Frames.


def _parse_trades() -> Figure:
    parser, frames = BinanceParser([LISTING], "trade"), [_trade(at, at).encode() for at in range(1, 20_001)]

    def run() -> None:
        for at in range(0, len(frames), FRAMES_KEPT):
            # Events live until their commit. Of all of them at once the collector of garbage would be measured.
            _ = [parser.parse(frame) for frame in frames[at : at + FRAMES_KEPT]]

    per_s = best_rate(len(frames), run)
    return Figure(
        "parse Binance trade frames, one core",
        f">= {MIN_TRADES_PER_S:,}/s",
        f"{per_s:,.0f}/s",
        per_s >= MIN_TRADES_PER_S,
    )


def _parse_depth() -> Figure:
    """Frame to book and history, not only to levels."""
    frames = [_depth(at).encode() for at in range(2, 10_002)]

    def run() -> None:
        parser, history = BinanceParser([LISTING], "trade"), BookHistory.new(BinanceSpotRule(), DepthLimits())
        side = [(100_000 - at, 10**8) for at in range(LEVELS)]
        other = [(100_001 + at, 10**8) for at in range(LEVELS)]
        history.step(DepthEvent(NAME, 1_700_000_000_000, 1, 1, -1, side, other, snapshot=True), 1_700_000_000_000)
        for frame in frames:
            for event in parser.parse(frame):
                if isinstance(event, DepthEvent):
                    history.step(event, event.ts_ms)

    per_s = best_rate(len(frames), run)
    return Figure(
        f"depth diffs of {LEVELS} levels: parsed, applied, recorded, one core",
        f">= {MIN_DIFFS_PER_S:,}/s",
        f"{per_s:,.0f}/s",
        per_s >= MIN_DIFFS_PER_S,
    )


def _trade(number: int, price: int) -> str:
    now_ms = time.time_ns() // 1_000_000
    return (
        f'{{"stream":"{NAME.lower()}@trade","data":{{"e":"trade","E":{now_ms},"s":"{NAME}","t":{number},'
        f'"p":"{price}.00000000","q":"0.01000000","T":{now_ms},"m":true,"M":true}}}}'
    )


def _depth(number: int) -> str:
    bids = [[f"{(100_000 - at) / 100:.8f}", f"{1 + (number + at) % 7}.00000000"] for at in range(LEVELS // 2)]
    asks = [[f"{(100_001 + at) / 100:.8f}", f"{1 + (number + at) % 5}.00000000"] for at in range(LEVELS // 2)]
    data = {"e": "depthUpdate", "E": 1_700_000_000_000 + 100 * number, "s": NAME, "U": number, "u": number}
    return json.dumps({"stream": f"{NAME.lower()}@depth@100ms", "data": data | {"b": bids, "a": asks}})


# From a frame on the socket to a candle on a WebSocket.


def _frame_to_client() -> list[Figure]:
    with store() as url:
        raw_s, path_s = asyncio.run(_frames(url))
    raw_p50_s = percentile(raw_s, 0.5)
    p50, p99 = (percentile(path_s, share) / raw_p50_s for share in (0.5, 0.99))
    what = (
        f"frame on the venue's socket to candle on a WebSocket; raw publish to subscribe p50 {1e3 * raw_p50_s:.3f} ms"
    )
    measured = f"p50 {p50:.1f} x ({1e3 * percentile(path_s, 0.5):.2f} ms), p99 {p99:.1f} x"
    return [Figure(what, f"p50 <= {MAX_P50:g} x", measured, p50 <= MAX_P50)]


async def _frames(url: str) -> tuple[list[float], list[float]]:
    sockets: list[ServerConnection] = []
    opened = asyncio.Event()

    async def venue(socket: ServerConnection) -> None:
        sockets.append(socket)
        opened.set()
        await socket.wait_closed()

    async with serve(venue, "127.0.0.1", 0, process_request=_nothing_by_rest) as server:
        port = server.sockets[0].getsockname()[1]
        async with commit_client(url) as client, blocking_client(url) as listener:
            await Registry(client).add_symbol(venue_market(port))
            async with process(url, "-m", "workers", FLEET_DEPTH_HOURS="0", FLEET_BACKFILL_HOURS="0"), feed(url) as web:
                await asyncio.wait_for(opened.wait(), PATIENCE_S)
                await sockets[-1].send(_trade(1, 1))
                async with connect(f"ws://127.0.0.1:{web}/v1/stream") as client_socket, listener.pubsub() as raw:
                    await raw.subscribe("bench")
                    await raw.get_message(timeout=1)
                    ask = {"action": "subscribe", "symbol": SYMBOL, "timeframe": "1m"}
                    await client_socket.send(json.dumps(ask))
                    pairs = [
                        await _round(client, raw, sockets[-1], client_socket, number) for number in range(2, ROUNDS + 2)
                    ]
    return [raw_s for raw_s, _ in pairs], [path_s for _, path_s in pairs]


async def _round(
    client: Redis, raw: PubSub, venue: ServerConnection, socket: ClientConnection, number: int
) -> tuple[float, float]:
    await asyncio.sleep(REST_S)
    raw_s = await raw_round_trip_s(client, raw)
    await asyncio.sleep(REST_S)
    started_s = time.perf_counter()
    await venue.send(_trade(number, number))
    while not shows(await socket.recv(), number):
        pass
    return raw_s, time.perf_counter() - started_s


def _nothing_by_rest(_: ServerConnection, request: Request) -> Response | None:
    if "Upgrade" in request.headers:
        return None
    body = b"[]"
    headers = Headers({"Content-Length": str(len(body)), "Content-Type": "application/json"})
    return Response(HTTPStatus.OK, "OK", headers, body)


def venue_market(port: int, name: str = NAME, instrument: Instrument = INSTRUMENT) -> Market:
    urls = {"rest_url": f"http://127.0.0.1:{port}", "socket_url": f"ws://127.0.0.1:{port}"}
    source: dict[str, Any] = {"kind": "venue", "venue": "LOCAL", "name": name, "price_step_ticks": 1}
    return Market(instrument, source | {"size_step_lots": 1} | urls)


# A missed hour.


def _catch_up() -> list[Figure]:
    with store() as url:
        count, took_s = asyncio.run(_missed_hour(url))
    what = f"catch up {count:,} trades of an hour from the local exchange, from the claim on"
    target = f"<= {MAX_CATCH_UP_S:g} s per {HOUR_TRADES:,}"
    met = took_s * HOUR_TRADES / count <= MAX_CATCH_UP_S
    return [Figure(what, target, f"{took_s:.2f} s", met)]


async def _missed_hour(url: str) -> tuple[int, float]:
    port, name = free_port(), "BTCUSDT"
    symbol = f"LOCAL:{name}"
    exchange = [
        "-m",
        "infra.exchange",
        "--port",
        str(port),
        "--symbols",
        name,
        "--history-hours",
        "1.1",
        "--orders",
        "18",
    ]
    async with process(url, *exchange), commit_client(url) as client:
        await asyncio.to_thread(_await_exchange, port)
        instrument = replace(INSTRUMENT, symbol=symbol)
        await Registry(client).add_symbol(venue_market(port, name, instrument))
        async with process(url, "-m", "workers", FLEET_DEPTH_HOURS="0", FLEET_BACKFILL_HOURS="1"):
            await await_owner(url, symbol)
            started_s = time.perf_counter()
            while True:
                state = (await SymbolReader(client, symbol).view()).state
                spans = state.coverage("contiguous").spans() if state else []
                # The first page of the hour, the hole, and what came since: one span once all of it is there.
                if len(spans) == 1 and spans[0].to_ms - spans[0].from_ms > 3_500_000:
                    return spans[0].last - spans[0].first + 1, time.perf_counter() - started_s
                if time.perf_counter() - started_s > 4 * PATIENCE_S:
                    raise TimeoutError(f"still missing after {4 * PATIENCE_S:g} s: {spans[:3]}")
                await asyncio.sleep(0.01)


def _await_exchange(port: int) -> None:
    deadline_s = time.monotonic() + 2 * PATIENCE_S
    while time.monotonic() < deadline_s:
        with suppress(OSError), urlopen(f"http://127.0.0.1:{port}/api/v3/ping") as answer:
            if answer.status == HTTPStatus.OK:
                return
        time.sleep(0.05)
    sys.exit(f"the local exchange did not answer within {2 * PATIENCE_S:g} s")
