"""Trading sessions as a table: when a market trades, and which trading day that is.

Sessions ascend and never overlap. A break (lunch in Hong Kong, Tokyo) does not end a session: bars of it are just
empty. What builds the table is common.market.timeframes.calendars.
"""

from array import array
from bisect import bisect_left, bisect_right
from dataclasses import dataclass, field
from typing import Any

from common.market.timeframes.calendar_exceptions import NO_EXCEPTIONS, CalendarExceptions

# Trading days are counted from the first one of 2000, so that a calendar may grow at both ends.
ORIGIN_MS = 946_684_800_000


@dataclass(frozen=True, slots=True, repr=False)
class Sessions:
    """Columns of equal length, in ms UTC. Two are equal if calendar, zone, hours and exceptions are.

    labels: midnight UTC of the trading date. closes: when trading stops. ends: when the session does; the minute that
    opens at the close of a stock exchange has the prints of its closing auction, and belongs to the session.
    """

    calendar: str
    zone: str
    hours: str
    labels: "array[int]" = field(compare=False)
    opens: "array[int]" = field(compare=False)
    closes: "array[int]" = field(compare=False)
    ends: "array[int]" = field(compare=False)
    # What was applied to the calendar as the library has it.
    exceptions: CalendarExceptions = NO_EXCEPTIONS

    def __repr__(self) -> str:
        # Not the columns: they are long.
        version = f", version {self.exceptions.version}" if self.exceptions.days else ""
        return f"Sessions({self.calendar!r}, {self.zone!r}, {self.hours!r}{version})"

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        """As IPython and hypothesis show it, who would print all fields of a dataclass."""
        printer.text(repr(self))

    def at(self, ts_ms: int) -> int:
        """Return the position of the session that holds `ts_ms`, else of the next one; of the last after all."""
        return min(bisect_right(self.ends, ts_ms), len(self.ends) - 1)

    def holds(self, ts_ms: int) -> bool:
        at = self.at(ts_ms)
        return self.opens[at] <= ts_ms < self.ends[at]

    def last_before(self, ts_ms: int) -> int:
        """Return the last moment before `ts_ms` that a session holds; the first open of all if there is none."""
        at = bisect_left(self.opens, ts_ms) - 1
        return min(ts_ms, self.ends[at]) - 1 if at >= 0 else self.opens[0]

    @property
    def origin(self) -> int:
        return bisect_left(self.labels, ORIGIN_MS)
