"""A run of bars as it goes into an answer."""

from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from common.market.timeframes.timeframe import Timeframe
from feed.reading.bounds import Bounds

# The parameter to ask on with, where one request may read no more: {"end": ms}, or {"start": ms} walking forward.
More = dict[str, int]


@dataclass(frozen=True, slots=True)
class Page:
    """A run of bars and what they are true of.

    `runs`: their JSON, in each one bar or several with commas between. `from_ms..to_ms`: the time they speak of.
    `more`: there may be more within limit and bounds, but that would be too much for one request.
    """

    runs: Sequence[bytes]
    from_ms: int
    to_ms: int
    more: More | None = None


def covered_span(
    opens: Sequence[int] | pl.Series, timeframe: Timeframe, bounds: Bounds, more_ms: int | None = None
) -> tuple[int, int]:
    """The time an answer with these bars speaks of: the bounds, as far as the limit, or `more_ms`, did not cut them."""
    if more_ms is not None:
        return (bounds.start_ms, more_ms) if bounds.oldest_first else (more_ms, bounds.end_ms)
    if len(opens) < bounds.limit:
        return bounds.start_ms, bounds.end_ms
    return (bounds.start_ms, timeframe.next_open(opens[-1])) if bounds.oldest_first else (opens[0], bounds.end_ms)


def next_page(bounds: Bounds, more_ms: int | None) -> More | None:
    return None if more_ms is None else {"start" if bounds.oldest_first else "end": more_ms}
