"""What is archived: three series, how each is cut into objects, and what its columns are called outside."""

from collections.abc import Mapping
from dataclasses import dataclass

import polars as pl

from common.archive.names import TRADE_NAMES, ArchiveNames
from common.frames.minutes import CANDLE_FRAMES, FOOTPRINT_FRAMES, MinuteFrames
from common.frames.schema import TRADES


@dataclass(frozen=True, slots=True)
class ArchiveSeries(ArchiveNames):
    """One kind of rows. `columns`: its name in the archive per column of `schema`, of which the first is the time."""

    schema: pl.Schema
    columns: Mapping[str, str]
    # Rows of a row group, the least that is decoded. Larger ones compress no better.
    group_rows: int

    @classmethod
    def of_minutes(cls, frames: MinuteFrames, columns: Mapping[str, str], group_rows: int) -> "ArchiveSeries":
        return cls(frames.series.name, frames.series.archive_period, frames.schema, columns, group_rows)

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
    },
    11_520,  # eight days of minutes
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
