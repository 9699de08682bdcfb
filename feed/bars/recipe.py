"""What bars are made: candles or footprints of one timeframe, and how, of minutes and of trades."""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import polars as pl

from common.frames import bulk
from common.frames.footprint import regroup
from common.frames.minutes import CANDLE_FRAMES, FLOW_FRAMES, FOOTPRINT_FRAMES, SHOWN_FRAMES, MinuteFrames, MinuteRows
from common.frames.orderflow.level_sums import LEVEL_SUMS, level_sums
from common.frames.resample import resample
from common.frames.schema import TRADES
from common.frames.sealed import SealedCandles
from common.frames.spans import is_of_steps, uneven_days
from common.market.coding.limbs import Scratch
from common.market.coding.quarter_hours import QUARTER_HOUR_MS
from common.market.orderflow.rows import Align
from common.market.timeframes.timeframe import DAY_MS, MINUTE_MS, Timeframe
from common.store.state import SymbolState
from feed.reading.bounds import Bounds
from feed.reading.rolled_days import UnevenDays
from feed.reading.tape import bars_of

# Minutes fetched by one command: 2.4 MB and some 10 ms, in which the store does nothing else.
CHUNK = 20_000
# Footprints are ten times larger, and of a busy market a hundred times.
FOOTPRINT_CHUNK = 500
# Minutes read at once of what is sealed or archived: a year of candles, some 50 MB; a day of footprints.
PART = 600_000
FOOTPRINT_PART = DAY_MS // MINUTE_MS

MergeFrame = Callable[[pl.DataFrame], pl.DataFrame]


@dataclass(frozen=True, slots=True)
class BarRecipe:
    timeframe: Timeframe
    # The minutes they are made of, as these are read.
    minutes: MinuteFrames
    # What tells them apart from other bars of the same minutes.
    how: Hashable
    # Minutes read at once: of sealed and archived ones, and of open ones.
    part: int
    chunk: int
    # Whether days are stored of them.
    has_days: bool
    # How many minutes, or bars, a frame has.
    count: Callable[[pl.DataFrame], int]
    # Makes minutes, or such bars, into coarser ones, in any order.
    merge: MergeFrame
    # Makes them of trades, with the bits of the trades' sources.
    of_trades: Callable[[pl.DataFrame, int], pl.DataFrame]
    # Days whose minutes 15m candles may not stand for. None: they may nowhere.
    uneven_days: UnevenDays | None = None
    # Of the bars. None: those of the minutes.
    columns: tuple[str, ...] | None = None

    @classmethod
    def candles(cls, timeframe: Timeframe) -> "BarRecipe":
        return cls._of_candles(timeframe, SHOWN_FRAMES)

    @classmethod
    def flow(cls, timeframe: Timeframe) -> "BarRecipe":
        """Candles with the range of their running delta."""
        return cls._of_candles(timeframe, FLOW_FRAMES)

    @classmethod
    def keyed(cls, timeframe: Timeframe) -> "BarRecipe":
        """Candles with their order keys, which 15m candles have not."""
        return replace(cls._of_candles(timeframe, CANDLE_FRAMES), uneven_days=None)

    @classmethod
    def _of_candles(cls, timeframe: Timeframe, minutes: MinuteFrames) -> "BarRecipe":
        merge, step_ms = partial(resample, timeframe=timeframe), QUARTER_HOUR_MS

        def of_trades(trades: pl.DataFrame, sources: int) -> pl.DataFrame:
            return bars_of(trades, timeframe, sources)

        return cls(
            timeframe,
            minutes=minutes,
            how=(timeframe, minutes.columns),
            part=PART,
            chunk=CHUNK,
            has_days=True,
            count=len,
            merge=merge,
            of_trades=of_trades,
            uneven_days=partial(uneven_days, timeframe, step_ms) if is_of_steps(timeframe, step_ms) else None,
        )

    @classmethod
    def footprints(cls, timeframe: Timeframe, row_ticks: int, align: Align = "nearest") -> "BarRecipe":
        merge = partial(regroup, timeframe=timeframe, row_ticks=row_ticks, align=align)
        return cls._of_levels(timeframe, (timeframe, row_ticks, align), FOOTPRINT_FRAMES.columns, merge)

    @classmethod
    def level_sums(cls, timeframe: Timeframe) -> "BarRecipe":
        """What bars keep of their levels whatever the height of their rows (common.frames.orderflow.level_sums)."""
        merge = partial(level_sums, timeframe=timeframe)
        return cls._of_levels(timeframe, (timeframe, "level sums"), tuple(LEVEL_SUMS), merge)

    @classmethod
    def _of_levels(
        cls, timeframe: Timeframe, how: Hashable, columns: tuple[str, ...], merge: MergeFrame
    ) -> "BarRecipe":
        def of_trades(trades: pl.DataFrame, _: int) -> pl.DataFrame:
            return merge(bulk.footprints(trades.select(list(TRADES)), timeframe))

        return cls(
            timeframe,
            minutes=FOOTPRINT_FRAMES,
            how=how,
            part=FOOTPRINT_PART,
            chunk=FOOTPRINT_CHUNK,
            has_days=False,
            count=_opens,
            merge=merge,
            of_trades=of_trades,
            columns=columns,
        )

    def bars(self, minutes: Sequence[MinuteRows]) -> list[pl.DataFrame]:
        """The bars of each of several stretches of minutes."""
        scratch = Scratch()
        return [
            each.bars(self.timeframe, scratch) if isinstance(each, SealedCandles) else self.merge(each)
            for each in minutes
        ]

    def minute_count(self, minutes: MinuteRows) -> int:
        """How many there may be at most, as far as longer candles stand for them."""
        return minutes.minute_count if isinstance(minutes, SealedCandles) else self.count(minutes)

    def more_of(self, bars: pl.DataFrame, bounds: Bounds, more_ms: int | None) -> int | None:
        """Where an answer with these bars goes on. None if they are as many as asked for: what else was read is cut."""
        return None if more_ms is None or self.count(bars) >= bounds.limit else more_ms

    def open(self, state: SymbolState | None) -> bytes:
        """The packed open minute, empty if there is none."""
        return state.open_of(self.minutes.series) if state else b""


def _opens(levels: pl.DataFrame) -> int:
    """They ascend: Polars would sort or hash them."""
    opens = levels["open_ms"].to_numpy()
    return 1 + int(np.count_nonzero(opens[1:] != opens[:-1])) if len(opens) else 0
