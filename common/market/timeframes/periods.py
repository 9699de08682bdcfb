"""Roll-ups kept ahead: trading days out of minutes, weeks and months out of days.

By Candle.merge, so the result is that of the trades themselves, whichever way it was come by.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from common.market.candle import Candle, merge_all
from common.market.timeframes.timeframe import Timeframe

DAY, WEEK, MONTH = Timeframe(1, "d"), Timeframe(1, "w"), Timeframe(1, "M")
# Of sealed days, a UTC month at once (common.store.months).
QUARTER_HOUR = Timeframe(15, "m")


@dataclass(frozen=True, slots=True)
class Period:
    """A right-open span of a timeframe, in ms."""

    open_ms: int
    end_ms: int

    def holds(self, ts_ms: int) -> bool:
        return self.open_ms <= ts_ms < self.end_ms


def periods(timeframe: Timeframe, from_ms: int, to_ms: int) -> list[Period]:
    """Return the spans that share a time with `[from_ms, to_ms)`, ascending."""
    found: list[Period] = []
    open_ms = timeframe.open_of(from_ms)
    while open_ms < to_ms:
        end_ms = timeframe.next_open(open_ms)
        found.append(Period(open_ms, end_ms))
        # Not always where the last one ended: a market closes for the night.
        open_ms = timeframe.open_of(end_ms)
    return found


def rolled_up(candles: Iterable[Candle], period: Period) -> Candle | None:
    """Merge those of the candles, in any order, that open in the period; None if there are none."""
    # Only in the order of time it is known how the delta ran through them.
    inside = sorted((each for each in candles if period.holds(each.open_ms)), key=lambda candle: candle.open_ms)
    return merge_all(inside).rename(period.open_ms) if inside else None


@dataclass(frozen=True, slots=True)
class Plan:
    """What one UTC day touches: the trading days that share a time with it, and their weeks and months."""

    days: list[Period]
    weeks: list[Period]
    months: list[Period]

    @classmethod
    def of(cls, from_ms: int, to_ms: int, anchored: Mapping[str, Timeframe]) -> "Plan":
        """`anchored`: the timeframes `1d`, `1w` and `1M` of the instrument."""
        days = periods(anchored["1d"], from_ms, to_ms)
        if not days:
            return cls([], [], [])
        span = days[0].open_ms, days[-1].end_ms
        return cls(days, periods(anchored["1w"], *span), periods(anchored["1M"], *span))

    def range_of(self, spans: list[Period]) -> tuple[int, int]:
        """All of some spans, at least one."""
        return min(span.open_ms for span in spans), max(span.end_ms for span in spans)
