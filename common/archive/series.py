"""What is archived: three series, how each is cut into objects, and what its columns are called outside.

A series' schema has a version, which counts up when a column comes or changes its name, type or meaning.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import polars as pl

from common.archive.names import TRADE_NAMES, ArchiveNames
from common.frames.minutes import CANDLE_FRAMES, FOOTPRINT_FRAMES, MinuteFrames
from common.frames.schema import DELTA_RANGE, TRADES

FIRST_VERSION = 1


@dataclass(frozen=True, slots=True)
class ArchiveSeries(ArchiveNames):
    """One kind of rows. `columns`: its name in the archive per column of `schema`, of which the first is the time."""

    schema: pl.Schema
    columns: Mapping[str, str]
    # Rows of a row group, the least that is decoded. Larger ones compress no better.
    group_rows: int
    # Columns that came with a later version of the schema, at its end: an object without them has nulls in their place.
    added: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def of_minutes(
        cls, frames: MinuteFrames, columns: Mapping[str, str], group_rows: int, added: Mapping[str, int] | None = None
    ) -> "ArchiveSeries":
        return cls(frames.series.name, frames.series.archive_period, frames.schema, columns, group_rows, added or {})

    @property
    def versions(self) -> Sequence[int]:
        """Of its schema: those that are read."""
        return sorted({FIRST_VERSION, *self.added.values()})

    def names(self, version: int) -> list[str]:
        """The columns of `schema` that an object of this version has."""
        return [name for name in self.columns if self.added.get(name, FIRST_VERSION) <= version]

    def version_of(self, frame: pl.DataFrame) -> int:
        """The least one that has all values of a frame: so what says no more than before is as it was before."""
        told = [version for name, version in self.added.items() if frame[name].null_count() < len(frame)]
        return max(told, default=FIRST_VERSION)

    @property
    def time(self) -> str:
        return next(iter(self.columns))


CANDLE_ROWS = ArchiveSeries.of_minutes(
    CANDLE_FRAMES,
    {
        "open_ms": "open_time",
        "open_ticks": "open",
        "high_ticks": "high",
        "low_ticks": "low",
        "close_ticks": "close",
        "volume_lots": "volume",
        "buy_lots": "buy_volume",
        "sell_lots": "sell_volume",
        "turnover": "turnover",
        "trades": "trades",
        "first_ts_ms": "first_trade_time",
        "first_id": "first_trade_id",
        "last_ts_ms": "last_trade_time",
        "last_id": "last_trade_id",
        "rev": "rev",
        "sources": "sources",
        "delta_min_lots": "min_delta",
        "delta_max_lots": "max_delta",
    },
    11_520,  # eight days of minutes
    added=dict.fromkeys(DELTA_RANGE, 2),
)
FOOTPRINT_ROWS = ArchiveSeries.of_minutes(
    FOOTPRINT_FRAMES,
    {
        "open_ms": "open_time",
        "price_ticks": "price",
        "buy_lots": "buy_volume",
        "sell_lots": "sell_volume",
        "unknown_lots": "unknown_volume",
        "buy_trades": "buy_trades",
        "sell_trades": "sell_trades",
        "unknown_trades": "unknown_trades",
    },
    65_536,
)
TRADE_ROWS = ArchiveSeries(
    TRADE_NAMES.name,
    TRADE_NAMES.period,
    TRADES,
    {"ts_ms": "trade_time", "id": "trade_id", "price_ticks": "price", "size_lots": "size", "side": "side"},
    65_536,
)
SERIES = {series.name: series for series in (CANDLE_ROWS, FOOTPRINT_ROWS, TRADE_ROWS)}
