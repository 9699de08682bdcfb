"""What was traded in a window of time and prices: candles, and how much at each price; all as of one commit."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import polars as pl

from common.frames.liquidity import CellGrid
from common.market.orderflow.viewport import PriceRows
from common.market.timeframes.timeframe import Timeframe
from common.retry import retry_when_overtaken
from feed.bars import profiles, traded
from feed.bars.flow import ATTEMPTS
from feed.bars.frames import Bars, bars_of
from feed.bars.profiles import Profiles, ProfilesWanted
from feed.bars.recipe import BarRecipe
from feed.bars.source import BarSource, BarsTogether
from feed.bars.traded import TradedRead
from feed.reading.bounds import Bounds, Window

# The rows that are shown with such bars; None where neither they nor the question say of which prices.
ChooseRows = Callable[[pl.DataFrame], PriceRows | None]


@dataclass(frozen=True, slots=True)
class CellsWanted:
    """Traded cells, of so long buckets of the clock, and of the grid that goes with some rows."""

    bucket: Timeframe
    grid_of: Callable[[PriceRows], CellGrid]


@dataclass(frozen=True, slots=True, eq=False)
class ViewportBars:
    """`profile`: one, of all the bars together. Like `cells`, None where it is not wanted, or there are no rows."""

    timeframe: Timeframe
    window: Window
    bars: Bars
    rows: PriceRows | None
    profile: Profiles | None
    cells: TradedRead | None


async def read_viewport(
    source: BarSource, window: Window, choose: ChooseRows, cells: CellsWanted | None, *, has_profile: bool
) -> ViewportBars:
    """Read the bars that open in the window; their profile and what was traded, in the rows chosen for them."""
    attempt = partial(_read, source, window, choose, cells, has_profile=has_profile)
    return await retry_when_overtaken(attempt, source.data.instrument.symbol, attempts=ATTEMPTS)


async def _read(
    source: BarSource, window: Window, choose: ChooseRows, wanted: CellsWanted | None, *, has_profile: bool
) -> ViewportBars:
    together, timeframe = source.together(), source.grid.timeframe
    bounds = Bounds.of(window, timeframe)
    candles = await together.read(BarRecipe.candles(timeframe), bounds)
    bars = bars_of(candles, timeframe, bounds)
    rows = choose(bars.frame)
    cells = await _cells(source, together, wanted, rows) if wanted and rows else None
    profile = None
    if has_profile and rows and len(bars.frame):
        asked = ProfilesWanted(window, None, True, rows.row_ticks, rows.count, None, False)
        profile = await profiles.of_candles(together, candles, timeframe, bounds, asked)
    return ViewportBars(timeframe, window, bars, rows, profile, cells)


async def _cells(source: BarSource, together: BarsTogether, wanted: CellsWanted, rows: PriceRows) -> TradedRead:
    grid, bucket = wanted.grid_of(rows), wanted.bucket
    candles = await traded.read_candles(together, bucket, grid)
    return await traded.of_candles(source.data, together, candles, bucket, grid, lambda *_: grid)
