"""Candles of an hour, a day and 30 days, each as fine as a picture shows them, alone and with what was traded.

The width of time makes no difference. Repeat: `python -m infra.bench viewport`.
"""

import asyncio
import http.client

from common.market.instrument import Instrument
from common.market.timeframes.timeframe import DAY_MS, MINUTE_MS
from common.store.client import commit_client
from common.store.registry import Market
from infra.bench import heavy
from infra.bench.base import Figure, ask_once, feed, percentile, store
from workers.rollup.day_tiles import make_day_tiles

MARKET = Instrument("BENCH:VIEW", 2, 8, "contiguous")
DAYS, TRADES_A_DAY = 31, 88_000
END_MS = heavy.START_MS + DAYS * DAY_MS
SPANS_MS = {"1 h": 60 * MINUTE_MS, "1 day": DAY_MS, "30 days": 30 * DAY_MS}
ROUNDS = 40
MAX_MS, MAX_RATIO = 15.0, 2.0
# Longer than any answer takes.
REFUSED = float("inf")


KINDS = {"candles": "", "candles and traded cells": "&heatmap=traded"}


def measure() -> list[Figure]:
    with store() as url:
        found_ms = asyncio.run(_measure(url))
    return [figure for kind in KINDS for figure in _figures(kind, found_ms[kind])]


def _figures(kind: str, found_ms: dict[str, float]) -> list[Figure]:
    figures = [
        Figure(f"viewport of {span}, {kind}, decoded, p50", f"<= {MAX_MS:.0f} ms", _told(ms, "ms"), ms <= MAX_MS)
        for span, ms in found_ms.items()
    ]
    what, ratio = f"viewport, {kind}, 30 days to 1 h", found_ms["30 days"] / found_ms["1 h"]
    return [*figures, Figure(what, f"<= {MAX_RATIO:.0f} x", _told(ratio, "x"), ratio <= MAX_RATIO)]


def _told(value: float, unit: str) -> str:
    return f"{value:.1f} {unit}" if value < REFUSED else "refused"


async def _measure(url: str) -> dict[str, dict[str, float]]:
    async with commit_client(url) as client:
        await heavy.fill(client, MARKET, DAYS, TRADES_A_DAY)
        # As the jobs do with days that lack theirs.
        await make_day_tiles(client, Market(MARKET), lambda: False)
    async with feed(url) as port:
        times_s = {kind: {span: list[float]() for span in SPANS_MS} for kind in KINDS}
        # In turn, so that a busy machine is busy for all of them; and never the same question.
        for number in range(ROUNDS):
            for kind, asked in KINDS.items():
                for span, span_ms in SPANS_MS.items():
                    path = _question(number, span_ms) + asked
                    times_s[kind][span].append(await asyncio.to_thread(_ask, port, path))
    return {
        kind: {span: percentile(found[2:], 0.5) * 1e3 for span, found in spans.items()}
        for kind, spans in times_s.items()
    }


def _ask(port: int, path: str) -> float:
    """Return the seconds that the answer took; REFUSED where it takes more than one request may read."""
    connection = http.client.HTTPConnection("127.0.0.1", port)
    try:
        return ask_once(connection, path)
    except AssertionError as error:
        if b"one request may read" not in error.args[0]:
            raise
        return REFUSED
    finally:
        connection.close()


def _question(number: int, span_ms: int) -> str:
    return (
        f"/v1/viewport/{MARKET.symbol}?timeStart={END_MS - span_ms}&timeEnd={END_MS}&width=1200&height={600 + number}"
    )
