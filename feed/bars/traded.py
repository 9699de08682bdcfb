"""What was traded, by buckets of time and rows of prices: out of trades below a minute, out of minutes from there on.

Buckets are those of the clock, whatever sessions the market has.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from common.errors import BadInput
from common.frames.liquidity import CellGrid
from common.frames.traded import TradedCells, traded
from common.market.timeframes.timeframe import MINUTE_MS, Timeframe
from common.retry import retry_when_overtaken
from common.store.reads import View
from feed.bars.by_trade import TradeSource
from feed.bars.choice import is_of_trades
from feed.bars.data import SymbolData
from feed.bars.flow import ATTEMPTS
from feed.bars.live import BarGrid
from feed.bars.minutes import MinuteSource
from feed.bars.recipe import BarRecipe
from feed.bars.source import BarRows, BarsTogether
from feed.bars.together import MAX_BARS
from feed.reading.bounds import Bounds
from feed.reading.budget import QueryBudget
from feed.reading.coverage import KnownCoverage

# The grid of a span of time, and of the lowest and highest price that was traded in it, None of nothing.
GridOf = Callable[[int | None, int | None], CellGrid]


@dataclass(frozen=True, slots=True, eq=False)
class TradedRead:
    found: TradedCells
    view: View
    cover: KnownCoverage

    @property
    def is_partial(self) -> bool:
        """Whether trades are missing from its columns, as far as time has come."""
        grid, state = self.found.grid, self.view.state
        until_ms = max(grid.t0_ms, min(grid.end_ms, state.watermark_ms + 1 if state else 0))
        return bool(len(self.found.missing)) or self.cover.partial(grid.t0_ms, until_ms)


async def read(
    data: SymbolData, bucket: Timeframe, times: CellGrid, grid_of: GridOf, min_lots: int
) -> TradedRead | None:
    """Read the cells of some columns. None: trades that old are not kept any more, minutes are wanted."""
    attempt = partial(_read, data, bucket, times, grid_of, min_lots)
    return await retry_when_overtaken(attempt, data.instrument.symbol, attempts=ATTEMPTS)


async def _read(
    data: SymbolData, bucket: Timeframe, times: CellGrid, grid_of: GridOf, min_lots: int
) -> TradedRead | None:
    bars = BarGrid(data.instrument, bucket)
    together = (TradeSource(data, bars) if is_of_trades(bucket) else MinuteSource(data, bars)).together()
    candles = await read_candles(together, bucket, times)
    if is_of_trades(bucket) and _lacks(candles.cover, times.t0_ms):
        return None
    return await of_candles(data.budget, together, candles, bucket, times, grid_of, min_lots)


async def read_candles(together: BarsTogether, bucket: Timeframe, times: CellGrid) -> BarRows:
    return _whole(await together.read(BarRecipe.candles(bucket), _bounds(times)), bucket)


async def of_candles(
    budget: QueryBudget,
    together: BarsTogether,
    candles: BarRows,
    bucket: Timeframe,
    times: CellGrid,
    grid_of: GridOf,
    min_lots: int = 0,
) -> TradedRead:
    """The cells of some columns, of whose candles were read `together`. Raises Overtaken."""
    has_any = len(candles.frame) > 0
    low, high = candles.frame["low_ticks"].to_numpy(), candles.frame["high_ticks"].to_numpy()
    grid = grid_of(int(low.min()), int(high.max())) if has_any else grid_of(None, None)
    # Of what is left out below a size nothing may have been summed.
    row_ticks = 1 if min_lots > 1 else grid.row_ticks
    rows = BarRecipe.footprints(bucket, row_ticks, "floor")
    levels = _whole(await together.read(rows, _bounds(times)), bucket)
    work = partial(traded, levels.frame, candles.frame, bucket, grid, min_lots)
    return TradedRead(await budget.run(len(levels.frame), work), levels.view, levels.cover)


def _bounds(times: CellGrid) -> Bounds:
    return Bounds(times.t0_ms, times.end_ms, MAX_BARS, oldest_first=True)


def _lacks(cover: KnownCoverage, t0_ms: int) -> bool:
    """Whether trades of a time that is covered are not kept."""
    return cover.start_ms > max(t0_ms, cover.from_ms)


def _whole(read: BarRows, bucket: Timeframe) -> BarRows:
    if read.more_ms is None:
        return read
    fits = "a shorter time" if bucket.longest_ms >= MINUTE_MS else "a bucket of 1m would fit, or a shorter time"
    raise BadInput(f"that is more of what was traded than one request may read: {fits}")
