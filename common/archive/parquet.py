"""One object of the archive as bytes: Parquet with a label in its metadata, and a seal.

Parquet as Polars writes it has no checksums: half of all flipped bits would be read as other values without a word, and
some make the reader ask for so much memory that the process ends (both seen). So the bytes carry a checksum of
themselves, and no other bytes reach the reader. It lies just before the footer: Parquet's readers start from the end
and go to the columns by their offsets, so they never see it.
"""

import io
import struct
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import polars as pl

from common.archive.series import ArchiveSeries
from common.archive.table import TIME, checksum, frame_of, table_of, table_schema
from common.errors import ArchiveDamaged, BadInput
from common.frames.rescale import rescaled
from common.market.builder.late import Merged, merged_of, merged_text
from common.market.instrument import Instrument
from common.market.manifest import UNKNOWN, ManifestEntry
from common.market.rescaling import Rescaling, Unfit
from common.market.scale import Scale
from common.market.units import MAX_DECIMALS

# Higher levels take 3 to 30 times as long for 5 %.
_ZSTD_LEVEL = 1
# What every Parquet file ends with: the length of its footer and a name.
_END = struct.Struct("<I4s")
_PARQUET = b"PAR1"
# Just before the footer: a name, and the CRC-32 of all bytes but these.
_SEAL = struct.Struct("<8sI")
_NAME = b"fleetcrc"
# In the metadata: the version of the series' schema.
_SCHEMA = "fleet.schema"
# In the metadata: the scale of the numbers, which need not be the symbol's of today.
_PRICE_DECIMALS, _SIZE_DECIMALS = "fleet.price_decimals", "fleet.size_decimals"
# In the metadata of those objects alone that have late trades.
_LATE = "fleet.late"
# In the metadata: how many times the period has been written. Objects of earlier releases don't say.
_GENERATION = "fleet.generation"


@dataclass(frozen=True, slots=True)
class Receipt:
    """What is in an object: rows, a checksum of their values (hex, independent of how they are compressed), bytes.

    `generation`: how many times its period has been written, UNKNOWN of objects of earlier releases.
    """

    rows: int
    checksum: str
    bytes: int
    generation: int = UNKNOWN

    def entry(self, period_ms: int) -> ManifestEntry:
        return ManifestEntry(period_ms, self.rows, self.checksum, self.generation, self.bytes)


@dataclass(frozen=True, slots=True)
class Label:
    """What an object claims to hold: most of its metadata."""

    series: ArchiveSeries
    instrument: Instrument
    period_ms: int

    @property
    def path(self) -> str:
        return self.series.path(self.instrument.symbol, self.period_ms)

    @property
    def end_ms(self) -> int:
        return self.series.period.next_open(self.period_ms)

    def identity(self) -> dict[str, str]:
        """What an object of this label must say, whatever its version and however exact its numbers are."""
        return {
            "fleet.series": self.series.name,
            "fleet.symbol": self.instrument.symbol,
            "fleet.period": self.series.label(self.period_ms),
        }

    def metadata(self, version: int) -> dict[str, str]:
        scale = self.instrument.scale
        decimals = {_PRICE_DECIMALS: str(scale.price_decimals), _SIZE_DECIMALS: str(scale.size_decimals)}
        return {_SCHEMA: str(version)} | self.identity() | decimals


def encode(label: Label, frame: pl.DataFrame, late: Merged | None = None, generation: int = 1) -> tuple[bytes, Receipt]:
    """Return the object of a frame, the same bytes for the same rows; BadInput if those are not of it, in order.

    `late`: which of the late trades that the store kept for it are in it. `generation`: of the object.
    """
    _check_frame(label, frame)
    version = label.series.version_of(frame)
    frame = frame.select(label.series.names(version))
    content = checksum(frame)
    file = io.BytesIO()
    with table_of(label.series, label.instrument.symbol, label.instrument.scale, frame) as table:
        # A row group at a time: of a busy day's trades the whole table would be half a gigabyte.
        table.sink_parquet(
            file,
            compression="zstd",
            compression_level=_ZSTD_LEVEL,
            row_group_size=label.series.group_rows,
            metadata={
                **label.metadata(version),
                "fleet.rows": str(len(frame)),
                "fleet.checksum": content,
                _GENERATION: str(generation),
                **({_LATE: merged_text(late)} if late else {}),
            },
            engine="streaming",
        )
    data = _sealed(file.getvalue())
    return data, Receipt(len(frame), content, len(data), generation)


