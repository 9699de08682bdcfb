"""Query parameters as values. What can't be understood is BadInput: one sentence with the value and what is expected.

Unknown and repeated parameters are refused: a misspelt `limt=` that is ignored is a wrong answer nobody notices.
"""

import re
from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal, get_args
from urllib.parse import parse_qsl

from common.errors import BadInput
from common.market.builder import gaps
from common.market.instrument import Instrument
from common.market.timeframes.timeframe import Timeframe
from common.market.trade import MAX_TICKS, MAX_TS_MS
from common.store.book import MAX_BOOK_LEVELS
from feed.bars.footprints import FootprintQuery
from feed.reading.bounds import Window

DEFAULT_TIMEFRAME = "1m"
DEFAULT_LIMIT = 500
# Most trades of one answer: some 700 kB of JSON.
MAX_TRADES_LIMIT = 10_000
# Levels of a side of the book.
DEFAULT_DEPTH = 20
MAX_DEPTH = MAX_BOOK_LEVELS
GAP_STATES = (gaps.OPEN, gaps.REPAIRING, gaps.REPAIRED, gaps.UNFILLABLE)
# What is echoed of a value: enough to find it, too little to be misused.
SHOWN = 40

Form = Literal["json", "csv", "arrow"]
Fill = Literal["none", "flat"]
Take = Literal["newest", "oldest"]

_WHOLE = re.compile(r"-?[0-9]{1,20}", re.ASCII)


@dataclass(frozen=True, slots=True)
class CandleQuery:
    timeframe: Timeframe
    window: Window
    fill: Fill
    form: Form


@dataclass(frozen=True, slots=True)
class TradesQuery:
    """Trades of `[start_ms, end_ms)`, None without bound; of more than `limit` those that `take` says."""

    start_ms: int | None
    end_ms: int | None
    limit: int
    form: Form
    take: Take = "newest"


@dataclass(frozen=True, slots=True)
class GapsQuery:
    """`state`: gaps in that state only, None for any."""

    state: str | None
    limit: int


def candle_query(query_string: bytes, limit_max: int) -> CandleQuery:
    given = _given(query_string, ("timeframe", "start", "end", "limit", "fill", "format"))
    return CandleQuery(
        timeframe=timeframe_of(given.get("timeframe", DEFAULT_TIMEFRAME)),
        window=_window(given, limit_max),
        fill=_one_of("fill", given.get("fill", "none"), get_args(Fill)),  # type: ignore[arg-type]
        form=_one_of("format", given.get("format", "json"), get_args(Form)),  # type: ignore[arg-type]
    )


def timeframe_only(query_string: bytes) -> Timeframe:
    given = _given(query_string, ("timeframe",))
    return timeframe_of(given.get("timeframe", DEFAULT_TIMEFRAME))


def footprint_query(query_string: bytes, limit_max: int, instrument: Instrument) -> FootprintQuery:
    given = _given(query_string, ("timeframe", "start", "end", "limit", "row"))
    return FootprintQuery(
        timeframe=timeframe_of(given.get("timeframe", DEFAULT_TIMEFRAME)),
        window=_window(given, limit_max),
        row_ticks=_row_ticks(given["row"], instrument) if "row" in given else 1,
    )


def trades_query(query_string: bytes) -> TradesQuery:
    given = _given(query_string, ("start", "end", "limit", "take", "format"))
    window = _window(given, MAX_TRADES_LIMIT)
    return TradesQuery(
        window.start_ms,
        window.end_ms,
        window.limit,
        form=_one_of("format", given.get("format", "json"), get_args(Form)),  # type: ignore[arg-type]
        take=_one_of("take", given.get("take", "newest"), get_args(Take)),  # type: ignore[arg-type]
    )


