"""The order book, and what it was at every update id still kept.

Each change has an update id; a recorded frame gives one id to all of its changes. The log of changes and the book
before the first of them are enough to rebuild any state in between.
"""

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterable
from dataclasses import dataclass, field

from common.errors import BadInput

BID, ASK = 0, 1
Level = tuple[int, int]


@dataclass(slots=True)
class Side:
    """Lots by price, and the prices in ascending order."""

    lots: dict[int, int] = field(default_factory=dict)
    prices: list[int] = field(default_factory=list)

    def set(self, price_ticks: int, size_lots: int) -> None:
        """The level is now that large; 0 removes it."""
        known = price_ticks in self.lots
        if size_lots:
            self.lots[price_ticks] = size_lots
            if not known:
                self.prices.insert(bisect_left(self.prices, price_ticks), price_ticks)
        elif known:
            del self.lots[price_ticks]
            del self.prices[bisect_left(self.prices, price_ticks)]

    def replace(self, levels: Iterable[Level]) -> None:
        self.lots = {price: lots for price, lots in levels if lots}
        self.prices = sorted(self.lots)


@dataclass(slots=True)
class BookState:
    """The book right after `update_id`, as lots by price. `position`: of the next entry of the log."""

    update_id: int
    bids: dict[int, int]
    asks: dict[int, int]
    position: int = 0

    def scaled(self, factor: int) -> "BookState":
        """The same with prices in ticks of which `factor` are one of before."""
        bids, asks = ({price * factor: lots for price, lots in side.items()} for side in (self.bids, self.asks))
        return BookState(self.update_id, bids, asks, self.position)

    def copy(self) -> "BookState":
        return BookState(self.update_id, self.bids.copy(), self.asks.copy(), self.position)

    def set(self, side: int, price_ticks: int, size_lots: int) -> None:
        levels = self.asks if side else self.bids
        if size_lots:
            levels[price_ticks] = size_lots
        else:
            levels.pop(price_ticks, None)


class BookLog:
    """`keep`: changes kept; up to an eighth more are held. `last_id` 0: nothing is known yet. `epoch` counts resets."""

    def __init__(self, keep: int) -> None:
        self.keep = keep
        self.last_id = 0
        self.epoch = 0
        self.sides = (Side(), Side())
        self._base = self._walk = BookState(0, {}, {})
        self._clear()

    @property
    def position(self) -> int:
        """Where the log ends, counted from its beginning: `changes_since` takes it."""
        return self._dropped + len(self._ids)

    @property
    def kept(self) -> int:
        return len(self._ids)

    @property
    def oldest_id(self) -> int:
        return self._base.update_id

    def reset(self, last_id: int, bids: Iterable[Level], asks: Iterable[Level]) -> None:
        """Begin with a snapshot; what was before is forgotten."""
        self.sides[BID].replace(bids)
        self.sides[ASK].replace(asks)
        self.last_id = last_id
        self.epoch += 1
        self._clear()

    def set(self, side: int, price_ticks: int, size_lots: int) -> None:
        """Change one level: the next update."""
        self._change(self.last_id + 1, side, price_ticks, size_lots)

    def apply(self, last_id: int, bids: Iterable[Level], asks: Iterable[Level]) -> None:
        """Apply a recorded frame that ends with update `last_id`."""
        for side, levels in ((BID, bids), (ASK, asks)):
            for price, lots in levels:
                self._change(last_id, side, price, lots)
        self.last_id = last_id

    def scale_prices(self, factor: int) -> None:
        for side in self.sides:
            side.replace([(price * factor, lots) for price, lots in side.lots.items()])
        for at, price in enumerate(self._prices):
            self._prices[at] = price * factor
        self._base, self._walk = self._base.scaled(factor), self._walk.scaled(factor)

    def best(self, side: int) -> int | None:
        """The best price of a side, None where it is empty."""
        prices = self.sides[side].prices
        if not prices:
            return None
        return prices[-1] if side == BID else prices[0]

    def top(self, side: int, count: int) -> list[Level]:
        """The best `count` levels, best first."""
        lots, prices = self.sides[side].lots, self.sides[side].prices
        best = prices[: -count - 1 : -1] if side == BID else prices[:count]
        return [(price, lots[price]) for price in best]

    def changes_since(self, position: int) -> tuple[list[Level], list[Level]]:
        """The last size of each level that changed from `position` on: bids, asks."""
        last: tuple[dict[int, int], dict[int, int]] = ({}, {})
        for at in range(max(0, position - self._dropped), len(self._ids)):
            last[self._sides[at]][self._prices[at]] = self._lots[at]
        return sorted(last[BID].items(), reverse=True), sorted(last[ASK].items())

    def at(self, update_id: int) -> BookState:
        """The book right after `update_id`. Asked in ascending order, all states together cost one pass."""
        if not self._base.update_id <= update_id <= self.last_id:
            raise BadInput(f"update {update_id} is not kept, expected one from {self.oldest_id} to {self.last_id}")
        if self._walk.update_id > update_id or self._walk.position < self._dropped:
            self._walk = self._base.copy()
        self._advance(self._walk, update_id)
        return self._walk.copy()

    def _change(self, update_id: int, side: int, price_ticks: int, size_lots: int) -> None:
        self.sides[side].set(price_ticks, size_lots)
        self.last_id = update_id
        self._ids.append(update_id)
        self._sides.append(side)
        self._prices.append(price_ticks)
        self._lots.append(size_lots)
        if len(self._ids) > self.keep + self.keep // 8:
            self._drop()

    def _clear(self) -> None:
        self._ids = array("q")
        self._prices = array("q")
        self._lots = array("q")
        self._sides = bytearray()
        self._dropped = 0
        self._base = BookState(self.last_id, self.sides[BID].lots.copy(), self.sides[ASK].lots.copy())
        self._walk = self._base.copy()

    def _drop(self) -> None:
        """Fold the oldest changes into the base, up to where an update id ends."""
        self._advance(self._base, self._ids[len(self._ids) - self.keep])
        count = self._base.position - self._dropped
        for column in (self._ids, self._prices, self._lots, self._sides):
            del column[:count]
        self._dropped += count

    def _advance(self, state: BookState, update_id: int) -> None:
        """Apply to `state` what the log holds for it up to `update_id`."""
        start, end = state.position - self._dropped, bisect_right(self._ids, update_id)
        for at in range(start, end):
            state.set(self._sides[at], self._prices[at], self._lots[at])
        state.position = self._dropped + max(start, end)
        state.update_id = update_id
