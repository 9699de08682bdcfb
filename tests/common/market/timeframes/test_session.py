"""Trading sessions: the laws of spans that sessions cut, and the calendars' own days by name."""

import subprocess
import sys
from datetime import UTC, datetime
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.errors import BadInput
from common.market.timeframes.calendars import sessions_of
from common.market.timeframes.session import Sessions
from common.market.timeframes.timeframe import DAY_MS, MINUTE_MS, Timeframe
from common.market.trade import MAX_TS_MS
from tests.kit.strategies import LAW, SESSION_TIMEFRAMES

HOUR_MS = 60 * MINUTE_MS
TIMES_MS = st.one_of(st.integers(0, MAX_TS_MS), st.sampled_from([0, 1, MAX_TS_MS]))
NEW_YORK, BERLIN = "America/New_York", "Europe/Berlin"


def anchored(text: str, calendar: str, zone: str = "UTC", hours: str = "regular") -> Timeframe:
    return Timeframe.parse(text).anchored(sessions_of(calendar, zone, hours))


def at(text: str, zone: str) -> int:
    """The ms of a local time."""
    return int(datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).timestamp()) * 1000


def opens(timeframe: Timeframe, zone: str, start: str, end: str) -> list[str]:
    """The local times at which spans open between two local times."""
    found, open_ms = [], timeframe.open_of(at(start, zone))
    while open_ms < at(end, zone):
        found.append(datetime.fromtimestamp(open_ms / 1000, ZoneInfo(zone)).isoformat(" ", "minutes")[:16])
        open_ms = timeframe.open_of(timeframe.next_open(open_ms))
    return found


def length_h(timeframe: Timeframe, ts_ms: int) -> float:
    opened = timeframe.open_of(ts_ms)
    return (timeframe.next_open(opened) - opened) / HOUR_MS


@LAW
@given(SESSION_TIMEFRAMES, TIMES_MS)
def test_every_moment_of_a_session_is_in_one_span_and_spans_follow_each_other(timeframe: Timeframe, ts_ms: int) -> None:
    opened = timeframe.open_of(ts_ms)
    end = timeframe.next_open(opened)
    assert opened < end and timeframe.holds(opened) and timeframe.holds(end - 1)
    sessions = timeframe.sessions
    assert sessions is not None
    if timeframe.holds(ts_ms):
        assert opened <= ts_ms < end
    else:
        assert opened == timeframe.open_of(sessions.opens[sessions.at(ts_ms)])
    assert timeframe.open_of(opened) == timeframe.open_of(end - 1) == opened
    assert timeframe.open_of(ts_ms + 1) >= opened
    if end < sessions.ends[-1]:
        assert timeframe.open_of(end) >= end
        assert timeframe.open_before(timeframe.open_of(end)) == opened
    if timeframe.unit not in "dwM":
        assert sessions.at(opened) == sessions.at(end - 1)


@LAW
@given(SESSION_TIMEFRAMES, TIMES_MS)
def test_days_weeks_and_months_have_the_trading_days_of_their_dates(timeframe: Timeframe, ts_ms: int) -> None:
    sessions, plain = timeframe.sessions, timeframe.anchored(None)
    assert sessions is not None
    first, last = (
        sessions.at(ms) for ms in (timeframe.open_of(ts_ms), timeframe.next_open(timeframe.open_of(ts_ms)) - 1)
    )
    if timeframe.unit == "d" and first:
        assert (last - first + 1, (first - sessions.origin) % timeframe.n) == (timeframe.n, 0)
    if timeframe.unit in "wM":
        dates = {plain.open_of(label) for label in sessions.labels[first : last + 1]}
        around = sessions.labels[max(0, first - 1) : first] + sessions.labels[last + 1 : last + 2]
        assert len(dates) == 1 and not dates & {plain.open_of(label) for label in around}


