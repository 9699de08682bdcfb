"""The overview of a large fleet: the first one, and one that is asked for again.

A day of minutes of each symbol, of which yesterday's are sealed, as they are at any time of a day. Repeat:
`python -m infra.bench overview`.
"""

import asyncio
import time

import numpy as np
import polars as pl
from redis.asyncio import Redis

from common.frames import bulk, encode
from common.market.builder.builder import Builder
from common.market.candle import LIVE
from common.market.coding import blocks, candle_blocks
from common.market.instrument import Instrument
from common.market.timeframes.timeframe import DAY_MS, day_of
from common.market.trade import Trade, Trades
from common.store.client import commit_client
from common.store.commit import StreamBounds
from common.store.format import FORMAT
from common.store.keys import SymbolKeys
from common.store.lease import NOTHING_SEEN, new_token
from common.store.registry import Market, Registry
from common.store.symbol import Claim, SymbolStore
from infra.bench.base import Figure, ask, feed, percentile, store
from workers.symbol.commit import CommitHead, Retention, make_commit

SYMBOLS, TRADES_A_DAY = 200, 6_000
# As a page asks, and several of them.
ROUNDS, PAUSE_S = 25, 0.4
# An answer is kept for a second: asked after that, it is worked out anew.
ANEW_ROUNDS, ANEW_PAUSE_S = 10, 1.05
MAX_FIRST_MS, MAX_AGAIN_MS = 200.0, 10.0
_KEEP = Retention(candle_days=400, footprint_days=400)
_HEALTH = {"mode": "LIVE", "reason": "", "source": "ws", "lag_p50_ms": "20", "lag_p99_ms": "90", "trades_per_s": "9.5"}


def measure() -> list[Figure]:
    with store() as url:
        first_ms, again_ms, anew_ms = asyncio.run(_measure(url))
    what = f"overview of {SYMBOLS} symbols"
    return [
        Figure(
            f"{what}, the first of a feed",
            f"<= {MAX_FIRST_MS:.0f} ms",
            f"{first_ms:.0f} ms",
            first_ms <= MAX_FIRST_MS,
        ),
        Figure(
            f"{what}, asked again within 2 s, p50",
            f"<= {MAX_AGAIN_MS:.0f} ms",
            f"{again_ms:.1f} ms",
            again_ms <= MAX_AGAIN_MS,
        ),
        Figure(f"{what}, worked out anew, p50", "", f"{anew_ms:.1f} ms"),
    ]


async def _measure(url: str) -> tuple[float, float, float]:
    async with commit_client(url) as client:
        await _fill(client)
    async with feed(url) as port:
        # What a process does once, whatever it is asked.
        await asyncio.to_thread(ask, port, "/v1/symbols", 1)
        first_s = await asyncio.to_thread(ask, port, "/v1/overview", 1)
        again_s = [took_s for _ in range(ROUNDS) for took_s in await _after(PAUSE_S, port)]
        anew_s = [took_s for _ in range(ANEW_ROUNDS) for took_s in await _after(ANEW_PAUSE_S, port)]
    return first_s[0] * 1e3, percentile(again_s, 0.5) * 1e3, percentile(anew_s, 0.5) * 1e3


async def _after(pause_s: float, port: int) -> list[float]:
    await asyncio.sleep(pause_s)
    return await asyncio.to_thread(ask, port, "/v1/overview", 1)


async def _fill(client: Redis) -> None:
    """The minutes are the same for all: they don't say whose they are."""
    now_ms = int(time.time() * 1_000)
    today_ms = day_of(now_ms)
    candles, _ = bulk.minutes(_trades(today_ms - DAY_MS, now_ms), LIVE)
    block = candle_blocks.pack(encode.candles(candles.filter(pl.col("open_ms") < today_ms)))
    opens = candles.filter(pl.col("open_ms") >= today_ms)
    unsealed = dict(zip(encode.candles(opens), opens["open_ms"].to_list(), strict=True))
    seal = f"{today_ms - DAY_MS}:1440:0:{blocks.digest(block)}:"
    for number in range(SYMBOLS):
        instrument = Instrument(f"BENCH:{number}", 2, 8, "contiguous")
        await _commit(client, instrument, now_ms)
        keys, pipe = SymbolKeys(instrument.symbol), client.pipeline(transaction=True)
        pipe.hset(keys.sealed("candles"), str(today_ms - DAY_MS), block)
        pipe.zadd(keys.seals, {seal: today_ms - DAY_MS})
        pipe.hset(keys.state, "sealed_to_ms", str(today_ms))
        if unsealed:
            pipe.zadd(keys.candles, unsealed)
        await pipe.execute()


def _trades(from_ms: int, to_ms: int) -> pl.DataFrame:
    rng, count = np.random.default_rng(1), TRADES_A_DAY * (to_ms - from_ms) // DAY_MS
    return pl.DataFrame(
        {
            "ts_ms": np.sort(rng.integers(from_ms, to_ms, count)),
            "id": np.arange(count) + 1,
            "price_ticks": 6_000_000 + np.cumsum(rng.integers(-30, 31, count)),
            "size_lots": rng.integers(1, 1_000_000, count),
            "side": rng.integers(0, 2, count).astype(np.uint8),
        }
    )


async def _commit(client: Redis, instrument: Instrument, now_ms: int) -> None:
    await Registry(client).add_symbol(Market(instrument, {"kind": "inbox"}))
    store, token = SymbolStore(client, instrument.symbol, StreamBounds(100_000, 10_000)), new_token()
    assert isinstance(await store.claim(token, NOTHING_SEEN, "bench"), Claim)
    builder = Builder.new(instrument)
    builder.keep_coverage(is_chunked=True)
    changes = builder.step(Trades.of([Trade(now_ms, 1 << 40, 6_000_000, 5, 0)]), now_ms, {})
    await store.commit(make_commit(CommitHead(token, 0, "", _HEALTH, format=FORMAT), builder, changes, _KEEP))
