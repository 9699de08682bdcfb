"""Trades from lines of text: CSV, and frames of a recorded stream. Packed by gzip or not."""

import gzip
import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import IO, cast

import orjson

from common.errors import BadInput
from common.market.instrument import Instrument
from common.market.trade import SIDE_CODES, Trade, Trades
from workers.recordings.base import COLUMNS, SIDES, BadLines, Scaled, TradeChunk, refusal_of

CHUNK_LINES = 20_000
_GZIP_MAGIC = b"\x1f\x8b"

# Reads one line, given its number. None: the line holds no trade, or a bad one that was counted.
Parse = Callable[[bytes, int, BadLines], Trade | None]


@contextmanager
def opened(path: Path) -> Iterator[tuple[IO[bytes], IO[bytes]]]:
    """The file as lines, unpacked where it is packed, and the raw file, whose position is the progress."""
    with path.open("rb") as raw:
        packed = raw.read(2) == _GZIP_MAGIC
        raw.seek(0)
        yield (cast(IO[bytes], io.BufferedReader(gzip.GzipFile(fileobj=raw))) if packed else raw), raw


def is_frame(line: bytes) -> bool:
    """Whether a file that begins with `line` holds `<local ns> <json>` frames."""
    digits, _, rest = line.partition(b" ")
    return digits.isdigit() and rest.startswith(b"{")


def csv_chunks(path: Path, instrument: Instrument, skip_bad: bool, first: int) -> Iterator[TradeChunk]:
    with opened(path) as (lines, _):
        header = [name.strip() for name in lines.readline().decode(errors="replace").split(",")]
    missing = [name for name in COLUMNS if name not in header]
    if missing:
        found = ",".join(header)[:80]
        raise BadInput(f"{path} line 1: header {found!r} lacks {missing[0]!r}, expected {','.join(COLUMNS)}")
    at = [header.index(name) for name in COLUMNS]

    def parse(line: bytes, number: int, bad: BadLines) -> Trade | None:
        fields = line.decode(errors="replace").strip().split(",")
        if fields == [""]:
            return None
        if len(fields) != len(header):
            bad.line(f"line {number}", f"{len(fields)} fields, expected {len(header)}")
            return None
        return _trade([fields[i].strip() for i in at], f"line {number}", instrument, bad)

    return _chunks(path, skip_bad, first, 1, parse)


def frame_chunks(path: Path, instrument: Instrument, skip_bad: bool, first: int) -> Iterator[TradeChunk]:
    markets: list[str] = []

    def parse(line: bytes, number: int, bad: BadLines) -> Trade | None:
        if b'"e":"trade"' not in line:
            return None
        try:
            data = orjson.loads(line.partition(b" ")[2])["data"]
            market, side = data["s"], "sell" if data["m"] else "buy"
            fields = [str(data["T"]), data["p"], data["q"], side, str(data["t"])]
        except (orjson.JSONDecodeError, KeyError, TypeError) as error:
            bad.line(f"line {number}", f"{line[:60].decode(errors='replace')!r} is no trade frame ({error!r})")
            return None
        if market not in markets:
            markets.append(market)
        if len(markets) > 1:
            raise BadInput(f"{path} line {number}: trades of {' and '.join(markets)}, expected one market")
        return _trade(fields, f"line {number}", instrument, bad)

    return _chunks(path, skip_bad, first, 0, parse)


def _chunks(path: Path, skip_bad: bool, first: int, header_lines: int, parse: Parse) -> Iterator[TradeChunk]:
    size = max(1, path.stat().st_size)
    number = header_lines + first * CHUNK_LINES
    with opened(path) as (lines, raw):
        for _ in islice(lines, number):
            pass
        while chunk := list(islice(lines, CHUNK_LINES)):
            bad = BadLines(path, skip_bad)
            parsed = (parse(line, at, bad) for at, line in enumerate(chunk, number + 1))
            trades = Trades.of(trade for trade in parsed if trade is not None)
            number += len(chunk)
            yield TradeChunk(trades, bad.count, min(1.0, raw.tell() / size))


def _trade(fields: list[str], place: str, instrument: Instrument, bad: BadLines) -> Trade | None:
    """Read the fields of COLUMNS, or report the first that is wrong."""
    ts_ms, price, size, side, trade_id = fields
    for name, text in (("ts_ms", ts_ms), ("id", trade_id)):
        if not (text.isascii() and text.isdigit() and len(text) < 20):
            bad.line(place, f"{name} {text[:40]!r}, expected a whole number")
            return None
    if side not in SIDE_CODES:
        bad.line(place, f"side {side[:40]!r}, expected {SIDES}")
        return None
    of: Scaled = "price"
    text, decimals = price, instrument.price_decimals
    try:
        ticks = instrument.price_ticks(price)
        of, text, decimals = "size", size, instrument.size_decimals
        lots = instrument.size_lots(size)
    except BadInput as error:
        problem = f"{of}: {error}, expected a number of at most {decimals} decimals"
        bad.line(place, problem, refusal_of(text, of, decimals))
        return None
    return Trade(int(ts_ms), int(trade_id), ticks, lots, SIDE_CODES[side])
