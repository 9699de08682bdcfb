"""What is archived: three series, how each is cut into objects, and what its columns are called outside."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from urllib.parse import quote

import polars as pl

from common.errors import BadInput
from common.frames.minutes import CANDLE_FRAMES, FOOTPRINT_FRAMES, MinuteFrames
from common.frames.schema import TRADES
from common.market.manifest import Fault
from common.market.timeframes.timeframe import SECOND_MS, Timeframe

SUFFIX = ".parquet"


@dataclass(frozen=True, slots=True)
class ArchiveSeries:
    """One kind of rows. `columns`: its name in the archive per column of `schema`, of which the first is the time."""

    name: str
    schema: pl.Schema
    columns: Mapping[str, str]
    period: Timeframe
    # Rows of a row group, the least that is decoded. Larger ones compress no better.
    group_rows: int

    @classmethod
    def of_minutes(cls, frames: MinuteFrames, columns: Mapping[str, str], group_rows: int) -> "ArchiveSeries":
        return cls(frames.series.name, frames.schema, columns, frames.series.archive_period, group_rows)

    @property
    def time(self) -> str:
        return next(iter(self.columns))

    def label(self, period_ms: int) -> str:
        """Return the name of a period: `2024-08` or `2024-08-31`. BadInput if `period_ms` opens none."""
        if self.period.open_of(period_ms) != period_ms:
            raise BadInput(f"period {period_ms} of {self.name} is not the open of a UTC {self.period.text}")
        day = datetime.fromtimestamp(period_ms // SECOND_MS, UTC).date().isoformat()
        return day[:7] if self.period.unit == "M" else day

    def path(self, symbol: str, period_ms: int) -> str:
        """Return the path of an object, below the archive's root."""
        return f"{self.folder(symbol)}/{self.label(period_ms)}{SUFFIX}"

    def fault(self, period_ms: int, reason: str) -> Fault:
        return Fault(self.name, self.label(period_ms), period_ms, self.period.next_open(period_ms), reason)

    def folder(self, symbol: str) -> str:
        # As DuckDB, Polars and Spark decode the value of a hive partition.
        return f"{self.name}/symbol={quote(symbol, safe='')}"

    def period_of(self, file: str) -> int | None:
        """Return the open, in ms UTC, of the period that a file of `folder` holds; None for a foreign file."""
        label = file.removesuffix(SUFFIX)
        try:
            day = date.fromisoformat(f"{label}-01" if self.period.unit == "M" else label)
        except ValueError:
            return None
        period_ms = int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()) * SECOND_MS
        return period_ms if file == self.label(period_ms) + SUFFIX else None


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
    "trades",
    TRADES,
    {"ts_ms": "trade_time", "id": "trade_id", "price_ticks": "price", "size_lots": "size", "side": "side"},
    Timeframe(1, "d"),
    65_536,
)
SERIES = {series.name: series for series in (CANDLE_ROWS, FOOTPRINT_ROWS, TRADE_ROWS)}
