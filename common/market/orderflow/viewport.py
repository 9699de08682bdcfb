"""The bucket, or timeframe, that a picture of some width is best drawn with: a slot of it takes some 8 px.

Ladders whose steps grow by no more than (20 / 8)^2 = 6.25 always have one between 3 and 20 px, and don't flap: who
leaves at 3 px lands well inside.
"""

from collections.abc import Sequence

BEST_PX = 8
MIN_PX = 3
MAX_PX = 20


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
