"""A year of sealed minutes over HTTP, three years of days, and the daily roll-up of a fleet.

Repeat: `python -m infra.bench year`.
"""

import asyncio
import time
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from redis.asyncio import Redis

from common.frames import encode
from common.frames.minutes import SHOWN_FRAMES
from common.frames.schema import CANDLES, DELTA_RANGE
from common.market.builder.builder import Builder
from common.market.candle import LIVE
from common.market.coding import candle_blocks, codec
from common.market.coding.limbs import Scratch
from common.market.instrument import Instrument
from common.market.timeframes.timeframe import DAY_MS, MINUTE_MS
from common.market.trade import Trade, Trades
from common.store.client import commit_client
from common.store.commit import StreamBounds
from common.store.keys import SymbolKeys
from common.store.lease import NOTHING_SEEN, new_token
from common.store.registry import Market, Registry
from common.store.rollups import RollupStore
from common.store.symbol import Claim, SymbolStore
from infra.bench.base import PATIENCE_S, Figure, ask, feed, percentile, process, store
from workers.rollup.day import roll_day
from workers.symbol.commit import CommitHead, Retention, make_commit

YEAR = Instrument("BENCH:YEAR", 2, 8, "contiguous")
DAYS, ROUNDS, COLD_ROUNDS = 365, 25, 5
SYMBOLS = 500
MAX_ASKED_MS, MAX_HOURS_MS, MAX_KEPT_MS, MAX_COLD_MS = 11.0, 13.0, 22.0, 70.0
# By the 15m candles of what is sealed.
MAX_ROLLED_MS, MAX_FIRST_MS = 25.0, 40.0
MAX_STORED_BYTES = 25.3
MAX_DAYS_MS, MAX_FLEET_S = 5.0, 30.0
# What a feed with room for as much has of minutes.
HELD_BYTES, MIN_HELD_RATIO = 256 << 20, 3.5
# More years than a feed of so much memory has room for.
MEMORY_MB = "512"
_YEARS = [f"{YEAR.symbol}{number}" for number in range(8)]
_START_MS = 1_699_920_000_000
_KEEP = Retention(10_000, 10_000)


def measure() -> list[Figure]:
    with store() as url:
        asyncio.run(_fill(url))
        stored_bytes = asyncio.run(_stored(url))
        times = asyncio.run(_measure(url))
    with store() as url:
        fleet_s = asyncio.run(_roll_fleet(url))
    return [
        _ms("a year of minutes to 15m, Arrow, asked for before", times.asked, MAX_ASKED_MS),
        _ms("the same to 6h and 12h, asked for before", times.hours, MAX_HOURS_MS),
        _ms("the same to 17m after 16m: the minutes are kept, bars not made", times.kept, MAX_KEPT_MS),
        _ms("the same to 16m, nothing of it kept", times.cold, MAX_COLD_MS),
        _ms("the same to 15m, nothing of it kept", times.rolled, MAX_ROLLED_MS),
        _ms("the same to 15m, and the feed has only just started", times.first, MAX_FIRST_MS),
        Figure(
            "stored bytes a sealed minute, all fields, 15m candles included",
            f"<= {MAX_STORED_BYTES}",
            f"{stored_bytes:.2f}",
            stored_bytes <= MAX_STORED_BYTES,
        ),
        _held(),
        _ms("three years of 1d, JSON", times.days, MAX_DAYS_MS),
        Figure(
            f"daily roll-up of {SYMBOLS} symbols, two roll-up processes",
            f"<= {MAX_FLEET_S:.0f} s",
            f"{fleet_s:.1f} s",
            fleet_s <= MAX_FLEET_S,
        ),
    ]


def _ms(what: str, times_s: list[float], max_ms: float) -> Figure:
    found_ms = percentile(times_s, 0.5) * 1e3
    return Figure(f"{what}, p50", f"<= {max_ms:.0f} ms", f"{found_ms:.1f} ms", found_ms <= max_ms)


def _held() -> Figure:
    """Minutes of a month as they are kept, against a frame of them."""
    members = encode.candles(minutes(30))
    sealed = [candle_blocks.pack(members[at : at + 1_440]) for at in range(0, len(members), 1_440)]
    kept = SHOWN_FRAMES.opened(sealed, None, Scratch()).estimated_size()
    ratio = SHOWN_FRAMES.unseal(sealed).estimated_size() / kept
    measured = f"{ratio:.1f} x; {HELD_BYTES / kept * len(members) / 1e6:.1f} million"
    return Figure(
        "minutes held in 256 MB, against decoded ones", f">= {MIN_HELD_RATIO} x", measured, ratio >= MIN_HELD_RATIO
    )


