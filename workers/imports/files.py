"""Files in batches of whole columns, and what a file of trades looks like.

    CSV       header `ts_ms,price,size,side,id` in any order, more columns are ignored
    Parquet   the same columns; price and size as decimals, integers, text or floats
    Binance   the public dumps of trades and aggregate trades, spot and USD-M, with or without a header

Text may be packed by gzip or zip. Which one a file is, is seen from its first bytes. However large it is, only a batch
of it is in memory.
"""

import io
import zipfile
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import IO, Protocol

import polars as pl

from common.errors import BadInput
from common.frames.schema import TRADES
from common.market.instrument import Instrument
from common.market.trade import BUY, SELL
from workers.recordings import TradeFile, unreadable
from workers.recordings.base import COLUMNS, BadLines
from workers.recordings.parquet import Expected, expected_of, scaled, side_code, whole, without_bad
from workers.recordings.text import opened

PARQUET_MAGIC, ZIP_MAGIC = b"PAR1", b"PK\x03\x04"
# Enough that a batch is worth its fixed costs, and few enough that several of them are far below 1 GB.
BATCH_BYTES, BATCH_ROWS = 24 << 20, 1 << 19
# Read ahead to see what a file is and when it begins.
PEEK_BYTES, PEEK_ROWS = 1 << 16, 1_000
# A time that large is in microseconds: as milliseconds it would be the year 5138.
_MIN_US = 10**14

# Which of Binance's dumps a file is.
TRADES_DUMP, AGG_TRADES_DUMP, KLINES_DUMP = "trades", "aggTrades", "klines"
# Columns by position, as Binance documents its dumps; spot and USD-M differ only in how many follow.
_BINANCE = {
    TRADES_DUMP: ("id", "price", "size", "turnover", "ts_ms", "side"),
    AGG_TRADES_DUMP: ("id", "price", "size", "first_id", "last_id", "ts_ms", "side"),
}
# Whether the buyer was the maker: then the seller was the aggressor.
_MAKER_SIDES = {"true": SELL, "false": BUY}


@dataclass(frozen=True, slots=True)
class Rows:
    """What some rows of a file hold, in its order: a TRADES frame, or `of_minutes` a CANDLES frame.

    `bad`: rows that are none; `fraction`: of the file that is read with these.
    """

    frame: pl.DataFrame
    bad: int
    fraction: float
    of_minutes: bool = False


class Readable(Protocol):
    """A file that can be imported. `of_minutes`: of candles; `first_ms`: its first time, None if it has no good row."""

    @property
    def path(self) -> Path: ...

    @property
    def of_minutes(self) -> bool: ...

    def check(self) -> None:
        """BadInput where what it is does not show."""

    def batches(self) -> Iterator[Rows]: ...

    def first_ms(self) -> int | None: ...

    def last_ms(self) -> int:
        """The greatest time among its last rows; -1 if none of them is good."""

    def fingerprint(self) -> str: ...

    def dump(self) -> str:
        """Which of Binance's dumps it is; '' for any other file."""


@dataclass(frozen=True, slots=True)
class FileForm:
    """How rows are cut. `columns`: their names; `dump`: which of Binance's, with sides and times its own way, or ''."""

    columns: tuple[str, ...]
    has_header: bool
    dump: str = ""


