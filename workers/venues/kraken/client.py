"""Kraken spot, by its WebSocket v2.

v2 numbers the trades of a market 1, 2, 3, ... and REST gives the same numbers; v1 has no ids at all, so what it
streams can't be joined with what REST fills in (kraken_v1 reads recordings of it). Numbers are JSON numbers here, up
to 18 digits long: they are kept as text.

A market has three names: `BTC/USD` in v2, `XBTUSD` in REST, `KRAKEN:XBT-USD` or `KRAKEN:BTC-USD` in the fleet.
"""

import re
from collections.abc import AsyncGenerator, Callable, Sequence
from itertools import starmap
from typing import Any

import orjson

from common.market.builder.validity import BAD_TIME
from common.market.candle import Candle
from common.market.instrument import Instrument, check_symbol
from common.market.trade import BUY, MAX_TS_MS, SELL, Trade, TradeRow, Trades
from workers.venues.shared.answers import (
    candle_of,
    closed_before,
    in_order,
    opens_of,
    readable,
    reading,
    whole_millis,
    within,
)
from workers.venues.shared.base import (
    DepthEvent,
    Event,
    Listing,
    QuoteEvent,
    Refused,
    Throttled,
    TradesEvent,
    Unserved,
    VenueError,
    VenueUnavailable,
)
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
    exact_json,
    read_frame,
    refused,
    shown,
    time_ms,
    whole,
)
from workers.venues.shared.one_socket import OneSocketVenue

# Levels a side we subscribe to, the most there are; and of a snapshot by REST.
BOOK_LEVELS, REST_LEVELS = 1_000, 500
# Rows of a full page of trades, and of all the candles Kraken ever gives.
TRADES_PAGE, CANDLES_KEPT = 1_000, 720
# Pages read in search of an id from the time it is said to be at.
MAX_PAGES = 20
NS_PER_MS = 1_000_000

# Older names that REST and v1 still use.
_OLD_NAMES = {"BTC": "XBT", "DOGE": "XDG"}
_NEW_NAMES = {old: new for new, old in _OLD_NAMES.items()}
_SIDES = {"buy": BUY, "sell": SELL}
_REST_SIDES = {"b": BUY, "s": SELL}
_IGNORED = frozenset(("heartbeat", "status", "ohlc", "instrument"))
# What errors about our pace contain; and those that pass.
_TOO_FAST = ("Rate limit", "Too many requests", "lockout")
_PASSING = "EService"

# How a frame of trades begins, and the numbers of each. A key with its colon is in no text, whose quotes are escaped.
_TRADES = b'{"channel":"trade",'
_NUMBERS = re.compile(r'"price":([0-9.]+),"qty":([0-9.]+),')

Message = dict[str, Any]
Reader = Callable[[FieldScales, Message, bool], Sequence[Event]]


class KrakenParser:
    def __init__(self, listings: Sequence[Listing]) -> None:
        self._markets = {listing.name: FieldScales(listing) for listing in listings}
        self._readers: dict[str, Reader] = {"book": _book, "ticker": _ticker}

    def parse(self, frame: bytes | str) -> Sequence[Event]:
        return self._usual_trades(frame) or read_frame(frame, exact_json, self._read)

    def _usual_trades(self, frame: bytes | str) -> Sequence[Event]:
        """Those of a frame as Kraken prints it, of which nothing is to be refused; else nothing."""
        # A true would equal 1.0 below.
        if not isinstance(frame, bytes) or not frame.startswith(_TRADES) or b"true" in frame:
            return ()
        try:
            return self._quickly(frame)
        except (BadField, *MISSHAPEN):
            return ()

    def _quickly(self, frame: bytes) -> Sequence[Event]:
        """By JSON with floats, a third of the time of exact_json. Their texts are looked for beside it and compared."""
        message, found = orjson.loads(frame), dict[str, list[TradeRow]]()
        is_usual = message["channel"] == "trade"
        for row, (price, size) in zip(_rows(message), _NUMBERS.findall(frame.decode()), strict=True):
            is_usual = is_usual and float(price) == row["price"] and float(size) == row["qty"]
            market, side = self._market(row), _SIDES.get(row["side"])
            trade = market.row(time_ms(row["timestamp"]), row["trade_id"], price, size, side)
            found.setdefault(market.name, []).append(trade)
        return list(starmap(TradesEvent, found.items())) if is_usual else ()

    def _read(self, message: Message) -> Sequence[Event]:
        channel = message.get("channel")
        if channel == "trade":
            return self._trades(_rows(message))
        reader = self._readers.get(channel) if isinstance(channel, str) else None
        if reader is not None:
            rows, is_whole = _rows(message), message["type"] == "snapshot"
            return [event for row in rows for event in reader(self._market(row), row, is_whole)]
        return _other(channel, message)

    def _trades(self, rows: list[Message]) -> Sequence[Event]:
        """Trades by market. One that is no good does not cost the others."""
        found: dict[str, list[TradeRow]] = {}
        events: list[Event] = []
        for row in rows:
            try:
                market = self._market(row)
                trade = _trade(market, row)
                found.setdefault(market.name, []).append(trade)
            except (BadField, *MISSHAPEN) as error:
                events.append(refused(error))
        return [*starmap(TradesEvent, found.items()), *events]

    def _market(self, row: Message) -> FieldScales:
        market = self._markets.get(row["symbol"])
        if market is None:
            raise BadField(UNKNOWN_SYMBOL, f"symbol {shown(row['symbol'])} is no market we follow")
        return market