@dataclass(frozen=True, slots=True)
class Packed:
    """An object whose bytes are those that were written. Its `rows` take up to ten times as much, decoded.

    `scale`: of its numbers as they are stored. `version`: of its schema.
    """

    label: Label
    data: bytes
    metadata: Mapping[str, str]
    scale: Scale
    version: int

    @property
    def rows(self) -> int:
        return int(self.metadata["fleet.rows"])

    @property
    def claim(self) -> Receipt:
        """What the object says of itself, none of it decoded."""
        generation = self.metadata.get(_GENERATION, "")
        number = int(generation) if generation.isascii() and generation.isdigit() else UNKNOWN
        return Receipt(self.rows, self.metadata["fleet.checksum"], len(self.data), number)

    @property
    def late(self) -> Merged:
        """Which of the late trades that the store kept for it are in it."""
        return merged_of(self.metadata.get(_LATE, ""))

    def read(self, columns: Sequence[str], start_ms: int | None = None, end_ms: int | None = None) -> pl.DataFrame:
        """Return some columns of the rows, ascending: of all, or of those in `[start_ms, end_ms)`.

        In the scale of the label's instrument; ArchiveDamaged where a number has no place in it.
        """
        try:
            return rescaled(self.stored(columns, start_ms, end_ms), Rescaling(self.scale, self.label.instrument.scale))
        except Unfit as error:
            raise ArchiveDamaged(self.label.path, f"does not fit the decimals of its symbol: {error}") from error

    def stored(self, columns: Sequence[str], start_ms: int | None = None, end_ms: int | None = None) -> pl.DataFrame:
        """The same in the scale it is stored in."""
        label, table = self.label, _scan(self.data)
        start_ms, end_ms = start_ms or label.period_ms, end_ms or label.end_ms
        if not start_ms <= label.period_ms < label.end_ms <= end_ms:
            # Only row groups that hold some of the range are decoded.
            first, end = (pl.lit(min(max(ms, label.period_ms), label.end_ms)).cast(TIME) for ms in (start_ms, end_ms))
            time = pl.col(label.series.columns[label.series.time])
            table = table.filter(time >= first, time < end)
        return frame_of(label.series, table, columns, self.version)


def packed(data: bytes, label: Label, where: str) -> Packed:
    """Return an object, checked but not decoded; ArchiveDamaged if it is not what was written."""
    _check_seal(data, where)
    metadata = _check_metadata(data, label, where)
    scale, version = _scale_of(metadata, where), _version_of(metadata, label.series, where)
    found, wanted = _scan(data).collect_schema(), table_schema(label.series, scale, version)
    if found != wanted:
        raise ArchiveDamaged(where, f"has columns {dict(found)}, expected {dict(wanted)}")
    return Packed(label, data, metadata, scale, version)


def receipt(data: bytes, label: Label, where: str) -> Receipt:
    """Decode everything and return what is there; ArchiveDamaged if that is not what was written."""
    table, lengths = packed(data, label, where), list[int]()

    def columns() -> Iterator[pl.Series]:
        # Each for as long as it is looked at, as for the table of a busy day.
        for name in label.series.names(table.version):
            column = table.stored([name])[name]
            lengths.append(len(column))
            yield column

    content = checksum(columns())
    found = lengths[0], content
    wanted = table.rows, table.metadata["fleet.checksum"]
    if found != wanted:
        raise ArchiveDamaged(where, f"has (rows, checksum) {found}, expected {wanted}")
    return table.claim


def _check_frame(label: Label, frame: pl.DataFrame) -> None:
    series = label.series
    if frame.schema != series.schema:
        raise BadInput(f"frame has columns {dict(frame.schema)}, expected those of {series.name}")
    whole = [name for name in series.schema if name not in series.added]
    if frame.select(whole).null_count().sum_horizontal().item():
        raise BadInput(f"{series.name} of {label.instrument.symbol} have empty values, expected none")
    time = frame[series.time]
    if len(time) and not (time.is_sorted() and label.period_ms <= time[0] and time[-1] < label.end_ms):
        found = f"{time.min()!r} to {time.max()!r}"
        raise BadInput(f"times are {found}, expected an ascending order within {series.label(label.period_ms)}")


def _scan(data: bytes) -> pl.LazyFrame:
    return pl.scan_parquet(data, glob=False, hive_partitioning=False)


def _check_metadata(data: bytes, label: Label, where: str) -> dict[str, str]:
    found = pl.read_parquet_metadata(data)
    for key, wanted in label.identity().items():
        if found.get(key) != wanted:
            raise ArchiveDamaged(where, f"has {key} {found.get(key)!r} in its metadata, expected {wanted!r}")
    return found


def _version_of(metadata: Mapping[str, str], series: ArchiveSeries, where: str) -> int:
    text, known = metadata.get(_SCHEMA), {str(version): version for version in series.versions}
    if text not in known:
        raise ArchiveDamaged(where, f"has {_SCHEMA} {text!r} in its metadata, expected one of {', '.join(known)}")
    return known[text]


def _scale_of(metadata: Mapping[str, str], where: str) -> Scale:
    texts = [metadata.get(key, "") for key in (_PRICE_DECIMALS, _SIZE_DECIMALS)]
    if not all(text.isascii() and text.isdigit() and int(text) <= MAX_DECIMALS for text in texts):
        raise ArchiveDamaged(
            where, f"has decimals {texts!r} in its metadata, expected whole numbers up to {MAX_DECIMALS}"
        )
    return Scale(*map(int, texts))


def _sealed(data: bytes) -> bytes:
    at, view = _footer(data), memoryview(data)
    # Each copy of a busy day's trades is a hundred megabytes.
    return b"".join((view[:at], _SEAL.pack(_NAME, zlib.crc32(data)), view[at:]))


def _check_seal(data: bytes, where: str) -> None:
    at = _footer(data) - _SEAL.size
    if at < 0:
        raise ArchiveDamaged(where, f"is damaged or foreign: {len(data)} bytes do not end as Parquet does")
    name, wanted = _SEAL.unpack_from(data, at)
    view = memoryview(data)
    found = zlib.crc32(view[at + _SEAL.size :], zlib.crc32(view[:at]))
    if (name, found) != (_NAME, wanted):
        raise ArchiveDamaged(where, "is damaged or foreign: its bytes are not those that were sealed")


def _footer(data: bytes) -> int:
    """Return where the footer begins; a negative number if there is none."""
    if len(data) < _END.size:
        return -1
    length, name = _END.unpack(data[-_END.size :])
    return len(data) - _END.size - int(length) if name == _PARQUET else -1
