"""`GET /v1/market/{symbol}`: whether a market is open, and when that changes."""

from datetime import UTC, datetime
from typing import Any

from common.market.instrument import Instrument
from common.market.timeframes.calendars import ALWAYS
from common.market.timeframes.session import Sessions
from feed.queries.endpoint import Endpoint
from feed.queries.queries import SymbolQueries
from feed.wire import shapes
from feed.wire.answers import SymbolAnswer
from feed.wire.params import NOTHING


async def answer(symbol: SymbolQueries, query: None) -> SymbolAnswer:
    """By the store's clock."""
    view = await symbol.reader.view()
    last_update = view.state.updated_ms or None if view.state else None
    fields = status(symbol.market.instrument, view.server_ms) | {"lastUpdate": last_update}
    return SymbolAnswer(symbol.market, {**fields, "health": symbol.health(view)})


def status(instrument: Instrument, now_ms: int) -> dict[str, Any]:
    """What an answer says of the market's hours.

    It is open from a session's open to its close: the minute after, which holds the closing auction's prints, belongs
    to the bar and not to the hours. While open, `nextClose` is this session's and `nextOpen` the next one's.
    """
    sessions = instrument.sessions
    names = {"calendar": instrument.calendar, "zone": sessions.zone if sessions else "UTC", "hours": instrument.hours}
    if sessions is None or instrument.calendar == ALWAYS:
        return names | {"state": "open", "session": None, "nextOpen": None, "nextClose": None}
    at = sessions.at(now_ms)
    if now_ms >= sessions.closes[at]:
        at += 1
    is_open = sessions.opens[at] <= now_ms
    return names | {
        "state": "open" if is_open else "closed",
        "session": _session(sessions, at) if is_open else None,
        "nextOpen": sessions.opens[at + is_open],
        "nextClose": sessions.closes[at],
    }


def _session(sessions: Sessions, at: int) -> dict[str, Any]:
    label = datetime.fromtimestamp(sessions.labels[at] // 1000, UTC).date().isoformat()
    return {"label": label, "open": sessions.opens[at], "close": sessions.closes[at]}


ENDPOINT = Endpoint(
    "/v1/market/{symbol}", "Whether the market is open, and when that changes.", NOTHING, answer, shapes.MARKET
)