class Kraken(OneSocketVenue):
    name = "KRAKEN"
    REST_URL = "https://api.kraken.com"
    SOCKET_URL = "wss://ws.kraken.com/v2"
    book_levels: int | None = BOOK_LEVELS
    asked_by_id = False
    candle_fields = frozenset("open_ticks high_ticks low_ticks close_ticks volume_lots trades".split())

    async def listing(self, name: str) -> Listing:
        """`name` as in the fleet, `XBT-USD`. The decimals are those Kraken prints: its checksums are made of them."""
        check_symbol(name)
        wanted = socket_name(name)
        result = await self._get("AssetPairs", pair=rest_name(wanted))
        with reading("AssetPairs"):
            found = next((pair for pair in result.values() if socket_name(pair["wsname"]) == wanted), None)
            if found is None:
                raise VenueError(f"{self.name} lists no {name!r}")
            instrument = Instrument(f"{self.name}:{name}", found["pair_decimals"], found["lot_decimals"], "contiguous")
            return Listing(wanted, instrument, instrument.price_ticks(found["tick_size"]), 1)

    def stream(self, listings: Sequence[Listing], *, depth: bool, quotes: bool) -> AsyncGenerator[Event, None]:
        # A snapshot of trades is the last 50: after a short outage there is no hole left.
        channels: list[Message] = [{"channel": "trade", "snapshot": True}]
        if depth:
            channels.append({"channel": "book", "depth": BOOK_LEVELS})
        if quotes:
            channels.append({"channel": "ticker", "event_trigger": "bbo"})
        symbols = [listing.name for listing in listings]
        hello = [orjson.dumps({"method": "subscribe", "params": each | {"symbol": symbols}}) for each in channels]
        return self._follow(KrakenParser(listings), hello)

    async def trades_from_id(self, listing: Listing, first_id: int, limit: int, at_ms: int) -> Trades:
        """Kraken is asked by time only: pages are read from `at_ms` on until the id turns up."""
        market, cursor = FieldScales(listing), _before(at_ms)
        for _ in range(MAX_PAGES):
            rows, following = await self._page(market, cursor)
            wanted = [row for row in rows if row.id >= first_id]
            if wanted or following is None:
                return in_order(wanted)[:limit]
            cursor = following
        raise Unserved(f"{self.name} has no trade {first_id} of {market.name} in {MAX_PAGES} pages from {at_ms}")

    async def trades_between(self, listing: Listing, from_ms: int, to_ms: int) -> Trades:
        market = FieldScales(listing)
        return await whole_millis(lambda cursor: self._page(market, cursor), _before(from_ms), from_ms, to_ms)

    async def candles(self, listing: Listing, from_ms: int, to_ms: int) -> list[Candle]:
        """Kraken keeps the last 12 hours of minutes. Unserved where `from_ms` is before them."""
        end_ms = closed_before(to_ms, self._clock.now_ms())
        since = max(0, from_ms // 1_000 - 1)
        result = await self._get("OHLC", pair=rest_name(listing.name), interval=1, since=since)
        with reading("OHLC"):
            rows, market = _of_pair(result), FieldScales(listing)
        candles = readable("OHLC", rows, lambda row: _candle(market, row), self.on_refused)
        oldest_ms = min(opens_of(rows), default=0) * 1_000 if len(rows) >= CANDLES_KEPT else 0
        if from_ms < oldest_ms:
            raise Unserved(f"{self.name} has no candles of {listing.name} before {oldest_ms}")
        return within(candles, from_ms, end_ms)

    async def depth(self, listing: Listing) -> DepthEvent:
        result = await self._get("Depth", pair=rest_name(listing.name), count=REST_LEVELS)
        with reading("Depth"):
            market, book = FieldScales(listing), _of_pair(result)
            bids, asks = market.levels(book["bids"], []), market.levels(book["asks"], [])
            are_whole = _are_whole(book, REST_LEVELS)
            return DepthEvent(market.name, -1, -1, -1, -1, bids, asks, snapshot=True, whole=are_whole)

    async def server_time_ms(self) -> int:
        """In whole seconds: that is all it says."""
        result = await self._get("Time")
        with reading("Time"):
            return whole(result["unixtime"], BAD_TIME, 1, MAX_TS_MS // 1_000) * 1_000

    async def _page(self, market: FieldScales, cursor: int) -> tuple[list[Trade], int | None]:
        """Trades after `cursor` (ns), and where the next page begins."""
        result = await self._get("Trades", pair=rest_name(market.name), since=cursor)
        with reading("Trades"):
            page, last = _of_pair(result), int(result["last"])
        rows = readable("Trades", page, lambda row: _row(market, row), self.on_refused)
        if len(page) < TRADES_PAGE or last <= cursor:
            return rows, None
        # One taker can fill many orders in one ns, and a page may end among them: begin with that ns once more.
        return rows, last - 1 if last - 1 > cursor else last

    async def _get(self, endpoint: str, **params: str | int) -> Any:
        """The result of an answer. Errors come as texts in good answers."""
        path, market = f"/0/public/{endpoint}", str(params.get("pair", ""))
        answer = await self._rest.get(path, params, weight=1, endpoint=endpoint, market=market, loads=exact_json)
        with reading(endpoint):
            errors = [str(each) for each in answer["error"]]
        if not errors:
            return answer["result"]
        message = f"{endpoint} answered {'; '.join(errors)[:200]}"
        if any(word in message for word in _TOO_FAST):
            raise await self._rest.throttled(Throttled(message, 0, endpoint=endpoint, market=market))
        raise (VenueUnavailable if _PASSING in message else VenueError)(message)


def socket_name(name: str) -> str:
    """`XBT-USD`, `XBT/USD` or `BTC-USD` as v2 says it, `BTC/USD`."""
    return "/".join(_NEW_NAMES.get(part, part) for part in name.replace("/", "-").split("-"))


def rest_name(name: str) -> str:
    """`BTC/USD` as REST says it, `XBTUSD`."""
    return "".join(_OLD_NAMES.get(part, part) for part in name.split("/"))


def _rows(message: Message) -> list[Message]:
    rows = message["data"]
    if type(rows) is not list or message["type"] not in ("snapshot", "update"):
        raise BadField(BAD_SHAPE, f"data {shown(rows)} of type {shown(message['type'])}")
    return rows


def _trade(market: FieldScales, row: Message) -> TradeRow:
    side = _SIDES.get(row["side"])
    return market.row(time_ms(row["timestamp"]), row["trade_id"], _text(row["price"]), _text(row["qty"]), side)


def _row(market: FieldScales, row: list[Any]) -> Trade:
    """`[price, volume, time, side, type, misc, id]`."""
    price, size, seconds, side, _, _, trade_id = row
    return market.trade(epoch_ms(_text(seconds)), trade_id, price, size, _REST_SIDES.get(side))


def _are_whole(book: Message, limit: int) -> tuple[bool, bool]:
    return len(book["bids"]) < limit, len(book["asks"]) < limit


def _book(market: FieldScales, row: Message, is_snapshot: bool) -> Sequence[Event]:
    ts_ms = time_ms(row["timestamp"]) if "timestamp" in row else -1
    check = whole(row["checksum"], BAD_SEQUENCE, 0, (1 << 32) - 1)
    left_out: list[Refused] = []
    bids, asks = (
        market.levels([[_text(level["price"]), _text(level["qty"])] for level in row[side]], left_out)
        for side in ("bids", "asks")
    )
    are_whole = _are_whole(row, BOOK_LEVELS) if is_snapshot else (True, True)
    return (DepthEvent(market.name, ts_ms, -1, -1, -1, bids, asks, is_snapshot, check, are_whole), *left_out)


def _ticker(market: FieldScales, row: Message, _: bool) -> Sequence[Event]:
    ts_ms = time_ms(row["timestamp"]) if "timestamp" in row else -1
    bid, ask = market.prices[_text(row["bid"])], market.prices[_text(row["ask"])]
    bid_lots, ask_lots = market.sizes[_text(row["bid_qty"])], market.sizes[_text(row["ask_qty"])]
    return (QuoteEvent(market.name, ts_ms, -1, bid, bid_lots, ask, ask_lots),)


def _other(channel: object, message: Message) -> Sequence[Event]:
    if channel is None and ("error" in message or message.get("success") is False):
        raise BadField(VENUE_ERROR, shown(message.get("error")))
    if channel not in _IGNORED and not (channel is None and "method" in message):
        raise BadField(UNKNOWN_EVENT, f"channel {shown(channel)}")
    return ()


def _candle(market: FieldScales, row: list[Any]) -> Candle | None:
    """`[time in s, open, high, low, close, vwap, volume, trades]`. An empty minute is there, too."""
    seconds, opened, high, low, closed, average, volume, trades = row
    if not trades:
        return None
    open_ms = whole(seconds, BAD_TIME, 0, MAX_TS_MS // 1_000 - 1) * 1_000
    return candle_of(market, open_ms, (opened, high, low, closed), volume, average=average, trades=trades)


def _of_pair(result: Message) -> Any:
    """What is under the name of the pair, which REST spells in yet another way (`XXBTZUSD`)."""
    found = [value for name, value in result.items() if name != "last"]
    return found[0]


def _text(number: object) -> Any:
    """A JSON number as text. Those with decimals are text already."""
    return str(number) if type(number) is int else number


def _before(ts_ms: int) -> int:
    """The cursor, in ns, after which the first trades are those of that millisecond."""
    return max(0, ts_ms * NS_PER_MS - 1)
