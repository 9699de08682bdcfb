"""Which source a timeframe's bars come from: asked once, here, and nowhere else."""

from common.market.timeframes.periods import DAY
from common.market.timeframes.timeframe import Timeframe
from feed.bars.by_trade import TradeSource
from feed.bars.data import SymbolData
from feed.bars.days import DaySource
from feed.bars.live import BarGrid
from feed.bars.minutes import MinuteSource
from feed.bars.source import BarSource


def is_of_trades(timeframe: Timeframe) -> bool:
    """Whether bars of that length are made of trades: none of whole minutes."""
    return not timeframe.of_minutes


def source_of(data: SymbolData, timeframe: Timeframe) -> BarSource:
    """`timeframe`: anchored to the symbol's sessions (Instrument.anchored)."""
    grid = BarGrid(data.instrument, timeframe)
    if is_of_trades(timeframe):
        return TradeSource(data, grid)
    minutes = MinuteSource(data, grid)
    return DaySource(minutes, has_tail=timeframe.text == DAY.text) if timeframe.of_days else minutes
