"""What a client may say on a stream: its actions, and what each takes."""

from dataclasses import dataclass, replace

from common.market.timeframes.timeframe import Timeframe
from feed.bars.changes import Cursor
from feed.queries.parameters import LIMIT, TIMEFRAME
from feed.wire.parameter_types import AnyText, Parsed
from feed.wire.params import Given, Parameter, Parameters

ACTIONS = ("subscribe", "unsubscribe", "ping", "list", "auth")

SYMBOL = Parameter("symbol", AnyText(), "", "A registered symbol.", is_required=True)
BARS = replace(TIMEFRAME, is_required=True)
CURSOR: Parameter[Cursor | None] = Parameter(
    "cursor", Parsed(Cursor.parse), None, "Where the client stands: of an answer or a message."
)
TOKEN = Parameter("token", AnyText(), "", "A token that may read.", is_required=True)


@dataclass(frozen=True, slots=True)
class SeriesName:
    symbol: str
    timeframe: Timeframe

    @classmethod
    def of(cls, given: Given) -> "SeriesName":
        return cls(given[SYMBOL], given[BARS])


@dataclass(frozen=True, slots=True)
class SubscribeRequest:
    name: SeriesName
    # Bars of a snapshot.
    limit: int
    cursor: Cursor | None

    @classmethod
    def of(cls, given: Given) -> "SubscribeRequest":
        return cls(SeriesName.of(given), given[LIMIT], given[CURSOR])


SUBSCRIBE = Parameters((SYMBOL, BARS, LIMIT, CURSOR), SubscribeRequest.of)
UNSUBSCRIBE = Parameters((SYMBOL, BARS), SeriesName.of)
AUTH = Parameters((TOKEN,), lambda given: given[TOKEN])
