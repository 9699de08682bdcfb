"""`GET /v1/overview`: every symbol in a row: its price and a day of it, how it is, what is missing.

What people look at every two seconds, on any number of pages. It is read for all symbols at once and worked out at most
once a second. A symbol that can't be read is a row that says why.
"""

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import orjson

from common.errors import BadInput, FleetError
from common.market.coding import codec
from common.market.instrument import Instrument
from common.market.orderflow.ratios import basis_points
from common.store.day_closes import Steps
from common.store.health import AMENDED, HealthRules, Tally, health_of, is_held
from common.store.reads import View
from common.store.registry import Market, Registry
from feed.bars.frames import cover_of
from feed.queries.endpoint import Endpoint
from feed.queries.fleet import Fleet
from feed.reading.coverage import KnownCoverage
from feed.reading.price_lines import LineRequest, PriceLine, steps_at
from feed.wire import fleet_shapes
from feed.wire.answers import JsonAnswer, Written, exact, simulated
from feed.wire.errors import failure_of
from feed.wire.params import NOTHING

Row = dict[str, Any]
# What a symbol says of itself that has a holder (workers/symbol/vitals.py), and how the row calls it.
_FIGURES = {"gaps_open": "gapsOpen", "lag_p50_ms": "lagP50Ms", "lag_p99_ms": "lagP99Ms", "trades_per_s": "tradesPerS"}


async def answer(fleet: Fleet, query: None) -> Written:
    return await fleet.overview.answer.read(lambda: _made(fleet))


async def _made(fleet: Fleet) -> Written:
    queries = fleet.queries
    markets = list((await Registry(queries.client).symbols()).values())
    views = await fleet.overview.views.look([market.symbol for market in markets])
    rows = {market.symbol: view for market, view in zip(markets, views, strict=True)}
    found = [_as_stored(market, rows[market.symbol]) for market in markets]
    for market, _ in found:
        # Its health tells whether it is closed.
        with suppress(BadInput):
            await queries.work_out_sessions(market)
    now_ms = max((view.server_ms for _, view in found if isinstance(view, View)), default=0)
    steps = steps_at(now_ms)
    lines = await fleet.overview.lines.read(
        [_line_request(*each) for each in found if isinstance(each[1], View)], steps
    )
    told = [_row(market, view, lines.get(market.symbol), steps, queries.rules) for market, view in found]
    return Written.of(JsonAnswer({"at": now_ms, "from": steps.from_ms, "stepMs": steps.step_ms, "symbols": told}))


def _as_stored(market: Market, view: View | FleetError) -> tuple[Market, View | FleetError]:
    data = view.state.data if isinstance(view, View) and view.state else None
    return market.as_stored(data), view


def _line_request(market: Market, view: View | FleetError) -> LineRequest:
    assert isinstance(view, View)
    instrument, state = market.instrument, view.state
    if state is None:
        return LineRequest(instrument, None)
    growing = codec.unpack_candle(state.candle) if state.candle else None
    return LineRequest(instrument, state.scales(instrument), growing)


def _row(market: Market, view: View | FleetError, line: PriceLine | None, steps: Steps, rules: HealthRules) -> Row:
    named: Row = {"symbol": market.symbol, **({"simulated": True} if simulated(market) else {})}
    if isinstance(view, FleetError):
        return named | _failed(view)
    try:
        return named | _told(market, view, line, steps, rules)
    except Exception as error:
        # Of this symbol: the others have their rows.
        return named | _failed(error)


def _failed(error: Exception) -> Row:
    failure = failure_of(error)
    return {"error": {"code": failure.code, "message": failure.message}}


def _told(market: Market, view: View, line: PriceLine | None, steps: Steps, rules: HealthRules) -> Row:
    cover = cover_of(market, view)
    tally = Tally.load(view.health)
    return {
        **health_of(view, market, rules, cover.hole_count),
        **_prices(market.instrument, view, line),
        "coverage": _spans(cover, steps.from_ms, view.server_ms),
        "amended": int(view.health.get(AMENDED, 0)),
        "differs": tally.mismatches,
        **_figures(view, rules),
    }


def _spans(cover: KnownCoverage, from_ms: int, to_ms: int) -> list[list[int]]:
    """As far as they lie in that time."""
    if not cover.hole_count:
        # As mostly: then there is one, or none yet.
        found = [[cover.from_ms, cover.to_ms]] if cover.to_ms >= from_ms else []
    else:
        found, _ = cover.within(from_ms, to_ms)
    return [[max(begin_ms, from_ms), end_ms] for begin_ms, end_ms in found]


def _figures(view: View, rules: HealthRules) -> Row:
    """None where nobody measures it now."""
    told: Mapping[str, str] = view.health if is_held(view, rules.lease_ttl_ms) else {}
    return {name: exact(text) if (text := told.get(field)) else None for field, name in _FIGURES.items()}


def _prices(instrument: Instrument, view: View, line: PriceLine | None) -> Row:
    """The last price, and how it got there: the line is some minutes old, but for its end."""
    packed = [view.state.candle] if view.state and view.state.candle else view.minutes[0] if view.minutes else []
    newest = codec.unpack_candle(packed[0]) if packed else None
    last = newest.close_ticks if newest else line.last if line else None
    before = line.first if line else None
    change = None if last is None or before is None else last - before
    text = _price(instrument, last)
    return {
        "last": exact(text),
        "lastT": newest.last_ts_ms if newest else None,
        "change": exact(_price(instrument, change)),
        "changeBp": basis_points(change, before) if change is not None and before and before > 0 else None,
        "line": orjson.Fragment(line.ending(text)) if line else None,
    }


def _price(instrument: Instrument, ticks: int | None) -> str:
    return "null" if ticks is None else instrument.price_text(ticks)


ENDPOINT = Endpoint(
    "/v1/overview",
    "Every symbol in a row: its price and a day of it, how it is, and what is missing.",
    NOTHING,
    answer,
    fleet_shapes.OVERVIEW,
)
