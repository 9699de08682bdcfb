"""A symbol whose footprints are more than one answer may have: millions of trades in sealed days, written at once."""

import numpy as np
import polars as pl
from redis.asyncio import Redis

from common.frames import bulk, encode
from common.frames.schema import LEVELS
from common.market.builder.builder import Builder
from common.market.candle import LIVE
from common.market.coding import blocks, candle_blocks, footprint_blocks
from common.market.instrument import Instrument
from common.market.timeframes.timeframe import DAY_MS
from common.market.trade import Trade, Trades
from common.store.commit import StreamBounds
from common.store.format import FORMAT
from common.store.keys import SymbolKeys
from common.store.lease import NOTHING_SEEN, new_token
from common.store.registry import Market, Registry
from common.store.symbol import Claim, SymbolStore
from workers.symbol.commit import CommitHead, Retention, make_commit

HEAVY = Instrument("BENCH:HEAVY", 2, 8, "contiguous")
START_MS = 1_699_920_000_000
# 30,000 minutes of 267 trades: some 180 levels each.
DAYS, TRADES_A_DAY = 21, 384_000
_KEEP = Retention(candle_days=400, footprint_days=400)


async def fill(client: Redis, instrument: Instrument = HEAVY, days: int = DAYS, a_day: int = TRADES_A_DAY) -> int:
    """Write sealed days of minutes as roll-up jobs leave them, and a commit after them. Return how many levels."""
    await Registry(client).add_symbol(Market(instrument, {"kind": "inbox"}))
    rng, levels = np.random.default_rng(1), 0
    for number in range(days):
        levels += await _write_day(client, instrument, trades_of(number, a_day, rng))
    end_ms = START_MS + days * DAY_MS
    await _commit(client, instrument, Trade(end_ms + 1_000, days * a_day + 1, 6_000_000, 5, 0))
    await client.hset(SymbolKeys(instrument.symbol).state, "sealed_to_ms", str(end_ms))
    return levels


def trades_of(day: int, count: int, rng: np.random.Generator) -> pl.DataFrame:
    """A random walk of single ticks up to 30, sizes with a heavy tail."""
    return pl.DataFrame(
        {
            "ts_ms": START_MS + day * DAY_MS + np.sort(rng.integers(0, DAY_MS, count)),
            "id": np.arange(count) + day * count + 1,
            "price_ticks": 6_000_000 + np.cumsum(rng.integers(-30, 31, count)),
            "size_lots": rng.lognormal(14, 1.5, count).astype(np.int64) + 1,
            "side": rng.integers(0, 2, count).astype(np.uint8),
        }
    )


async def _write_day(client: Redis, instrument: Instrument, trades: pl.DataFrame) -> int:
    candles, levels = bulk.minutes(trades, LIVE)
    keys, day_ms = SymbolKeys(instrument.symbol), int(trades["ts_ms"][0]) // DAY_MS * DAY_MS
    candle_block = candle_blocks.pack(encode.candles(candles))
    level_block = footprint_blocks.pack_levels([levels[name].to_numpy() for name in LEVELS])
    digests = blocks.digest(candle_block), blocks.digest(level_block)
    seal = ":".join(map(str, (day_ms, len(candles), levels["open_ms"].n_unique(), *digests)))
    pipe = client.pipeline(transaction=True)
    pipe.hset(keys.sealed("candles"), str(day_ms), candle_block)
    pipe.hset(keys.sealed("footprints"), str(day_ms), level_block)
    pipe.zadd(keys.seals, {seal: day_ms})
    await pipe.execute()
    return len(levels)


async def _commit(client: Redis, instrument: Instrument, trade: Trade) -> None:
    store, token = SymbolStore(client, instrument.symbol, StreamBounds(100_000, 10_000)), new_token()
    assert isinstance(await store.claim(token, NOTHING_SEEN, "bench"), Claim)
    builder, trades = Builder.new(instrument), Trades.of([trade])
    builder.keep_coverage(is_chunked=True)
    builder.has_delta_range = True
    changes = builder.step(trades, trade.ts_ms, {})
    await store.commit(make_commit(CommitHead(token, 0, "", {}, format=FORMAT), builder, changes, _KEEP))
