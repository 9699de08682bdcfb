"""The archive as its callers see it: frames in, frames out. Every call blocks; beside an event loop use a thread.

Errors: ArchiveUnavailable where trying again may help; Superseded where another writer came first; ArchiveDamaged where
an object is not what was written; BadInput where a frame is not of its series and period.
"""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field

import polars as pl

from common.archive.names import objects_at
from common.archive.objects import PATIENT, Listed, Objects, RetryPolicy, StoredObject
from common.archive.parquet import Label, Packed, Receipt, encode, packed, receipt
from common.archive.series import ArchiveSeries
from common.errors import ArchiveDamaged, Superseded
from common.market.builder.late import Merged
from common.market.instrument import Instrument
from common.market.manifest import ManifestEntry
from common.market.scale import Scale

# Why an object can't be read.
MISSING = "is missing"


@dataclass(frozen=True, slots=True)
class Version:
    """A period as it was read, to be replaced: its rows, and which object held them. None and None: it is not archived.

    `late`: which late trades it has that the store kept for it (common.market.builder.late). `scale`: of the numbers as
    that object has them; those of `frame` are in that of the label's instrument.

    What its next rows are made of besides has to be read after it: only then does a writer who is held up, and whom
    others overtake, notice it by the tag.
    """

    label: Label
    frame: pl.DataFrame | None
    stored: StoredObject | None
    late: Merged = field(default_factory=dict)
    scale: Scale | None = None
    # What the object says of itself.
    claim: Receipt | None = None
    # What was confirmed of the period (common.market.manifest), though it may be gone.
    expected: ManifestEntry | None = None

    @property
    def next_generation(self) -> int:
        known = [self.claim.generation] if self.claim else []
        return max([0, *known, *([self.expected.generation] if self.expected else [])]) + 1

    @property
    def tag(self) -> str | None:
        return self.stored.tag if self.stored else None


class Archive:
    def __init__(self, objects: Objects) -> None:
        self._objects = objects

    @classmethod
    def open(cls, url: str, s3_endpoint: str | None = None, patience: RetryPolicy = PATIENT) -> "Archive":
        """Return the archive at a folder's path or `s3://BUCKET/PREFIX`. Nothing is asked of it yet."""
        return cls(objects_at(url, s3_endpoint, patience))

    def version(
        self,
        series: ArchiveSeries,
        instrument: Instrument,
        period_ms: int,
        expected: ManifestEntry | None = None,
        *,
        may_be_missing: bool = False,
    ) -> Version:
        """Read a period that is to be replaced.

        `expected`: what was confirmed of it; ArchiveDamaged if it is not there, or is an older one.
        `may_be_missing`: the caller can make it again, so it is as if it had not been archived.
        """
        label = Label(series, instrument, period_ms)
        table = self._found(label, None if may_be_missing else expected)
        if table is None:
            return Version(label, None, None, expected=expected)
        found, frame = table[0], table[1].read(list(series.schema))
        return Version(label, frame, found, table[1].late, table[1].scale, table[1].claim, expected)

    def _found(self, label: Label, expected: ManifestEntry | None) -> tuple[StoredObject, Packed] | None:
        """Return an object, checked; ArchiveDamaged if it is not what is expected or newer."""
        where, found = self._objects.where(label.path), self._objects.read(label.path)
        if found is None:
            if expected and not expected.given_up:
                raise self.missing(label.series, label.instrument.symbol, label.period_ms)
            return None
        table = packed(found.data, label, where)
        objection = expected.objection(table.claim.entry(label.period_ms)) if expected else ""
        if objection:
            raise ArchiveDamaged(where, objection)
        return found, table

    def replace(self, version: Version, frame: pl.DataFrame, late: Merged | None = None) -> Receipt:
        """Make `frame` the whole of a period, if that is still what was read; readers see the old rows or the new ones.

        Superseded: another writer has replaced it since. What was written is read back before it counts. `late`: which
        late trades it has now; by default those it had.
        """
        label = version.label
        data, written = encode(label, frame, version.late if late is None else late, version.next_generation)
        where = self._objects.where(label.path)

        def check(back: bytes) -> None:
            found = receipt(back, label, where)
            if found != written:
                raise ArchiveDamaged(where, f"was read back as {found}, expected {written}")

        self._objects.replace(label.path, data, check, version.tag)
        return written

    def clear(
        self, series: ArchiveSeries, instrument: Instrument, period_ms: int, expected: ManifestEntry | None = None
    ) -> None:
        """Put a period without rows in the place of one that can't be read. Any other is left as it is."""
        label = Label(series, instrument, period_ms)
        found = self._objects.read(label.path)
        if found is None:
            return
        try:
            receipt(found.data, label, self._objects.where(label.path))
        except ArchiveDamaged:
            # Superseded: it has been made again meanwhile.
            with suppress(Superseded):
                self.replace(Version(label, None, found, expected=expected), series.schema.to_frame())

    def read(
        self,
        series: ArchiveSeries,
        instrument: Instrument,
        start_ms: int,
        end_ms: int,
        columns: Sequence[str] | None = None,
    ) -> pl.DataFrame:
        """Return the archived rows in `[start_ms, end_ms)`, ascending, or only some columns of them."""
        names = list(columns or series.schema)
        frames = [pl.DataFrame(schema={name: series.schema[name] for name in names})]
        for period_ms in self.periods(series, instrument.symbol):
            if period_ms < end_ms and series.period.next_open(period_ms) > start_ms:
                found = self.packed(series, instrument, period_ms)
                # Deleted since it was listed: as if it had been before.
                frames += [found.read(names, start_ms, end_ms)] if found else []
        return pl.concat(frames)

    def read_period(
        self,
        series: ArchiveSeries,
        instrument: Instrument,
        period_ms: int,
        columns: Sequence[str] | None = None,
        expected: ManifestEntry | None = None,
    ) -> pl.DataFrame | None:
        """Return all rows of a period, or None if it is not archived."""
        found = self.packed(series, instrument, period_ms, expected)
        return found.read(list(columns or series.schema)) if found else None

    def packed(
        self, series: ArchiveSeries, instrument: Instrument, period_ms: int, expected: ManifestEntry | None = None
    ) -> Packed | None:
        """Return a period to be decoded in parts, or None if it is not archived.

        `expected`: what was confirmed of it: then ArchiveDamaged if it is not there, or is an older one; one that was
        given up is not archived, whatever is in its place.
        """
        if expected and expected.given_up:
            return None
        found = self._found(Label(series, instrument, period_ms), expected)
        return found[1] if found else None

    def periods(self, series: ArchiveSeries, symbol: str) -> list[int]:
        """Return the opens (ms UTC) of the archived periods, ascending."""
        return list(self.listed(series, symbol))

    def listed(self, series: ArchiveSeries, symbol: str) -> dict[int, Listed]:
        """Return what a listing shows of each archived period, ascending by its open (ms UTC)."""
        return series.listed(self._objects, symbol)

    def missing(self, series: ArchiveSeries, symbol: str, period_ms: int) -> ArchiveDamaged:
        """What to raise of an object that was confirmed and is not there. ArchiveUnavailable if its series is not."""
        self._objects.check_there(series.name)
        return ArchiveDamaged(self._objects.where(series.path(symbol, period_ms)), MISSING)

    def verify(self, series: ArchiveSeries, instrument: Instrument, period_ms: int) -> Receipt | None:
        """Read everything of a period, compare it with its checksum and return what is there, if anything is."""
        label = Label(series, instrument, period_ms)
        found = self._objects.read(label.path)
        return None if found is None else receipt(found.data, label, self._objects.where(label.path))
