"""A venue may list a market otherwise while it is followed: with a finer tick, say, whose prices have no place in ours.

The first price or size that is too fine says so. The venue is then asked how it lists the market now, and what it has
finer, the symbol is changed to (workers.change); the next term reads what this one could not. Until then health says
so, and backfill rests: what it would give up is only not readable yet.

Nothing is changed by what a trade says alone: it may be garbage, and venues print sizes finer than they list them, of
orders that are older than a coarser step.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from common.clock import Clock
from common.errors import FleetError
from common.market.builder.validity import TOO_FINE
from workers.change.request import Request
from workers.venues.shared.base import Listing, Refused

log = logging.getLogger(__name__)

# So long after the last trade that was too fine all is well.
QUIET_MS = 30_000
# A listing that says nothing new for so long is believed: what does not fit is what the venue prints besides.
MAX_HELD_MS = 600_000
# And so long after the last one, what comes is another matter.
FORGET_MS = 3_600_000
# Between two questions, at first and at most; and where only levels of the book are too fine.
ASK_MS, ASK_CAP_MS, ASK_FOR_BOOK_MS = 1_000, 60_000, 600_000


@dataclass(slots=True)
class Relisting:
    """Of one term. `ask`: how the venue lists the market now; `change`: the symbol, which ends the term."""

    listing: Listing
    ask: Callable[[], Awaitable[Listing]]
    change: Callable[[Request], Awaitable[object]]
    clock: Clock
    on_news: Callable[[], None]
    # Our monotonic time of the first trade that was too fine, and of the last.
    _first_ms: int = -1
    _last_ms: int | None = None
    _asked_ms: int | None = None
    # Questions since the first one.
    _asked: int = 0
    _is_due: bool = False
    # Since the last such trade it is not known how the venue lists it, or the symbol is not changed to that yet.
    _is_unanswered: bool = False
    _woken: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def is_open(self) -> bool:
        """Trades are refused because they are too fine."""
        if self._last_ms is None:
            return False
        return self._is_unanswered or self.clock.monotonic_ms() - self._last_ms < QUIET_MS

    @property
    def holds(self) -> bool:
        """What can't be read now may be so soon."""
        return self.is_open and self.clock.monotonic_ms() - self._first_ms < MAX_HELD_MS

    def note(self, refused: Refused) -> None:
        if refused.reason != TOO_FINE:
            return
        now_ms = self.clock.monotonic_ms()
        if refused.of_book:
            self._is_due |= self._asked_ms is None or now_ms - self._asked_ms >= ASK_FOR_BOOK_MS
        else:
            if self._last_ms is None or now_ms - self._last_ms >= FORGET_MS:
                self._first_ms, self._asked = now_ms, 0
            self._last_ms, self._is_due, self._is_unanswered = now_ms, True, True
        self._woken.set()

    async def run(self) -> None:
        while True:
            self._woken.clear()
            if not self._is_due:
                await self._woken.wait()
                continue
            await self.clock.sleep_ms(self._wait_ms())
            self._is_due = False
            await self._look()
            self.on_news()

    def _wait_ms(self) -> int:
        if self._asked_ms is None or not self._asked:
            return 0
        interval_ms = min(ASK_MS << min(self._asked - 1, 10), ASK_CAP_MS)
        return max(0, self._asked_ms + interval_ms - self.clock.monotonic_ms())

    async def _look(self) -> None:
        self._asked_ms, self._asked = self.clock.monotonic_ms(), self._asked + 1
        about = {"symbol": self.listing.instrument.symbol, "asked": self._asked}
        try:
            request = finer(self.listing, await self.ask())
            if request is None:
                log.warning("numbers are finer than the venue lists them", extra=about)
                self._is_unanswered = self._is_due
                return
            log.warning("the venue lists it finer", extra=about | {"to": _shown(request)})
            await self.change(request)
        except FleetError as error:
            log.warning("not changed to what the venue lists", extra=about | {"error": str(error)})
            self._is_due |= self._is_unanswered


def finer(ours: Listing, theirs: Listing) -> Request | None:
    """What is to be changed where a listing is finer. One that is coarser fits as it is."""
    price, size = ours.instrument.price_decimals, ours.instrument.size_decimals
    finer_price, finer_size = theirs.instrument.price_decimals, theirs.instrument.size_decimals
    if finer_price <= price and finer_size <= size:
        return None
    decimals = max(price, finer_price), max(size, finer_size)
    steps = (
        theirs.price_step_ticks * 10 ** (decimals[0] - finer_price),
        theirs.size_step_lots * 10 ** (decimals[1] - finer_size),
    )
    return Request(price_decimals=decimals[0], size_decimals=decimals[1], steps=steps)


def _shown(request: Request) -> str:
    return f"{request.price_decimals} decimals of prices, {request.size_decimals} of sizes"
