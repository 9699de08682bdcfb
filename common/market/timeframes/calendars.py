"""Calendars by name, as sessions from 1970 to the last time there is (docs/sessions.md).

    24x7                    every day, cut at midnight of a zone; in UTC it needs no sessions
    FOREX                   Sunday 17:00 to Friday 17:00 New York, a trading day from 17:00 to 17:00, no holidays
    XNYS, XNSE, CMES, ...   every calendar of exchange-calendars, and XNSE with the hours and holidays of XBOM

Before the first and after the last session that exchange-calendars knows, it is taken that the market trades on its
usual weekdays at its usual hours.
"""

import warnings
from array import array
from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime, time, timedelta
from difflib import get_close_matches
from functools import lru_cache
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from common.errors import BadInput
from common.market.timeframes.calendar_exceptions import NO_EXCEPTIONS, CalendarExceptions, SessionException
from common.market.timeframes.session import Sessions

ALWAYS, FOREX = "24x7", "FOREX"
REGULAR, EXTENDED = "regular", "extended"
NEW_YORK = "America/New_York"

# Beyond what a trade's time may be, so that every one of them has a session after it.
FIRST, LAST = date(1970, 1, 1), date(2249, 12, 31)
# What is worked out from rules of holidays further ahead is guesswork.
LAST_KNOWN = date(2049, 12, 31)
# A year that every calendar knows.
_ANY_YEAR = date(2024, 1, 1), date(2024, 12, 31)
# Same hours and holidays; exchange-calendars has the one only.
_ALIASES = {"XNSE": "XBOM"}
# Sessions that say what is usual.
_USUAL = 50
_CLOSING_MS = 60_000
_DAY = timedelta(days=1)
_NS = 1_000_000

# Local time: from, to, and to on a day that closes early.
_EXTENDED = {"XNYS": (time(4), time(20), time(17))}
# The same of the last of them, by the zone of those that are called otherwise, too.
_EARLY = {NEW_YORK: time(17)}


class _Session(NamedTuple):
    """All in ms UTC, as in Sessions."""

    label: int
    open: int
    close: int


# What a calendar is asked for by: its name, zone and hours.
_Asked = tuple[str, str, str]
# Those that have been worked out.
_kept: dict[_Asked, Sessions | None] = {}


def sessions_of(
    calendar: str, zone: str = "UTC", hours: str = REGULAR, exceptions: CalendarExceptions = NO_EXCEPTIONS
) -> Sessions | None:
    """Return the sessions of a calendar, or None where days are those of UTC and nothing is ever closed.

    `zone`: where days of 24x7 begin. Every other calendar has its own, which UTC stands for. BadInput for what is not
    known. The first call for an exchange takes a second or two and some 100 MB: it loads pandas. `exceptions`: what of
    it is otherwise; one that does not go with the rest is left out (`unfit` tells which).
    """
    asked = (calendar, zone, hours)
    if asked not in _kept:
        _kept[asked] = _made(*asked)
    found = _kept[asked]
    return _corrected(found, exceptions)[0] if found and exceptions.days and calendar != ALWAYS else found


def extended_of(calendar: str, zone: str = "UTC", exceptions: CalendarExceptions = NO_EXCEPTIONS) -> Sessions | None:
    """Return its sessions with the hours before and after them; None where it has none that are known."""
    return sessions_of(calendar, zone, EXTENDED, exceptions) if has_extended(calendar) else None


@lru_cache(64)
def has_extended(calendar: str) -> bool:
    """Whether hours before and after its sessions are known."""
    if calendar in (ALWAYS, FOREX):
        return False
    import exchange_calendars as library

    return calendar not in _ALIASES and str(library.resolve_alias(calendar)) in _EXTENDED


def unfit(calendar: str, exceptions: CalendarExceptions) -> list[str]:
    """Return, a sentence each, which of them do not go with the calendar. BadInput if it can have none."""
    found = sessions_of(calendar)
    if found is None or calendar == ALWAYS:
        raise BadInput(f"calendar {calendar} never closes, so nothing of it can be otherwise")
    return list(_corrected(found, exceptions)[1])


def is_known(calendar: str, zone: str, hours: str) -> bool:
    """Whether it has been worked out in this process, or there is nothing to be worked out."""
    return (calendar, zone, hours) in _kept or (calendar, zone) == (ALWAYS, "UTC")


def keep(calendar: str, zone: str, hours: str, sessions: Sessions) -> None:
    """Take over what another process has worked out."""
    _kept[calendar, zone, hours] = sessions


