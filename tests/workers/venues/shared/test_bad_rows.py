"""A row of an answer that is no good costs none of the others: of any venue, and whatever is wrong with it."""

from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from common.clock import Clock
from common.market.builder.validity import TOO_FINE
from tests.kit.clocks import FakeClock
from tests.workers.venues.history import START_MS
from tests.workers.venues.recorded import listing
from tests.workers.venues.server import Exchange, exchange
from workers.venues.binance.client import Binance
from workers.venues.coinbase.client import Coinbase
from workers.venues.kraken.client import Kraken
from workers.venues.shared.base import Refused, Venue, VenueUnavailable
from workers.venues.shared.budget import OpenBudget

MINUTE_MS = 60_000
IDS = range(100, 110)
LISTINGS = {
    "BINANCE": listing("BTCUSDT", 2, 3, "BINANCE"),
    "COINBASE": listing("BTC-USD", 2, 3, "COINBASE"),
    "KRAKEN": listing("BTC/USD", 2, 3, "KRAKEN"),
}
VENUES: dict[str, Callable[[Clock, Exchange], Venue]] = {
    "BINANCE": lambda clock, at: Binance(clock, OpenBudget(), rest_url=at.rest_url),
    "COINBASE": lambda clock, at: Coinbase(clock, OpenBudget(), rest_url=at.rest_url),
    "KRAKEN": lambda clock, at: Kraken(clock, OpenBudget(), rest_url=at.rest_url),
}


@pytest.fixture
async def at() -> AsyncIterator[Exchange]:
    async with exchange() as it:
        yield it


def trade_row(venue: str, trade_id: int) -> Any:
    seconds = START_MS // 1_000 + trade_id - IDS[0]
    if venue == "BINANCE":
        return {"id": trade_id, "price": "9.99", "qty": "1.5", "time": seconds * 1_000, "isBuyerMaker": True}
    if venue == "COINBASE":
        time = f"2024-08-09T00:00:{trade_id - IDS[0]:02}.000000Z"
        return {"trade_id": trade_id, "side": "buy", "size": "1.5", "price": "9.99", "time": time}
    return ["9.99", "1.5", float(seconds) + 0.5, "b", "l", "", trade_id]


def candle_row(venue: str, minute: int) -> Any:
    open_ms = START_MS + minute * MINUTE_MS
    if venue == "BINANCE":
        return [open_ms, "9.9", "9.99", "9.8", "9.95", "1.5", open_ms + 59_999, "14.9", 3, "1", "9.9", "0"]
    if venue == "COINBASE":
        return [open_ms // 1_000, 9.8, 9.99, 9.9, 9.95, 1.5]
    return [open_ms // 1_000, "9.9", "9.99", "9.8", "9.95", "9.9", "1.5", 3]


def with_price(row: Any, price: str) -> Any:
    """The same at a price of other text; of a candle it is the high."""
    if isinstance(row, dict):
        return row | {"price": price}
    at = next(number for number, value in enumerate(row) if value in ("9.99", 9.99))
    return [*row[:at], price if type(row[at]) is str else float(price), *row[at + 1 :]]


SPOILT: dict[str, Callable[[Any], Any]] = {
    "too fine": lambda row: with_price(row, "9.9912"),
    "price of a word": lambda row: with_price(row, "9.99") | {"price": "dear"} if isinstance(row, dict) else "row",
    "short": lambda row: row[:1] if isinstance(row, list) else {},
    "null": lambda row: None,
    "number": lambda row: 7,
}


def serve(at: Exchange, venue: str, what: str, rows: list[Any]) -> None:
    if venue == "KRAKEN":
        path = {"trades": "/0/public/Trades", "candles": "/0/public/OHLC"}[what]
        at.answer(path, {"error": [], "result": {"XXBTZUSD": rows, "last": "1"}})
    else:
        paths = {
            ("BINANCE", "trades"): "/api/v3/historicalTrades",
            ("BINANCE", "candles"): "/api/v3/klines",
            ("COINBASE", "trades"): "/products/BTC-USD/trades",
            ("COINBASE", "candles"): "/products/BTC-USD/candles",
        }
        at.answer(paths[venue, what], rows)


def opened(at: Exchange, venue: str, told: list[Refused]) -> Venue:
    made = VENUES[venue](FakeClock(START_MS + 60 * MINUTE_MS), at)
    made.on_refused = told.append
    return made


@pytest.mark.parametrize("spoilt", SPOILT)
@pytest.mark.parametrize("position", [0, 4, 9])
@pytest.mark.parametrize("venue", VENUES)
async def test_one_bad_row_costs_none_of_the_others(at: Exchange, venue: str, spoilt: str, position: int) -> None:
    """Today: the whole page is unreadable, and asked for again for ever."""
    told: list[Refused] = []
    made, market = opened(at, venue, told), LISTINGS[venue]
    trades = [trade_row(venue, trade_id) for trade_id in IDS]
    trades[position] = SPOILT[spoilt](trades[position])
    serve(at, venue, "trades", trades)
    found = await made.trades_from_id(market, IDS[0], 10, START_MS)
    assert found.ids == [trade_id for trade_id in IDS if trade_id != IDS[position]]
    assert [refused.reason == TOO_FINE for refused in told] == [spoilt == "too fine"]
    told.clear()
    candles = [candle_row(venue, minute) for minute in range(10)]
    candles[position] = SPOILT[spoilt](candles[position])
    serve(at, venue, "candles", candles)
    stated = await made.candles(market, START_MS, START_MS + 10 * MINUTE_MS)
    assert [candle.open_ms for candle in stated] == [
        START_MS + minute * MINUTE_MS for minute in range(10) if minute != position
    ]
    assert [refused.reason == TOO_FINE for refused in told] == [spoilt == "too fine"]
    await made.close()


@pytest.mark.parametrize("venue", VENUES)
async def test_where_no_row_can_be_read_it_may_be_the_answer_but_numbers_too_fine_are_good_ones(
    at: Exchange, venue: str
) -> None:
    """The first is asked for again. Of the second there is nothing that we can hold."""
    told: list[Refused] = []
    made, market = opened(at, venue, told), LISTINGS[venue]
    serve(at, venue, "trades", [None] * 10)
    with pytest.raises(VenueUnavailable, match="[tT]rades answered what can't be read"):
        await made.trades_from_id(market, IDS[0], 10, START_MS)
    assert told == []
    serve(at, venue, "trades", [with_price(trade_row(venue, trade_id), "9.9912") for trade_id in IDS])
    assert not await made.trades_from_id(market, IDS[0], 10, START_MS)
    assert [refused.reason for refused in told] == [TOO_FINE] * 10
    await made.close()
