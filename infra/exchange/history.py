"""What REST answers about the past: trades, aggregates and klines, without what was hidden.

The rule of the venue everywhere: neither start nor end gives the newest rows, a start the oldest from there on, only an
end the newest up to it; with both as with a start, but not past the end. All bounds are inclusive.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeVar

from common.market.timeframes.timeframe import MINUTE_MS, Timeframe
from common.market.trade import Trade
from infra.exchange.klines import Kline, kline_of
from infra.exchange.market import ExchangeMarket
from infra.exchange.tape import Aggregate

Row = TypeVar("Row")


@dataclass(frozen=True, slots=True)
class KlineGrid:
    """Where klines open: the timeframe's grid in some time zone."""

    timeframe: Timeframe
    offset_ms: int = 0

    @property
    def is_of_seconds(self) -> bool:
        """Klines shorter than a minute are made of trades, not of minutes."""
        return not self.timeframe.of_minutes

    def open_of(self, ts_ms: int) -> int:
        return self.timeframe.open_of(ts_ms + self.offset_ms) - self.offset_ms

    def next_open(self, open_ms: int) -> int:
        return self.timeframe.next_open(open_ms + self.offset_ms) - self.offset_ms

    def forward(self, start_ms: int, newest_ms: int) -> Iterator[int]:
        """Opens from `start_ms` to `newest_ms`."""
        open_ms = self.open_of(start_ms)
        if open_ms < start_ms:
            open_ms = self.next_open(open_ms)
        while open_ms <= newest_ms:
            yield open_ms
            open_ms = self.next_open(open_ms)

    def backward(self, newest_ms: int, oldest_ms: int) -> Iterator[int]:
        while newest_ms >= oldest_ms:
            yield newest_ms
            newest_ms = self.open_of(newest_ms - 1)


@dataclass(frozen=True, slots=True)
class KlineSpan:
    """What was asked for, in ms; `limit` rows at most."""

    start_ms: int | None
    end_ms: int | None
    limit: int

    @property
    def from_newest(self) -> bool:
        return self.start_ms is None


def newest_trades(market: ExchangeMarket, limit: int) -> list[Trade]:
    return _newest(range(len(market.tape)), limit, lambda at: _shown_trade(market, at))


def trades_from_id(market: ExchangeMarket, first_id: int, limit: int) -> list[Trade]:
    tape = market.tape
    if not market.hidden_ids:
        start = tape.at_id(first_id)
        return list(tape.trades(start, start + limit))
    return _oldest(range(tape.at_id(first_id), len(tape)), limit, lambda at: _shown_trade(market, at))


def aggregates_from_id(market: ExchangeMarket, first_id: int, limit: int) -> list[Aggregate]:
    tape = market.tape
    positions = range(tape.aggregate_at_id(first_id), tape.aggregates)
    return _oldest(positions, limit, lambda at: _shown_aggregate(market, at))


def aggregates_between(market: ExchangeMarket, span: KlineSpan) -> list[Aggregate]:
    tape = market.tape
    start = 0 if span.start_ms is None else tape.aggregate_at_time(span.start_ms)
    end = tape.aggregates if span.end_ms is None else tape.aggregate_at_time(span.end_ms + 1)
    pick = _newest if span.from_newest else _oldest
    return pick(range(start, end), span.limit, lambda at: _shown_aggregate(market, at))


def klines_between(market: ExchangeMarket, grid: KlineGrid, span: KlineSpan, now_ms: int) -> list[Kline]:
    """Klines that open in the span; the last one may still be forming."""
    if not market.tape:
        return []
    first_ms = market.tape.ts_ms[0] if grid.is_of_seconds else market.minutes.opens[0]
    oldest_ms = grid.open_of(first_ms)
    newest_ms = grid.open_of(now_ms if span.end_ms is None else min(now_ms, span.end_ms))
    if span.start_ms is None:
        opens = grid.backward(newest_ms, oldest_ms)
        return _taken(opens, span.limit, lambda at: kline_at(market, grid, at))[::-1]
    opens = grid.forward(max(span.start_ms, oldest_ms), newest_ms)
    return _taken(opens, span.limit, lambda at: kline_at(market, grid, at))


def kline_at(market: ExchangeMarket, grid: KlineGrid, open_ms: int) -> Kline | None:
    """The kline of one span; None where the venue has none."""
    if grid.is_of_seconds:
        return _second(market, open_ms)
    end_ms = grid.next_open(open_ms)
    if end_ms - open_ms == MINUTE_MS and open_ms in market.hidden_minutes:
        return None
    return market.minutes.span(open_ms, end_ms, market.hidden_minutes)


def _second(market: ExchangeMarket, open_ms: int) -> Kline | None:
    tape = market.tape
    if open_ms - open_ms % MINUTE_MS in market.hidden_minutes:
        return None
    start, end = tape.at_time(open_ms), tape.at_time(open_ms + 1_000)
    if start:
        return kline_of(open_ms, tape.trades(start, end), tape.trade(start - 1).price_ticks)
    return kline_of(open_ms, tape.trades(0, end), 0) if end else None


def _shown_trade(market: ExchangeMarket, at: int) -> Trade | None:
    return None if market.tape.ids[at] in market.hidden_ids else market.tape.trade(at)


def _shown_aggregate(market: ExchangeMarket, at: int) -> Aggregate | None:
    aggregate = market.tape.aggregate(at)
    return None if aggregate.first_id in market.hidden_ids else aggregate


def _oldest(positions: range, limit: int, row: Callable[[int], Row | None]) -> list[Row]:
    return _taken(iter(positions), limit, row)


def _newest(positions: range, limit: int, row: Callable[[int], Row | None]) -> list[Row]:
    return _taken(reversed(positions), limit, row)[::-1]


def _taken(places: Iterator[int], limit: int, row: Callable[[int], Row | None]) -> list[Row]:
    """The first `limit` rows that exist."""
    rows: list[Row] = []
    for place in places:
        if len(rows) == limit:
            break
        found = row(place)
        if found is not None:
            rows.append(found)
    return rows
