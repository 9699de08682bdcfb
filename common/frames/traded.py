"""Cells of what was traded at a row of prices during a bucket: sums, so that coarser ones are sums of finer ones."""

from dataclasses import dataclass

import numpy as np
import polars as pl

from common.frames.footprint import regroup
from common.frames.grid import COUNTED, GridCells, GridKind, TradedChannel
from common.frames.liquidity import CellGrid
from common.frames.schema import LEVEL_LOTS, LEVEL_TRADES
from common.market.coding.packed import Ints
from common.market.timeframes.timeframe import Timeframe

# Channels by the columns of levels that they are.
CHANNEL_COLUMNS = dict(zip((*LEVEL_LOTS, *LEVEL_TRADES), TradedChannel, strict=True))


@dataclass(frozen=True, slots=True, eq=False)
class TradedCells:
    """`missing`: `open_ms` and `lots` of the columns whose candles have more volume than was kept with prices.

    `cells`: of the grid, all channels.
    """

    grid: CellGrid
    cells: GridCells
    missing: pl.DataFrame

    @property
    def sizes(self) -> Ints:
        """Of each cell, whichever side; up to 2**63 - 1, beyond which it counts as that."""
        sides = [self.cells.values[channel] for channel in (TradedChannel.BUY, TradedChannel.SELL)]
        return np.minimum(
            sum(sides, self.cells.values[TradedChannel.UNKNOWN]).view(np.uint64), np.uint64((1 << 63) - 1)
        ).astype(np.int64)


def traded(
    levels: pl.DataFrame, candles: pl.DataFrame, bucket: Timeframe, grid: CellGrid, min_lots: int = 0
) -> TradedCells:
    """`levels`, `candles`: of the grid's buckets. Levels with less than `min_lots` are left out of the cells, and so
    are those out of the grid; neither are `missing`."""
    missing = _missing(levels, candles)
    if min_lots > 1:
        levels = levels.filter(pl.sum_horizontal(pl.col(LEVEL_LOTS).cast(pl.Int128)) >= min_lots)
    rows = regroup(levels, bucket, grid.row_ticks, "floor")
    inside = rows.filter(pl.col("price_ticks").is_between(grid.p0_ticks, grid.high_ticks))
    cols = (inside["open_ms"].to_numpy() - grid.t0_ms) // grid.bucket_ms
    places = (inside["price_ticks"].to_numpy() - grid.p0_ticks) // grid.row_ticks
    values: dict[int, Ints] = {channel: inside[name].to_numpy() for name, channel in CHANNEL_COLUMNS.items()}
    # A trade of no size is there, too: its number is.
    return TradedCells(grid, GridCells(cols, places, values, COUNTED[GridKind.TRADED]), missing)


def _missing(levels: pl.DataFrame, candles: pl.DataFrame) -> pl.DataFrame:
    there = levels.group_by("open_ms").agg(there=pl.sum_horizontal(pl.col(LEVEL_LOTS).cast(pl.Int128).sum()))
    both = candles.select("open_ms", "volume_lots").join(there, on="open_ms", how="left", maintain_order="left")
    lots = (pl.col("volume_lots").cast(pl.Int128) - pl.col("there").fill_null(0)).cast(pl.Int64)
    return both.select("open_ms", lots=lots).filter(pl.col("lots") > 0)
