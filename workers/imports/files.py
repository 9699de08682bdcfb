"""Files of trades, in batches of whole columns.

    CSV       header `ts_ms,price,size,side,id` in any order, more columns are ignored
    Parquet   the same columns; price and size as decimals, integers, text or floats
    Binance   the public dumps of trades and aggregate trades, spot and USD-M, with or without a header

Text may be packed by gzip or zip. Which one a file is, is seen from its first bytes. However large it is, only a batch
of it is in memory.
"""

import io
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import IO

import polars as pl

from common.errors import BadInput
from common.frames.schema import TRADES
from common.market.instrument import Instrument
from common.market.trade import BUY, SELL
from workers.recordings import TradeFile, unreadable
from workers.recordings.base import COLUMNS, Bad
from workers.recordings.parquet import scaled, side_code, whole, without_bad
from workers.recordings.text import opened

PARQUET_MAGIC, ZIP_MAGIC = b"PAR1", b"PK\x03\x04"
# Enough that a batch is worth its fixed costs, and few enough that several of them are far below 1 GB.
BATCH_BYTES, BATCH_ROWS = 24 << 20, 1 << 19
# Read ahead to see what a file is and when it begins.
PEEK_BYTES, PEEK_ROWS = 1 << 16, 1_000
# A time that large is in microseconds: as milliseconds it would be the year 5138.
_LEAST_US = 10**14

# Columns by position, as Binance documents its dumps; spot and USD-M differ only in how many follow.
_BINANCE_TRADES = ("id", "price", "size", "turnover", "ts_ms", "side")
_BINANCE_AGG_TRADES = ("id", "price", "size", "first_id", "last_id", "ts_ms", "side")
# Whether the buyer was the maker: then the seller was the aggressor.
_MAKER_SIDES = {"true": SELL, "false": BUY}


@dataclass(frozen=True, slots=True)
class Rows:
    """Trades of some rows of a file, in its order (TRADES). `bad`: rows that are none; `fraction`: of the file."""

    trades: pl.DataFrame
    bad: int
    fraction: float


@dataclass(frozen=True, slots=True)
class Form:
    """How the lines of a text are cut. `columns`: their names; `binance`: sides and times are written its way."""

    columns: tuple[str, ...]
    has_header: bool
    binance: bool = False


@dataclass(frozen=True, slots=True)
class ImportFile:
    """One file. `skip_bad`: count bad rows instead of raising BadInput at the first."""

    path: Path
    instrument: Instrument
    skip_bad: bool = False

    def batches(self) -> Iterator[Rows]:
        with unreadable(self.path):
            if self._magic() == PARQUET_MAGIC:
                yield from self._parquet(BATCH_ROWS)
            else:
                yield from self._text(BATCH_BYTES)

    def head(self) -> pl.DataFrame:
        """Return its first trades, if it has any."""
        with unreadable(self.path):
            patient = ImportFile(self.path, self.instrument, skip_bad=True)
            is_parquet = self._magic() == PARQUET_MAGIC
            batches = patient._parquet(PEEK_ROWS) if is_parquet else patient._text(PEEK_BYTES)
            return next((rows.trades for rows in batches if len(rows.trades)), TRADES.to_frame())

    def fingerprint(self) -> str:
        return TradeFile(self.path, self.instrument).fingerprint()

    def _magic(self) -> bytes:
        with self.path.open("rb") as file:
            return file.read(len(PARQUET_MAGIC))

    def _parquet(self, batch_rows: int) -> Iterator[Rows]:
        try:
            scan = pl.scan_parquet(self.path)
            schema = scan.collect_schema()
            height = scan.select(pl.len()).collect().item()
        except pl.exceptions.PolarsError as error:
            raise BadInput(f"{self.path} is not a Parquet file that can be read: {error}") from error
        for name in COLUMNS:
            if name not in schema:
                raise BadInput(f"{self.path} has no column {name!r}, expected {', '.join(COLUMNS)}")
        for offset in range(0, height, batch_rows):
            raw = scan.select(COLUMNS).slice(offset, batch_rows).collect()
            end = min(1.0, (offset + batch_rows) / height)
            yield self._rows(raw, Form(COLUMNS, has_header=False), offset + 1, "row", end)

    def _text(self, batch_bytes: int) -> Iterator[Rows]:
        with text_of(self.path) as (text, raw):
            size = max(1, self.path.stat().st_size)
            first = text.readline(PEEK_BYTES)
            second = text.readline(PEEK_BYTES)
            form = _form(self.path, first, second)
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

    def _block(self, block: bytes, form: Form, line: int, fraction: float) -> Rows:
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

    def _rows(self, raw: pl.DataFrame, form: Form, first: int, unit: str, fraction: float) -> Rows:
        schema, instrument = raw.schema, self.instrument
        side = pl.col("side").cast(pl.String)
        parsed = raw.select(
            *raw.columns,
            whole("ts_ms", schema["ts_ms"]),
            whole("id", schema["id"]),
            scaled("price", schema["price"], instrument.price_decimals),
            scaled("size", schema["size"], instrument.size_decimals),
            side_code(side.str.to_lowercase(), _MAKER_SIDES) if form.binance else side_code(side),
            *([pl.when(pl.col("more").is_null()).then(True).alias("#more")] if "more" in schema else []),
            row=first + pl.int_range(pl.len()),
        )
        if unit == "line":
            parsed = parsed.filter(~pl.all_horizontal(pl.col(COLUMNS).is_null()))
        bad = Bad(self.path, self.skip_bad)
        kept = without_bad(parsed, instrument, bad, unit)
        time = pl.col("#ts_ms")
        if form.binance:
            time = pl.when(time >= _LEAST_US).then(time // 1_000).otherwise(time)
        trades = kept.select(time, "#id", "#price", "#size", "#side")
        trades.columns = list(TRADES)
        return Rows(trades, bad.count, fraction)


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


def recording(files: list[ImportFile]) -> str:
    """A name of exactly these files, in this order. Not one that a replay gives to them."""
    joined = "".join(file.fingerprint() for file in files)
    return "import-" + blake2b(joined.encode(), digest_size=8).hexdigest()


def _form(path: Path, first: bytes, second: bytes) -> Form:
    """Ours is named by its header, Binance's by what stands in its columns."""
    header = [name.strip() for name in first.decode(errors="replace").split(",")]
    if all(name in header for name in COLUMNS):
        return Form(tuple(header), has_header=True)
    has_header = not header[0].isdigit()
    fields = [name.strip() for name in (second if has_header else first).decode(errors="replace").split(",")]
    for known in (_BINANCE_TRADES, _BINANCE_AGG_TRADES):
        after = len(fields) - len(known)
        if after in (0, 1) and fields[known.index("side")].lower() in ("true", "false"):
            return Form((*known, *["best"][:after]), has_header, binance=True)
    found = first.decode(errors="replace").strip()[:80]
    raise BadInput(
        f"{path} line 1: {found!r}, expected a header with {','.join(COLUMNS)}, or a dump of Binance's trades"
    )
