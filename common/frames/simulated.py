"""Trades of a simulated market, hours at once: such as workers.sources.simulator makes one by one."""

import numpy as np
import numpy.typing as npt
import polars as pl

from common.frames.schema import TRADES
from common.market.coding.packed import Ints
from common.market.instrument import Instrument
from common.market.simulation import pace
from common.market.trade import BUY, SELL
from common.market.walk import Walk

Reals = npt.NDArray[np.float64]


def simulated_trades(walk: Walk, until_ms: int, instrument: Instrument, rng: np.random.Generator) -> pl.DataFrame:
    """Draw all trades from where the market stands to that time; the walk is moved there. Return a TRADES frame."""
    starts_ms, lengths_ms, rates, volatilities = _stretches(walk.ts_ms, until_ms, rng)
    counts = rng.poisson(rates * lengths_ms / 1_000)
    count = int(counts.sum())
    # Of a Poisson process it is known how many there are; when each is, is uniform.
    times_ms = np.sort(np.repeat(starts_ms, counts) + rng.random(count) * np.repeat(lengths_ms, counts))
    ticks, sides = _prices(walk.price_ticks, np.repeat(volatilities, counts), rng)
    columns = {
        "ts_ms": times_ms.astype(np.int64),
        "id": np.arange(walk.next_id, walk.next_id + count),
        "price_ticks": ticks,
        "size_lots": _sizes(count, instrument, rng),
        "side": sides,
    }
    walk.next_id, walk.ts_ms = walk.next_id + count, float(until_ms)
    walk.price_ticks = int(ticks[-1]) if count else walk.price_ticks
    return pl.DataFrame(columns, schema=TRADES)


def _stretches(from_ms: float, until_ms: int, rng: np.random.Generator) -> tuple[Reals, Reals, Reals, Reals]:
    """Bursts and quiet times by turns: their starts and lengths in ms, trades a second, and volatility."""
    lengths, total_ms = [np.empty(0)], 0.0
    while total_ms < until_ms - from_ms:
        cycles = 1 + int((until_ms - from_ms) / 1_000 / (pace.BURST_S + pace.QUIET_S))
        drawn = rng.exponential(np.tile([pace.BURST_S, pace.QUIET_S], cycles)) * 1_000
        lengths.append(drawn)
        total_ms += float(drawn.sum())
    ends_ms = np.minimum(from_ms + np.cumsum(np.concatenate(lengths)), until_ms)
    starts_ms = np.append(from_ms, ends_ms)[: len(ends_ms)]
    rates = np.tile([pace.BURST_RATE, pace.QUIET_RATE], len(ends_ms) // 2)
    return starts_ms, ends_ms - starts_ms, rates, np.repeat(_volatilities(len(ends_ms) // 2, rng), 2)


def _volatilities(cycles: int, rng: np.random.Generator) -> Reals:
    """Of each burst and the quiet time after it: the one before, times a factor, within bounds."""
    found, volatility = np.empty(cycles), 1.0
    for at, factor in enumerate(rng.lognormal(0, pace.VOLATILITY_SIGMA, cycles).tolist()):
        volatility = min(pace.MAX_VOLATILITY, max(pace.MIN_VOLATILITY, volatility * factor))
        found[at] = volatility
    return found


def _prices(start_ticks: int, volatilities: Reals, rng: np.random.Generator) -> tuple[Ints, npt.NDArray[np.uint8]]:
    """In ticks, and the side that moved each. The price is multiplied, so that it stays above 0."""
    step = max(pace.STEP, 1 / start_ticks)
    relative = np.exp(np.cumsum(rng.standard_normal(len(volatilities)) * volatilities * step))
    ticks = np.maximum(1, np.rint(start_ticks * relative)).astype(np.int64)
    steps = np.diff(ticks, prepend=start_ticks)
    is_bought = (steps > 0) | ((steps == 0) & (rng.random(len(ticks)) < 0.5))
    return ticks, np.where(is_bought, BUY, SELL).astype(np.uint8)


def _sizes(count: int, instrument: Instrument, rng: np.random.Generator) -> Ints:
    """In lots."""
    unit = 10 ** max(0, instrument.size_decimals - pace.SIZE_DECIMALS)
    sizes = rng.lognormal(pace.SIZE_MU, pace.SIZE_SIGMA, count)
    tail = np.flatnonzero(rng.random(count) < pace.TAIL_SHARE)
    sizes[tail] *= 1 + rng.pareto(pace.TAIL_ALPHA, len(tail))
    lots: Ints = np.maximum(1, (np.minimum(sizes, pace.MAX_SIZE) * unit).astype(np.int64))
    return lots
