from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.errors import BadInput
from common.frames.resample import fill_flat, resample
from common.frames.schema import CANDLES
from common.market.candle import LIVE, SIMULATED, Candle, merge_all
from common.market.timeframes.timeframe import MINUTE_MS, Timeframe
from common.market.trade import Trades
from tests.kit.frames import built, candles_frame, candles_of
from tests.kit.strategies import LAW, MINUTE_TIMEFRAMES, SESSION_MINUTE_TIMEFRAMES, START_MS, candles, trades

# Some minutes more than once: the same minute of two sources, with other trades each.
MINUTES = st.lists(
    st.one_of(st.integers(0, 2), st.integers(0, 30)).flatmap(
        lambda number: candles(open_ms=START_MS + number * MINUTE_MS)
    ),
    max_size=12,
    unique_by=(lambda c: (c.first_ts_ms, c.first_id), lambda c: (c.last_ts_ms, c.last_id)),
)


def _merged(parts: list[Candle], timeframe: Timeframe) -> list[Candle]:
    spans: dict[int, list[Candle]] = {}
    for candle in parts:
        if not timeframe.holds(candle.open_ms):
            continue
        spans.setdefault(timeframe.open_of(candle.open_ms), []).append(candle)
    ordered = {open_ms: sorted(inside, key=lambda c: (c.first_ts_ms, c.first_id)) for open_ms, inside in spans.items()}
    return [merge_all(ordered[open_ms]).rename(open_ms) for open_ms in sorted(ordered)]


def _flat(previous: Candle, open_ms: int) -> Candle:
    price, last = previous.close_ticks, (previous.last_ts_ms, previous.last_id)
    return Candle(open_ms, price, price, price, price, 0, 0, 0, 0, 0, *last, *last, 0, previous.sources)


@LAW
@given(MINUTES, st.one_of(MINUTE_TIMEFRAMES, SESSION_MINUTE_TIMEFRAMES))
def test_resample_is_the_merge_of_the_core(parts: list[Candle], timeframe: Timeframe) -> None:
    frame = candles_frame(parts)
    assert candles_of(resample(frame, timeframe)) == _merged(parts, timeframe)


@LAW
@given(trades("unique"), st.one_of(MINUTE_TIMEFRAMES, SESSION_MINUTE_TIMEFRAMES))
def test_resample_of_built_minutes_is_the_merge_of_the_core(whole: Trades, timeframe: Timeframe) -> None:
    minutes, _ = built(whole)
    assert candles_of(resample(candles_frame(minutes), timeframe)) == _merged(minutes, timeframe)


@LAW
@given(trades("unique"))
def test_days_of_hours_of_minutes_are_days_of_minutes(whole: Trades) -> None:
    hour, day = Timeframe(1, "h"), Timeframe(1, "d")
    frame = candles_frame(built(whole)[0])
    assert resample(resample(frame, hour), day).equals(resample(frame, day))


def _part(first: tuple[int, int], last: tuple[int, int], opened: int, closed: int) -> Candle:
    """A candle of the one minute, with order keys `(ms after its open, id)`."""
    keys = (START_MS + first[0], first[1], START_MS + last[0], last[1])
    return Candle(START_MS, opened, 9, 1, closed, 5, 2, 2, 25, 2, *keys)


@pytest.mark.parametrize(
    ("a", "b", "opened", "closed"),
    [
        # Same ms at both ends: the ids decide.
        (_part((5, 2), (9, 8), 2, 2), _part((5, 1), (9, 7), 3, 3), 3, 2),
        (_part((5, 1), (9, 7), 3, 3), _part((5, 2), (9, 8), 2, 2), 3, 2),
        # One inside the other: it gives neither open nor close.
        (_part((5, 1), (50, 8), 2, 2), _part((6, 2), (40, 7), 3, 3), 2, 2),
        # One after the other.
        (_part((5, 1), (20, 2), 2, 2), _part((30, 3), (40, 4), 3, 3), 2, 3),
    ],
)
def test_two_candles_of_one_minute_merge_by_their_order_keys(a: Candle, b: Candle, opened: int, closed: int) -> None:
    for frame in (candles_frame([a, b]), candles_frame([b, a])):
        (merged,) = candles_of(resample(frame, Timeframe(1, "m")))
        assert (merged.open_ticks, merged.close_ticks) == (opened, closed)


