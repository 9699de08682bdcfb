"""Candles of an hour, a day and 30 days, each as fine as a picture shows them: the width of time makes no difference.

Repeat: `python -m infra.bench viewport`.
"""

import asyncio

from common.market.instrument import Instrument
from common.market.timeframes.timeframe import DAY_MS, MINUTE_MS
from common.store.client import commit_client
from infra.bench import heavy
from infra.bench.base import Figure, ask, feed, percentile, store

MARKET = Instrument("BENCH:VIEW", 2, 8, "contiguous")
DAYS, TRADES_A_DAY = 31, 88_000
END_MS = heavy.START_MS + DAYS * DAY_MS
SPANS_MS = {"1 h": 60 * MINUTE_MS, "1 day": DAY_MS, "30 days": 30 * DAY_MS}
ROUNDS = 40
MAX_MS, MAX_RATIO = 15.0, 2.0


def measure() -> list[Figure]:
    with store() as url:
        found_ms = asyncio.run(_measure(url))
    figures = [
        Figure(f"viewport of {span}, candles, decoded, p50", f"<= {MAX_MS:.0f} ms", f"{ms:.1f} ms", ms <= MAX_MS)
        for span, ms in found_ms.items()
    ]
    ratio = found_ms["30 days"] / found_ms["1 h"]
    figures.append(Figure("viewport, 30 days to 1 h", f"<= {MAX_RATIO:.0f} x", f"{ratio:.2f} x", ratio <= MAX_RATIO))
    return figures


async def _measure(url: str) -> dict[str, float]:
    async with commit_client(url) as client:
        await heavy.fill(client, MARKET, DAYS, TRADES_A_DAY)
    async with feed(url) as port:
        times_s = dict[str, list[float]]()
        # In turn, so that a busy machine is busy for all of them; and never the same question.
        for number in range(ROUNDS):
            for span, span_ms in SPANS_MS.items():
                times_s.setdefault(span, []).extend(await asyncio.to_thread(ask, port, _question(number, span_ms), 1))
    return {span: percentile(found[2:], 0.5) * 1e3 for span, found in times_s.items()}


def _question(number: int, span_ms: int) -> str:
    return (
        f"/v1/viewport/{MARKET.symbol}?timeStart={END_MS - span_ms}&timeEnd={END_MS}&width=1200&height={600 + number}"
    )