@lru_cache(64)
def _corrected(base: Sessions, exceptions: CalendarExceptions) -> tuple[Sessions, tuple[str, ...]]:
    """Also returns what could not be applied."""
    rows = zip(base.labels, base.opens, base.closes, strict=True)
    found = {label: _Session(label, opened, closed) for label, opened, closed in rows}
    told, local = list[str](), ZoneInfo(base.zone)
    for each in exceptions.days:
        known = found.pop(each.label_ms, None)
        if each.is_dropped:
            if known is None:
                told.append(f"{base.calendar} has no session on {each.day} that could be dropped")
            continue
        if known is None and None in (each.open_minute, each.close_minute):
            told.append(f"{base.calendar} has no session on {each.day}, so one needs an open and a close")
            continue
        changed = _changed(base, each, known, local)
        if changed.open < changed.close:
            found[each.label_ms] = changed
            continue
        told.append(f"{base.calendar} would open on {each.day} after it has closed")
        if known:
            found[each.label_ms] = known
    return _in_order(base, exceptions, [found[label] for label in sorted(found)], told)


def _changed(base: Sessions, each: SessionException, known: _Session | None, zone: ZoneInfo) -> _Session:
    day = _date(each.label_ms)

    def at(minute: int | None, as_known: int) -> int:
        return as_known if minute is None else _ms_of(day, timedelta(minutes=minute), zone)

    opened, closed = (
        at(each.open_minute, known.open if known else 0),
        at(each.close_minute, known.close if known else 0),
    )
    if base.hours == EXTENDED and known:
        # An early close ends what comes after it early, too. The hours before are as they were.
        early_ms = _ms(day, _EARLY[base.zone], zone)
        opened, closed = known.open, known.close if each.close_minute is None else early_ms
    return _Session(each.label_ms, opened, closed)


def _in_order(
    base: Sessions, exceptions: CalendarExceptions, found: list[_Session], told: list[str]
) -> tuple[Sessions, tuple[str, ...]]:
    """Sessions that ascend: of two that overlap the one is left out that an exception made."""
    changed = {each.label_ms for each in exceptions.days}
    kept: list[_Session] = []
    for one in found:
        while kept and one.open < kept[-1].close:
            loser = one if one.label in changed else kept.pop()
            told.append(f"{base.calendar} would have two sessions at once on {_date(loser.label)}")
            if loser is one:
                break
        else:
            kept.append(one)
    closing_ms = 0 if base.calendar == FOREX else _CLOSING_MS
    return _table(base.calendar, base.zone, base.hours, kept, closing_ms, exceptions), tuple(told)


def _made(calendar: str, zone: str, hours: str) -> Sessions | None:
    if calendar == ALWAYS:
        if hours != REGULAR:
            raise _no_extended(calendar, hours)
        local = _zone(zone)
        return None if zone == "UTC" else _table(calendar, zone, hours, _days(local), 0)
    if calendar == FOREX:
        if hours != REGULAR:
            raise _no_extended(calendar, hours)
        return _table(calendar, _own(calendar, zone, NEW_YORK), hours, _forex(), 0)
    return _of_exchange(calendar, zone, hours)


