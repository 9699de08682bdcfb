"""What was traded in a window of time and prices: candles, and how much at each price; all as of one commit."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import polars as pl

from common.market.orderflow.viewport import PriceRows
from common.market.timeframes.timeframe import Timeframe
from common.retry import retry_when_overtaken
from feed.bars import profiles
from feed.bars.flow import ATTEMPTS
from feed.bars.frames import Bars, bars_of
from feed.bars.profiles import Profiles, ProfilesWanted
from feed.bars.recipe import BarRecipe
from feed.bars.source import BarSource
from feed.reading.bounds import Bounds, Window

# The rows that are shown with such bars; None where neither they nor the question say of which prices.
ChooseRows = Callable[[pl.DataFrame], PriceRows | None]


@dataclass(frozen=True, slots=True, eq=False)
class ViewportBars:
    """`profile`: one, of all the bars together; None where it is not wanted, or has no rows."""

    timeframe: Timeframe
    window: Window
    bars: Bars
    rows: PriceRows | None
    profile: Profiles | None


async def read_viewport(source: BarSource, window: Window, choose: ChooseRows, *, has_profile: bool) -> ViewportBars:
    """Read the bars that open in the window, and their profile in the rows chosen for them."""
    attempt = partial(_read, source, window, choose, has_profile=has_profile)
    return await retry_when_overtaken(attempt, source.data.instrument.symbol, attempts=ATTEMPTS)


async def _read(source: BarSource, window: Window, choose: ChooseRows, *, has_profile: bool) -> ViewportBars:
    together, timeframe = source.together(), source.grid.timeframe
    bounds = Bounds.of(window, timeframe)
    candles = await together.read(BarRecipe.candles(timeframe), bounds)
    bars = bars_of(candles, timeframe, bounds)
    rows = choose(bars.frame)
    if not (has_profile and rows and len(bars.frame)):
        return ViewportBars(timeframe, window, bars, rows, None)
    wanted = ProfilesWanted(window, None, True, rows.row_ticks, rows.count, None, False)
    return ViewportBars(
        timeframe, window, bars, rows, await profiles.of_candles(together, candles, timeframe, bounds, wanted)
    )
