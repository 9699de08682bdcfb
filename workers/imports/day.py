"""What an import has read of one day."""

from collections import Counter
from dataclasses import dataclass, field

import numpy as np
import polars as pl

from common.market.builder.coverage import DUPLICATE
from common.market.builder.recent import CONFLICT, Conflict
from common.market.builder.spans import IdSpan
from common.market.coding.packed import Ints
from common.market.timeframes.timeframe import DAY_MS
from workers.imports.again import conflicts_of
from workers.symbol.conflicts import MAX_CONFLICTS_TOLD


@dataclass(slots=True)
class Day:
    """What has been read of a day. `spans`: ids, if they are contiguous; `file`: the first one with a trade of it.

    `counted`: whether what is refused of it is yet to be counted. `of_minutes`: it is made of candles, not of trades.
    `rows`: the trades, only if they are to be archived; `unknown`: then also those whose ids were applied before, while
    they are not compared. `conflicts`: the first of those that were others.
    """

    day_ms: int
    file: int
    counted: bool = True
    of_minutes: bool = False
    candles: list[pl.DataFrame] = field(default_factory=list)
    levels: list[pl.DataFrame] = field(default_factory=list)
    rows: list[pl.DataFrame] = field(default_factory=list)
    spans: list[IdSpan] = field(default_factory=list)
    refused: Counter[str] = field(default_factory=Counter)
    conflicts: list[Conflict] = field(default_factory=list)
    unknown: list[pl.DataFrame] = field(default_factory=list)
    trades: int = 0
    from_ms: int = -1
    to_ms: int = -1
    _ids: list[Ints] = field(default_factory=list)

    @property
    def end_ms(self) -> int:
        return self.day_ms + DAY_MS

    def refuse(self, reason: str, count: int) -> None:
        if count and self.counted:
            self.refused[reason] += count

    def conflict(self, others: pl.DataFrame) -> None:
        """Of the duplicates that were refused, these are others than those applied (again.Compared.others)."""
        if len(others) and self.counted:
            self.refused.update({CONFLICT: len(others), DUPLICATE: -len(others)})
            self.refused = +self.refused
            self.conflicts += conflicts_of(others, MAX_CONFLICTS_TOLD - len(self.conflicts))

    def unique(self, trades: pl.DataFrame) -> pl.DataFrame:
        """Return the trades with an id the day has not had, and remember them."""
        ids = trades["id"].to_numpy()
        known = np.zeros(len(ids), np.bool_)
        for some in self._ids:
            if some[0] <= ids.max() and ids.min() <= some[-1]:
                known |= np.isin(ids, some)
        kept = trades.filter(pl.Series(~known))
        if len(kept):
            self._ids.append(np.sort(kept["id"].to_numpy()))
        return kept

    def add(
        self, trades: pl.DataFrame, candles: pl.DataFrame | None, levels: pl.DataFrame | None, *, rows: bool
    ) -> None:
        """Take in trades, and what has been made of them: None where nothing of it is kept."""
        if candles is not None:
            self.candles.append(candles)
        if levels is not None:
            self.levels.append(levels)
        if rows:
            self.rows.append(trades)
        self.trades += len(trades)
        times = trades["ts_ms"].to_numpy()
        self.lasts(int(times.min()), int(times.max()))

    def lasts(self, from_ms: int, to_ms: int) -> None:
        """Stretch the time it covers."""
        self.from_ms = from_ms if self.from_ms < 0 else min(self.from_ms, from_ms)
        self.to_ms = max(self.to_ms, to_ms)