def gaps_query(query_string: bytes, limit_max: int) -> GapsQuery:
    given = _given(query_string, ("state", "limit"))
    return GapsQuery(
        state=_one_of("state", given["state"], GAP_STATES) if "state" in given else None,
        limit=limit_of(given["limit"], limit_max) if "limit" in given else min(DEFAULT_LIMIT, limit_max),
    )


def book_depth(query_string: bytes) -> int:
    """Levels of a side."""
    given = _given(query_string, ("depth",))
    return _within("depth", given["depth"], MAX_DEPTH) if "depth" in given else DEFAULT_DEPTH


def nothing(query_string: bytes) -> None:
    """For paths without parameters."""
    _given(query_string, ())


def timeframe_of(text: str) -> Timeframe:
    return Timeframe.parse(text)


def limit_of(text: str, limit_max: int) -> int:
    return _within("limit", text, limit_max)


def whole(name: str, text: str) -> int:
    if not _WHOLE.fullmatch(text):
        raise BadInput(f"{name} is {text[:SHOWN]!r}, expected a whole number")
    return int(text)


def _given(query_string: bytes, known: Collection[str]) -> dict[str, str]:
    given: dict[str, str] = {}
    try:
        pairs = parse_qsl(query_string.decode("latin-1"), keep_blank_values=True, max_num_fields=32, errors="strict")
    except ValueError:
        raise BadInput("the query is not up to 32 parameters of UTF-8 text, name=value joined by &") from None
    for name, value in pairs:
        if name not in known:
            wanted = ", ".join(known) or "no parameters"
            raise BadInput(f"parameter {name[:SHOWN]!r} is not known here, expected {wanted}")
        if name in given:
            raise BadInput(f"parameter {name!r} is given twice, expected once")
        given[name] = value
    return given


def _window(given: dict[str, str], limit_max: int) -> Window:
    start_ms = time_of("start", given["start"]) if "start" in given else None
    end_ms = time_of("end", given["end"]) if "end" in given else None
    if start_ms is not None and end_ms is not None and start_ms > end_ms:
        raise BadInput(f"start {start_ms} is after end {end_ms}, expected start <= end")
    limit = limit_of(given["limit"], limit_max) if "limit" in given else min(DEFAULT_LIMIT, limit_max)
    return Window(start_ms, end_ms, limit)


def time_of(name: str, text: str) -> int:
    """Read ms since 1970, or a UTC time such as 2025-01-12T14:00:00Z."""
    ts_ms = int(text) if _WHOLE.fullmatch(text) else _iso_ms(name, text)
    if not 0 <= ts_ms < MAX_TS_MS:
        raise BadInput(f"{name} is {text[:SHOWN]}, expected a time from 1970 to 2248")
    return ts_ms


def _iso_ms(name: str, text: str) -> int:
    wanted = "expected ms since 1970 or a UTC time such as 2025-01-12T14:00:00Z"
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise BadInput(f"{name} is {text[:SHOWN]!r}, {wanted}") from None
    # A time without a zone would be read as UTC here and meant as local there.
    if moment.utcoffset() != timedelta(0):
        raise BadInput(f"{name} is {text[:SHOWN]!r} and not in UTC, {wanted}")
    return (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)


def _within(name: str, text: str, most: int) -> int:
    number = whole(name, text)
    if not 1 <= number <= most:
        raise BadInput(f"{name} is {text[:SHOWN]}, expected 1 to {most}")
    return number


def _row_ticks(text: str, instrument: Instrument) -> int:
    tick = instrument.price_text(1)
    try:
        row_ticks = instrument.price_ticks(text)
    except BadInput:
        row_ticks = 0
    if not 1 <= row_ticks < MAX_TICKS:
        raise BadInput(f"row is {text[:SHOWN]!r}, expected a multiple of the tick {tick}")
    return row_ticks


def _one_of(name: str, text: str, choices: tuple[str, ...]) -> str:
    if text not in choices:
        raise BadInput(f"{name} is {text[:SHOWN]!r}, expected {' or '.join(choices)}")
    return text