class RowsFile(ABC):
    """One file of rows; which, its kind says. `skip_bad`: count bad rows instead of raising BadInput at the first."""

    # Columns that have to be there.
    needed: tuple[str, ...]
    of_minutes = False

    def __init__(self, path: Path, instrument: Instrument, skip_bad: bool = False) -> None:
        self.path, self.instrument, self.skip_bad = path, instrument, skip_bad

    def batches(self) -> Iterator[Rows]:
        with unreadable(self.path):
            yield from self._parquet(BATCH_ROWS) if self._is_parquet() else self._text(BATCH_BYTES)

    def head(self) -> pl.DataFrame:
        """Return its first good rows, if it has any."""
        patient = type(self)(self.path, self.instrument, skip_bad=True)
        with unreadable(self.path):
            batches = patient._parquet(PEEK_ROWS) if self._is_parquet() else patient._text(PEEK_BYTES)
            return next((rows.frame for rows in batches if len(rows.frame)), pl.DataFrame())

    def first_ms(self) -> int | None:
        head = self.head()
        return None if head.is_empty() else int(head.to_series(0).min())  # type: ignore[arg-type]

    def last_ms(self) -> int:
        """Packed text is read to its end."""
        patient = type(self)(self.path, self.instrument, skip_bad=True)
        with unreadable(self.path):
            batches = patient._parquet(PEEK_ROWS, last=True) if self._is_parquet() else patient._text_end()
            times = [time for rows in batches for time in rows.frame.to_series(0).to_list()]
        return int(max([-1, *times]))

    def fingerprint(self) -> str:
        return TradeFile(self.path, self.instrument).fingerprint()

    def check(self) -> None:  # noqa: B027  # trades are what their columns say
        """BadInput where what it is does not show."""

    def columns(self) -> Sequence[str]:
        """Their names, as far as they can be read."""
        with unreadable(self.path):
            if self._is_parquet():
                return pl.scan_parquet(self.path).collect_schema().names()
            form = self._text_form()
        return form.columns if form else ()

    def dump(self) -> str:
        with unreadable(self.path):
            form = None if self._is_parquet() else self._text_form()
        return form.dump if form else ""

    def _text_form(self) -> FileForm | None:
        with text_of(self.path) as (text, _):
            return self._form(text.readline(PEEK_BYTES), text.readline(PEEK_BYTES))

    @abstractmethod
    def _form(self, first: bytes, second: bytes) -> FileForm | None:
        """What the first two lines of a text show it to be."""

    @abstractmethod
    def _rows(self, raw: pl.DataFrame, form: FileForm, first: int, unit: str, fraction: float) -> Rows:
        """Read rows, of which the first is number `first` of the file's lines or rows (`unit`)."""

    def _is_parquet(self) -> bool:
        with self.path.open("rb") as file:
            return file.read(len(PARQUET_MAGIC)) == PARQUET_MAGIC

    def _parquet(self, batch_rows: int, *, last: bool = False) -> Iterator[Rows]:
        try:
            scan = pl.scan_parquet(self.path)
            columns = scan.collect_schema().names()
            height = scan.select(pl.len()).collect().item()
        except pl.exceptions.PolarsError as error:
            raise BadInput(f"{self.path} is not a Parquet file that can be read: {error}") from error
        for name in self.needed:
            if name not in columns:
                raise BadInput(f"{self.path} has no column {name!r}, expected {', '.join(self.needed)}")
        form = FileForm(tuple(columns), has_header=False)
        for offset in range(max(0, height - batch_rows) if last else 0, height, batch_rows):
            raw = scan.slice(offset, batch_rows).select(self._read_of(form)).collect()
            yield self._rows(raw, form, offset + 1, "row", min(1.0, (offset + batch_rows) / height))

    def _text(self, batch_bytes: int) -> Iterator[Rows]:
        with text_of(self.path) as (text, raw):
            size = max(1, self.path.stat().st_size)
            first, second = text.readline(PEEK_BYTES), text.readline(PEEK_BYTES)
            form = self._form(first, second)
            if form is None:
                found = first.decode(errors="replace").strip()[:80]
                expected = f"a header with {','.join(self.needed)}, or one of Binance's dumps"
                raise BadInput(f"{self.path} line 1: {found!r}, expected {expected}")
            rest, line = (second if form.has_header else first + second), 1 + form.has_header
            while block := text.read(batch_bytes):
                block = rest + block
                cut = block.rfind(b"\n") + 1
                block, rest = block[:cut], block[cut:]
                if block:
                    yield self._block(block, form, line, min(1.0, raw.tell() / size))
                    line += block.count(b"\n")
            if rest:
                yield self._block(rest, form, line, 1.0)

    def _text_end(self) -> Iterator[Rows]:
        """The rows of its last lines."""
        with text_of(self.path) as (text, raw):
            first, second = text.readline(PEEK_BYTES), text.readline(PEEK_BYTES)
            form = self._form(first, second)
            if text is raw:
                text.seek(max(text.tell(), self.path.stat().st_size - PEEK_BYTES))
            end = second if form and form.has_header else first + second
            while block := text.read(BATCH_BYTES):
                end = (end + block)[-PEEK_BYTES:]
        # It may begin within a line, which is then no good row, or one of another time.
        lines = end[end.find(b"\n") + 1 :] or end
        if form and lines:
            yield self._block(lines, form, 1, 1.0)

    def _block(self, block: bytes, form: FileForm, line: int, fraction: float) -> Rows:
        # One column more than there are, to see lines that have too many.
        names = (*form.columns, "more")
        raw = pl.read_csv(
            io.BytesIO(block),
            has_header=False,
            schema=dict.fromkeys(names, pl.String()),
            quote_char=None,
            truncate_ragged_lines=True,
            missing_columns="insert",
        )
        return self._rows(raw, form, line, "line", fraction)

    def _read_of(self, form: FileForm) -> list[str]:
        return [name for name in form.columns if name in self.needed]

    @property
    @abstractmethod
    def _expected(self) -> Mapping[str, Expected]:
        """What each of the expressions of `_good` was to be."""

    def _good(self, raw: pl.DataFrame, first: int, unit: str, parsed: Sequence[pl.Expr]) -> tuple[pl.DataFrame, int]:
        """Return the rows of which every expression has a value, and how many have not."""
        more = [pl.when(pl.col("more").is_null()).then(True).alias("#more")] if "more" in raw.columns else []
        expected = {**self._expected, "#more": Expected("more", "no more fields than the header has")}
        read = [name for name in raw.columns if not name.startswith("#")]
        rows = raw.select(*read, *parsed, *more, row=first + pl.int_range(pl.len()))
        if unit == "line":
            rows = rows.filter(~pl.all_horizontal(pl.col(self.needed).is_null()))
        bad = BadLines(self.path, self.skip_bad)
        return without_bad(rows, expected, self.instrument, bad, unit), bad.count


