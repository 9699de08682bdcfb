"""Running sums of bars since their anchors: CVD, and VWAP with its bands."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import polars as pl

from common.frames.orderflow.statistics import beside
from common.frames.schema import LEVEL_LOTS
from common.frames.spans import opens_of
from common.market.coding.packed import Ints
from common.market.orderflow.anchors import Anchor
from common.market.orderflow.vwap import Moments, deviation, mean
from common.market.timeframes.session import Sessions

# Of a bar that no anchor is for: it opens before the only one.
NO_ANCHOR = -1


def anchors_of(opens: Ints, anchor: Anchor, sessions: Sessions | None) -> Ints:
    """When the period begins that holds each bar's open."""
    period = anchor.period(sessions)
    if period is not None:
        return opens_of(opens, period) if len(opens) else opens
    since_ms = anchor.at_ms if anchor.at_ms is not None else int(opens[0]) if len(opens) else 0
    return np.where(opens >= since_ms, since_ms, NO_ANCHOR)


def cumulative_delta(bars: pl.DataFrame, anchors: Ints) -> pl.Series:
    """The sum of delta of the bars from each one's anchor to itself. `bars`: all since the first one's anchor."""
    delta = bars["buy_lots"].cast(pl.Int128) - bars["sell_lots"]
    sums = delta.cum_sum().to_list()
    starts, found, before = _starts(anchors), list[int | None](), 0
    for at, (anchor_ms, total) in enumerate(zip(anchors.tolist(), sums, strict=True)):
        if starts[at]:
            before = sums[at - 1] if at else 0
        found.append(None if anchor_ms == NO_ANCHOR else total - before)
    return pl.Series(found, dtype=pl.Int128)


@dataclass(frozen=True, slots=True)
class RunningMean:
    """VWAP and its deviation, in hundredths of a tick; None: not known."""

    vwap: int | None
    deviation: int | None


def running_means(bars: pl.DataFrame, sums: pl.DataFrame | None, anchors: Ints) -> Iterator[RunningMean]:
    """Of each bar since its anchor. `sums`: LEVEL_SUMS of the bars; None: no deviation is asked for.

    A bar whose levels have not all of its volume leaves the deviation unknown until the next anchor; the mean is that
    of candles, and stays.
    """
    seconds = _second_moments(bars, sums) if sums is not None else [None] * len(bars)
    volumes, turnovers = bars["volume_lots"].to_list(), bars["turnover"].to_list()
    starts = _starts(anchors)
    volume, first, second = 0, 0, None
    for at, anchor_ms in enumerate(anchors.tolist()):
        if starts[at]:
            volume, first, second = 0, 0, 0
        volume, first = volume + volumes[at], first + turnovers[at]
        more = seconds[at]
        second = None if second is None or more is None else second + more
        so_far = Moments(volume, first, second)
        yield RunningMean(None, None) if anchor_ms == NO_ANCHOR else RunningMean(mean(so_far), deviation(so_far))


def _second_moments(bars: pl.DataFrame, sums: pl.DataFrame) -> list[int | None]:
    """Sums of price x price x lots; None where levels lack volume."""
    found = beside(bars.select("open_ms", "volume_lots"), sums)
    names = ("volume_lots", *LEVEL_LOTS, "low_ticks", "first_moment", "second_moment")
    return list(map(_second_moment, *(found[name].to_list() for name in names)))


def _second_moment(
    volume: int,
    buy: int | None,
    sell: int | None,
    unknown: int | None,
    low_ticks: int | None,
    first: int | None,
    second: int | None,
) -> int | None:
    """Of one bar, about a price of 0. A bar of prints of size 0 alone has none, with levels or without."""
    if not volume:
        return 0
    if buy is None or sell is None or unknown is None or low_ticks is None or first is None or second is None:
        return None
    if buy + sell + unknown != volume:
        return None
    return second + 2 * low_ticks * first + low_ticks * low_ticks * volume


def _starts(anchors: Ints) -> list[bool]:
    """Whether each bar is the first of its anchor."""
    return [bool(step) for step in np.diff(anchors, prepend=NO_ANCHOR - 1)]
