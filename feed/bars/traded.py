"""What was traded, by buckets of time and rows of prices: out of trades below a minute, out of minutes from there on.

Buckets are those of the clock, whatever sessions the market has.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from operator import itemgetter
from typing import Literal

import polars as pl

from common.errors import BadInput, Overtaken
from common.frames.footprint import regroup
from common.frames.liquidity import CellGrid
from common.frames.minutes import within
from common.frames.schema import SHOWN
from common.frames.traded import TradedCells, traded
from common.market.timeframes.timeframe import DAY_MS, MINUTE_MS, Timeframe
from common.retry import retry_when_overtaken
from common.series import FOOTPRINTS
from common.store.reads import View
from common.tiles import DAY_LEVELS
from feed.bars.by_trade import TradeSource
from feed.bars.choice import is_of_trades
from feed.bars.closed import bars_of, fit
from feed.bars.data import SymbolData
from feed.bars.flow import ATTEMPTS
from feed.bars.frames import cover_of_minutes
from feed.bars.live import BarGrid
from feed.bars.minutes import MinuteSource
from feed.bars.recipe import BarRecipe
from feed.bars.source import BarRows, BarsTogether
from feed.bars.together import MAX_BARS
from feed.bars.trade_tiles import TiledTrades, TradeTiles, levels_for
from feed.reading.bounds import Bounds, Span, without
from feed.reading.coverage import KnownCoverage
from feed.reading.day_tiles import CellSize, DayTiles

# The grid of a span of time, and of the lowest and highest price that was traded in it, None of nothing.
GridOf = Callable[[int | None, int | None], CellGrid]


# Trades of a time are neither kept nor in tiles.
Lacking = Literal["lacking"]
LACKING: Lacking = "lacking"


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
    if is_of_trades(bucket) and (tiled := await _of_tiles(data, bucket, times, grid_of, min_lots)) is not None:
        return tiled if isinstance(tiled, TradedRead) else None
    bars = BarGrid(data.instrument, bucket)
    together = (TradeSource(data, bars) if is_of_trades(bucket) else MinuteSource(data, bars)).together()
    candles = await read_candles(together, bucket, times)
    if is_of_trades(bucket) and _lacks(candles.cover, times.t0_ms):
        return None
    return await of_candles(data, together, candles, bucket, times, grid_of, min_lots)


async def _of_tiles(
    data: SymbolData, bucket: Timeframe, times: CellGrid, grid_of: GridOf, min_lots: int
) -> TradedRead | Lacking | None:
    """By the coarsest tiles whose rows the grid's are made of. None: none are, or there are none."""
    levels, span = levels_for(times.bucket_ms), (times.t0_ms, times.end_ms)
    for at in range(len(levels)):
        read = await TradeTiles(data).read(bucket, span, levels[at:])
        if read is None:
            continue
        grid = _grid_for(read, grid_of, min_lots)
        if grid is None:
            continue
        if read.lacks:
            return LACKING
        if read.more_ms is not None:
            raise _too_much(bucket)
        found = await data.budget.run(len(read.levels), _summed, read, bucket, grid, min_lots)
        return TradedRead(found, read.view, read.cover)
    return None


def _summed(read: TiledTrades, bucket: Timeframe, grid: CellGrid, min_lots: int) -> TradedCells:
    # What is left out below a size is a level of the whole bucket.
    levels = regroup(read.levels, bucket, 1, "floor") if min_lots > 1 else read.levels
    return traded(levels, SHOWN.to_frame(), bucket, grid, min_lots)


def _grid_for(read: TiledTrades, grid_of: GridOf, min_lots: int) -> CellGrid | None:
    """The grid that the trades themselves would have. None: its rows are not made of those of the tiles."""
    if read.levels.is_empty():
        return grid_of(None, None)
    prices, height = read.levels["price_ticks"].to_numpy(), max(read.heights)
    low, high = int(prices.min()), int(prices.max())
    # The lowest price that was traded lies within the lowest row, the highest within the highest: where all heights
    # divide the grid's, it makes no difference where.
    widest, narrowest = grid_of(low, high + height - 1), grid_of(min(low + height - 1, high), high)
    row_ticks = 1 if min_lots > 1 else widest.row_ticks
    fits = widest.row_ticks == narrowest.row_ticks and all(row_ticks % each == 0 for each in read.heights)
    return grid_of(low, high) if fits else None


async def read_candles(together: BarsTogether, bucket: Timeframe, times: CellGrid) -> BarRows:
    return _whole(await together.read(BarRecipe.candles(bucket), _bounds(times.t0_ms, times.end_ms)), bucket)


async def of_candles(
    data: SymbolData,
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
    recipe = BarRecipe.footprints(bucket, row_ticks, "floor")
    tiled = await _tiled(data, candles.view, recipe, CellSize(grid.bucket_ms, row_ticks), (grid.t0_ms, grid.end_ms))
    parts = list(tiled.items())
    days = ((day_ms, day_ms + DAY_MS) for day_ms in sorted(tiled))
    for from_ms, to_ms in without((grid.t0_ms, grid.end_ms), days):
        read = _whole(await together.read(recipe, _bounds(from_ms, to_ms)), bucket)
        parts.append((from_ms, read.frame))
        cover = read.cover
    if len(parts) == len(tiled):
        cover = cover_of_minutes(data.instrument, candles.view, FOOTPRINTS)
    levels = pl.concat([frame for _, frame in sorted(parts, key=itemgetter(0))])
    work = partial(traded, levels, candles.frame, bucket, grid, min_lots)
    return TradedRead(await data.budget.run(len(levels), work), candles.view, cover)


async def _tiled(
    data: SymbolData, view: View, recipe: BarRecipe, wanted: CellSize, span: Span
) -> dict[int, pl.DataFrame]:
    """The rows of sealed days that have tiles of these columns, by day. Raises Overtaken."""
    if wanted.bucket_ms % DAY_LEVELS[0].bucket_ms:
        return {}
    tiles = DayTiles(data.history)
    look = await tiles.look(span[0])
    if not fit([view, look], recipe):
        raise Overtaken("minutes were amended while tiles of their days were read")
    found = await tiles.read(look, span, wanted)
    bars = await bars_of(data.history, recipe, [within(cells, *span) for cells in found.values()])
    return dict(zip(found, bars, strict=True))


def _bounds(from_ms: int, end_ms: int) -> Bounds:
    return Bounds(from_ms, end_ms, MAX_BARS, oldest_first=True)


def _lacks(cover: KnownCoverage, t0_ms: int) -> bool:
    """Whether trades of a time that is covered are not kept."""
    return cover.start_ms > max(t0_ms, cover.from_ms)


def _whole(read: BarRows, bucket: Timeframe) -> BarRows:
    if read.more_ms is None:
        return read
    raise _too_much(bucket)


def _too_much(bucket: Timeframe) -> BadInput:
    fits = "a shorter time" if bucket.longest_ms >= MINUTE_MS else "a bucket of 1m would fit, or a shorter time"
    return BadInput(f"that is more of what was traded than one request may read: {fits}")