class ImportFile(RowsFile):
    """A file of trades."""

    needed = COLUMNS

    @property
    def _expected(self) -> Mapping[str, Expected]:
        return expected_of(self.instrument)

    def first_ids(self) -> list[int]:
        head = self.head()
        return [] if head.is_empty() else head["id"].to_list()

    def _form(self, first: bytes, second: bytes) -> FileForm | None:
        """Ours is named by its header, Binance's by what stands in its columns."""
        header = fields_of(first)
        if all(name in header for name in COLUMNS):
            return FileForm(tuple(header), has_header=True)
        has_header = not header[0].isdigit()
        fields = fields_of(second if has_header else first)
        for dump, known in _BINANCE.items():
            after = len(fields) - len(known)
            if after in (0, 1) and fields[known.index("side")].lower() in _MAKER_SIDES:
                return FileForm((*known, *["best"][:after]), has_header, dump)
        return None

    def _rows(self, raw: pl.DataFrame, form: FileForm, first: int, unit: str, fraction: float) -> Rows:
        schema, instrument = raw.schema, self.instrument
        side = pl.col("side").cast(pl.String)
        parsed = [
            whole("ts_ms", schema["ts_ms"]),
            whole("id", schema["id"]),
            scaled("price", schema["price"], instrument.price_decimals),
            scaled("size", schema["size"], instrument.size_decimals),
            side_code(side.str.to_lowercase(), _MAKER_SIDES) if form.dump else side_code(side),
        ]
        kept, bad = self._good(raw, first, unit, parsed)
        time = in_ms(pl.col("#ts_ms")) if form.dump else pl.col("#ts_ms")
        trades = kept.select(time, "#id", "#price", "#size", "#side")
        trades.columns = list(TRADES)
        return Rows(trades, bad, fraction)


@contextmanager
def text_of(path: Path) -> Iterator[tuple[IO[bytes], IO[bytes]]]:
    """The file as text, unpacked where it is packed, and the raw file, whose position is the progress."""
    with path.open("rb") as raw:
        packed = raw.read(len(ZIP_MAGIC)) == ZIP_MAGIC
        raw.seek(0)
        if not packed:
            with opened(path) as (text, inner):
                yield text, inner
            return
        with zipfile.ZipFile(raw) as archive:
            members = [name for name in archive.namelist() if not name.endswith("/")]
            if len(members) != 1:
                raise BadInput(f"{path} holds {len(members)} files, expected one")
            with archive.open(members[0]) as text:
                yield text, raw


def recording(files: Sequence[Readable]) -> str:
    """A name of exactly these files, in this order. Not one that a replay gives to them."""
    joined = "".join(file.fingerprint() for file in files)
    return "import-" + blake2b(joined.encode(), digest_size=8).hexdigest()


def fields_of(line: bytes) -> list[str]:
    return [name.strip() for name in line.decode(errors="replace").split(",")]


def in_ms(time: pl.Expr) -> pl.Expr:
    return pl.when(time >= _MIN_US).then(time // 1_000).otherwise(time)
