"""`GET /v1/book/{symbol}`: the current book. `live`: whether it is of now, or of before the market was lost."""

import asyncio

from common.store.book import MAX_BOOK_LEVELS, BookReader, BookSnapshot, NumberedBook
from common.store.health import CLOSED, IDLE, UNASSIGNED, mode_of
from common.store.reads import View
from feed.queries.endpoint import Endpoint
from feed.queries.queries import SymbolQueries
from feed.wire import shapes
from feed.wire.answers import SymbolAnswer, told_levels
from feed.wire.errors import NoBook
from feed.wire.parameter_types import Whole
from feed.wire.params import Parameter, Parameters

DEPTH = Parameter("depth", Whole(MAX_BOOK_LEVELS), 20, "Levels of a side, the best ones.")


async def answer(symbol: SymbolQueries, depth: int) -> SymbolAnswer:
    instrument = symbol.market.instrument
    found, view = await numbered(symbol)
    book = found.book
    fields = {
        **told_head(book, is_live=is_live(book, view, symbol)),
        "bids": told_levels(book.bids[:depth], instrument),
        "asks": told_levels(book.asks[:depth], instrument),
    }
    return SymbolAnswer(symbol.market, {**fields, "health": symbol.health(view)})


async def numbered(symbol: SymbolQueries) -> tuple[NumberedBook, View]:
    """The current book, and what is known of the symbol. Raises NoBook."""
    found, view = await asyncio.gather(reader_of(symbol).numbered(), symbol.reader.view())
    if found is None:
        raise NoBook(f"{symbol.market.symbol} has no order book: its source brings none, or has not brought one yet")
    return found, view


def told_head(book: BookSnapshot, *, is_live: bool) -> dict[str, object]:
    return {"t": book.ts_ms, "updateId": book.update_id if book.update_id >= 0 else None, "live": is_live}


def reader_of(symbol: SymbolQueries) -> BookReader:
    return BookReader(symbol.queries.client, symbol.market.symbol, symbol.market.instrument.scale)


async def last_book(symbol: SymbolQueries) -> BookSnapshot | None:
    return await reader_of(symbol).book()


def is_live(book: BookSnapshot | None, view: View, symbol: SymbolQueries) -> bool:
    """A holder that gives no sign of life cannot say that its book is broken."""
    mode = mode_of(view, symbol.market, symbol.queries.lease_ttl_ms)
    return book is not None and book.live and mode not in (UNASSIGNED, IDLE, CLOSED)


ENDPOINT = Endpoint(
    "/v1/book/{symbol}", "The current book.", Parameters((DEPTH,), lambda given: given[DEPTH]), answer, shapes.BOOK
)
