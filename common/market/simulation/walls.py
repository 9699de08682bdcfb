"""Large orders, as a depth chart shows them: some are pulled when the price comes near, others stand to be eaten, and
some show a small part of their size and refill it as it is taken."""

from dataclasses import dataclass, field

from common.market.simulation.book import ASK, BID, BookLog
from common.market.simulation.chance import Chance

# At most so many stand at once; at each step another comes with that chance.
MAX_WALLS, CHANCE = 6, 0.004
# How far from the price, as a share of it, and how large, in times a usual order.
NEAR, FAR = 2e-4, 1.6e-3
MIN_TIMES, MAX_TIMES = 40, 150
# Of those that come: pulled once the price is as near as half of NEAR; hiding their size, in so many parts.
PULLED, HIDDEN, HIDDEN_PARTS = 0.5, 0.25, 20
# One that is neither met nor pulled goes with that chance a step.
LEAVES = 0.001


@dataclass(slots=True)
class Wall:
    """`hidden_lots`: what it has beyond what it shows."""

    side: int
    price_ticks: int
    shown_lots: int
    hidden_lots: int
    is_shy: bool


@dataclass(slots=True)
class Walls:
    random: Chance
    # Of a usual order.
    lots: int
    standing: list[Wall] = field(default_factory=list)

    def step(self, book: BookLog, price_ticks: int) -> None:
        """After what has traded, and before what is traded next."""
        self.standing = [wall for wall in self.standing if self._stays(book, wall, price_ticks)]
        if len(self.standing) < MAX_WALLS and self.random.random() < CHANCE:
            self._place(book, price_ticks)

    def _stays(self, book: BookLog, wall: Wall, price_ticks: int) -> bool:
        left = book.sides[wall.side].lots.get(wall.price_ticks, 0)
        if left < wall.shown_lots and wall.hidden_lots:
            return self._refill(book, wall, left)
        if not left:
            return False
        is_near = abs(wall.price_ticks - price_ticks) < price_ticks * NEAR / 2
        if (wall.is_shy and is_near) or self.random.random() < LEAVES:
            book.set(wall.side, wall.price_ticks, 0)
            return False
        return True

    def _refill(self, book: BookLog, wall: Wall, left: int) -> bool:
        """What was taken is shown once more, as long as there is some and the price has not passed it."""
        across = book.best(1 - wall.side)
        is_passed = across is not None and (
            across >= wall.price_ticks if wall.side == ASK else across <= wall.price_ticks
        )
        if is_passed:
            return False
        more = min(wall.shown_lots - left, wall.hidden_lots)
        wall.hidden_lots -= more
        book.set(wall.side, wall.price_ticks, left + more)
        return True

    def _place(self, book: BookLog, price_ticks: int) -> None:
        side = BID if self.random.random() < 0.5 else ASK
        away = 1 + int(price_ticks * self.random.uniform(NEAR, FAR))
        price = max(1, price_ticks - away if side == BID else price_ticks + away)
        across = book.best(1 - side)
        if across is not None and (price >= across if side == BID else price <= across):
            return
        lots = self.lots * self.random.randint(MIN_TIMES, MAX_TIMES)
        hides = self.random.random() < HIDDEN
        shown = max(1, lots // HIDDEN_PARTS) if hides else lots
        self.standing.append(Wall(side, price, shown, lots - shown, not hides and self.random.random() < PULLED))
        book.set(side, price, shown)
