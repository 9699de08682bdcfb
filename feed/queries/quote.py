"""`GET /v1/quote/{symbol}`: the best prices and the last one, null where nothing is known."""

import asyncio

import orjson

from common.market import units
from common.market.candle import Candle
from common.market.coding import codec
from common.market.depth.book import Level
from common.market.instrument import Instrument
from common.store.book import BookSnapshot
from common.store.parts import Minutes, Range
from common.store.reads import View
from feed.queries.book import is_live, last_book
from feed.queries.endpoint import Endpoint
from feed.queries.queries import SymbolQueries
from feed.reading.bounds import FOREVER_MS
from feed.wire import shapes
from feed.wire.answers import SymbolAnswer, exact
from feed.wire.params import NOTHING

# The newest closed one.
NEWEST_MINUTE = Minutes(Range(0, FOREVER_MS, newest=1))

# An exact number.
Number = orjson.Fragment | None


async def answer(symbol: SymbolQueries, query: None) -> SymbolAnswer:
    book, view = await asyncio.gather(last_book(symbol), symbol.data().history.view(NEWEST_MINUTE))
    return quote_answer(symbol, book, view)


def quote_answer(symbol: SymbolQueries, book: BookSnapshot | None, view: View) -> SymbolAnswer:
    """`view`: with the NEWEST_MINUTE."""
    instrument = symbol.market.instrument
    packed = [view.state.candle] if view.state and view.state.candle else view.minutes[0]
    newest = codec.unpack_candle(packed[0]) if packed else None
    fields = {
        **told_quote(book, instrument, is_live=is_live(book, view, symbol)),
        **_last(newest, instrument),
        "health": symbol.health(view),
    }
    return SymbolAnswer(symbol.market, fields)


def told_quote(book: BookSnapshot | None, instrument: Instrument, *, is_live: bool) -> dict[str, object]:
    """What a book says of the best prices."""
    return {
        "t": book.ts_ms if book else None,
        "live": is_live,
        **_best("bid", book.bids if book else [], instrument),
        **_best("ask", book.asks if book else [], instrument),
        **_between(book, instrument),
    }


def _best(side: str, levels: list[Level], instrument: Instrument) -> dict[str, Number]:
    if not levels:
        return {side: None, f"{side}Size": None}
    ticks, lots = levels[0]
    return {side: exact(instrument.price_text(ticks)), f"{side}Size": exact(instrument.size_text(lots))}


def _between(book: BookSnapshot | None, instrument: Instrument) -> dict[str, Number]:
    """The mid of an odd spread ends with half a tick: one decimal more."""
    if book is None or not (book.bids and book.asks):
        return {"mid": None, "spread": None}
    bid, ask = book.bids[0][0], book.asks[0][0]
    mid = units.render((bid + ask) * 5, instrument.price_decimals + 1)
    return {"mid": exact(mid), "spread": exact(instrument.price_text(ask - bid))}


def _last(newest: Candle | None, instrument: Instrument) -> dict[str, object]:
    if newest is None:
        return {"last": None, "lastT": None}
    return {"last": exact(instrument.price_text(newest.close_ticks)), "lastT": newest.last_ts_ms}


ENDPOINT = Endpoint("/v1/quote/{symbol}", "The best bid and ask, and the last price.", NOTHING, answer, shapes.QUOTE)
