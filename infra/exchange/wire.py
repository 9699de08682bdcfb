"""The venue's JSON, written by hand: it is the hot path, and each line reads as the documentation's example does.

`unit` is 1 for milliseconds and 1000 for microseconds; our trades have no finer time than a millisecond.
"""

from collections.abc import Iterable

from common.market.simulation.book import Level
from common.market.trade import SELL, Trade
from infra.exchange.klines import Kline
from infra.exchange.listing import SimulatedListing
from infra.exchange.tape import Aggregate

MILLISECOND, MICROSECOND = 1, 1_000


def trade_row(listing: SimulatedListing, trade: Trade, unit: int) -> str:
    """As `trades` and `historicalTrades` return it."""
    ts_ms, trade_id, ticks, lots, side = trade
    return (
        f'{{"id":{trade_id},"price":"{listing.price(ticks)}","qty":"{listing.size(lots)}"'
        f',"quoteQty":"{listing.turnover(ticks * lots)}","time":{ts_ms * unit}'
        f',"isBuyerMaker":{_bool(side == SELL)},"isBestMatch":true}}'
    )


def aggregate_row(listing: SimulatedListing, aggregate: Aggregate, unit: int) -> str:
    return f'{{{_aggregate(listing, aggregate, unit)},"M":true}}'


def trade_event(listing: SimulatedListing, trade: Trade, event_ms: int, unit: int) -> str:
    ts_ms, trade_id, ticks, lots, side = trade
    return (
        f'{{"e":"trade","E":{event_ms * unit},"s":"{listing.symbol}","t":{trade_id}'
        f',"p":"{listing.price(ticks)}","q":"{listing.size(lots)}","T":{ts_ms * unit}'
        f',"m":{_bool(side == SELL)},"M":true}}'
    )


def aggregate_event(listing: SimulatedListing, aggregate: Aggregate, event_ms: int, unit: int) -> str:
    inner = _aggregate(listing, aggregate, unit)
    return f'{{"e":"aggTrade","E":{event_ms * unit},"s":"{listing.symbol}",{inner},"M":true}}'


def depth_event(
    listing: SimulatedListing,
    first_id: int,
    last_id: int,
    bids: list[Level],
    asks: list[Level],
    event_ms: int,
    unit: int,
) -> str:
    return (
        f'{{"e":"depthUpdate","E":{event_ms * unit},"s":"{listing.symbol}","U":{first_id},"u":{last_id}'
        f',"b":{levels(listing, bids)},"a":{levels(listing, asks)}}}'
    )


def depth_snapshot(listing: SimulatedListing, last_id: int, bids: list[Level], asks: list[Level]) -> str:
    """The answer of `depth`, and the message of the partial streams."""
    return f'{{"lastUpdateId":{last_id},"bids":{levels(listing, bids)},"asks":{levels(listing, asks)}}}'


def quote_event(listing: SimulatedListing, last_id: int, bid: Level, ask: Level) -> str:
    return (
        f'{{"u":{last_id},"s":"{listing.symbol}","b":"{listing.price(bid[0])}","B":"{listing.size(bid[1])}"'
        f',"a":"{listing.price(ask[0])}","A":"{listing.size(ask[1])}"}}'
    )


def quote_row(listing: SimulatedListing, bid: Level, ask: Level) -> str:
    return (
        f'{{"symbol":"{listing.symbol}","bidPrice":"{listing.price(bid[0])}","bidQty":"{listing.size(bid[1])}"'
        f',"askPrice":"{listing.price(ask[0])}","askQty":"{listing.size(ask[1])}"}}'
    )


def kline_row(listing: SimulatedListing, kline: Kline, next_open_ms: int, unit: int) -> str:
    price, size, turnover = listing.price, listing.size, listing.turnover
    return (
        f'[{kline.open_ms * unit},"{price(kline.open_ticks)}","{price(kline.high_ticks)}","{price(kline.low_ticks)}"'
        f',"{price(kline.close_ticks)}","{size(kline.volume_lots)}",{next_open_ms * unit - 1}'
        f',"{turnover(kline.turnover)}",{kline.trades},"{size(kline.buy_lots)}","{turnover(kline.buy_turnover)}","0"]'
    )


def kline_event(
    listing: SimulatedListing, interval: str, kline: Kline, next_open_ms: int, closed: bool, event_ms: int, unit: int
) -> str:
    price, size, turnover, symbol = listing.price, listing.size, listing.turnover, listing.symbol
    return (
        f'{{"e":"kline","E":{event_ms * unit},"s":"{symbol}","k":{{"t":{kline.open_ms * unit}'
        f',"T":{next_open_ms * unit - 1},"s":"{symbol}","i":"{interval}","f":{kline.first_id},"L":{kline.last_id}'
        f',"o":"{price(kline.open_ticks)}","c":"{price(kline.close_ticks)}","h":"{price(kline.high_ticks)}"'
        f',"l":"{price(kline.low_ticks)}","v":"{size(kline.volume_lots)}","n":{kline.trades},"x":{_bool(closed)}'
        f',"q":"{turnover(kline.turnover)}","V":"{size(kline.buy_lots)}","Q":"{turnover(kline.buy_turnover)}","B":"0"}}}}'
    )


def shutdown_event(event_ms: int, unit: int) -> str:
    return f'{{"e":"serverShutdown","E":{event_ms * unit}}}'


def levels(listing: SimulatedListing, rows: Iterable[Level]) -> str:
    return "[" + ",".join(f'["{listing.price(price)}","{listing.size(lots)}"]' for price, lots in rows) + "]"


def _aggregate(listing: SimulatedListing, aggregate: Aggregate, unit: int) -> str:
    return (
        f'"a":{aggregate.id},"p":"{listing.price(aggregate.price_ticks)}","q":"{listing.size(aggregate.size_lots)}"'
        f',"f":{aggregate.first_id},"l":{aggregate.last_id},"T":{aggregate.ts_ms * unit}'
        f',"m":{_bool(aggregate.side == SELL)}'
    )


def _bool(value: bool) -> str:
    return "true" if value else "false"