@pytest.mark.parametrize(
    ("calendar", "zone", "hours"),
    [
        ("XNYS", "UTC", "extended"),
        ("CMES", "UTC", "regular"),
        ("XHKG", "UTC", "regular"),
        ("FOREX", NEW_YORK, "regular"),
    ]
    + [("XSHG", "UTC", "regular"), ("24x7", "Pacific/Apia", "regular"), ("24x7", "Africa/Cairo", "regular")],
)
def test_sessions_ascend_without_overlap_over_all_times(calendar: str, zone: str, hours: str) -> None:
    sessions = sessions_of(calendar, zone, hours)
    assert sessions is not None
    assert all(a < b for a, b in pairwise(sessions.labels))
    assert all(
        opened < close <= end for opened, close, end in zip(sessions.opens, sessions.closes, sessions.ends, strict=True)
    )
    assert all(end <= opened for end, opened in zip(sessions.ends, sessions.opens[1:], strict=False))
    assert sessions.opens[0] < 5 * DAY_MS and sessions.ends[-1] > MAX_TS_MS


def test_the_closing_minute_of_a_half_day_is_in_its_last_bar() -> None:
    hours = opens(anchored("1h", "XNYS"), NEW_YORK, "2015-12-24 00:00", "2015-12-25 00:00")
    assert hours == [f"2015-12-24 {time}" for time in ("09:30", "10:30", "11:30", "12:30")]
    last = at("2015-12-24 12:30", NEW_YORK)
    assert anchored("1h", "XNYS").next_open(last) == at("2015-12-24 13:01", NEW_YORK)
    assert anchored("1d", "XNYS").next_open(at("2015-12-24 09:30", NEW_YORK)) == at("2015-12-24 13:01", NEW_YORK)
    assert anchored("15m", "XNYS").open_of(at("2015-12-24 13:00", NEW_YORK)) == at("2015-12-24 12:45", NEW_YORK)
    # Of minutes it is one like the others.
    assert anchored("1m", "XNYS").open_of(at("2015-12-24 13:00", NEW_YORK)) == at("2015-12-24 13:00", NEW_YORK)
    assert not anchored("1m", "XNYS").holds(at("2015-12-24 13:01", NEW_YORK))


def test_extended_hours_of_new_york_end_earlier_on_half_days() -> None:
    day = anchored("1d", "XNAS", hours="extended")
    assert day.open_of(at("2015-12-23 04:00", NEW_YORK)) == at("2015-12-23 04:00", NEW_YORK)
    assert day.next_open(at("2015-12-23 04:00", NEW_YORK)) == at("2015-12-23 20:01", NEW_YORK)
    assert day.next_open(at("2015-12-24 04:00", NEW_YORK)) == at("2015-12-24 17:01", NEW_YORK)


def test_hours_of_the_nse_start_at_a_quarter_past_nine() -> None:
    hours = opens(anchored("1h", "XNSE"), "Asia/Kolkata", "2024-01-10 00:00", "2024-01-11 00:00")
    assert hours == [f"2024-01-10 {hour:02}:15" for hour in range(9, 16)]


def test_a_break_for_lunch_does_not_end_a_session() -> None:
    hours = opens(anchored("2h", "XHKG"), "Asia/Hong_Kong", "2024-01-10 00:00", "2024-01-11 00:00")
    assert hours == [f"2024-01-10 {time}" for time in ("09:30", "11:30", "13:30", "15:30")]


@pytest.mark.parametrize(
    ("day", "utc"),
    [("2024-03-08", "14:30"), ("2024-03-11", "13:30"), ("2024-11-01", "13:30"), ("2024-11-04", "14:30")],
)
def test_new_york_opens_at_half_past_nine_before_and_after_the_clocks_change(day: str, utc: str) -> None:
    opened = anchored("1d", "XNYS").open_of(at(f"{day} 00:00", "UTC"))
    assert opened == at(f"{day} {utc}", "UTC") == at(f"{day} 09:30", NEW_YORK)


@pytest.mark.parametrize(("day", "hours"), [("2024-03-31", 23), ("2024-04-01", 24), ("2024-10-27", 25)])
def test_days_of_a_zone_are_as_long_as_its_clocks_say(day: str, hours: int) -> None:
    timeframe = anchored("1d", "24x7", BERLIN)
    assert timeframe.open_of(at(f"{day} 12:00", BERLIN)) == at(f"{day} 00:00", BERLIN)
    assert length_h(timeframe, at(f"{day} 12:00", BERLIN)) == hours


@pytest.mark.parametrize(("week", "hours"), [("2024-03-26", 167), ("2024-10-24", 169)])
def test_weeks_of_a_zone_in_which_clocks_change(week: str, hours: int) -> None:
    assert length_h(anchored("1w", "24x7", BERLIN), at(f"{week} 12:00", BERLIN)) == hours


