"""Bars to compute indicators of: random ones, and those of a file with expected values."""

import csv
import json
from collections.abc import Iterable
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from common.frames.schema import SHOWN, conform
from common.indicators.bars import IndicatorBars
from common.market.scale import Scale
from common.market.timeframes.timeframe import MINUTE_MS

START_MS = 1_700_006_400_000
Ticks = Iterable[int]


def bars_frame(
    open_: Ticks, high: Ticks, low: Ticks, close: Ticks, lots: Ticks, start_ms: int = START_MS, step_ms: int = MINUTE_MS
) -> pl.DataFrame:
    """A frame of SHOWN columns. Half of the lots were bought, a third sold; each was traded at the middle."""
    columns = [np.array(list(each), np.int64) for each in (open_, high, low, close, lots)]
    first, top, bottom, last, volume = columns
    bought, sold = volume // 2, volume // 3
    frame = pl.DataFrame(
        {
            "open_ms": start_ms + np.arange(len(first)) * step_ms,
            "open_ticks": first,
            "high_ticks": top,
            "low_ticks": bottom,
            "close_ticks": last,
            "volume_lots": volume,
            "buy_lots": bought,
            "sell_lots": sold,
            "turnover": pl.Series((top + bottom) // 2).cast(pl.Int128) * pl.Series(volume),
            "trades": np.ones(len(first), np.int64),
            "rev": np.zeros(len(first), np.int64),
            "sources": np.ones(len(first), np.uint8),
        }
    )
    return conform(frame.select(list(SHOWN)), SHOWN)


def random_frame(seed: int, count: int, base: int = 1_000_000) -> pl.DataFrame:
    """A random walk in ticks, of some 0.1 % a bar, with bars of one price and of no volume among them."""
    rng = np.random.default_rng(seed)
    steps = rng.normal(0, base / 1_000, (count, 4)).round().astype(np.int64)
    close = np.maximum(base // 10, base + np.cumsum(steps[:, 0]))
    open_ = np.maximum(1, close - steps[:, 1])
    still = rng.random(count) < 0.03
    high = np.where(still, close, np.maximum(open_, close) + abs(steps[:, 2]))
    low = np.where(still, close, np.minimum(open_, close) - abs(steps[:, 3]))
    open_ = np.where(still, close, open_)
    lots = np.where(rng.random(count) < 0.02, 0, rng.integers(1, 100_000, count))
    return bars_frame(open_, high, np.maximum(low, 1), close, lots)


def random_bars(seed: int, count: int) -> IndicatorBars:
    return IndicatorBars.of(random_frame(seed, count), Scale(2, 3))


def daily_bars(folder: Path) -> IndicatorBars:
    """Those of `daily.csv`: prices with two decimals, whole volumes."""
    with open(folder / "daily.csv") as file:
        rows = list(csv.DictReader(file))
    names = ("open", "high", "low", "close")
    opens, highs, lows, closes = ([int(Decimal(row[name]).scaleb(2)) for row in rows] for name in names)
    volumes = [int(Decimal(row["volume"])) for row in rows]
    return IndicatorBars.of(bars_frame(opens, highs, lows, closes, volumes, step_ms=24 * 60 * MINUTE_MS), Scale(2, 0))


def expected_values(folder: Path, name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((folder / "expected" / f"{name}.json").read_text())
    return found
