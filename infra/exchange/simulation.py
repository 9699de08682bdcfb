"""A simulated market: makers around a wandering price, takers in quiet stretches and bursts, and large orders that are
pulled when the price comes near, stand to be eaten, or hide most of their size.

Everything follows from the seed and the start; how time is cut into steps changes nothing. Good for load and for tests
of the path, worth nothing as a model of any market.
"""

import random
from dataclasses import asdict, dataclass, field
from typing import Any

from common.market.simulation.book import ASK, BID, BookLog
from common.market.simulation.makers import LEFT, Makers
from common.market.simulation.walls import Wall, Walls
from common.market.trade import BUY, SELL, Trade
from infra.exchange.listing import SimulatedListing

# Of the taker orders: share that come in bursts, mean length of a burst and of the quiet between two.
BURST_S, QUIET_S, BURST_FACTOR = 0.8, 20.0, 20.0
# Maker moves for each taker order.
MOVES_PER_ORDER = 3
# One step of the price, as a share of it.
STEP = 2e-5
# The price follows an order that far.
IMPACT = 0.2
# Big, as real ones are: 32 bits must not be enough.
FIRST_TRADE_ID = 3_000_000_001
FIRST_UPDATE_ID = 35_000_000_000
# A taker has a limit: an order eats no more levels than that, and none further away, as a share of the price.
MAX_SWEPT = 12
MAX_AWAY, MAX_AWAY_TICKS = 4e-4, 8
# A fill is of one maker, so a level is often taken in two.
SPLITS = 0.3
# What is remembered, besides the random state, to go on later.
_STATE = ("_next_id", "_due_ms", "_price", "_volatility", "_burst_until_ms", "_quiet_until_ms")


@dataclass(slots=True)
class Simulation:
    """`orders_per_s`: mean rate of taker orders in quiet times; bursts are twenty times as busy."""

    listing: SimulatedListing
    seed: int = 1
    orders_per_s: float = 3.0
    first_ms: None = None
    _next_id: int = FIRST_TRADE_ID
    _due_ms: float = 0.0
    _price: float = 0.0
    _volatility: float = 1.0
    _burst_until_ms: float = 0.0
    _quiet_until_ms: float = 0.0
    _random: random.Random = field(default_factory=random.Random)
    _makers: Makers | None = None
    _walls: Walls | None = None

    @property
    def due_ms(self) -> int:
        return int(self._due_ms)

    def begin(self, book: BookLog, at_ms: int) -> None:
        self._random = random.Random(f"{self.seed}:{self.listing.symbol}")
        self._price = self.listing.start_ticks
        self._due_ms = float(at_ms)
        self._people([]).open(book, self.listing.start_ticks, FIRST_UPDATE_ID)

    def state(self) -> dict[str, Any]:
        """Everything that the rest follows from, but for the book."""
        walls = [asdict(wall) for wall in self._walls.standing] if self._walls else []
        told = {name: getattr(self, name) for name in _STATE}
        return told | {"walls": walls, "random": self._random.getstate()}

    def resume(self, state: dict[str, Any]) -> None:
        """Go on from there, in place of `begin`. The rest is as it would have been, if the rate is the same."""
        for name in _STATE:
            setattr(self, name, state[name])
        version, words, gauss = state["random"]
        self._random.setstate((version, tuple(words), gauss))
        # A state of an earlier release has none.
        self._people([Wall(**wall) for wall in state.get("walls", [])])

    def _people(self, walls: list[Wall]) -> Makers:
        """Have makers, and large orders that stand already."""
        self._makers = Makers(self.listing.instrument.size_decimals, self._random)
        self._walls = Walls(self._random, self._makers.usual_lots, walls)
        return self._makers

    def retick(self, listing: SimulatedListing, factor: int) -> None:
        """Go on with prices in ticks of which `factor` are one of before."""
        assert self._walls is not None, "changed before it began"
        self.listing = listing
        self._price *= factor
        for wall in self._walls.standing:
            wall.price_ticks *= factor

    def happen(self, book: BookLog) -> list[Trade]:
        assert self._makers is not None and self._walls is not None, "happened before it began"
        ts_ms = self.due_ms
        order = self._random.random() * (MOVES_PER_ORDER + 1) < 1
        trades = self._take(book, self._makers, ts_ms) if order else []
        if not order:
            self._wander()
            self._makers.move(book, int(self._price))
        self._walls.step(book, int(self._price))
        self._makers.fill_up(book, int(self._price))
        self._due_ms += self._random.expovariate(self._rate() * (MOVES_PER_ORDER + 1)) * 1_000
        return trades

    def _take(self, book: BookLog, makers: Makers, ts_ms: int) -> list[Trade]:
        """One taker order: it eats its way through the levels, the best first."""
        side = BUY if self._random.random() < 0.5 else SELL
        maker = ASK if side == BUY else BID
        levels = book.sides[maker]
        left, trades = self._order_lots(makers), list[Trade]()
        for _ in range(min(MAX_SWEPT, len(levels.prices) - LEFT)):
            price = levels.prices[0] if maker == ASK else levels.prices[-1]
            if not left or abs(price - self._price) > max(MAX_AWAY_TICKS, MAX_AWAY * self._price):
                break
            taken = min(left, levels.lots[price])
            trades += self._fills(ts_ms, price, taken, side)
            book.set(maker, price, levels.lots[price] - taken)
            left -= taken
        if trades:
            self._price += (trades[-1].price_ticks - self._price) * IMPACT
        return trades

    def _fills(self, ts_ms: int, price: int, lots: int, side: int) -> list[Trade]:
        parts = [lots]
        if lots > 1 and self._random.random() < SPLITS:
            first = self._random.randrange(1, lots)
            parts = [first, lots - first]
        fills = [Trade(ts_ms, self._next_id + at, price, part, side) for at, part in enumerate(parts)]
        self._next_id += len(fills)
        return fills

    def _order_lots(self, makers: Makers) -> int:
        lots = makers.size()
        return int(lots * self._random.paretovariate(1.3)) if self._random.random() < 0.05 else max(1, lots // 2)

    def _wander(self) -> None:
        self._price = max(10.0, self._price * (1 + self._random.gauss(0, STEP) * self._volatility))

    def _rate(self) -> float:
        """Taker orders per second now; switches between quiet and burst."""
        if self._due_ms < self._burst_until_ms:
            return self.orders_per_s * BURST_FACTOR
        if self._due_ms >= self._quiet_until_ms:
            self._burst_until_ms = self._due_ms + self._random.expovariate(1 / BURST_S) * 1_000
            self._quiet_until_ms = self._burst_until_ms + self._random.expovariate(1 / QUIET_S) * 1_000
            self._volatility = min(8.0, max(0.3, self._volatility * self._random.lognormvariate(0, 0.3)))
        return self.orders_per_s