@pytest.mark.parametrize("week", ["2024-03-08", "2024-03-15", "2024-11-01", "2024-11-08"])
def test_forex_trades_from_sunday_to_friday_five_in_new_york_also_when_clocks_change(week: str) -> None:
    friday, timeframe = at(f"{week} 17:00", NEW_YORK), anchored("1d", "FOREX")
    assert timeframe.holds(friday - 1) and not timeframe.holds(friday)
    sunday = timeframe.open_of(friday)
    local = datetime.fromtimestamp(sunday / 1000, ZoneInfo(NEW_YORK))
    assert (local.isoweekday(), local.hour) == (7, 17)
    # Sunday's hours are Monday's.
    assert timeframe.sessions is not None
    label = timeframe.sessions.labels[timeframe.sessions.at(sunday)]
    assert datetime.fromtimestamp(label / 1000, UTC).isoweekday() == 1
    assert anchored("1w", "FOREX").open_of(sunday + DAY_MS) == sunday


def test_trading_days_are_counted_from_2000() -> None:
    # 2000-01-03 was the first trading day of 2000, and the 17th a holiday.
    days = opens(anchored("5d", "XNYS"), NEW_YORK, "2000-01-03 00:00", "2000-01-30 00:00")
    assert [day[:10] for day in days] == ["2000-01-03", "2000-01-10", "2000-01-18", "2000-01-25"]
    assert anchored("5d", "XNYS").open_before(at("2000-01-03 09:30", NEW_YORK)) == at("1999-12-27 09:30", NEW_YORK)


def test_beyond_what_is_known_a_market_trades_on_its_weekdays_at_its_hours() -> None:
    hours = opens(anchored("1d", "XNYS"), NEW_YORK, "2099-07-03 00:00", "2099-07-08 00:00")
    assert hours == [f"2099-07-{day} 09:30" for day in ("03", "06", "07")]
    assert opens(anchored("1d", "XNSE"), "Asia/Kolkata", "1996-01-26 00:00", "1996-01-27 00:00") != []


def test_utc_days_need_no_sessions() -> None:
    assert sessions_of("24x7") is None
    assert anchored("1d", "24x7") == Timeframe(1, "d")


def test_timeframes_of_equal_sessions_are_equal() -> None:
    sessions = sessions_of("XNYS")
    assert sessions_of("XNYS", NEW_YORK) == sessions != sessions_of("XNYS", hours="extended")
    assert hash(anchored("1d", "XNYS")) == hash(anchored("1d", "XNYS", NEW_YORK))
    assert anchored("1d", "XNYS") != Timeframe(1, "d") == anchored("1d", "XNYS").anchored(None)


@pytest.mark.parametrize(
    ("given_", "sentence"),
    [
        (("xnys", "UTC", "regular"), "calendar 'xnys' is not known: did you mean XNYS"),
        (("?", "UTC", "regular"), "calendar '\\?' is not known: expected 24x7, FOREX or an exchange such as XNYS"),
        (("24x7", "Mars/Olympus", "regular"), "zone 'Mars/Olympus' is not known"),
        (("24x7", "../etc", "regular"), "zone '../etc' is not known"),
        (("XNYS", BERLIN, "regular"), "does not go with calendar XNYS, whose own is America/New_York"),
        (("XLON", "UTC", "extended"), "hours 'extended' are not known of calendar XLON, expected regular"),
        (("24x7", "UTC", "extended"), "hours 'extended' are not known of calendar 24x7"),
    ],
)
def test_what_is_not_known_is_refused_in_one_sentence(given_: tuple[str, str, str], sentence: str) -> None:
    with pytest.raises(BadInput, match=sentence):
        sessions_of(*given_)


@pytest.mark.process
def test_pandas_is_loaded_only_for_an_exchange() -> None:
    program = (
        "import sys, feed.app, workers.__main__; from common.market.timeframes.calendars import sessions_of;"
        "sessions_of('24x7', 'Europe/Berlin'); sessions_of('FOREX'); assert 'pandas' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_the_last_moment_before_all_sessions_is_their_beginning() -> None:
    sessions = sessions_of("XNYS")
    assert isinstance(sessions, Sessions)
    assert sessions.last_before(0) == sessions.opens[0]
