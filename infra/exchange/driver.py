"""What makes a market happen: a simulation or a recording, behind one protocol."""

from typing import Protocol

from common.market.simulation.book import BookLog
from common.market.trade import Trade
from infra.exchange.listing import SimulatedListing


class Driver(Protocol):
    """Time is the driver's own; the market shifts it. What happens depends on nothing but what happened before."""

    @property
    def listing(self) -> SimulatedListing:
        """What is traded."""

    @property
    def first_ms(self) -> int | None:
        """When it begins; None: whenever it is told to."""

    @property
    def due_ms(self) -> int | None:
        """When the next thing happens; None: nothing will any more."""

    def begin(self, book: BookLog, at_ms: int) -> None:
        """Called once, before anything happens."""

    def happen(self, book: BookLog) -> list[Trade]:
        """Make the next thing happen: change the book, and return the trades of at most one taker order."""
