"""`GET /v1/symbols`: every registered symbol."""

from contextlib import suppress
from typing import Any

from common.errors import BadInput
from common.market.instrument import Instrument
from common.market.pairs import pair_of
from common.store.health import standing_of
from common.store.reach import KeptReach, read_reach
from common.store.registry import Market
from feed.queries.endpoint import Endpoint
from feed.queries.fleet import Fleet
from feed.wire import fleet_shapes
from feed.wire.answers import JsonAnswer, exact, simulated
from feed.wire.params import NOTHING

# Kinds whose names say what is traded for what.
_PAIRED = ("crypto", "forex", "future", "other")


async def answer(fleet: Fleet, query: None) -> JsonAnswer:
    looks, queries = await fleet.look(), fleet.queries
    symbols = [market.symbol for market, _ in looks]
    reaches = await read_reach(queries.client, symbols, archiving=queries.archive is not None)
    rows = (
        _symbol(market, standing_of(view, market, queries.rules).mode, reach)
        for (market, view), reach in zip(looks, reaches, strict=True)
    )
    return JsonAnswer({"symbols": list(rows)})


def _symbol(market: Market, mode: str, reach: KeptReach) -> dict[str, Any]:
    instrument, source = market.instrument, market.source
    venue, _, name = market.symbol.rpartition(":")
    pair = pair_of(str(source.get("name", name))) if market.instrument_kind in _PAIRED else None
    return {
        "symbol": market.symbol,
        "kind": market.instrument_kind,
        "venue": str(source.get("venue", venue)) or None,
        "name": str(source.get("name", name)),
        "base": pair and pair.base,
        "quote": pair and pair.quote,
        "priceDecimals": instrument.price_decimals,
        "sizeDecimals": instrument.size_decimals,
        "priceStep": exact(instrument.price_text(int(source.get("price_step_ticks", 1)))),
        "sizeStep": exact(instrument.size_text(int(source.get("size_step_lots", 1)))),
        "calendar": instrument.calendar,
        "zone": _zone(instrument),
        "hours": instrument.hours,
        "ids": instrument.ids,
        "source": market.kind,
        "onDemand": market.on_demand,
        "simulated": simulated(market),
        "mode": mode,
        "candlesFrom": reach.candles_ms,
        "footprintsFrom": reach.footprints_ms,
        "tradesFrom": reach.trades_ms,
        "depthFrom": reach.depth_ms,
    }


def _zone(instrument: Instrument) -> str:
    """Its calendar's own, as far as that is known to this release."""
    with suppress(BadInput):
        return instrument.sessions.zone if instrument.sessions else instrument.zone
    return instrument.zone


ENDPOINT = Endpoint("/v1/symbols", "Every registered symbol.", NOTHING, answer, fleet_shapes.SYMBOLS)
