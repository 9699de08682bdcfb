"""What calendars have otherwise than the library knows: hash `calendars`, and what has been done about it.

Every market that is read comes with the exceptions of its calendar. Days that were rolled up by others are marked by
the clock's next tick (`adopt`); until then readers of stored days compare the two.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import orjson
from redis.asyncio import Redis

from common.errors import BadInput, OperatorError, Overtaken
from common.market.instrument import Instrument
from common.market.timeframes.calendar_exceptions import NO_EXCEPTIONS, CalendarExceptions, SessionException
from common.market.timeframes.calendars import ALWAYS
from common.market.timeframes.timeframe import DAY_MS
from common.retry import retry_when_overtaken
from common.store import scripts
from common.store.client import translated
from common.store.keys import CALENDARS, SYMBOLS_VERSION, SymbolKeys

# What a changed session may change: its week and, where it is the first or last of a month, that month's first days.
REACH_MS = 8 * DAY_MS
# Field of `{S}:rollup`.
ADOPTED = "exceptions"


class CalendarStore:
    def __init__(self, client: Redis) -> None:
        self._client = client
        self._set = scripts.set_calendar.of(client)

    async def all(self) -> dict[str, CalendarExceptions]:
        """By calendar; those without exceptions are not among them."""
        with translated("read of the calendars"):
            found: Any = await self._client.hgetall(CALENDARS)
        loaded = {name.decode(): exceptions_of(text) for name, text in sorted(found.items())}
        return {name: exceptions for name, exceptions in loaded.items() if exceptions.days}

    async def change(
        self, calendar: str, added: Sequence[SessionException] = (), removed: Sequence[int] = ()
    ) -> CalendarExceptions:
        """Add exceptions, in place of those of the same dates, and remove those of some labels. Return what is now."""
        return await retry_when_overtaken(
            lambda: self._change(calendar, added, removed), f"calendar {calendar}", "write it"
        )

    async def _change(
        self, calendar: str, added: Sequence[SessionException], removed: Sequence[int]
    ) -> CalendarExceptions:
        with translated(f"read of calendar {calendar}"):
            text: Any = await self._client.hget(CALENDARS, calendar)
        changed = exceptions_of(text).changed(added, removed)
        with translated(f"write of calendar {calendar}"):
            status, *_ = await self._set(
                calendars=CALENDARS, calendar=calendar, exceptions=text or b"", changed=orjson.dumps(changed.dump())
            )
            if status != b"OK":
                raise Overtaken(f"calendar {calendar} was changed by another")
            # Those who keep the registry read it again.
            await self._client.incr(SYMBOLS_VERSION)
            return changed


async def with_exceptions(client: Redis, instruments: Iterable[Instrument]) -> list[Instrument]:
    """Return the instruments, in their order, each with what its calendar has otherwise."""
    instruments = list(instruments)
    names = sorted({each.calendar for each in instruments} - {ALWAYS})
    if not names:
        return instruments
    with translated("read of the calendars"):
        texts: Any = await client.hmget(CALENDARS, names)
    found = {name: exceptions_of(text) for name, text in zip(names, texts, strict=True)}
    return [replace(each, exceptions=found.get(each.calendar, NO_EXCEPTIONS)) for each in instruments]


@dataclass(frozen=True, slots=True)
class Adopted:
    """By which exceptions of which calendar a symbol's days are made, or marked as to be made: as it is stored."""

    text: bytes

    @property
    def exceptions(self) -> CalendarExceptions:
        return exceptions_of(self.text)

    def is_of(self, calendar: str, exceptions: CalendarExceptions) -> bool:
        if not self.text:
            return not exceptions.days
        return self.exceptions == exceptions and self._calendar == calendar

    def is_older_than(self, calendar: str, exceptions: CalendarExceptions) -> bool:
        """Whether these are to be adopted; a process that has read them before others were must not undo that."""
        is_newer = self._calendar not in (calendar, "") or self.exceptions.version < exceptions.version
        return is_newer and not self.is_of(calendar, exceptions)

    def lacking(self, calendar: str, exceptions: CalendarExceptions) -> list[tuple[int, int]]:
        """Return stretches of days, first and last, that these make otherwise."""
        return [] if self.is_of(calendar, exceptions) else changed_days(self.exceptions, exceptions)

    @property
    def _calendar(self) -> str:
        return str(orjson.loads(self.text).get("calendar", "")) if self.text else ""


NOT_ADOPTED = Adopted(b"")


async def adopt(client: Redis, instruments: Iterable[Instrument]) -> dict[str, int]:
    """Mark the days that exceptions have changed since they were last adopted; return how many, by symbol."""
    named = [each for each in instruments if each.calendar != ALWAYS]
    if not named:
        return {}
    pipe = client.pipeline(transaction=False)
    for each in named:
        pipe.hget(SymbolKeys(each.symbol).rollup, ADOPTED)
    with translated("read of the calendars that days were made by"):
        found = [Adopted(text or b"") for text in await pipe.execute()]
    marked: dict[str, int] = {}
    for instrument, before in zip(named, found, strict=True):
        calendar, exceptions = instrument.calendar, instrument.exceptions
        if before.is_older_than(calendar, exceptions):
            script = scripts.adopt.of(client, SymbolKeys(instrument.symbol))
            text = orjson.dumps({"calendar": calendar, **exceptions.dump()})
            with translated(f"marking of days of {instrument.symbol}"):
                status, *rest = await script(
                    known=before.text, exceptions=text, spans=before.lacking(calendar, exceptions)
                )
            if status == b"OK":
                marked[instrument.symbol] = int(rest[0])
    return marked


async def outside_of(client: Redis, symbols: Iterable[str]) -> dict[str, tuple[int, int]]:
    """Return how many trades are in no session, and the newest day that has some: of those symbols that have any."""
    symbols = list(symbols)
    pipe = client.pipeline(transaction=False)
    for symbol in symbols:
        pipe.hgetall(SymbolKeys(symbol).outside)
    with translated("read of the trades in no session"):
        found = await pipe.execute()
    days = {
        symbol: {name: int(count) for name, count in fields.items()}
        for symbol, fields in zip(symbols, found, strict=True)
    }
    return {
        symbol: (counts.pop(b"total", 0), max(map(int, counts))) for symbol, counts in days.items() if len(counts) > 1
    }


def changed_days(one: CalendarExceptions, other: CalendarExceptions) -> list[tuple[int, int]]:
    """Return stretches of days, first and last, that may be made otherwise by the one than by the other."""
    found: list[tuple[int, int]] = []
    for label_ms in one.differences(other):
        first, last = label_ms - REACH_MS, label_ms + REACH_MS
        if found and first <= found[-1][1]:
            found[-1] = (found[-1][0], last)
        else:
            found.append((max(first, 0), last))
    return found


def exceptions_of(text: bytes | None) -> CalendarExceptions:
    """Read a field of `calendars`, or what a symbol has adopted."""
    return _loaded(text) if text else NO_EXCEPTIONS


@lru_cache(256)
def _loaded(text: bytes) -> CalendarExceptions:
    try:
        return CalendarExceptions.load(orjson.loads(text))
    except (BadInput, ValueError, AttributeError) as error:
        raise OperatorError(f"hash {CALENDARS!r} has {text[:80]!r}, which are no exceptions: {error}") from error
