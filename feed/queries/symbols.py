"""`GET /v1/symbols`: every registered symbol."""

from typing import Any

from common.store.health import standing_of
from common.store.registry import Market
from feed.queries.endpoint import Endpoint
from feed.queries.fleet import Fleet
from feed.wire import fleet_shapes
from feed.wire.answers import JsonAnswer, simulated
from feed.wire.params import NOTHING


async def answer(fleet: Fleet, query: None) -> JsonAnswer:
    looks, rules = await fleet.look(), fleet.queries.rules
    return JsonAnswer({"symbols": [_symbol(market, standing_of(view, market, rules).mode) for market, view in looks]})


def _symbol(market: Market, mode: str) -> dict[str, Any]:
    instrument = market.instrument
    return {
        "symbol": market.symbol,
        "kind": market.instrument_kind,
        "priceDecimals": instrument.price_decimals,
        "sizeDecimals": instrument.size_decimals,
        "ids": instrument.ids,
        "source": market.kind,
        "simulated": simulated(market),
        "mode": mode,
    }


ENDPOINT = Endpoint("/v1/symbols", "Every registered symbol.", NOTHING, answer, fleet_shapes.SYMBOLS)
