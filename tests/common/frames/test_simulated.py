"""Trades of a simulated market, many at once: valid, contiguous, in bursts, with a heavy tail, the same of a seed."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.frames.simulated import simulated_trades
from common.market.builder.builder import Builder
from common.market.instrument import Instrument
from common.market.simulation import pace
from common.market.trade import BUY, SELL, Trades
from common.market.walk import Walk
from tests.kit.strategies import LAW

INSTRUMENT = Instrument("SIM:A", 2, 4, "contiguous")
START_MS, HOUR_MS = 1_700_000_000_000, 3_600_000


def drawn(seed: int, *until_ms: int, price_ticks: int = 10_000) -> tuple[Walk, list[pl.DataFrame]]:
    walk, rng = Walk(1, price_ticks, float(START_MS)), np.random.default_rng(seed)
    return walk, [simulated_trades(walk, ms, INSTRUMENT, rng) for ms in until_ms]


@pytest.fixture(scope="module")
def hours() -> pl.DataFrame:
    return drawn(7, START_MS + 6 * HOUR_MS)[1][0]


@LAW
@given(st.integers(0, 1 << 32), st.integers(1, 10**9), st.lists(st.integers(0, 600_000), min_size=1, max_size=4))
def test_stretches_of_it_are_one_market(seed: int, price_ticks: int, lengths_ms: list[int]) -> None:
    ends_ms = [START_MS + sum(lengths_ms[: at + 1]) for at in range(len(lengths_ms))]
    walk, frames = drawn(seed, *ends_ms, price_ticks=price_ticks)
    whole = pl.concat(frames)
    assert whole["id"].to_list() == list(range(1, len(whole) + 1)) and walk.next_id == len(whole) + 1
    assert whole["ts_ms"].is_sorted() and walk.ts_ms == ends_ms[-1]
    for from_ms, to_ms, frame in zip([START_MS, *ends_ms], ends_ms, frames, strict=False):
        assert frame.filter(~pl.col("ts_ms").is_between(from_ms, to_ms, closed="left")).is_empty()
    assert walk.price_ticks == (whole["price_ticks"][-1] if len(whole) else price_ticks)
    assert whole.is_empty() or (whole["price_ticks"].min(), whole["size_lots"].min()) >= (1, 1)
    assert set(whole["side"]) <= {BUY, SELL}


def test_the_same_seed_is_the_same_market(hours: pl.DataFrame) -> None:
    assert drawn(7, START_MS + 6 * HOUR_MS)[1][0].equals(hours)
    assert not drawn(8, START_MS + 6 * HOUR_MS)[1][0].equals(hours)


def test_a_worker_would_take_all_of_them(hours: pl.DataFrame) -> None:
    ts_ms, ids, price_ticks, size_lots, sides = hours.iter_columns()
    columns = [each.to_list() for each in (ts_ms, ids, price_ticks, size_lots)]
    trades = Trades(columns[0], columns[1], columns[2], columns[3], bytes(sides))
    assert len(Builder.new(INSTRUMENT).accept(trades, START_MS + 6 * HOUR_MS)) == len(hours) > 50_000


def test_they_come_in_bursts_about_as_often_as_told(hours: pl.DataFrame) -> None:
    per_second = hours.group_by(pl.col("ts_ms") // 1_000).len()["len"]
    mean = len(hours) / (6 * 3_600)
    cycle_s = pace.BURST_S + pace.QUIET_S
    told = (pace.BURST_RATE * pace.BURST_S + pace.QUIET_RATE * pace.QUIET_S) / cycle_s
    assert abs(mean / told - 1) < 0.2
    assert int(per_second.max() or 0) > 8 * mean  # type: ignore[arg-type]


def test_sizes_have_a_heavy_tail_and_steps_move_the_price(hours: pl.DataFrame) -> None:
    sizes = hours["size_lots"].sort()
    assert sizes[-1] > 30 * sizes[len(sizes) // 2]
    # Half of all volume is in few trades.
    assert sizes.tail(len(sizes) // 5).sum() > sizes.sum() / 2
    assert 0.4 < (hours["side"] == BUY).mean() < 0.6  # type: ignore[operator]
    # A trade that moves the price is of the side that does.
    moved = hours.with_columns(step=pl.col("price_ticks").diff())
    assert moved.filter((pl.col("step") > 0) & (pl.col("side") != BUY)).is_empty()
    assert moved.filter((pl.col("step") < 0) & (pl.col("side") != SELL)).is_empty()
