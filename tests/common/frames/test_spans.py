import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.frames.spans import held, span_end, span_open, span_opens
from common.market.timeframes.timeframe import DAY_MS, MINUTE_MS, Timeframe
from tests.kit.strategies import LAW, SESSION_TIMEFRAMES, TIMEFRAMES

TIMES_MS = st.integers(0, 231 * 365 * DAY_MS)  # 1970 to 2200
# Months of every number, and the longest there is.
MONTHS = st.builds(Timeframe, st.integers(1, 1_181), st.just("M"))


def _naive_opens(timeframe: Timeframe, start_ms: int, end_ms: int) -> list[int]:
    opens, opened = [], timeframe.open_of(start_ms)
    while opened < end_ms:
        if opened >= start_ms:
            opens.append(opened)
        opened = timeframe.open_of(timeframe.next_open(opened))
    return opens


@LAW
@given(st.one_of(TIMEFRAMES, MONTHS, SESSION_TIMEFRAMES), st.lists(TIMES_MS, max_size=20))
def test_spans_are_those_of_the_timeframe(timeframe: Timeframe, times_ms: list[int]) -> None:
    edges = [edge for ts_ms in times_ms for edge in (ts_ms, timeframe.open_of(ts_ms), timeframe.open_of(ts_ms) - 1)]
    edges += [timeframe.next_open(timeframe.open_of(ts_ms)) for ts_ms in times_ms]
    frame = pl.DataFrame({"ts_ms": edges}, schema={"ts_ms": pl.Int64})
    assert held(frame, "ts_ms", timeframe)["ts_ms"].to_list() == [ts for ts in edges if timeframe.holds(ts)]
    ends = frame.select(span_end(pl.col("ts_ms"), timeframe)).to_series()
    assert ends.to_list() == [timeframe.next_open(timeframe.open_of(ts_ms)) for ts_ms in edges]
    opens = frame.select(span_open(pl.col("ts_ms"), timeframe)).to_series()
    assert opens.dtype == pl.Int64
    assert opens.to_list() == [timeframe.open_of(ts_ms) for ts_ms in edges]


@LAW
@given(st.one_of(TIMEFRAMES, MONTHS, SESSION_TIMEFRAMES), TIMES_MS, st.data())
def test_the_opens_of_a_range_are_all_of_them_once(timeframe: Timeframe, start_ms: int, data: st.DataObject) -> None:
    end_ms = start_ms + data.draw(st.integers(0, 40 * timeframe.longest_ms))
    frame = span_opens(timeframe, start_ms, end_ms)
    assert frame.schema == {"open_ms": pl.Int64}
    assert frame["open_ms"].to_list() == _naive_opens(timeframe, start_ms, end_ms)


@pytest.mark.parametrize("text", ["1m", "1w", "1M"])
def test_a_range_that_ends_before_it_starts_has_no_spans(text: str) -> None:
    assert span_opens(Timeframe.parse(text), 10 * MINUTE_MS, 5 * MINUTE_MS).is_empty()