def test_a_sum_of_volumes_beyond_63_bits_is_an_error_and_not_a_negative_number() -> None:
    half = Candle(START_MS, 1, 1, 1, 1, 1 << 62, 0, 0, 1 << 62, 1, START_MS, 1, START_MS, 1)
    other = replace(
        half, open_ms=START_MS + MINUTE_MS, first_ts_ms=START_MS + MINUTE_MS, last_ts_ms=START_MS + MINUTE_MS
    )
    frame = candles_frame([half, other])
    assert resample(frame, Timeframe(1, "m")).equals(frame)
    with pytest.raises(BadInput, match="shorter timeframe"):
        resample(frame, Timeframe(1, "h"))


@pytest.mark.parametrize("most", [1 << 60, (1 << 62) - 100, (1 << 63) - 1])
@pytest.mark.parametrize("great", [1, 2, 60])
def test_turnovers_are_summed_exactly_however_few_of_them_are_great(most: int, great: int) -> None:
    minutes = [
        Candle(open_ms, 1, 1, 1, 1, 1, 0, 0, most if at < great else 7, 1, open_ms, at, open_ms + 1, at)
        for at, open_ms in enumerate(range(START_MS, START_MS + 60 * MINUTE_MS, MINUTE_MS))
    ]
    frame, week = candles_frame(minutes), Timeframe(1, "w")
    assert candles_of(resample(frame, week)) == _merged(minutes, week)


def test_nothing_resamples_to_nothing() -> None:
    assert candles_of(resample(CANDLES.to_frame(), Timeframe(1, "h"))) == []
    assert candles_of(fill_flat(CANDLES.to_frame(), Timeframe(1, "h"), 0, START_MS)) == []


@LAW
@given(trades(min_size=1), MINUTE_TIMEFRAMES, st.integers(-20, 20), st.integers(-20, 60))
def test_flat_candles_fill_what_is_empty_after_the_first_candle(
    whole: Trades, timeframe: Timeframe, before: int, after: int
) -> None:
    bars = _merged(built(whole)[0], timeframe)
    start_ms = bars[0].open_ms + before * timeframe.longest_ms
    end_ms = bars[0].open_ms + after * timeframe.longest_ms
    expected, by_open, previous, open_ms = [], {bar.open_ms: bar for bar in bars}, bars[0], bars[0].open_ms
    while open_ms < end_ms:
        bar = by_open.get(open_ms) or _flat(previous, open_ms)
        if open_ms >= start_ms:
            expected.append(bar)
        previous = by_open.get(open_ms, previous)
        open_ms = timeframe.next_open(open_ms)
    assert candles_of(fill_flat(candles_frame(bars), timeframe, start_ms, end_ms)) == expected


def test_a_flat_candle_repeats_the_close_and_the_sources_of_the_one_before() -> None:
    first = Candle(START_MS, 5, 9, 4, 7, 10, 6, 4, 70, 3, START_MS + 1, 1, START_MS + 9, 3, 2, SIMULATED)
    filled = candles_of(fill_flat(candles_frame([first]), Timeframe(1, "m"), 0, START_MS + 2 * MINUTE_MS))
    assert filled == [first, _flat(first, START_MS + MINUTE_MS)]
    assert (filled[1].open_ticks, filled[1].volume_lots, filled[1].trades, filled[1].rev) == (7, 0, 0, 0)
    assert filled[1].sources == SIMULATED != LIVE
