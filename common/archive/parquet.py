"""One object of the archive as bytes: Parquet with a label, and a checksum for every column of every row group.

Parquet as it comes has no checksums: half of all flipped bits would be read as other values without a word. So rows are
only read by whole row groups, each compared with its checksum, and cut to the range afterwards.
"""

import io
import zlib
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO

import orjson
import polars as pl

from common.archive.series import Series
from common.archive.table import checksum, from_table, table_schema, to_table
from common.errors import ArchiveDamaged, BadInput
from common.market.instrument import Instrument

# Counts up when a column changes its name, type or meaning.
SCHEMA_VERSION = 1
# Higher levels take 3 to 30 times as long for 5 %.
_ZSTD_LEVEL = 1


@dataclass(frozen=True, slots=True)
class Receipt:
    """What is in an object: rows, a checksum of their values (hex, independent of how they are compressed), bytes."""

    rows: int
    checksum: str
    bytes: int


@dataclass(frozen=True, slots=True)
class Label:
    """What an object claims to hold: half of its metadata."""

    series: Series
    instrument: Instrument
    period_ms: int

    @property
    def path(self) -> str:
        return self.series.path(self.instrument.symbol, self.period_ms)

    @property
    def end_ms(self) -> int:
        return self.series.period.next_open(self.period_ms)

    def metadata(self) -> dict[str, str]:
        return {
            "fleet.schema": str(SCHEMA_VERSION),
            "fleet.series": self.series.name,
            "fleet.symbol": self.instrument.symbol,
            "fleet.period": self.series.label(self.period_ms),
            "fleet.price_decimals": str(self.instrument.price_decimals),
            "fleet.size_decimals": str(self.instrument.size_decimals),
        }


@dataclass(frozen=True, slots=True)
class Groups:
    """All rows, and of each row group the first and last time, in ms UTC, and the checksum per column."""

    rows: int
    firsts: list[int]
    lasts: list[int]
    checksums: dict[str, list[int]]

    @classmethod
    def of(cls, series: Series, frame: pl.DataFrame) -> "Groups":
        parts = list(frame.iter_slices(series.group_rows)) if len(frame) else []
        times = [part[series.time] for part in parts]
        sums = {name: [checksum(part[name]) for part in parts] for name in frame.columns}
        return cls(len(frame), [time[0] for time in times], [time[-1] for time in times], sums)

    @property
    def checksum(self) -> str:
        return f"{zlib.crc32(orjson.dumps(self)):08x}"


def encode(label: Label, frame: pl.DataFrame) -> tuple[bytes, Receipt]:
    """Return the object of a frame, the same bytes for the same rows; BadInput if those are not of it, in order."""
    _check(label, frame)
    groups = Groups.of(label.series, frame)
    metadata = label.metadata() | {
        "fleet.rows": str(groups.rows),
        "fleet.checksum": groups.checksum,
        "fleet.groups": orjson.dumps(groups).decode(),
    }
    file = io.BytesIO()
    to_table(label.series, label.instrument, frame).write_parquet(
        file,
        compression="zstd",
        compression_level=_ZSTD_LEVEL,
        row_group_size=label.series.group_rows,
        metadata=dict(metadata),
    )
    return file.getvalue(), Receipt(len(frame), groups.checksum, file.tell())


def decode(
    file: IO[bytes], label: Label, where: str, columns: Sequence[str], start_ms: int, end_ms: int
) -> pl.DataFrame:
    """Read some columns of a frame, rows in `[start_ms, end_ms)`; ArchiveDamaged if they are not what was written."""
    with _blamed(where):
        groups = _groups(file, label, where)
        chosen = range(bisect_left(groups.lasts, start_ms), bisect_left(groups.firsts, end_ms))
        whole = [name for name in label.series.schema if name in {*columns, label.series.time}]
        frame = _frame(file, label, whole, _rows(label.series, chosen))
        if len(frame) != len(range(groups.rows)[_rows(label.series, chosen)]):
            raise ArchiveDamaged(f"{where} has not the {groups.rows} rows that its metadata names")
        _compare(groups, frame, label.series, chosen, where)
    first, end = (frame[label.series.time].search_sorted(ms, "left") for ms in (start_ms, end_ms))
    return frame[first:end].select(columns)


def receipt(file: IO[bytes], label: Label, where: str) -> Receipt:
    """Read everything in an object and return what is in it; ArchiveDamaged if that is not what was written."""
    frame = decode(file, label, where, list(label.series.schema), label.period_ms, label.end_ms)
    with _blamed(where):
        groups = _groups(file, label, where)
    if len(frame) != groups.rows:
        raise ArchiveDamaged(f"{where} has {len(frame)} rows of its period, expected {groups.rows}")
    return Receipt(groups.rows, groups.checksum, file.seek(0, io.SEEK_END))


def _check(label: Label, frame: pl.DataFrame) -> None:
    series = label.series
    if frame.schema != series.schema:
        raise BadInput(f"frame has columns {dict(frame.schema)}, expected those of {series.name}")
    if frame.null_count().sum_horizontal().item():
        raise BadInput(f"{series.name} of {label.instrument.symbol} have empty values, expected none")
    time = frame[series.time]
    if len(time) and not (time.is_sorted() and label.period_ms <= time[0] and time[-1] < label.end_ms):
        found = f"{time.min()!r} to {time.max()!r}"
        raise BadInput(f"times are {found}, expected an ascending order within {series.label(label.period_ms)}")


def _groups(file: IO[bytes], label: Label, where: str) -> Groups:
    """Return the row groups of an object that is what its label says."""
    file.seek(0)
    found = pl.read_parquet_metadata(file)
    for key, wanted in label.metadata().items():
        if found.get(key) != wanted:
            raise ArchiveDamaged(f"{where} has {key} {found.get(key)!r} in its metadata, expected {wanted!r}")
    groups = Groups(**orjson.loads(found["fleet.groups"]))
    if (str(groups.rows), groups.checksum) != (found["fleet.rows"], found["fleet.checksum"]):
        raise ArchiveDamaged(f"{where} has metadata that contradict each other")
    return groups


def _frame(file: IO[bytes], label: Label, columns: list[str], rows: slice) -> pl.DataFrame:
    """Read some rows of a frame."""
    file.seek(0)
    # The open file, not its path: it stays the one that was opened while a writer puts another in its place.
    table = pl.scan_parquet(file, glob=False, hive_partitioning=False)
    found, wanted = table.collect_schema(), table_schema(label.series, label.instrument)
    if found != wanted:
        raise ValueError(f"columns are {dict(found)}, expected {dict(wanted)}")
    outside = [label.series.columns[name] for name in columns]
    return from_table(label.series, table.select(outside).slice(rows.start, rows.stop - rows.start).collect())


def _rows(series: Series, chosen: range) -> slice:
    return slice(chosen.start * series.group_rows, max(chosen.start, chosen.stop) * series.group_rows)


def _compare(groups: Groups, frame: pl.DataFrame, series: Series, chosen: range, where: str) -> None:
    for part, group in zip(frame.iter_slices(series.group_rows), chosen, strict=False):
        for name in part.columns:
            if checksum(part[name]) != groups.checksums[name][group]:
                raise ArchiveDamaged(f"{where} has other values in {series.columns[name]} than were written")


@contextmanager
def _blamed(where: str) -> Iterator[None]:
    """Polars' errors, and its panics, which damage causes as well, as one that names the object."""
    try:
        yield
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, KeyError, TypeError, ValueError) as error:
        raise ArchiveDamaged(f"{where} is no readable Parquet of ours: {_first_line(error)}") from None


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)
