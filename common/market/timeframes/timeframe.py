"""Timeframes: `<n><unit>`, units `ms s m h d w M`.

A timeframe cuts time into right-open spans `[open, next open)`, each named by its open in ms UTC. Spans of
fixed length are counted from 1970-01-01T00:00Z, weeks from a Monday, months from the calendar: `2M` opens in
January, March, ...

Of a market with sessions, spans are cut by these (`Timeframe.anchored`), and time between two sessions is in none:

    ms s m h    counted from each session's open. The last bar ends with the session: it has the closing minute, too,
                except that bars of a minute or less go on through it.
    d           n trading days, counted from the first of 2000, named by the first one's open
    w M         the trading days whose date is in those weeks or months of the calendar
"""

import re
from bisect import bisect_left
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from common.errors import BadInput
from common.market.timeframes.session import Sessions

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
    """`n` units; `text` is the canonical name. Compare and hash by value. `sessions`: None where nothing closes."""

    n: int
    unit: str
    sessions: Sessions | None = None

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

    def anchored(self, sessions: Sessions | None) -> "Timeframe":
        """The same of a market with these sessions."""
        return self if sessions == self.sessions else replace(self, sessions=sessions)

    @property
    def fixed_ms(self) -> int | None:
        """Length in ms, or None where it varies: of months, and of every span cut by sessions."""
        return None if self.sessions else self._length_ms

    @property
    def longest_ms(self) -> int:
        """The longest span, in ms; of sessions without the time between them, and about."""
        return self._length_ms or self.n * _MONTH_MS

    @property
    def offset_ms(self) -> int:
        """Where the grid of fixed spans begins, relative to the epoch."""
        return FIRST_MONDAY_MS if self.unit == "w" else 0

    @property
    def of_minutes(self) -> bool:
        """Whether its spans are made of whole minutes, and so of minute candles."""
        return self._length_ms is None or self._length_ms % MINUTE_MS == 0

    def holds(self, ts_ms: int) -> bool:
        """Whether any span holds `ts_ms`: without sessions always."""
        return self.sessions is None or self.sessions.holds(ts_ms)

    @property
    def of_days(self) -> bool:
        """Whether its spans are made of whole trading days, and so of daily candles."""
        return self.unit in ("d", "w", "M")

    def open_of(self, ts_ms: int) -> int:
        """Return the open of the span that holds `ts_ms`, or else the next moment that a session holds."""
        if self.sessions:
            return self._span(self.sessions, ts_ms)[0]
        if self._length_ms is None:
            return _month_open(_month_index(ts_ms) // self.n * self.n)
        return ts_ms - (ts_ms - self.offset_ms) % self._length_ms

    def next_open(self, open_ms: int) -> int:
        """Return the end of the span named `open_ms`. `open_of` of that is the next span's open."""
        if self.sessions:
            return self._span(self.sessions, open_ms)[1]
        if self._length_ms is None:
            return _month_open(_month_index(open_ms) + self.n)
        return open_ms + self._length_ms

    def open_before(self, open_ms: int) -> int:
        """Return the open of the span before the one named `open_ms`."""
        return self.open_of(self.sessions.last_before(open_ms) if self.sessions else open_ms - 1)

    @property
    def _length_ms(self) -> int | None:
        return None if self.unit == "M" else self.n * _UNIT_MS[self.unit]

    def _span(self, sessions: Sessions, ts_ms: int) -> tuple[int, int]:
        """Return open and end of the span that holds `ts_ms`, or of the next one."""
        at = sessions.at(ts_ms)
        if self.unit in "dwM":
            first, last = self._days(sessions, at)
            return sessions.opens[first], sessions.ends[last]
        open_ms, end_ms, length_ms = sessions.opens[at], sessions.ends[at], self.n * _UNIT_MS[self.unit]
        last = ((end_ms if length_ms <= MINUTE_MS else sessions.closes[at]) - open_ms - 1) // length_ms
        number = min(max(ts_ms - open_ms, 0) // length_ms, last)
        start_ms = open_ms + number * length_ms
        return start_ms, end_ms if number == last else start_ms + length_ms

    def _days(self, sessions: Sessions, at: int) -> tuple[int, int]:
        """Return the first and last trading day of the span that the one at this position is in."""
        if self.unit == "d":
            first = at - (at - sessions.origin) % self.n
            return max(first, 0), min(first + self.n, len(sessions.opens)) - 1
        by_date = replace(self, sessions=None)
        from_ms = by_date.open_of(sessions.labels[at])
        first = bisect_left(sessions.labels, from_ms)
        return first, bisect_left(sessions.labels, by_date.next_open(from_ms), first) - 1


MINUTE = Timeframe(1, "m")


def width_text(width_ms: int) -> str:
    """A width as the text of a timeframe, in the largest unit that it is a whole number of."""
    units = ((unit, length_ms) for unit, length_ms in reversed(_UNIT_MS.items()) if unit != "w")
    return next(f"{width_ms // length_ms}{unit}" for unit, length_ms in units if width_ms % length_ms == 0)


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
