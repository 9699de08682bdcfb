"""The tape: every trade of one market, and the aggregates of each taker order at each price.

Trades are kept as columns, oldest dropped first. A position is an index into what is kept; an aggregate's id, like a
trade's, never changes.
"""

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from common.errors import BadInput
from common.market.trade import Trade, Trades


class Aggregate(NamedTuple):
    """Trades `first_id..last_id` of one taker order at one price."""

    id: int
    price_ticks: int
    size_lots: int
    first_id: int
    last_id: int
    ts_ms: int
    side: int


class ExchangeTape:
    """`keep`: trades kept; up to an eighth more are held, so that dropping is rare. `before`: aggregates before it."""

    def __init__(self, keep: int, before: int = 0) -> None:
        self.keep = keep
        self.ids = array("q")
        self.ts_ms = array("q")
        self._ticks = array("q")
        self._lots = array("q")
        self._sides = bytearray()
        # Of each aggregate the first trade, counted from the first trade there ever was.
        self._starts = array("q")
        self._dropped_trades = 0
        self._dropped_aggregates = before

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def aggregates(self) -> int:
        return len(self._starts)

    @property
    def aggregates_ever(self) -> int:
        return self._dropped_aggregates + len(self._starts)

    def append(self, order: Sequence[Trade]) -> list[Aggregate]:
        """Add the trades of one taker order, ascending; return its aggregates."""
        first_aggregate = len(self._starts)
        price = None
        for trade in order:
            self._check(trade)
            if trade.price_ticks != price:
                price = trade.price_ticks
                self._starts.append(self._dropped_trades + len(self.ids))
            self.ids.append(trade.id)
            self.ts_ms.append(trade.ts_ms)
            self._ticks.append(trade.price_ticks)
            self._lots.append(trade.size_lots)
            self._sides.append(trade.side)
        added = [self.aggregate(at) for at in range(first_aggregate, len(self._starts))]
        if len(self.ids) > self.keep + self.keep // 8:
            self._drop()
        return added

    def scale_prices(self, factor: int) -> None:
        self._ticks = array("q", [ticks * factor for ticks in self._ticks])

    def at_id(self, trade_id: int) -> int:
        """Position of the first trade with that id or a greater one."""
        return bisect_left(self.ids, trade_id)

    def at_time(self, ts_ms: int) -> int:
        """Position of the first trade at that time or later."""
        return bisect_left(self.ts_ms, ts_ms)

    def trade(self, at: int) -> Trade:
        return Trade(self.ts_ms[at], self.ids[at], self._ticks[at], self._lots[at], self._sides[at])

    def trades(self, start: int, end: int) -> Iterator[Trade]:
        """Trades at positions `[start, end)`."""
        span = slice(start, end)
        return map(Trade, self.ts_ms[span], self.ids[span], self._ticks[span], self._lots[span], self._sides[span])

    def columns(self, start: int, end: int) -> Trades:
        span = slice(start, end)
        ts_ms, ids, ticks, lots = (column[span].tolist() for column in (self.ts_ms, self.ids, self._ticks, self._lots))
        return Trades(ts_ms, ids, ticks, lots, bytes(self._sides[span]))

    def aggregate(self, at: int) -> Aggregate:
        start, end = self._start(at), self._start(at + 1)
        first = self.trade(start)
        aggregate_id = self._dropped_aggregates + at + 1
        lots = sum(self._lots[start:end])
        return Aggregate(aggregate_id, first.price_ticks, lots, first.id, self.ids[end - 1], first.ts_ms, first.side)

    def aggregate_at_id(self, aggregate_id: int) -> int:
        return min(max(0, aggregate_id - 1 - self._dropped_aggregates), len(self._starts))

    def aggregate_at_time(self, ts_ms: int) -> int:
        """Position of the first aggregate at that time or later. All trades of one have one time."""
        return bisect_left(self._starts, self._dropped_trades + self.at_time(ts_ms))

    def _start(self, aggregate: int) -> int:
        """Position of an aggregate's first trade; one past the last aggregate, the end."""
        if aggregate == len(self._starts):
            return len(self.ids)
        return self._starts[aggregate] - self._dropped_trades

    def _check(self, trade: Trade) -> None:
        """Look-ups bisect: order is a must, and a recording may break it."""
        if self.ids and (trade.id <= self.ids[-1] or trade.ts_ms < self.ts_ms[-1]):
            raise BadInput(
                f"trade {trade.id} at {trade.ts_ms} ms follows trade {self.ids[-1]} at {self.ts_ms[-1]} ms,"
                " expected ascending ids and times"
            )

    def _drop(self) -> None:
        """Forget the oldest trades, whole aggregates of them."""
        target = self._dropped_trades + len(self.ids) - self.keep
        gone = bisect_right(self._starts, target) - 1
        count = self._starts[gone] - self._dropped_trades
        for column in (self.ids, self.ts_ms, self._ticks, self._lots, self._sides):
            del column[:count]
        del self._starts[:gone]
        self._dropped_trades += count
        self._dropped_aggregates += gone
