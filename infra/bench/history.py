"""Sealed blocks: bytes a candle, bytes a level of a footprint, sealing a day and opening a year.

The day is the simulator's: 480,000 trades, prices of 2 decimals, sizes of 8. Repeat: `python -m infra.bench history`.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import replace

from common.frames import bulk, decode, encode
from common.market.builder.builder import Minute
from common.market.builder.coverage_kinds import empty_coverage
from common.market.builder.gaps import Ledger
from common.market.candle import SIMULATED
from common.market.coding import candle_blocks, codec, footprint_blocks
from common.market.instrument import Instrument
from common.market.timeframes.timeframe import DAY_MS, MINUTE_MS
from common.market.trade import Trades
from common.market.walk import Walk
from infra.bench.base import Figure
from workers.sources.base import Applied
from workers.sources.simulator import Simulator

MAX_CANDLE_BYTES, MAX_LEVEL_BYTES = 26.0, 8.0
MAX_SEAL_MS, MAX_YEAR_MS = 10.0, 45.0
DAYS, ROUNDS = 365, 9
_START_MS = 1_723_161_600_000


class _Midnights:
    """A clock that is at the day's start, then at its end."""

    ms = _START_MS

    def now_ms(self) -> int:
        return self.ms

    def monotonic_ms(self) -> int:
        return self.ms

    def boot_ms(self) -> int:
        return self.ms

    async def sleep_ms(self, ms: int) -> None:
        return None


def measure() -> list[Figure]:
    candle_frame, levels = bulk.minutes(decode.trades([codec.pack_trades(asyncio.run(_day()))]), SIMULATED)
    candles, footprints = encode.candles(candle_frame), encode.footprints(levels)
    ranged = candle_blocks.pack(candles)
    assert candle_blocks.members(ranged) == candles
    candles = [member[: codec.CANDLE.size] for member in candles]
    sealed, sealed_footprints = candle_blocks.pack(candles), footprint_blocks.pack(footprints)
    assert candle_blocks.members(sealed) == candles and footprint_blocks.members(sealed_footprints) == footprints
    year = [sealed] * DAYS
    nine = candle_blocks.pack([_without_times(member) for member in candles])
    return [
        _size("a sealed candle, all fields", len(sealed) / len(candles), MAX_CANDLE_BYTES),
        _size(
            "the range of the running delta adds to a sealed candle", (len(ranged) - len(sealed)) / len(candles), None
        ),
        _size("a sealed candle, o h l c, volume, buys, turnover, trades and open", len(nine) / len(candles), None),
        _size("a sealed level of a footprint", len(sealed_footprints) / len(levels), MAX_LEVEL_BYTES),
        _time(f"seal a day of {len(candles):,} candles", lambda: candle_blocks.pack(candles), MAX_SEAL_MS),
        _time(f"seal its footprints, {len(levels):,} levels", lambda: footprint_blocks.pack(footprints), None),
        _time("open its footprints as columns", lambda: footprint_blocks.levels([sealed_footprints]), None),
        _time(f"open {DAYS} such days of candles as columns", lambda: candle_blocks.columns(year), MAX_YEAR_MS),
    ]


async def _day() -> Trades:
    clock = _Midnights()
    applied = Applied(empty_coverage("contiguous"), Ledger(), "", clock.now_ms, _no_minutes)
    simulator = Simulator(Instrument("BENCH", 2, 8, "contiguous"), clock, seed=7, start_price_ticks=6_000_000)
    await simulator.open(Walk(1, 6_000_000, _START_MS).position, applied)
    clock.ms += DAY_MS - 1
    return (await simulator.read(limit=1 << 30, wait_ms=0)).trades


async def _no_minutes(opens: list[int]) -> dict[int, Minute]:
    return {}


def _without_times(member: bytes) -> bytes:
    """What a chart shows. Ids that follow from the trades cost nothing, nor do times at the ends of the minute."""
    candle = codec.unpack_candle(member)
    ends = candle.open_ms, candle.open_ms + MINUTE_MS - 1
    return codec.pack_candle(replace(candle, first_ts_ms=ends[0], last_ts_ms=ends[1]))


def _size(what: str, size: float, limit: float | None) -> Figure:
    target = f"<= {limit:.0f} bytes" if limit else ""
    return Figure(what, target, f"{size:.2f} bytes", None if limit is None else size <= limit)


def _time(what: str, run: Callable[[], object], limit: float | None) -> Figure:
    """The best of some rounds: the machine's other work is not what is measured."""
    times = []
    for _ in range(ROUNDS):
        started_s = time.perf_counter()
        run()
        times.append(time.perf_counter() - started_s)
    best = min(times) * 1e3
    target = f"<= {limit:.0f} ms" if limit else ""
    return Figure(what, target, f"{best:.1f} ms", None if limit is None else best <= limit)
