"""How far back minutes are kept, and so which trades are too old.

It counts from the greatest trade time alone: a clock that is wrong must close minutes early or late, and drop none.
"""

from dataclasses import dataclass

from common.market.timeframes.timeframe import DAY_MS, day_of
from common.market.trade import MAX_TS_MS


@dataclass(slots=True)
class Floor:
    """Which trades are too old: their minutes have been dropped, or will be with the next one that is written."""

    # Whole days of minutes kept, back from the day of the greatest trade time; 0: all.
    days: int = 0
    # Minutes that open before have been dropped already, be it by another rule.
    dropped_ms: int = -1
    # Late trades from here on are taken all the same: the minute is still there, or an archive has it.
    taken_from_ms: int = MAX_TS_MS

    def of(self, newest_ms: int) -> int:
        """The open of the oldest minute kept once trades up to `newest_ms` have been applied."""
        return max(self.dropped_ms, floor_of(newest_ms, self.days))

    def least_taken(self, newest_ms: int) -> int:
        """The time of the oldest trade that is not refused for its age."""
        return min(self.of(newest_ms), self.taken_from_ms)


def floor_of(newest_ms: int, days: int) -> int:
    """Where `days` of minutes begin, counted back from the day of the newest trade; -1 while all are kept."""
    return max(-1, day_of(newest_ms) - days * DAY_MS) if days and newest_ms >= 0 else -1
