"""`GET /v1/market/{symbol}`: whether a market is open, and when that changes."""

from bisect import bisect_left
from datetime import UTC, datetime
from typing import Any

from common.market.instrument import Instrument
from common.market.timeframes.calendars import ALWAYS, REGULAR, extended_of, sessions_of
from common.market.timeframes.session import Sessions
from feed.queries.endpoint import Endpoint
from feed.queries.queries import SymbolQueries
from feed.wire import shapes
from feed.wire.answers import SymbolAnswer
from feed.wire.params import NOTHING


async def answer(symbol: SymbolQueries, query: None) -> SymbolAnswer:
    """By the store's clock."""
    instrument = symbol.market.instrument
    await symbol.queries.work_out_day(symbol.market)
    view = await symbol.reader.view()
    last_update = view.state.updated_ms or None if view.state else None
    fields = status(instrument, view.server_ms) | {"lastUpdate": last_update}
    return SymbolAnswer(symbol.market, {**fields, "health": symbol.health(view)})


def status(instrument: Instrument, now_ms: int) -> dict[str, Any]:
    """What an answer says of the market's hours.

    It is open from a session's open to its close: the minute after, which holds the closing auction's prints, belongs
    to the bar and not to the hours. While open, `nextClose` is this session's and `nextOpen` the next one's.
    """
    sessions = instrument.sessions
    names = {"calendar": instrument.calendar, "zone": sessions.zone if sessions else "UTC", "hours": instrument.hours}
    if sessions is None or instrument.calendar == ALWAYS:
        is_always = {"state": "open", **_phase(is_open=True)}
        return names | is_always | {"session": None, "nextOpen": None, "nextClose": None}
    at = sessions.at(now_ms)
    if now_ms >= sessions.closes[at]:
        at += 1
    is_open = sessions.opens[at] <= now_ms
    return names | {
        "state": "open" if is_open else "closed",
        **phase_of(instrument, now_ms),
        "session": _session(sessions, at) if is_open else None,
        "nextOpen": sessions.opens[at + is_open],
        "nextClose": sessions.closes[at],
    }


def phase_of(instrument: Instrument, now_ms: int) -> dict[str, bool]:
    """Of which part of the day a moment is, whatever hours the symbol keeps: none of them is, or one.

    The market is open in its regular session; before and after that it trades where it has extended hours.
    """
    calendar, zone, exceptions = instrument.calendar, instrument.zone, instrument.exceptions
    regular, extended = sessions_of(calendar, zone, REGULAR, exceptions), extended_of(calendar, zone, exceptions)
    if regular is None or _is_within(regular, now_ms):
        return _phase(is_open=True)
    if extended is None or not _is_within(extended, now_ms):
        return _phase()
    # The regular session of that day, whose close has passed or not.
    at = bisect_left(regular.labels, extended.labels[extended.at(now_ms)])
    return _phase(is_pre=now_ms < regular.opens[at], is_after=now_ms >= regular.opens[at])


def _phase(*, is_open: bool = False, is_pre: bool = False, is_after: bool = False) -> dict[str, bool]:
    return {"isOpen": is_open, "isPreMarket": is_pre, "isAfterHours": is_after}


def _is_within(sessions: Sessions, now_ms: int) -> bool:
    at = sessions.at(now_ms)
    return sessions.opens[at] <= now_ms < sessions.closes[at]


def _session(sessions: Sessions, at: int) -> dict[str, Any]:
    label = datetime.fromtimestamp(sessions.labels[at] // 1000, UTC).date().isoformat()
    return {"label": label, "open": sessions.opens[at], "close": sessions.closes[at]}


ENDPOINT = Endpoint(
    "/v1/market/{symbol}", "Whether the market is open, and when that changes.", NOTHING, answer, shapes.MARKET
)