class Times(NamedTuple):
    """Seconds of a year's answers, by what is kept of it, and of days'."""

    asked: list[float]
    hours: list[float]
    kept: list[float]
    cold: list[float]
    rolled: list[float]
    first: list[float]
    days: list[float]


async def _measure(url: str) -> Times:
    first: list[float] = []
    for _ in range(COLD_ROUNDS):
        async with feed(url) as port:
            # What Python loads with the first answer of a process is not what is measured.
            await asyncio.to_thread(ask, port, _year(YEAR.symbol, "1m", limit=1), 3)
            first += await asyncio.to_thread(ask, port, _year(YEAR.symbol, "15m"), 1)
    async with feed(url) as port:
        asked, kept = await _asked_and_kept(port)
        hours = [await asyncio.to_thread(ask, port, _year(YEAR.symbol, text), ROUNDS) for text in ("6h", "12h")]
        days = await asyncio.to_thread(ask, port, f"/v1/candles/{YEAR.symbol}?timeframe=1d&limit=1095", ROUNDS)
    async with feed(url, FLEET_MEMORY_MB=MEMORY_MB) as port:
        # In turn: each has pushed the first of the others out when it is its turn again.
        texts = [(each, text) for each in _YEARS * 3 for text in ("16m", "15m")]
        rounds = [await asyncio.to_thread(ask, port, _year(*each), 1) for each in texts]
        cold, rolled = ([seconds for found in rounds[at::2][len(_YEARS) :] for seconds in found] for at in (0, 1))
    return Times(
        asked=asked,
        kept=kept,
        hours=[seconds for found in hours for seconds in found[1:]],
        cold=cold,
        rolled=rolled,
        first=first,
        days=days[1:],
    )


def asked_and_kept() -> tuple[list[float], list[float]]:
    """Seconds of a year's answers: bars asked for before, and others of the same minutes."""

    async def measured() -> tuple[list[float], list[float]]:
        async with commit_client(url) as client:
            await _fill_year(client)
        async with feed(url) as port:
            return await _asked_and_kept(port)

    with store() as url:
        return asyncio.run(measured())


async def _asked_and_kept(port: int) -> tuple[list[float], list[float]]:
    asked = await asyncio.to_thread(ask, port, _year(YEAR.symbol, "15m"), ROUNDS)
    others = [await asyncio.to_thread(ask, port, _year(YEAR.symbol, f"{n}m"), 1) for n in range(16, 16 + ROUNDS)]
    return asked[1:], [seconds for found in others[1:] for seconds in found]


def _year(symbol: str, timeframe: str, limit: int = 50_000) -> str:
    return f"/v1/candles/{symbol}?timeframe={timeframe}&limit={limit}&format=arrow"


async def _fill(url: str) -> None:
    """A year of sealed minutes, two years of days before them, and that year of other symbols."""
    async with commit_client(url) as client:
        await _fill_year(client)
        keys = SymbolKeys(YEAR.symbol)
        members: Any = await client.zrange(keys.rolled("1d"), 0, -1)
        for day in map(codec.unpack_candle, members):
            for back_ms in (DAYS * DAY_MS, 2 * DAYS * DAY_MS):
                times = {name: getattr(day, name) - back_ms for name in ("open_ms", "first_ts_ms", "last_ts_ms")}
                await client.zadd(keys.rolled("1d"), {codec.pack_candle(replace(day, **times)): times["open_ms"]})
        for symbol in _YEARS:
            await Registry(client).add_symbol(Market(replace(YEAR, symbol=symbol), {"kind": "inbox"}))
            for key, copy in zip(keys.all_keys(), SymbolKeys(symbol).all_keys(), strict=True):
                await client.copy(key, copy)


async def _fill_year(client: Redis) -> None:
    await Registry(client).add_symbol(Market(YEAR, {"kind": "inbox"}))
    await _write(client, YEAR, minutes(DAYS))
    for number in range(DAYS):
        assert await roll_day(client, Market(YEAR), _START_MS + number * DAY_MS)


