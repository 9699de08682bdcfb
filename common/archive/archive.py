"""The archive as its callers see it: frames in, frames out. Every call blocks; whoever has an event loop uses a thread.

Errors: ArchiveUnavailable where trying again may help; ArchiveDamaged where an object is not what was written;
BadInput where a frame is not of its series and period.
"""

from collections.abc import Sequence
from pathlib import Path

import polars as pl

from common.archive.folder import Folder
from common.archive.objects import PATIENT, Objects, Patience
from common.archive.parquet import Label, Packed, Receipt, decode, encode, packed, receipt
from common.archive.series import Series
from common.errors import ArchiveDamaged
from common.market.instrument import Instrument

_S3 = "s3://"


class Archive:
    def __init__(self, objects: Objects) -> None:
        self._objects = objects

    @classmethod
    def open(cls, url: str, s3_endpoint: str | None = None, patience: Patience = PATIENT) -> "Archive":
        """Return the archive at a folder's path or `s3://BUCKET/PREFIX`. Nothing is asked of it yet."""
        if not url.startswith(_S3):
            return cls(Folder(Path(url)))
        # Here, because it loads 15 MB that a folder needs not.
        from common.archive.bucket import Bucket

        bucket, _, prefix = url.removeprefix(_S3).partition("/")
        return cls(Bucket(bucket, prefix.strip("/"), s3_endpoint, patience))

    def write(self, series: Series, instrument: Instrument, period_ms: int, frame: pl.DataFrame) -> Receipt:
        """Make `frame` the whole of a period, after it has been read back; readers see the old rows or the new ones."""
        label = Label(series, instrument, period_ms)
        packed, written = encode(label, frame)
        where = self._objects.where(label.path)

        def check(data: bytes) -> None:
            found = receipt(data, label, where)
            if found != written:
                raise ArchiveDamaged(f"{where} was read back as {found}, expected {written}")

        self._objects.replace(label.path, packed, check)
        return written

    def read(
        self, series: Series, instrument: Instrument, start_ms: int, end_ms: int, columns: Sequence[str] | None = None
    ) -> pl.DataFrame:
        """Return the archived rows in `[start_ms, end_ms)`, ascending, or only some columns of them."""
        names = list(columns or series.schema)
        frames = [pl.DataFrame(schema={name: series.schema[name] for name in names})]
        for period_ms in self.periods(series, instrument.symbol):
            if period_ms < end_ms and series.period.next_open(period_ms) > start_ms:
                found = self._rows(Label(series, instrument, period_ms), names, start_ms, end_ms)
                # Deleted since it was listed: as if it had been before.
                frames += [] if found is None else [found]
        return pl.concat(frames)

    def read_period(
        self, series: Series, instrument: Instrument, period_ms: int, columns: Sequence[str] | None = None
    ) -> pl.DataFrame | None:
        """Return all rows of a period, or None if it is not archived."""
        label = Label(series, instrument, period_ms)
        return self._rows(label, list(columns or series.schema), period_ms, label.end_ms)

    def packed(self, series: Series, instrument: Instrument, period_ms: int) -> Packed | None:
        """Return a period to be decoded in parts, or None if it is not archived."""
        label = Label(series, instrument, period_ms)
        data = self._objects.read(label.path)
        return None if data is None else packed(data, label, self._objects.where(label.path))

    def periods(self, series: Series, symbol: str) -> list[int]:
        """Return the opens (ms UTC) of the archived periods, ascending."""
        names = self._objects.names(series.folder(symbol))
        return sorted(period_ms for name in names if (period_ms := series.period_of(name)) is not None)

    def verify(self, series: Series, instrument: Instrument, period_ms: int) -> Receipt | None:
        """Read everything of a period, compare it with its checksum and return what is there, if anything is."""
        label = Label(series, instrument, period_ms)
        data = self._objects.read(label.path)
        return None if data is None else receipt(data, label, self._objects.where(label.path))

    def delete(self, series: Series, symbol: str, period_ms: int) -> None:
        """Remove a period, if it is archived."""
        self._objects.delete(series.path(symbol, period_ms))

    def _rows(self, label: Label, columns: list[str], start_ms: int, end_ms: int) -> pl.DataFrame | None:
        data = self._objects.read(label.path)
        if data is None:
            return None
        return decode(data, label, self._objects.where(label.path), columns, start_ms, end_ms)
