"""Recorded trades from files, in chunks.

    CSV      header `ts_ms,price,size,side,id` in any order, more columns are ignored; `.gz` is read too
    Parquet  the same columns; price and size as decimals, integers, text or floats
    frames   lines `<local ns> <json>` of Binance combined streams, of which the trades are read

Which one a file is, is seen from its first bytes. A chunk is a fixed number of lines or rows, so that a place in a
file is a chunk and a number of trades in it, and can be found again without parsing what lies before.
"""

import gzip
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

from common.errors import BadInput
from common.market.instrument import Instrument
from workers.recordings.base import TradeChunk
from workers.recordings.text import csv_chunks, frame_chunks, is_frame, opened

# Enough to tell one recording from another without reading all of it.
_FINGERPRINT_BYTES = 1 << 16
_PARQUET_MAGIC = b"PAR1"

# Reads a file from chunk `first` on: (path, instrument, skip_bad, first).
Reader = Callable[[Path, Instrument, bool, int], Iterator[TradeChunk]]


@dataclass(frozen=True, slots=True)
class TradeFile:
    """One file. `skip_bad`: count bad lines instead of raising BadInput at the first."""

    path: Path
    instrument: Instrument
    skip_bad: bool = False

    def chunks(self, first: int = 0) -> Iterator[TradeChunk]:
        with unreadable(self.path):
            yield from _reader_of(self.path)(self.path, self.instrument, self.skip_bad, first)

    def fingerprint(self) -> str:
        with unreadable(self.path), self.path.open("rb") as file:
            head = file.read(_FINGERPRINT_BYTES)
            return blake2b(head + str(self.path.stat().st_size).encode(), digest_size=8).hexdigest()


@contextmanager
def unreadable(path: Path) -> Iterator[None]:
    """A file that is not there, or not whole, is the user's to mend: one sentence."""
    try:
        yield
    except (EOFError, gzip.BadGzipFile, zipfile.BadZipFile, zlib.error) as error:
        raise BadInput(f"{path} is cut off or damaged: {error}") from error
    except OSError as error:
        raise BadInput(f"{path} cannot be read: {error.strerror or error}") from error


def _reader_of(path: Path) -> Reader:
    with path.open("rb") as file:
        magic = file.read(len(_PARQUET_MAGIC))
    if magic == _PARQUET_MAGIC:
        # Polars costs a process 35 MB; only one that reads Parquet pays.
        from workers.recordings.parquet import parquet_chunks

        return parquet_chunks
    with opened(path) as (lines, _):
        return frame_chunks if is_frame(lines.readline()) else csv_chunks
