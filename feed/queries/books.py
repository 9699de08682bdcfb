"""The current book and the quote, as JSON. Whoever has lost the market must not look like one who sees it: `live`."""

from collections.abc import Iterable

from common.market import units
from common.market.candle import Candle
from common.market.depth.book import Level
from common.market.instrument import Instrument
from common.store.book import BookSnapshot
from common.store.health import CLOSED, IDLE, UNASSIGNED, mode_of
from common.store.reads import View
from common.store.registry import Market

NULL = b"null"


def is_live(book: BookSnapshot | None, view: View, market: Market, lease_ttl_ms: int) -> bool:
    """A holder that gives no sign of life cannot say that its book is broken."""
    return book is not None and book.live and mode_of(view, market, lease_ttl_ms) not in (UNASSIGNED, IDLE, CLOSED)


def book_fields(book: BookSnapshot, depth: int, instrument: Instrument, *, live: bool) -> dict[str, bytes]:
    """What `GET /v1/book/{symbol}` says of the book; the values are JSON."""
    return {
        "t": b"%d" % book.ts_ms,
        "updateId": b"%d" % book.update_id if book.update_id >= 0 else NULL,
        "live": _bool(live),
        "bids": _levels(book.bids[:depth], instrument),
        "asks": _levels(book.asks[:depth], instrument),
    }


def quote_fields(
    book: BookSnapshot | None, newest: Candle | None, instrument: Instrument, *, live: bool
) -> dict[str, bytes]:
    """What `GET /v1/quote/{symbol}` says; the values are JSON, null where nothing is known."""
    bid, bid_size = _best(book.bids if book else [], instrument)
    ask, ask_size = _best(book.asks if book else [], instrument)
    mid, spread = _between(book, instrument)
    return {
        "t": b"%d" % book.ts_ms if book else NULL,
        "live": _bool(live),
        "bid": bid,
        "bidSize": bid_size,
        "ask": ask,
        "askSize": ask_size,
        "mid": mid,
        "spread": spread,
        "last": instrument.price_text(newest.close_ticks).encode() if newest else NULL,
        "lastT": b"%d" % newest.last_ts_ms if newest else NULL,
    }


def _levels(levels: Iterable[Level], instrument: Instrument) -> bytes:
    price, size = instrument.price_text, instrument.size_text
    return f"[{','.join(f'[{price(ticks)},{size(lots)}]' for ticks, lots in levels)}]".encode()


def _best(levels: list[Level], instrument: Instrument) -> tuple[bytes, bytes]:
    if not levels:
        return NULL, NULL
    ticks, lots = levels[0]
    return instrument.price_text(ticks).encode(), instrument.size_text(lots).encode()


def _between(book: BookSnapshot | None, instrument: Instrument) -> tuple[bytes, bytes]:
    """Mid and spread. The mid of an odd spread ends with half a tick: one decimal more."""
    if book is None or not (book.bids and book.asks):
        return NULL, NULL
    bid, ask = book.bids[0][0], book.asks[0][0]
    mid = units.render((bid + ask) * 5, instrument.price_decimals + 1)
    return mid.encode(), instrument.price_text(ask - bid).encode()


def _bool(value: bool) -> bytes:
    return b"true" if value else b"false"
