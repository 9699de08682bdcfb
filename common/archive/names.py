"""What the archive's objects are called, by series, symbol and period; and where they are kept. No Polars: listing them
is to take no longer than the list.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from urllib.parse import quote

from common.archive.folder import Folder
from common.archive.objects import PATIENT, Listed, Objects, RetryPolicy
from common.errors import BadInput
from common.market.manifest import Fault
from common.market.timeframes.timeframe import SECOND_MS, Timeframe
from common.series import MINUTE_SERIES

SUFFIX = ".parquet"
_S3 = "s3://"


@dataclass(frozen=True, slots=True)
class ArchiveNames:
    """Of one series, which is cut into objects by `period`."""

    name: str
    period: Timeframe

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

    def listed(self, objects: Objects, symbol: str) -> dict[int, Listed]:
        """Return what a listing shows of each archived period, ascending by its open (ms UTC)."""
        found = objects.listed(self.folder(symbol))
        periods = ((self.period_of(name), listed) for name, listed in found.items())
        return dict(sorted((period_ms, listed) for period_ms, listed in periods if period_ms is not None))


TRADE_NAMES = ArchiveNames("trades", Timeframe(1, "d"))
# All that is archived.
NAMES: Mapping[str, ArchiveNames] = {
    **{series.name: ArchiveNames(series.name, series.archive_period) for series in MINUTE_SERIES.values()},
    TRADE_NAMES.name: TRADE_NAMES,
}


def objects_at(url: str, s3_endpoint: str | None = None, patience: RetryPolicy = PATIENT) -> Objects:
    """Those of the archive at a folder's path or `s3://BUCKET/PREFIX`. Nothing is asked of it yet."""
    if not url.startswith(_S3):
        return Folder(Path(url))
    # Here, because it loads 15 MB that a folder needs not.
    from common.archive.bucket import Bucket

    bucket, _, prefix = url.removeprefix(_S3).partition("/")
    return Bucket(bucket, prefix.strip("/"), s3_endpoint, patience)
