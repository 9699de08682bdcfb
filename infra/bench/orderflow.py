"""Footprints with all that is said of them, and the table of order flow: of a market of which 40 days are kept.

Repeat: `python -m infra.bench orderflow`.
"""

import asyncio
from typing import NamedTuple

from common.market.instrument import Instrument
from common.store.client import commit_client
from infra.bench import heavy
from infra.bench.base import Figure, ask, feed, percentile, store

# Some 180 levels a minute, and some 60.
BUSY, QUIET = Instrument("BENCH:BUSY", 2, 8, "contiguous"), Instrument("BENCH:FLOW", 2, 8, "contiguous")
BUSY_DAYS, QUIET_DAYS = 2, 40
BUSY_TRADES, QUIET_TRADES = 384_000, 88_000
ROUNDS, FIRST_ROUNDS = 60, 5
MAX_FOOTPRINTS_MS, MAX_FIRST_FOOTPRINTS_MS = 10.0, 60.0
MAX_FLOW_MS, MAX_FIRST_FLOW_MS = 6.0, 40.0


class FlowTimes(NamedTuple):
    """Seconds of answers: of a feed that has been asked before, and of one that has only just started."""

    asked: list[float]
    first: list[float]


def measure() -> list[Figure]:
    with store() as url:
        asyncio.run(_fill(url))
        footprints = asyncio.run(
            _measure(url, BUSY, f"footprint/{BUSY.symbol}?timeframe=15m&limit=100&row=auto&stats=1")
        )
        flow = asyncio.run(_measure(url, QUIET, f"orderflow/{QUIET.symbol}?timeframe=15m&limit=500"))
    footprint = "100 x 15m footprints of 180 levels a minute, all statistics, row=auto"
    table = "500 x 15m of order flow, all fields, of 60 levels a minute"
    return [
        _ms(f"{footprint}, asked for before", footprints.asked, MAX_FOOTPRINTS_MS),
        _ms(f"{footprint}, and the feed has only just started", footprints.first, MAX_FIRST_FOOTPRINTS_MS),
        _ms(f"{table}, asked for before", flow.asked, MAX_FLOW_MS),
        _ms(f"{table}, and the feed has only just started", flow.first, MAX_FIRST_FLOW_MS),
    ]


async def _fill(url: str) -> None:
    async with commit_client(url) as client:
        await heavy.fill(client, BUSY, BUSY_DAYS, BUSY_TRADES)
        await heavy.fill(client, QUIET, QUIET_DAYS, QUIET_TRADES)


async def _measure(url: str, instrument: Instrument, question: str) -> FlowTimes:
    path, first = f"/v1/{question}", list[float]()
    for _ in range(FIRST_ROUNDS):
        async with feed(url) as port:
            # What Python loads with the first answer of a process is not what is measured.
            await asyncio.to_thread(
                ask, port, f"/v1/orderflow/{instrument.symbol}?limit=1&end={heavy.START_MS + 60_000}", 2
            )
            first += await asyncio.to_thread(ask, port, path, 1)
    async with feed(url) as port:
        asked = await asyncio.to_thread(ask, port, path, ROUNDS)
    return FlowTimes(asked[2:], first)


def _ms(what: str, times_s: list[float], max_ms: float) -> Figure:
    found_ms = percentile(times_s, 0.5) * 1e3
    return Figure(f"{what}, p50", f"<= {max_ms:.0f} ms", f"{found_ms:.1f} ms", found_ms <= max_ms)
