"""The bucket, or timeframe, that a picture of some width is best drawn with: a slot of it takes some 8 px. And the rows
of a picture of some height.

Ladders whose steps grow by no more than (20 / 8)^2 = 6.25 always have one between 3 and 20 px, and don't flap: who
leaves at 3 px lands well inside.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from common.market.orderflow.rows import height_for, sticky_height
from common.market.timeframes.timeframe import Timeframe
from common.market.trade import MAX_TICKS

BEST_PX = 8
MIN_PX = 3
MAX_PX = 20
# Of a row without text.
MIN_ROW_PX = 2

# What a picture of candles and cells is drawn with, by width in ms.
TIMEFRAMES: dict[int, Timeframe] = {
    timeframe.longest_ms: timeframe
    for timeframe in map(
        Timeframe.parse,
        ("50ms", "100ms", "250ms", "1s", "5s", "30s", "1m", "5m", "15m", "1h", "4h", "1d", "3d", "1w"),
    )
}


def choose_timeframe(span_ms: int, plot_px: int, current: Timeframe | None = None) -> Timeframe:
    """Return the timeframe of a picture of so much time; the current one where its slots are neither thin nor wide."""
    return TIMEFRAMES[choose_width(tuple(TIMEFRAMES), span_ms, plot_px, current.longest_ms if current else None)]


def choose_width(ladder_ms: Sequence[int], span_ms: int, plot_px: int, current_ms: int | None = None) -> int:
    """Return the width of `ladder_ms` whose slots are nearest to 8 px, by their ratio; of two the coarser.

    The current one is kept while its slots take 3 to 20 px, which is `width * plot / span`: all by whole numbers.
    """
    if current_ms in ladder_ms and current_ms and MIN_PX * span_ms <= current_ms * plot_px <= MAX_PX * span_ms:
        return current_ms
    best = ladder_ms[0]
    for width_ms in ladder_ms[1:]:
        if _is_no_farther(width_ms * plot_px, best * plot_px, BEST_PX * span_ms):
            best = width_ms
    return best


def _is_no_farther(one: int, other: int, best: int) -> bool:
    """Whether one is by ratio as near to the best as the other, or nearer."""
    return max(one, best) * min(other, best) <= max(other, best) * min(one, best)


@dataclass(frozen=True, slots=True)
class PriceRows:
    """Rows (`floor`) of prices `low_ticks` to `high_ticks`, both included and at the edges of rows."""

    low_ticks: int
    high_ticks: int
    row_ticks: int

    @classmethod
    def of(cls, low_ticks: int, high_ticks: int, max_rows: int, held_ticks: int | None = None) -> "PriceRows":
        """At most `max_rows`, and one more where the edges lie between rows. `held_ticks`: kept if it can be."""
        range_ticks = high_ticks - low_ticks + 1
        height = sticky_height(held_ticks, range_ticks, max_rows) if held_ticks else height_for(range_ticks, max_rows)
        height = min(height, MAX_TICKS - 1)
        return cls(low_ticks // height * height, high_ticks // height * height + height - 1, height)

    @property
    def count(self) -> int:
        return (self.high_ticks - self.low_ticks + 1) // self.row_ticks
