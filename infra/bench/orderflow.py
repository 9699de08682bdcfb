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
ROUNDS, FIRST_ROUNDS = 40, 5
MAX_FOOTPRINTS_MS, MAX_FIRST_FOOTPRINTS_MS = 10.0, 60.0
MAX_FLOW_MS, MAX_FIRST_FLOW_MS = 6.0, 40.0
MAX_AGAIN_MS = 3.0


class FlowTimes(NamedTuple):
    """Seconds of answers: of minutes that are decoded, of the same asked again, and of a feed that has only started."""

    decoded: list[float]
    again: list[float]
    first: list[float]


def measure() -> list[Figure]:
    with store() as url:
        asyncio.run(_fill(url))
        asked = f"footprint/{BUSY.symbol}?timeframe=15m&row=auto&stats=1"
        footprints = asyncio.run(_measure(url, BUSY, asked, 100))
        flow = asyncio.run(_measure(url, QUIET, f"orderflow/{QUIET.symbol}?timeframe=15m", 500))
    footprint = "100 x 15m footprints of 180 levels a minute, all statistics, row=auto"
    table = "500 x 15m of order flow, all fields, of 60 levels a minute"
    return [
        _ms(f"{footprint}, minutes decoded", footprints.decoded, MAX_FOOTPRINTS_MS),
        _ms(f"{footprint}, asked again and nothing written since", footprints.again, MAX_AGAIN_MS),
        _ms(f"{footprint}, and the feed has only just started", footprints.first, MAX_FIRST_FOOTPRINTS_MS),
        _ms(f"{table}, minutes decoded", flow.decoded, MAX_FLOW_MS),
        _ms(f"{table}, asked again and nothing written since", flow.again, MAX_AGAIN_MS),
        _ms(f"{table}, and the feed has only just started", flow.first, MAX_FIRST_FLOW_MS),
    ]


async def _fill(url: str) -> None:
    async with commit_client(url) as client:
        await heavy.fill(client, BUSY, BUSY_DAYS, BUSY_TRADES)
        await heavy.fill(client, QUIET, QUIET_DAYS, QUIET_TRADES)


async def _measure(url: str, instrument: Instrument, question: str, bars: int) -> FlowTimes:
    path, first = f"/v1/{question}", list[float]()
    for _ in range(FIRST_ROUNDS):
        async with feed(url) as port:
            # What Python loads with the first answer of a process is not what is measured.
            before = f"/v1/orderflow/{instrument.symbol}?limit=1&end={heavy.START_MS + 60_000}"
            await asyncio.to_thread(ask, port, before, 2)
            first += await asyncio.to_thread(ask, port, f"{path}&limit={bars}", 1)
    async with feed(url) as port:
        # Never the same question, so that none is answered with what was answered before.
        asked = [await asyncio.to_thread(ask, port, f"{path}&limit={bars - n}", 1) for n in range(ROUNDS)]
        again = await asyncio.to_thread(ask, port, f"{path}&limit={bars}", ROUNDS)
    return FlowTimes([seconds for found in asked[2:] for seconds in found], again[1:], first)


def _ms(what: str, times_s: list[float], max_ms: float) -> Figure:
    found_ms = percentile(times_s, 0.5) * 1e3
    return Figure(f"{what}, p50", f"<= {max_ms:.0f} ms", f"{found_ms:.1f} ms", found_ms <= max_ms)
