"""The order book of one market: its levels, and how far it is known. Prices are ticks, sizes lots.

A book is whole only as far as its snapshot reached: a level beyond that a diff has told of is known, its neighbours are
not. So each side has an edge, and what is known reaches from the bids' edge to the asks'.
"""

from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

Level = tuple[int, int]
Levels = Sequence[Level]

# Levels kept of one side; beyond, the farthest are forgotten. Twice what the deepest markets show.
MAX_LEVELS = 100_000
# What `within` counts in: a hundredth of a percent.
BASIS_POINTS = 10_000
# What a side is known to, as a key: to its end, or not at all. No price is beyond either.
TO_ITS_END, NOT_AT_ALL = -(1 << 62), 1 << 62
# The middle nears an edge once no more than one part in so many is left of the way that there was.
EDGE_PARTS = 5


class Top(NamedTuple):
    """Best bid and ask."""

    bid_ticks: int
    bid_lots: int
    ask_ticks: int
    ask_lots: int


@dataclass(slots=True)
class BookSide:
    """One side. `keys` are its prices times `sign`, ascending, so that the best is the last. `edge`: the key of the
    worst price down to which the side is whole.

    Nearly all changes are near the best price, where inserting into a list moves least; that keeps a level at
    0.2 us, and nothing has to search for the best.
    """

    sign: int
    sizes: dict[int, int] = field(default_factory=dict)
    keys: list[int] = field(default_factory=list)
    edge: int = TO_ITS_END

    def replace(self, levels: Levels, is_whole: bool = True) -> None:
        """`is_whole`: there are no others; else the side is known to the worst of them."""
        self.sizes = {price: size for price, size in dict(levels).items() if size}
        self.keys = sorted(price * self.sign for price in self.sizes)
        worst = min((price * self.sign for price, _ in levels), default=NOT_AT_ALL)
        self.edge = TO_ITS_END if is_whole else worst

    def set(self, levels: Levels) -> None:
        """Sizes are absolute; removing what is not there is usual (it lay beyond the snapshot)."""
        sizes, keys, sign = self.sizes, self.keys, self.sign
        for price, size in levels:
            if size:
                if price not in sizes:
                    insort(keys, price * sign)
                sizes[price] = size
            elif sizes.pop(price, 0):
                del keys[bisect_left(keys, price * sign)]

    def cut(self, depth: int) -> list[Level]:
        """Forget all but the best `depth` levels; return what was forgotten, each with size 0."""
        prices = [key * self.sign for key in self.keys[:-depth]]
        del self.keys[:-depth]
        for price in prices:
            del self.sizes[price]
        self.edge = max(self.edge, self.keys[0])
        return [(price, 0) for price in prices]

    def refilled(self, depth: int) -> None:
        """The venue sends each level that is among the best `depth`: whatever is held is known without a hole."""
        if self.edge != TO_ITS_END or len(self.keys) >= depth:
            self.edge = self.keys[0] if self.keys else NOT_AT_ALL

    def count(self, price_ticks: int) -> int:
        """How many levels are at least as good as a price."""
        return len(self.keys) - bisect_left(self.keys, price_ticks * self.sign)

    def nth(self, at: int) -> int:
        """The price of the `at`th best level, from 1."""
        return self.keys[-at] * self.sign

    def best(self, count: int) -> list[Level]:
        """The best `count` levels, best first; fewer where the side is not known any further.

        The best one in any case: of a market that has moved past what was known it is nearly always the true one, for
        what is placed there comes as a diff.
        """
        keys = self.keys[: -count - 1 : -1]
        if keys and keys[-1] < self.edge:
            keys = [key for key in keys if key >= self.edge] or keys[:1]
        return self._levels(keys)

    def between(self, low_ticks: int, high_ticks: int) -> list[Level]:
        """The levels from `low_ticks` to `high_ticks`, both included, best first."""
        worst, best = (low_ticks, high_ticks) if self.sign > 0 else (-high_ticks, -low_ticks)
        keys = self.keys[bisect_left(self.keys, worst) : bisect_right(self.keys, best)]
        return self._levels(reversed(keys))

    def _levels(self, keys: Iterable[int]) -> list[Level]:
        sizes, sign = self.sizes, self.sign
        return [(key * sign, sizes[key * sign]) for key in keys]


