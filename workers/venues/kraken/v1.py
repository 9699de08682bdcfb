"""Kraken's WebSocket v1, as in recordings: arrays whose last two elements say the channel and the market.

Its trades have no ids. They get one made of their time in microseconds and their place in the frame, which is good
for one recording and is never the id by which REST or v2 knows the trade: live markets are followed by v2 (kraken.py).
"""

from collections.abc import Sequence
from itertools import chain
from typing import Any

import orjson

from common.market.trade import BUY, SELL, TradeRow
from workers.venues.shared.base import DepthEvent, Event, Listing, QuoteEvent, Refused, TradesEvent
from workers.venues.shared.fields import (
    BAD_SEQUENCE,
    BAD_SHAPE,
    MISSHAPEN,
    UNKNOWN_EVENT,
    UNKNOWN_SYMBOL,
    VENUE_ERROR,
    BadField,
    FieldScales,
    epoch_ms,
    lists,
    read_frame,
    refused,
    shown,
)

# Room for the place in the frame below the microseconds: 2**63 us / 2**10 is the year 2255.
_PLACE_BITS = 10

_SIDES = {"b": BUY, "s": SELL}
_IGNORED_EVENTS = frozenset(("heartbeat", "systemStatus", "pong"))
_IGNORED_CHANNELS = frozenset(("ticker", "ohlc"))


class KrakenV1Parser:
    """`listings` are named as in v1, `XBT/USD`, and have the decimals v1 prints."""

    def __init__(self, listings: Sequence[Listing]) -> None:
        self._markets = {listing.name: FieldScales(listing) for listing in listings}

    def parse(self, frame: bytes | str) -> Sequence[Event]:
        return read_frame(frame, orjson.loads, self._read)

    def _read(self, message: Any) -> Sequence[Event]:
        if isinstance(message, dict):
            return _control(message)
        if type(message) is not list:
            raise BadField(BAD_SHAPE, f"{shown(message)} is neither an event nor data")
        _, *payload, channel, pair = message
        market = self._markets.get(pair)
        if market is None:
            raise BadField(UNKNOWN_SYMBOL, f"pair {shown(pair)} is no market we follow")
        match str(channel).partition("-")[0]:
            case "trade":
                return _trades(market, *payload)
            case "book":
                return _book(market, payload)
            case "spread":
                return (_quote(market, *payload),)
            case name if name in _IGNORED_CHANNELS:
                return ()
        raise BadField(UNKNOWN_EVENT, f"channel {shown(channel)}")


def _trades(market: FieldScales, rows: object) -> Sequence[Event]:
    """Trades in one event. One that is no good does not cost the others."""
    found: list[TradeRow] = []
    events: list[Event] = []
    for place, row in enumerate(lists(rows)):
        try:
            found.append(_trade(market, place, row))
        except (BadField, *MISSHAPEN) as error:
            events.append(refused(error))
    return [TradesEvent(market.name, found), *events] if found else events


def _trade(market: FieldScales, place: int, row: list[str]) -> TradeRow:
    """`[price, volume, time, side, order type, misc]`."""
    price, size, seconds, side, _, _ = row
    if place >> _PLACE_BITS:
        raise BadField(BAD_SHAPE, f"trade number {place} of a frame")
    ts_ms = epoch_ms(seconds)
    whole_us, _, fraction_us = seconds.partition(".")
    at_us = int(whole_us + fraction_us[:6].ljust(6, "0"))
    return market.row(ts_ms, at_us << _PLACE_BITS | place, price, size, _SIDES.get(side))


def _book(market: FieldScales, payload: list[Any]) -> Sequence[Event]:
    """A snapshot has `as` and `bs`; an update `a` or `b` or, in two parts, both. The last part has the checksum."""
    parts: dict[str, Any] = {}
    for part in payload:
        parts |= part
    left_out: list[Refused] = []
    if "as" in parts:
        bids, asks = market.levels(parts["bs"], left_out), market.levels(parts["as"], left_out)
        return (DepthEvent(market.name, -1, -1, -1, -1, bids, asks, snapshot=True), *left_out)
    rows = parts.get("b", []), parts.get("a", [])
    bids, asks = (market.levels(each, left_out) for each in rows)
    ts_ms = max(epoch_ms(row[2]) for row in chain(*rows))
    event = DepthEvent(market.name, ts_ms, -1, -1, -1, bids, asks, checksum=_checksum(parts["c"]))
    return (event, *left_out)


def _quote(market: FieldScales, row: list[str]) -> QuoteEvent:
    if type(row) is not list:
        raise BadField(BAD_SHAPE, f"spread {shown(row)} is not a list")
    bid, ask, seconds, bid_size, ask_size = row
    prices, sizes = market.prices, market.sizes
    return QuoteEvent(market.name, epoch_ms(seconds), -1, prices[bid], sizes[bid_size], prices[ask], sizes[ask_size])


def _checksum(text: object) -> int:
    if type(text) is not str or not (text.isascii() and text.isdigit()) or not int(text[:11]) < 1 << 32:
        raise BadField(BAD_SEQUENCE, f"checksum {shown(text)} is not a number of 32 bits")
    return int(text)


def _control(message: dict[str, Any]) -> Sequence[Event]:
    event = message["event"]
    if event == "error" or message.get("status") == "error":
        raise BadField(VENUE_ERROR, shown(message.get("errorMessage")))
    if event != "subscriptionStatus" and event not in _IGNORED_EVENTS:
        raise BadField(UNKNOWN_EVENT, f"event {shown(event)}")
    return ()
