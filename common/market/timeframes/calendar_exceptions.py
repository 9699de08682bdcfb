"""What a calendar has otherwise on some trading dates: a session that was added, a day without one, other hours.

Times are those on the clocks there: `09:15`, or `17:00-1` for the evening before the trading date, `01:00+1` for the
night after it. The calendars themselves are in common.market.timeframes.calendars, which applies them.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from hashlib import sha256

from common.errors import BadInput

_TIME = re.compile(r"([01]\d|2[0-3]):([0-5]\d)(?:([+-])([1-3]))?", re.ASCII)
_DAY_MINUTES = 24 * 60
_DAY_MS = 86_400_000
# In all of a calendar: a century of one a week.
MAX_EXCEPTIONS = 5_000


@dataclass(frozen=True, slots=True, order=True)
class SessionException:
    """Of one trading date. Minutes since the midnight that begins it; None: as the calendar has it; both None: none."""

    # Midnight UTC of the trading date.
    label_ms: int
    open_minute: int | None = None
    close_minute: int | None = None

    @classmethod
    def of(cls, day: str, opens: str | None, closes: str | None) -> "SessionException":
        """Read a date and times as people write them."""
        label_ms, minutes = _label(day), [None if text is None else _minutes(text) for text in (opens, closes)]
        if None not in minutes and minutes[0] >= minutes[1]:  # type: ignore[operator]
            raise BadInput(f"session of {day} opens at {opens} and closes at {closes}, expected a later close")
        return cls(label_ms, *minutes)

    @property
    def is_dropped(self) -> bool:
        return self.open_minute is None and self.close_minute is None

    @property
    def day(self) -> str:
        return datetime.fromtimestamp(self.label_ms // 1_000, UTC).date().isoformat()

    @property
    def times(self) -> tuple[str | None, str | None]:
        opens, closes = (None if at is None else _text(at) for at in (self.open_minute, self.close_minute))
        return opens, closes


@dataclass(frozen=True, slots=True)
class CalendarExceptions:
    """All of one calendar, ascending by date. Two are equal if their versions and contents are."""

    # Counts up with every change in a store.
    version: int = 0
    days: tuple[SessionException, ...] = field(default=(), compare=False)
    # Names the contents: cheaper to compare than these.
    digest: str = field(default="", init=False)

    def __post_init__(self) -> None:
        if self.days:
            object.__setattr__(self, "digest", sha256(repr(self.days).encode()).hexdigest()[:16])

    @classmethod
    def load(cls, fields: Mapping[str, object]) -> "CalendarExceptions":
        """Read what `dump` wrote. BadInput for anything else."""
        days, version = fields.get("days"), fields.get("version")
        if not isinstance(version, int) or not isinstance(days, dict):
            raise BadInput(f"exceptions of a calendar are {str(fields)[:80]!r}, expected a version and days")
        try:
            found = (SessionException.of(day, *times) for day, times in days.items())
            return cls(version, tuple(sorted(found, key=lambda each: each.label_ms)))
        except TypeError:
            raise BadInput(f"days of a calendar are {str(days)[:80]!r}, expected [open, close] by date") from None

    def dump(self) -> dict[str, object]:
        """As JSON has it: a version, and [open, close] by date."""
        return {"version": self.version, "days": {each.day: each.times for each in self.days}}

    def changed(self, added: Iterable[SessionException], dropped: Iterable[int] = ()) -> "CalendarExceptions":
        """Return the next version: with those that are added, and without those of the labels that are dropped."""
        days = {each.label_ms: each for each in self.days} | {each.label_ms: each for each in added}
        for label_ms in dropped:
            days.pop(label_ms, None)
        if len(days) > MAX_EXCEPTIONS:
            raise BadInput(f"{len(days):,} exceptions of one calendar, expected at most {MAX_EXCEPTIONS:,}")
        return CalendarExceptions(self.version + 1, tuple(days[label_ms] for label_ms in sorted(days)))

    def differences(self, other: "CalendarExceptions") -> list[int]:
        """Return the labels of the dates on which the two are not equal, ascending."""
        return sorted({each.label_ms for each in set(self.days) ^ set(other.days)})


NO_EXCEPTIONS = CalendarExceptions()


def _label(day: str) -> int:
    try:
        found = date.fromisoformat(day)
    except (ValueError, TypeError):
        raise BadInput(f"date is {str(day)[:40]!r}, expected one such as 2024-03-02") from None
    return (found - date(1970, 1, 1)).days * _DAY_MS


def _minutes(text: str) -> int:
    match = _TIME.fullmatch(text) if isinstance(text, str) else None
    if not match:
        raise BadInput(f"time is {str(text)[:40]!r}, expected one such as 09:15, or 17:00-1 for the day before")
    days = int(match[4] or 0) * (-1 if match[3] == "-" else 1)
    return days * _DAY_MINUTES + int(match[1]) * 60 + int(match[2])


def _text(minutes: int) -> str:
    days, minute = divmod(minutes, _DAY_MINUTES)
    return f"{minute // 60:02}:{minute % 60:02}" + (f"{days:+}" if days else "")
