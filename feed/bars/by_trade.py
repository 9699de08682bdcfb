"""Bars that are not made of whole minutes, straight from trades: those of the tape and, before it, the archived ones.

The cut between the two is where a bar opens: the first of which the tape has all trades. A bar before it may come in
parts, which are merged as minutes are.
"""

from collections.abc import Callable
from contextlib import aclosing
from dataclasses import dataclass, replace

import polars as pl

from common.frames import bulk
from common.frames.footprint import regroup
from common.frames.minutes import CANDLE_FRAMES
from common.frames.schema import TRADES
from common.market.timeframes.timeframe import Timeframe
from feed.bars.minutes import BarKind, cut, joined
from feed.reading.bounds import Bounds, grid_at
from feed.reading.tape import TapeView, bars_of
from feed.reading.trade_archive import Kept, TradeHistory


@dataclass(frozen=True, slots=True)
class BarRecipe:
    """What is made of trades: candles or footprints."""

    timeframe: Timeframe
    kind: BarKind
    make: Callable[[pl.DataFrame], pl.DataFrame]

    @classmethod
    def candles(cls, timeframe: Timeframe, sources: int) -> "BarRecipe":
        kind = BarKind.candles(timeframe, CANDLE_FRAMES)
        return cls(timeframe, kind, lambda trades: bars_of(trades, timeframe, sources))

    @classmethod
    def footprints(cls, timeframe: Timeframe, row_ticks: int) -> "BarRecipe":
        def make(trades: pl.DataFrame) -> pl.DataFrame:
            return regroup(bulk.footprints(trades.select(list(TRADES)), timeframe), timeframe, row_ticks)

        return cls(timeframe, BarKind.footprints(timeframe, row_ticks), make)


@dataclass(frozen=True, slots=True)
class TradeBars:
    """Bars of the bounds, ascending, as of the tape's view, and of which time all trades are kept.

    `more_ms`: where to go on, an end or, oldest first, a start: before the limit was reached, as much had been read as
    a request may. None: that is all.
    """

    bars: pl.DataFrame
    kept: Kept
    more_ms: int | None = None


async def read_traded(past: TradeHistory, taped: TapeView, making: BarRecipe, bounds: Bounds) -> TradeBars:
    """Read at most `bounds.limit` bars. Raises Overtaken."""
    cut_ms = past.first_whole(taped, making.timeframe)
    if cut_ms is None:
        return TradeBars(_of_tape(taped, making, bounds), Kept(taped.from_ms))
    kept = past.kept(taped.view, taped.from_ms)
    until_ms = min(bounds.end_ms, cut_ms)
    newer = _of_tape(taped, making, replace(bounds, start_ms=max(bounds.start_ms, until_ms)))
    if bounds.start_ms >= until_ms or (not bounds.oldest_first and newer["open_ms"].n_unique() >= bounds.limit):
        return TradeBars(newer, kept)
    parts, more_ms, kept = await _of_past(past, taped, making, replace(bounds, end_ms=until_ms), newer, kept)
    bars = joined(making.kind, parts)
    if more_ms is not None:
        whole = pl.col("open_ms") < more_ms if bounds.oldest_first else pl.col("open_ms") >= more_ms
        bars = bars.filter(whole)
    return TradeBars(cut(bars, bounds), kept, more_ms)


def _of_tape(taped: TapeView, making: BarRecipe, bounds: Bounds) -> pl.DataFrame:
    bars = making.make(taped.trades_of(making.timeframe, bounds))
    inside = pl.col("open_ms").is_between(bounds.start_ms, bounds.end_ms, closed="left")
    return cut(bars.filter(inside), bounds)


async def _of_past(
    past: TradeHistory, taped: TapeView, making: BarRecipe, bounds: Bounds, newer: pl.DataFrame, kept: Kept
) -> tuple[list[pl.DataFrame], int | None, Kept]:
    """Put older bars before `newer` until they are more than the limit: of the last one a part may lack.

    Or until a request's share has been read, and a bar is whole: then also where that one begins, or ends. And `kept`,
    less what could not be read.
    """
    timeframe, forward = making.timeframe, bounds.oldest_first
    parts = [] if forward else [newer]
    async with aclosing(past.pieces(taped, bounds.start_ms, bounds.end_ms, oldest_first=forward)) as pieces:
        async for piece in pieces:
            made, kept = await past.budget.run(len(piece.trades), making.make, piece.trades), kept.without(piece)
            parts = [*parts, made] if forward else [made, *parts]
            # Neighbours share one at most.
            if sum(part["open_ms"].n_unique() for part in parts) - len(parts) >= bounds.limit:
                return parts, None, kept
            whole_ms = timeframe.open_of(piece.to_ms) if forward else grid_at(timeframe, piece.from_ms)
            if piece.spent and bounds.start_ms < whole_ms < bounds.end_ms:
                return parts, whole_ms, kept
    return ([*parts, newer] if forward else parts), None, kept
