"""Timeframes: `<n><unit>`, units `ms s m h d w M`.

A timeframe cuts time into right-open spans `[open, next open)`, each named by its open in ms UTC. Spans of
fixed length are counted from 1970-01-01T00:00Z, weeks from a Monday, months from the calendar: `2M` opens in
January, March, ... The anchor is one argument away from a session: `open_of` is the only place that knows it.
"""

import re
from dataclasses import dataclass
from datetime import UTC, datetime

from common.errors import BadInput

SECOND_MS = 1_000
MINUTE_MS = 60 * SECOND_MS
DAY_MS = 24 * 60 * MINUTE_MS
WEEK_MS = 7 * DAY_MS
# 1970-01-05 was the first Monday.
FIRST_MONDAY_MS = 4 * DAY_MS

_UNIT_MS = {"ms": 1, "s": SECOND_MS, "m": MINUTE_MS, "h": 60 * MINUTE_MS, "d": DAY_MS, "w": WEEK_MS}
_ALIASES = {"min": "m", "mo": "M", "": "m", "D": "d", "W": "w", "S": "s", "H": "h"}
_TEXT = re.compile(r"([0-9]{0,9})(ms|min|mo|[smhdwMDWSH]|)", re.ASCII)
# Longer spans have no use, and the cap keeps every open inside the years datetime knows.
MAX_SPAN_MS = 100 * 366 * DAY_MS
_MONTH_MS = 31 * DAY_MS


@dataclass(frozen=True, slots=True)
class Timeframe:
    """`n` units; `text` is the canonical name. Compare and hash by value."""

    n: int
    unit: str

    @classmethod
    def parse(cls, text: str) -> "Timeframe":
        """Read `15m`, `5min`, `1mo`, and UDF's `5`, `1D`, `D`. BadInput otherwise."""
        match = _TEXT.fullmatch(text)
        if not match or text == "":
            raise BadInput(f"timeframe {text[:20]!r} is not <n><unit> with a unit of ms s m h d w M, such as 15m")
        n = int(match[1] or "1")
        unit = _ALIASES.get(match[2], match[2])
        if not 1 <= n * _UNIT_MS.get(unit, _MONTH_MS) <= MAX_SPAN_MS:
            raise BadInput(f"timeframe {text[:20]!r} is outside 1ms to 100 years")
        return cls(n, unit)

    @property
    def text(self) -> str:
        return f"{self.n}{self.unit}"

    @property
    def fixed_ms(self) -> int | None:
        """Length in ms, or None for months, whose length varies."""
        return None if self.unit == "M" else self.n * _UNIT_MS[self.unit]

    @property
    def longest_ms(self) -> int:
        return self.fixed_ms or self.n * _MONTH_MS

    @property
    def offset_ms(self) -> int:
        """Where the grid of fixed spans begins, relative to the epoch."""
        return FIRST_MONDAY_MS if self.unit == "w" else 0

    @property
    def of_minutes(self) -> bool:
        """Whether its spans are made of whole minutes, and so of minute candles."""
        return self.fixed_ms is None or self.fixed_ms % MINUTE_MS == 0

    @property
    def of_days(self) -> bool:
        """Whether its spans are made of whole trading days, and so of daily candles."""
        return self.unit in ("d", "w", "M")

    def open_of(self, ts_ms: int) -> int:
        """Return the open of the span that holds `ts_ms`."""
        if self.fixed_ms is None:
            return _month_open(_month_index(ts_ms) // self.n * self.n)
        return ts_ms - (ts_ms - self.offset_ms) % self.fixed_ms

    def next_open(self, open_ms: int) -> int:
        """Return the end of the span named `open_ms`, which is the next one's open."""
        if self.fixed_ms is None:
            return _month_open(_month_index(open_ms) + self.n)
        return open_ms + self.fixed_ms


MINUTE = Timeframe(1, "m")


def minute_of(ts_ms: int) -> int:
    return ts_ms - ts_ms % MINUTE_MS


def day_of(ts_ms: int) -> int:
    """Return the open of the UTC day."""
    return ts_ms - ts_ms % DAY_MS


def _month_index(ts_ms: int) -> int:
    moment = datetime.fromtimestamp(ts_ms // SECOND_MS, UTC)
    return moment.year * 12 + moment.month - 1


def _month_open(index: int) -> int:
    return int(datetime(index // 12, index % 12 + 1, 1, tzinfo=UTC).timestamp()) * SECOND_MS