@dataclass(slots=True)
class Book:
    """Both sides. `last_id`: the last update in it, where the venue counts them.

    `refills`: the venue sends what comes among the best `max_levels` (as sync.Rule says).
    """

    max_levels: int = MAX_LEVELS
    refills: bool = False
    last_id: int = -1
    bids: BookSide = field(default_factory=lambda: BookSide(1))
    asks: BookSide = field(default_factory=lambda: BookSide(-1))
    # Best bid plus best ask of the snapshot.
    _first_twice_mid: int | None = None

    def replace(self, bids: Levels, asks: Levels, whole: tuple[bool, bool] = (True, True)) -> None:
        """`whole`: whether there are no other bids, and no other asks."""
        self.bids.replace(bids, whole[0])
        self.asks.replace(asks, whole[1])
        self._cut(bids, asks)
        self._first_twice_mid = self.twice_mid

    def apply(self, bids: Levels, asks: Levels) -> tuple[Levels, Levels]:
        """Set levels. Returns what changed by side: the same levels, and those forgotten beyond `max_levels`."""
        self.bids.set(bids)
        self.asks.set(asks)
        return self._cut(bids, asks)

    @property
    def low_ticks(self) -> int:
        """The lowest price that is known, and all above it up to `high_ticks`."""
        return self.bids.edge

    @property
    def high_ticks(self) -> int:
        return -self.asks.edge

    @property
    def nears_edge(self) -> bool:
        """Whether most of the way from the middle to an edge, as it was at first, is used up."""
        now, first = self.twice_mid, self._first_twice_mid
        if now is None or first is None:
            return False
        sides = [side for side in (self.bids, self.asks) if side.edge != TO_ITS_END]
        return any(EDGE_PARTS * (now * s.sign - 2 * s.edge) < first * s.sign - 2 * s.edge for s in sides)

    @property
    def crossed(self) -> bool:
        """Whether the best bid is as high as the best ask, or higher. No venue leaves such orders standing."""
        bids, asks = self.bids.keys, self.asks.keys
        return bool(bids and asks) and bids[-1] + asks[-1] >= 0

    @property
    def twice_mid(self) -> int | None:
        """Best bid plus best ask, so that the middle stays a whole number. None while a side is empty."""
        bids, asks = self.bids.keys, self.asks.keys
        return bids[-1] - asks[-1] if bids and asks else None

    def top(self) -> Top | None:
        if not (self.bids.keys and self.asks.keys):
            return None
        bid, ask = self.bids.keys[-1], -self.asks.keys[-1]
        return Top(bid, self.bids.sizes[bid], ask, self.asks.sizes[ask])

    def depth(self, count: int) -> tuple[list[Level], list[Level]]:
        """The best `count` bids and asks, best first."""
        return self.bids.best(count), self.asks.best(count)

    def within(self, reach_bp: int) -> tuple[list[Level], list[Level]]:
        """Bids and asks at most `reach_bp` hundredths of a percent from the middle, best first."""
        twice_mid = self.twice_mid
        if twice_mid is None:
            return [], []
        low, high = bounds(twice_mid, twice_mid * reach_bp // BASIS_POINTS)
        return self.bids.between(low, high), self.asks.between(low, high)

    def _cut(self, bids: Levels, asks: Levels) -> tuple[Levels, Levels]:
        if len(self.bids.keys) > self.max_levels:
            bids = [*bids, *self.bids.cut(self.max_levels)]
        if len(self.asks.keys) > self.max_levels:
            asks = [*asks, *self.asks.cut(self.max_levels)]
        if self.refills:
            self.bids.refilled(self.max_levels)
            self.asks.refilled(self.max_levels)
        return bids, asks


def bounds(twice_mid: int, twice_reach: int) -> tuple[int, int]:
    """The lowest and the highest price at most `twice_reach` half ticks from the middle."""
    return (twice_mid - twice_reach + 1) // 2, (twice_mid + twice_reach) // 2
