"""`GET /v1/health/{symbol}`: one symbol's health, and what is kept of its past."""

from collections.abc import Mapping
from typing import Any

from common.store.health import HealthRules, Tally
from common.store.reads import View
from common.store.registry import Market
from common.store.upkeep import upkeep_of
from feed.bars.frames import cover_of
from feed.queries.endpoint import Endpoint
from feed.queries.queries import SymbolQueries
from feed.wire import answers, shapes
from feed.wire.answers import JsonAnswer
from feed.wire.params import NOTHING


async def answer(symbol: SymbolQueries, query: None) -> JsonAnswer:
    market, queries = symbol.market, symbol.queries
    found = symbol_health(market, await symbol.reader.view(), queries.rules)
    upkeep = await upkeep_of(queries.client, market.symbol)
    history = upkeep.json(archiving=queries.archive is not None)
    return JsonAnswer({"symbol": market.symbol, **found, "history": history})


def symbol_health(market: Market, view: View, rules: HealthRules) -> dict[str, Any]:
    """A symbol's health with its seq, what it refused, by reason, and how many of its minutes were found wrong."""
    state = view.state
    found = answers.health(market, view, cover_of(market, view), rules)
    refused: Mapping[str, int] = state.refused if state else {}
    return {**found, "seq": state.seq if state else 0, "refused": refused, **Tally.load(view.health).json()}


ENDPOINT = Endpoint(
    "/v1/health/{symbol}",
    "One symbol's health, and what is kept of its past.",
    NOTHING,
    answer,
    shapes.SYMBOL_HEALTH_ANSWER,
)
