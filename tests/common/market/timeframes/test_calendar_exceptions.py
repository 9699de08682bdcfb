"""What people say of a calendar counts: sessions added, days dropped, other closes."""

import pytest

from common.errors import BadInput
from common.market.timeframes.calendar_exceptions import NO_EXCEPTIONS, CalendarExceptions, SessionException
from common.market.timeframes.calendars import sessions_of, unfit
from common.market.timeframes.session import Sessions
from common.market.timeframes.timeframe import DAY_MS, MINUTE_MS, Timeframe
from tests.kit.times import ms

DAY = Timeframe(1, "d")


def made(*days: tuple[str, str | None, str | None]) -> CalendarExceptions:
    return NO_EXCEPTIONS.changed(SessionException.of(*each) for each in days)


def corrected(calendar: str, *days: tuple[str, str | None, str | None], hours: str = "regular") -> Sessions:
    found = sessions_of(calendar, "UTC", hours, made(*days))
    assert found
    return found


def span(sessions: Sessions, date: str) -> tuple[int, int] | None:
    """Open and close of a trading date."""
    at = {label: number for number, label in enumerate(sessions.labels)}.get(ms(date))
    return None if at is None else (sessions.opens[at], sessions.closes[at])


def test_sessions_that_the_library_does_not_know_are_there_once_they_are_added() -> None:
    sessions = corrected(
        "XNSE",
        ("2024-03-02", "09:15", "10:00"),
        ("2024-11-01", "18:00", "19:00"),
        ("2025-10-21", "13:45", "14:45"),
    )
    assert span(sessions, "2024-03-02") == (ms("2024-03-02T03:45"), ms("2024-03-02T04:30"))
    assert span(sessions, "2024-11-01") == (ms("2024-11-01T12:30"), ms("2024-11-01T13:30"))
    day = DAY.anchored(sessions)
    assert day.open_of(ms("2024-03-02T04:00")) == ms("2024-03-02T03:45")
    # With the closing minute, as of any session.
    assert day.next_open(ms("2024-03-02T03:45")) == ms("2024-03-02T04:30") + MINUTE_MS
    plain = DAY.anchored(sessions_of("XNSE"))
    assert not plain.holds(ms("2024-03-02T04:00"))
    # Nothing else has moved.
    assert set(sessions.labels) - set((plain.sessions or sessions).labels) == {
        ms("2024-03-02"),
        ms("2024-11-01"),
        ms("2025-10-21"),
    }
    assert list(sessions.opens) == sorted(sessions.opens) and len(sessions.ends) == len(sessions.labels)


def test_a_day_that_the_library_has_and_the_exchange_had_not_is_dropped() -> None:
    sessions = corrected("XHKG", ("2023-09-01", None, None), ("2023-09-08", None, None))
    assert span(sessions, "2023-09-01") is None and span(sessions, "2023-09-08") is None
    day = DAY.anchored(sessions)
    assert day.open_of(ms("2023-09-01T02:00")) == ms("2023-09-04T01:30")
    assert not day.holds(ms("2023-09-01T02:00"))


def test_a_close_may_be_another_and_a_session_may_begin_the_days_before() -> None:
    # Juneteenth: no trading date of its own, its hours are those of the next.
    sessions = corrected("CMES", ("2024-06-19", None, None), ("2024-06-20", "17:00-2", None))
    assert span(sessions, "2024-06-19") is None
    assert span(sessions, "2024-06-20") == (ms("2024-06-18T22:00"), ms("2024-06-20T22:00"))
    early = corrected("CMES", ("2024-06-19", None, "12:00"))
    assert span(early, "2024-06-19") == (ms("2024-06-18T22:00"), ms("2024-06-19T17:00"))


def test_an_early_close_ends_extended_hours_early() -> None:
    day = ("2024-05-14", None, "13:00")
    assert span(corrected("XNAS", day), "2024-05-14") == (ms("2024-05-14T13:30"), ms("2024-05-14T17:00"))
    extended = corrected("XNAS", day, hours="extended")
    assert span(extended, "2024-05-14") == (ms("2024-05-14T08:00"), ms("2024-05-14T21:00"))


def test_the_version_is_part_of_what_sessions_are() -> None:
    one, plain = corrected("XNYS", ("2024-05-14", None, None)), sessions_of("XNYS")
    assert one != plain and one == corrected("XNYS", ("2024-05-14", None, None))
    assert one != corrected("XNYS", ("2024-05-15", None, None))
    assert hash(DAY.anchored(one)) != hash(DAY.anchored(plain))
    assert repr(one) == "Sessions('XNYS', 'America/New_York', 'regular', version 1)"


def test_what_was_dumped_is_read_again_and_differences_are_dates() -> None:
    one = made(("2024-03-02", "09:15", "10:00"), ("2023-09-01", None, None), ("2024-12-24", None, "13:00"))
    assert CalendarExceptions.load(one.dump()) == one
    assert CalendarExceptions.load(one.dump()).days == one.days
    other = one.changed([SessionException.of("2024-12-24", None, "12:00")], dropped=[ms("2023-09-01")])
    assert other.version == 2 and one.differences(other) == [ms("2023-09-01"), ms("2024-12-24")]
    assert other.differences(one) == one.differences(other)


@pytest.mark.parametrize(
    ("day", "sentence"),
    [
        (("2024-13-02", None, None), "date is '2024-13-02', expected one such as 2024-03-02"),
        (("2024-03-02", "9:15", "10:00"), "time is '9:15', expected one such as 09:15"),
        (("2024-03-02", "24:00", "10:00"), "time is '24:00'"),
        (("2024-03-02", "09:15", "10:00-9"), "time is '10:00-9'"),
        (
            ("2024-03-02", "10:00", "10:00"),
            "session of 2024-03-02 opens at 10:00 and closes at 10:00, expected",
        ),
    ],
)
def test_what_is_no_exception_is_refused_in_a_sentence(day: tuple[str, str | None, str | None], sentence: str) -> None:
    with pytest.raises(BadInput) as raised:
        SessionException.of(*day)
    assert sentence in str(raised.value)


@pytest.mark.parametrize(
    ("day", "sentence"),
    [
        (("2024-03-02", None, None), "XNSE has no session on 2024-03-02 that could be dropped"),
        (("2024-03-02", None, "10:00"), "XNSE has no session on 2024-03-02, so one needs an open and a close"),
        (("2024-03-04", None, "09:00"), "XNSE would open on 2024-03-04 after it has closed"),
        (("2024-03-02", "09:15", "10:00+2"), "XNSE would have two sessions at once on 2024-03-02"),
    ],
)
def test_what_does_not_go_with_the_calendar_is_told_and_left_out(
    day: tuple[str, str | None, str | None], sentence: str
) -> None:
    exceptions = made(("2024-11-01", "18:00", "19:00"), day)
    assert unfit("XNSE", exceptions) == [sentence]
    found, plain = sessions_of("XNSE", exceptions=exceptions), sessions_of("XNSE")
    assert found and plain
    # The other one counts.
    assert set(found.labels) - set(plain.labels) == {ms("2024-11-01")}
    assert span(found, "2024-03-04") == span(plain, "2024-03-04")


def test_what_never_closes_has_no_exceptions() -> None:
    with pytest.raises(BadInput, match="24x7 never closes"):
        unfit("24x7", made(("2024-03-02", None, None)))
    forex = corrected("FOREX", ("2024-12-25", None, None))
    assert span(forex, "2024-12-25") is None and span(forex, "2024-12-26")
    assert forex.ends[0] - forex.opens[0] == DAY_MS