def _of_exchange(calendar: str, zone: str, hours: str) -> Sessions:
    import exchange_calendars as library

    names: list[str] = [*library.get_calendar_names(include_aliases=True), *_ALIASES, ALWAYS, FOREX]
    if calendar not in names:
        near = get_close_matches(calendar.upper(), names, 3, 0.5)
        hint = f"did you mean {' or '.join(near)}" if near else "expected 24x7, FOREX or an exchange such as XNYS"
        raise BadInput(f"calendar {calendar[:40]!r} is not known: {hint}")
    name = _ALIASES.get(calendar) or str(library.resolve_alias(calendar))
    if hours != REGULAR and (hours != EXTENDED or name not in _EXTENDED):
        raise _no_extended(calendar, hours)
    try:
        with warnings.catch_warnings():
            # How the library uses pandas is its own affair.
            warnings.simplefilter("ignore")
            known = _known(library.get_calendar(name, start=_ANY_YEAR[0], end=_ANY_YEAR[1]))
    except (NotImplementedError, ValueError) as error:
        raise BadInput(f"calendar {calendar} can't be worked out by this release of exchange-calendars") from error
    local = ZoneInfo(str(known.tz))
    own = _own(calendar, zone, local.key)
    found = [
        _Session(int(label) // _NS, int(opened) // _NS, int(closed) // _NS)
        for label, opened, closed in zip(known.sessions_nanos, known.opens_nanos, known.closes_nanos, strict=True)
    ]
    if hours == EXTENDED:
        early = {int(label.value) // _NS for label in known.early_closes}
        found = [_extended(one.label, one.label in early, name, local) for one in found]
    return _table(calendar, own, hours, _continued(found, local), _CLOSING_MS)


def _known(any_year: Any) -> Any:
    """Return the same calendar from 1970 to LAST_KNOWN, or as much of that as its holidays are known."""
    first, last = any_year.bound_min(), any_year.bound_max()
    start = max(FIRST, first.date()) if first else FIRST
    return type(any_year)(start=start, end=min(LAST_KNOWN, last.date()) if last else LAST_KNOWN)


def _table(
    calendar: str,
    zone: str,
    hours: str,
    found: Sequence[_Session],
    closing_ms: int,
    exceptions: CalendarExceptions = NO_EXCEPTIONS,
) -> Sessions:
    """`closing_ms`: what of the time after the close belongs to a session, if the next has not opened by then."""
    labels, opens, closes = (array("q", column) for column in zip(*found, strict=True))
    ends = array("q", map(min, (close + closing_ms for close in closes), [*opens[1:], closes[-1] + closing_ms]))
    return Sessions(calendar, zone, hours, labels, opens, closes, ends, exceptions)


def _days(zone: ZoneInfo) -> list[_Session]:
    """Every day of a zone, from the one that holds the first moment of 1970."""
    days = list(_dates(FIRST - _DAY, LAST + _DAY))
    starts = [_ms(day, time(), zone) for day in days]
    found = zip(map(_label, days), starts, starts[1:], strict=False)
    # A zone that changes sides of the date line may skip a day.
    return [_Session(label, start, end) for label, start, end in found if start < end]


def _forex() -> list[_Session]:
    zone, at = ZoneInfo(NEW_YORK), time(17)
    weekdays = (day for day in _dates(FIRST, LAST) if day.weekday() < 5)
    return [_Session(_label(day), _ms(day - _DAY, at, zone), _ms(day, at, zone)) for day in weekdays]


def _extended(label_ms: int, early: bool, name: str, zone: ZoneInfo) -> _Session:
    day = _date(label_ms)
    opened, closed, closed_early = _EXTENDED[name]
    return _Session(label_ms, _ms(day, opened, zone), _ms(day, closed_early if early else closed, zone))


def _continued(known: list[_Session], zone: ZoneInfo) -> list[_Session]:
    """Go on at both ends as is usual near them."""
    before = _dates(FIRST, _date(known[0].label) - _DAY)
    after = _dates(_date(known[-1].label) + _DAY, LAST)
    return [*_usual(known[:_USUAL], before, zone), *known, *_usual(known[-_USUAL:], after, zone)]


def _usual(like: list[_Session], days: Iterable[date], zone: ZoneInfo) -> list[_Session]:
    weekdays = Counter(_date(one.label).weekday() for one in like)
    kept = {weekday for weekday, count in weekdays.items() if count > len(like) // 10}
    hours = Counter((_local(one.open, one.label, zone), _local(one.close, one.label, zone)) for one in like)
    ((opened, closed), _), *_ = hours.most_common(1)
    return [
        _Session(_label(day), _ms_of(day, opened, zone), _ms_of(day, closed, zone))
        for day in days
        if day.weekday() in kept
    ]


def _local(ts_ms: int, label_ms: int, zone: ZoneInfo) -> timedelta:
    """Time on the clocks there, since the midnight that begins the trading date."""
    return datetime.fromtimestamp(ts_ms / 1000, zone).replace(tzinfo=UTC) - _moment(label_ms)


def _ms_of(day: date, since: timedelta, zone: ZoneInfo) -> int:
    moment = datetime.combine(day, time()) + since
    return _ms(moment.date(), moment.time(), zone)


def _ms(day: date, at: time, zone: ZoneInfo) -> int:
    """When clocks there show it. Skipped by a change of clocks: the moment of the change; shown twice: the first."""
    return int(datetime.combine(day, at, zone).timestamp()) * 1000


def _label(day: date) -> int:
    return (day - date(1970, 1, 1)).days * 86_400_000


def _moment(ts_ms: int) -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=ts_ms)


def _date(label_ms: int) -> date:
    return _moment(label_ms).date()


def _dates(first: date, last: date) -> Iterable[date]:
    return (first + timedelta(days=at) for at in range((last - first).days + 1))


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (ValueError, OSError, LookupError):
        raise BadInput(f"zone {name[:40]!r} is not known, expected a name such as Europe/Berlin") from None


def _own(calendar: str, zone: str, own: str) -> str:
    """An exchange is where it is."""
    if zone not in ("UTC", own):
        raise BadInput(f"zone {zone[:40]!r} does not go with calendar {calendar}, whose own is {own}")
    return own


def _no_extended(calendar: str, hours: str) -> BadInput:
    return BadInput(f"hours {hours[:40]!r} are not known of calendar {calendar}, expected regular")
