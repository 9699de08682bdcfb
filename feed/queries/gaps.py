"""`GET /v1/gaps/{symbol}`: what is missing of a symbol's trades, and what becomes of it."""

from dataclasses import dataclass

from common.market.builder import gaps
from feed.queries.endpoint import Endpoint
from feed.queries.parameters import LIMIT
from feed.queries.queries import SymbolQueries
from feed.wire import shapes
from feed.wire.answers import SymbolAnswer
from feed.wire.parameter_types import OneOf
from feed.wire.params import Given, Parameter, Parameters

GAP_STATES = (gaps.OPEN, gaps.REPAIRING, gaps.REPAIRED, gaps.UNFILLABLE)

STATE: Parameter[str | None] = Parameter("state", OneOf(GAP_STATES), None, "Only gaps in that state.")


@dataclass(frozen=True, slots=True)
class GapsQuery:
    # None for any.
    state: str | None
    limit: int

    @classmethod
    def of(cls, given: Given) -> "GapsQuery":
        return cls(given[STATE], given[LIMIT])


async def answer(symbol: SymbolQueries, query: GapsQuery) -> SymbolAnswer:
    ledger = await symbol.reader.gaps()
    newest_first = [gap for gap in reversed(ledger.gaps.values()) if query.state in (None, gap.state)]
    fields = {
        "gaps": [gap.json() for gap in newest_first[: query.limit]],
        "open": sum(not gap.over for gap in ledger.gaps.values()),
    }
    return SymbolAnswer(symbol.market, fields)


ENDPOINT = Endpoint(
    "/v1/gaps/{symbol}",
    "What is missing, the newest first.",
    Parameters((STATE, LIMIT), GapsQuery.of),
    answer,
    shapes.GAPS,
)