async def _stored(url: str) -> float:
    """Bytes a minute: of its day, of its month, and of what names them."""
    async with commit_client(url) as client:
        keys = SymbolKeys(YEAR.symbol)
        found: list[Any] = [await client.hvals(key) for key in (keys.sealed("candles"), keys.rolled_15m)]
        found += [await client.zrange(key, 0, -1) for key in (keys.seals, keys.months)]
    return sum(len(each) for values in found for each in values) / (DAYS * 1_440)


async def _roll_fleet(url: str) -> float:
    """Seconds from the first tick of the clock until a day of all symbols is rolled up and sealed."""
    async with commit_client(url) as client:
        frame = minutes(1)
        for number in range(SYMBOLS):
            instrument = Instrument(f"BENCH:S{number}", 2, 8, "contiguous")
            await Registry(client).add_symbol(Market(instrument, {"kind": "inbox"}))
            await _write(client, instrument, frame)
        started_s = time.monotonic()
        rollup = ("-m", "workers.rollup")
        async with process(url, *rollup), process(url, *rollup), process(url, "-m", "workers.clock"):
            while time.monotonic() < started_s + 4 * PATIENCE_S:
                due = [await RollupStore(client, f"BENCH:S{number}").due() for number in range(SYMBOLS)]
                if not any(each.days for each in due):
                    return time.monotonic() - started_s
                await asyncio.sleep(0.2)
    raise TimeoutError(f"{SYMBOLS} symbols were not rolled up within {4 * PATIENCE_S} s")


async def _write(client: Redis, instrument: Instrument, frame: pl.DataFrame) -> None:
    """Closed minutes as a worker writes them, and a commit after them, which makes their days due."""
    keys, opens = SymbolKeys(instrument.symbol), frame["open_ms"].to_list()
    members = list(zip(encode.candles(frame), opens, strict=True))
    for at in range(0, len(members), 7_200):
        await client.zadd(keys.candles, dict(members[at : at + 7_200]))
    await client.zadd(keys.dirty, {str(open_ms): 1 for open_ms in opens if open_ms % DAY_MS == 0})
    symbol_store, token = SymbolStore(client, instrument.symbol, StreamBounds(100_000, 10_000)), new_token()
    assert isinstance(await symbol_store.claim(token, NOTHING_SEEN, "bench"), Claim)
    builder, next_ms = Builder.new(instrument), opens[-1] + MINUTE_MS
    last = Trades.of([Trade(next_ms, 1 << 40, 6_000_000, 5, 0)])
    changes = builder.step(last, next_ms, {})
    await symbol_store.commit(make_commit(CommitHead(token, 0, "", {}), builder, changes, _KEEP))


def minutes(days: int) -> pl.DataFrame:
    """A random walk with the sizes of a busy market."""
    rng, count = np.random.default_rng(1), days * 1_440
    close = 6_000_000 + np.cumsum(rng.normal(0, 300, count)).astype(np.int64)
    first = np.concatenate([[6_000_000], close[:-1]]) + rng.integers(-20, 20, count)
    high = np.maximum(first, close) + rng.exponential(200, count).astype(np.int64)
    low = np.minimum(first, close) - rng.exponential(200, count).astype(np.int64)
    trades = rng.integers(100, 1_500, count)
    volume = (trades * rng.exponential(3e6, count)).astype(np.int64) + 1
    buys = (volume * rng.uniform(0.3, 0.7, count)).astype(np.int64)
    ids = np.cumsum(trades) - trades
    opens = _START_MS + np.arange(count) * MINUTE_MS
    columns = {
        "open_ms": opens,
        "open_ticks": first,
        "high_ticks": high,
        "low_ticks": low,
        "close_ticks": close,
        "volume_lots": volume,
        "buy_lots": buys,
        "sell_lots": volume - buys,
        "turnover": volume * ((high + low) // 2) + rng.integers(0, 10**9, count),
        "trades": trades,
        "first_ts_ms": opens + rng.integers(0, 300, count),
        "first_id": ids,
        "last_ts_ms": opens + 59_000 + rng.integers(0, 999, count),
        "last_id": ids + trades - 1,
        "rev": np.zeros(count, np.int64),
        "sources": np.full(count, LIVE),
        **dict.fromkeys(DELTA_RANGE),
    }
    return pl.DataFrame(columns).cast(dict(CANDLES))  # type: ignore[arg-type]
