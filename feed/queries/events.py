"""`GET /v1/events/{symbol}`: what happened to a symbol, out of its stream of events."""

from collections.abc import Collection
from dataclasses import dataclass

import orjson

from common.store.events import EVENTS, EventId, EventReader
from feed.queries.endpoint import Endpoint
from feed.queries.queries import SymbolQueries
from feed.wire import fleet_shapes
from feed.wire.answers import SymbolAnswer
from feed.wire.parameter_types import Parsed, SomeOf, Whole
from feed.wire.params import Given, Parameter, Parameters

MAX_EVENTS = 1_000

TYPES: Parameter[Collection[str]] = Parameter(
    "types", SomeOf(EVENTS), frozenset(EVENTS), "Only events of these types, with commas between."
)
AFTER: Parameter[EventId | None] = Parameter(
    "after",
    Parsed(EventId.parse, "^[0-9]{1,18}-[0-9]{1,9}$"),
    None,
    "The id of an event: those after it, the oldest first to be told.",
)
EVENTS_LIMIT = Parameter("limit", Whole(MAX_EVENTS), 100, "Most events in one answer.")


@dataclass(frozen=True, slots=True)
class EventsQuery:
    types: Collection[str]
    after: EventId | None
    limit: int

    @classmethod
    def of(cls, given: Given) -> "EventsQuery":
        return cls(given[TYPES], given[AFTER], given[EVENTS_LIMIT])


async def answer(symbol: SymbolQueries, query: EventsQuery) -> SymbolAnswer:
    reader = EventReader(symbol.queries.client, symbol.market.symbol)
    if query.after is None:
        read = await reader.newest(query.limit, query.types)
    else:
        read = await reader.after(query.after, query.limit, query.types)
    events = list(map(orjson.Fragment, read.events))
    return SymbolAnswer(symbol.market, {"events": events, "last": str(read.last), "more": read.more})


ENDPOINT = Endpoint(
    "/v1/events/{symbol}",
    "What happened to a symbol: bars closed and amended, gaps, changes of its health and of its holder.",
    Parameters((TYPES, AFTER, EVENTS_LIMIT), EventsQuery.of),
    answer,
    fleet_shapes.EVENTS_ANSWER,
)
