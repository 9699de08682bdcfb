"""Forty indicators of 500 bars, in one answer: of a market of which 40 days are kept.

Repeat: `python -m infra.bench indicators`.
"""

import asyncio

from common.indicators.ids import parse
from common.indicators.table import KINDS
from common.market.instrument import Instrument
from common.store.client import commit_client
from infra.bench import heavy
from infra.bench.base import Figure, ask, feed, percentile, store

# Some 60 levels a minute.
MARKET = Instrument("BENCH:LINES", 2, 8, "contiguous")
DAYS, TRADES_A_DAY = 40, 88_000
ROUNDS, COUNT, BARS = 40, 40, 500
MAX_MS = 8.0


def measure() -> list[Figure]:
    with store() as url:
        times_s = asyncio.run(_measure(url))
    found_ms = percentile(times_s, 0.5) * 1e3
    what = f"{COUNT} indicators x {BARS} x 15m, the whole request, minutes decoded, p50"
    return [Figure(what, f"<= {MAX_MS:.0f} ms", f"{found_ms:.1f} ms", found_ms <= MAX_MS)]


async def _measure(url: str) -> list[float]:
    async with commit_client(url) as client:
        await heavy.fill(client, MARKET, DAYS, TRADES_A_DAY)
    ids = ",".join([parse(name).canonical for name in KINDS][:COUNT])
    path = f"/v1/indicators/{MARKET.symbol}?timeframe=15m&id={ids}"
    async with feed(url) as port:
        # Never the same question, so that none is answered with what was answered before.
        asked = [await asyncio.to_thread(ask, port, f"{path}&limit={BARS - n}", 1) for n in range(ROUNDS)]
    return [seconds for found in asked[2:] for seconds in found]
