"""`GET /v1/quotes`: the quotes of many symbols, as a watchlist shows them. Nothing is streamed for it."""

from collections.abc import Sequence
from contextlib import suppress

import orjson

from common.errors import BadInput, FleetError
from common.market.instrument import check_symbol
from common.store.quotes import QuoteRead, read_quotes
from common.store.registry import Registry
from feed.queries.endpoint import Endpoint
from feed.queries.fleet import Fleet
from feed.queries.queries import Queries, unknown_symbol
from feed.queries.quote import NEWEST_MINUTE, quote_answer
from feed.wire import shapes
from feed.wire.answers import JsonAnswer
from feed.wire.errors import failure_of
from feed.wire.openapi import SYMBOL_TEXT
from feed.wire.parameter_types import ListOf
from feed.wire.params import Given, Parameter, Parameters

MAX_SYMBOLS = 100

SYMBOLS: Parameter[tuple[str, ...]] = Parameter(
    "symbols",
    ListOf(check_symbol, MAX_SYMBOLS, SYMBOL_TEXT),
    (),
    f"Registered symbols, up to {MAX_SYMBOLS} with commas between.",
    is_required=True,
    repeats=True,
)


def _asked(given: Given) -> tuple[str, ...]:
    """Each once, in the order in which they were asked for."""
    symbols: tuple[str, ...] = given[SYMBOLS]
    if not symbols:
        raise BadInput(f"symbols is missing, expected up to {MAX_SYMBOLS} of those that GET /v1/symbols lists")
    return tuple(dict.fromkeys(symbols))


async def answer(fleet: Fleet, symbols: tuple[str, ...]) -> JsonAnswer:
    return await quotes_of(fleet.queries, symbols)


async def quotes_of(queries: Queries, symbols: Sequence[str]) -> JsonAnswer:
    client = queries.client
    markets = await Registry(client).some(symbols)
    found = dict(zip(markets, await read_quotes(client, markets.values(), NEWEST_MINUTE), strict=True))
    unknown = {symbol: unknown_symbol(symbol) for symbol in symbols if symbol not in found}
    return JsonAnswer({"quotes": [await _row(queries, symbol, (found | unknown)[symbol]) for symbol in symbols]})


async def _row(queries: Queries, symbol: str, found: QuoteRead | FleetError) -> object:
    """A symbol of which there is no quote to tell is a row that says why: the others are told all the same."""
    if isinstance(found, FleetError):
        failure = failure_of(found)
        return {"symbol": symbol, "error": {"code": failure.code, "message": failure.message}}
    # Its health tells whether it is closed.
    with suppress(BadInput):
        await queries.work_out_sessions(found.market)
    return orjson.Fragment(quote_answer(queries.of(found.market), found.book, found.view).body())


ENDPOINT = Endpoint("/v1/quotes", "The quotes of many symbols.", Parameters((SYMBOLS,), _asked), answer, shapes.QUOTES)
