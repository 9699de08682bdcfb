"""An hour of a book as a heatmap: 1,000 columns of 200 rows, over HTTP as a grid frame, exact out of its runs.

The book has 1,000 levels a side, and 10 changes a second of 20 levels near the middle: 585,000 runs an hour. Repeat:
`python -m infra.bench heatmap`.
"""

import asyncio
import random
from itertools import count

from common.market.depth.chunk import DepthChunk, pack_chunk
from common.market.depth.history import BookHistory
from common.market.depth.runs import DepthLimits
from common.market.instrument import Instrument
from common.store.client import commit_client
from common.store.keys import SymbolKeys
from common.store.registry import Market, Registry
from infra.bench.base import Figure, ask, feed, percentile, store
from workers.venues.coinbase.book_rule import CoinbaseRule
from workers.venues.shared.base import DepthEvent

INSTRUMENT = Instrument("BENCH:BOOK", 2, 5)
START_MS, HOUR_MS = 1_723_161_600_000, 3_600_000
CHANGE_MS, LEVELS, CHANGED = 100, 1_000, 20
COLS, ROWS, MID = 1_000, 200, 6_400_000
ROUNDS, FIRST_ROUNDS = 40, 5
MAX_MS, MAX_FIRST_MS = 25.0, 250.0


def measure() -> list[Figure]:
    with store() as url:
        decoded, first = asyncio.run(_measure(url))
    what = f"liquidity raster {COLS:,} x {ROWS} over 1 h, {CHANGED} levels changed every {CHANGE_MS} ms"
    return [
        _ms(f"{what}, minutes decoded", decoded, MAX_MS),
        _ms(f"{what}, and nothing decoded", first, MAX_FIRST_MS),
    ]


async def _measure(url: str) -> tuple[list[float], list[float]]:
    await _fill(url)
    first = list[float]()
    for _ in range(FIRST_ROUNDS):
        async with feed(url) as port:
            # What Python loads with the first answer of a process is not what is measured.
            await asyncio.to_thread(ask, port, _question(0, 60_000), 2)
            first += await asyncio.to_thread(ask, port, _question(0, HOUR_MS), 1)
    async with feed(url) as port:
        # Never the same question, so that none is answered with what was answered before.
        decoded = [await asyncio.to_thread(ask, port, _question(n, HOUR_MS), 1) for n in range(ROUNDS)]
    return [seconds for found in decoded[2:] for seconds in found], first


def _question(shift: int, span_ms: int) -> str:
    """Half of the height below the middle, half above."""
    low, high = (INSTRUMENT.price_text(MID + shift - 1 + at) for at in (-ROWS // 2, ROWS // 2 - 1))
    asked = f"end={START_MS + span_ms}&start={START_MS}&max_cols={COLS}&price_min={low}&price_max={high}"
    return f"/v1/heatmap/{INSTRUMENT.symbol}?{asked}&row={INSTRUMENT.price_text(1)}&bucket=3600ms&format=grid"


async def _fill(url: str) -> None:
    async with commit_client(url) as client:
        await Registry(client).add_symbol(Market(INSTRUMENT, {"kind": "inbox"}))
        packed = {pack_chunk(chunk, INSTRUMENT.scale): chunk.open_ms for chunk in _hour()}
        await client.zadd(SymbolKeys(INSTRUMENT.symbol).depth, packed)


def _hour() -> list[DepthChunk]:
    chance, history = random.Random(1), BookHistory.new(CoinbaseRule(), DepthLimits())
    bids, asks = ([(MID + step * at, 100 + at) for at in range(1, LEVELS + 1)] for step in (-1, 1))
    history.step(DepthEvent("BOOK", START_MS, -1, -1, -1, bids, asks, snapshot=True), START_MS)
    closed = list[DepthChunk]()
    for ts_ms in count(START_MS, CHANGE_MS):
        if ts_ms > START_MS + HOUR_MS:
            return closed
        bids, asks = ([_change(chance, step) for _ in range(CHANGED // 2)] for step in (-1, 1))
        closed += history.step(DepthEvent("BOOK", ts_ms, -1, -1, -1, bids, asks), ts_ms)
    raise AssertionError("time has ended")


def _change(chance: random.Random, step: int) -> tuple[int, int]:
    return MID + step * (1 + int(chance.expovariate(1 / 40))), chance.choice((0, 5, 7, 300, 1_000, 2_000))


def _ms(what: str, times_s: list[float], max_ms: float) -> Figure:
    found_ms = percentile(times_s, 0.5) * 1e3
    return Figure(f"{what}, p50", f"<= {max_ms:.0f} ms", f"{found_ms:.1f} ms", found_ms <= max_ms)
