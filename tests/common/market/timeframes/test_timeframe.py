from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.errors import BadInput
from common.market.timeframes.timeframe import DAY_MS, MINUTE, Timeframe, minute_of
from tests.kit.strategies import LAW, TIMEFRAMES

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
TIMES_MS = st.integers(0, 230 * 365 * DAY_MS)  # 1970 to about 2200


def _ms(moment: datetime) -> int:
    return (moment - EPOCH) // timedelta(milliseconds=1)


def _utc(*parts: int) -> int:
    return _ms(datetime(*parts, tzinfo=UTC))  # type: ignore[arg-type,misc]


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("1m", "1m"),
        ("15m", "15m"),
        ("250ms", "250ms"),
        ("5min", "5m"),
        ("1mo", "1M"),
        ("5", "5m"),
        ("1440", "1440m"),
        ("D", "1d"),
        ("1D", "1d"),
        ("W", "1w"),
        ("1W", "1w"),
        ("M", "1M"),
        ("3M", "3M"),
        ("30S", "30s"),
        ("2H", "2h"),
        ("h", "1h"),
        ("007m", "7m"),
    ],
)
def test_every_way_to_write_a_timeframe_has_one_canonical_text(text: str, canonical: str) -> None:
    assert Timeframe.parse(text).text == canonical
    assert Timeframe.parse(canonical) == Timeframe.parse(text)


@pytest.mark.parametrize(
    "text",
    ["", " 1m", "1m ", "1 m", "m1", "-1m", "+1m", "1.5h", "1y", "1x", "1mm", "1m\n", "٣m", "1e3m", "ticks", "1Min"]
    + ["0", "0m", "0M", "1234567890m", "999999999M", "999999999w", "101" + "0" * 5 + "d", "9" * 10_000],
)
def test_what_is_no_timeframe_is_refused_in_one_short_sentence(text: str) -> None:
    with pytest.raises(BadInput) as refused:
        Timeframe.parse(text)
    assert "\n" not in str(refused.value)
    assert len(str(refused.value)) < 120


@LAW
@given(TIMEFRAMES)
def test_a_timeframe_survives_its_text(timeframe: Timeframe) -> None:
    assert Timeframe.parse(timeframe.text) == timeframe


@LAW
@given(TIMEFRAMES, TIMES_MS)
def test_every_moment_is_in_the_span_it_is_said_to_be_in(timeframe: Timeframe, ts_ms: int) -> None:
    opened = timeframe.open_of(ts_ms)
    end = timeframe.next_open(opened)
    assert opened <= ts_ms < end
    assert timeframe.open_of(opened) == opened
    assert timeframe.open_of(end - 1) == opened
    assert timeframe.open_of(end) == end
    assert end - opened <= timeframe.longest_ms


@LAW
@given(TIMES_MS)
def test_days_weeks_and_months_are_those_of_the_calendar(ts_ms: int) -> None:
    day = (EPOCH + timedelta(milliseconds=ts_ms)).replace(hour=0, minute=0, second=0, microsecond=0)
    assert Timeframe(1, "d").open_of(ts_ms) == _ms(day)
    assert Timeframe(1, "w").open_of(ts_ms) == _ms(day - timedelta(days=day.weekday()))
    assert Timeframe(1, "M").open_of(ts_ms) == _ms(day.replace(day=1))
    assert Timeframe(3, "M").open_of(ts_ms) == _ms(day.replace(month=(day.month - 1) // 3 * 3 + 1, day=1))
    assert Timeframe(12, "M").open_of(ts_ms) == _ms(day.replace(month=1, day=1))


def test_months_end_where_the_next_begins() -> None:
    month = Timeframe(1, "M")
    assert month.next_open(_utc(2024, 2, 1)) == _utc(2024, 3, 1)
    assert month.next_open(_utc(2023, 12, 1)) == _utc(2024, 1, 1)
    assert month.open_of(_utc(2024, 2, 29, 23, 59)) == _utc(2024, 2, 1)


def test_the_first_week_of_all_began_before_the_epoch() -> None:
    assert Timeframe(1, "w").open_of(0) == _utc(1969, 12, 29)


@pytest.mark.parametrize(
    ("text", "of_minutes"),
    [("1m", True), ("60s", True), ("90s", False), ("1000ms", False), ("60000ms", True), ("1w", True), ("1M", True)],
)
def test_a_timeframe_knows_whether_minutes_make_it_up(text: str, of_minutes: bool) -> None:
    assert Timeframe.parse(text).of_minutes is of_minutes


@LAW
@given(TIMES_MS)
def test_minute_of_is_the_minute_timeframe(ts_ms: int) -> None:
    assert minute_of(ts_ms) == MINUTE.open_of(ts_ms)
