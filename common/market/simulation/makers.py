"""The makers: they keep a plausible book around a price. The book is never crossed, not even between two updates."""

from dataclasses import dataclass, field

from common.market.simulation.book import ASK, BID, BookLog, Level
from common.market.simulation.chance import Chance

# Levels of a side: enough for the deepest cheap snapshot, and for a heatmap that shows something.
LEVELS = 400
# A taker order leaves that many.
LEFT = 20
# Quotes lie this far from the price on average, as a share of it.
WIDTH = 4e-5
# Where a tick is coarse, some levels all the same.
MIN_WIDTH_TICKS = 4.0
# The book reaches further out, so that depth has a shape.
REACH = 2e-3
# Share of the makers' moves that take a level away.
CANCELS = 0.25


@dataclass(slots=True)
class Makers:
    size_decimals: int
    random: Chance
    levels: int = LEVELS
    _unit: int = field(init=False)

    def __post_init__(self) -> None:
        self._unit = 10 ** max(0, self.size_decimals - 2)

    @property
    def usual_lots(self) -> int:
        """About the size of an order."""
        return 10 * self._unit

    def open(self, book: BookLog, price_ticks: int, first_update_id: int) -> None:
        """The first book: a ladder on both sides."""
        below = max(1, price_ticks - 1)
        book.reset(first_update_id, self._ladder(below, -1), self._ladder(below + 1, 1))

    def move(self, book: BookLog, price_ticks: int) -> None:
        """One maker changes the mind: places, resizes or cancels one level."""
        side = BID if self.random.random() < 0.5 else ASK
        if self.random.random() < CANCELS and len(book.sides[side].prices) > LEFT:
            self._cancel(book, side)
        else:
            self._place(book, side, price_ticks)

    def fill_up(self, book: BookLog, price_ticks: int) -> None:
        """Depth comes back: one level at a time, more where hardly any is left."""
        for side in (BID, ASK):
            levels = len(book.sides[side].prices)
            for _ in range(min(1, self.levels - levels) if levels >= LEFT else LEFT):
                self._put(book, side, price_ticks, 1 + int(self.random.random() * self._reach(price_ticks)))

    def meet(self, book: BookLog, taker_is_buyer: bool, price_ticks: int, size_lots: int) -> None:
        """Make the book agree with a recorded trade: its level was the best, and held at least that much."""
        maker = ASK if taker_is_buyer else BID
        self._clear_way(book, 1 - maker, price_ticks)
        self._clear_better(book, maker, price_ticks)
        if book.sides[maker].lots.get(price_ticks, 0) < size_lots:
            book.set(maker, price_ticks, size_lots + self.size())
        book.set(maker, price_ticks, book.sides[maker].lots[price_ticks] - size_lots)

    def _place(self, book: BookLog, side: int, price_ticks: int) -> None:
        offset = self.random.expovariate(1 / max(MIN_WIDTH_TICKS, price_ticks * WIDTH))
        self._put(book, side, price_ticks, 1 + int(offset))

    def _put(self, book: BookLog, side: int, price_ticks: int, offset: int) -> None:
        price = max(1, price_ticks - offset if side == BID else price_ticks + offset)
        self._clear_way(book, 1 - side, price)
        book.set(side, price, self.size())
        prices = book.sides[side].prices
        if len(prices) > self.levels:
            book.set(side, prices[0] if side == BID else prices[-1], 0)

    def _cancel(self, book: BookLog, side: int) -> None:
        prices = book.sides[side].prices
        depth = min(len(prices) - 1, int(self.random.expovariate(0.1)))
        book.set(side, prices[-1 - depth] if side == BID else prices[depth], 0)

    def _clear_way(self, book: BookLog, side: int, price_ticks: int) -> None:
        """Stale quotes of a side go before a quote of the other side is placed at or beyond them."""
        while (best := book.best(side)) is not None and (best >= price_ticks if side == BID else best <= price_ticks):
            book.set(side, best, 0)

    def _clear_better(self, book: BookLog, side: int, price_ticks: int) -> None:
        while (best := book.best(side)) is not None and (best > price_ticks if side == BID else best < price_ticks):
            book.set(side, best, 0)

    def _ladder(self, price_ticks: int, step: int) -> list[Level]:
        levels = []
        gap = self._reach(price_ticks) / self.levels
        for _ in range(self.levels):
            if price_ticks < 1:
                break
            levels.append((price_ticks, self.size()))
            price_ticks += step * (1 + int(self.random.expovariate(1 / gap)))
        return levels

    def _reach(self, price_ticks: int) -> float:
        """How far the book goes from the price, in ticks; where a tick is coarse, still with room for all levels."""
        return max(self.levels, price_ticks * REACH)

    def size(self) -> int:
        return max(1, int(self.random.lognormvariate(1.5, 1.2) * self._unit))
