from math import gcd

import polars as pl
from hypothesis import given

from common.frames.orderflow.level_sums import LEVEL_SUMS, level_sums, moments
from common.market.footprint import Footprint, Level
from common.market.orderflow.vwap import NO_VOLUME
from common.market.timeframes.timeframe import MINUTE, MINUTE_MS, Timeframe
from common.market.trade import Trades
from tests.kit.frames import built, levels_frame
from tests.kit.orderflow_oracle import moments_of
from tests.kit.strategies import LAW, MINUTE_TIMEFRAMES, trades


def _told(frame: pl.DataFrame) -> list[tuple[int | None, ...]]:
    return [tuple(row) for row in frame.iter_rows()]


def _expected(open_ms: int, levels: dict[int, Level]) -> tuple[int | None, ...]:
    low, high = min(levels), max(levels)
    ends = (low, *levels[low][:2], high, *levels[high][:2])
    sums = [sum(column) for column in zip(*levels.values(), strict=True)]
    about = moments_of(((price, sum(level[:3])) for price, level in levels.items()), low)
    second = about.second if about.second is not None and about.second < 1 << 127 else None
    return (open_ms, *ends, gcd(*levels), *sums, about.first, second)


@LAW
@given(trades("unique"), MINUTE_TIMEFRAMES)
def test_sums_of_minutes_are_those_of_the_bar_level_by_level(whole: Trades, timeframe: Timeframe) -> None:
    _, minutes = built(whole)
    spans: dict[int, Footprint] = {}
    for open_ms, footprint in minutes:
        opened = timeframe.open_of(open_ms)
        spans[opened] = spans.get(opened, Footprint()).merge(footprint)
    found = level_sums(levels_frame(minutes), timeframe)
    assert found.schema == LEVEL_SUMS
    assert _told(found) == [_expected(open_ms, each.levels) for open_ms, each in sorted(spans.items())]
    # In two steps, and however these came.
    minutely = level_sums(levels_frame(minutes), MINUTE)
    assert level_sums(minutely, timeframe).equals(found)
    assert level_sums(minutely.reverse(), timeframe).equals(found)


def test_three_minutes_have_the_moments_of_all_their_trades() -> None:
    bars = [
        (at * MINUTE_MS, Footprint({price: [lots, 0, 0, 1, 0, 0]}))
        for at, price, lots in ((0, 100, 10), (1, 102, 20), (2, 104, 10))
    ]
    found = NO_VOLUME
    for row in level_sums(levels_frame(bars), MINUTE).iter_rows(named=True):
        found = found.plus(moments(row, 100))
    assert found.shifted(100) == (40, 4_080, 416_240)
    assert found.spread == 3_200
