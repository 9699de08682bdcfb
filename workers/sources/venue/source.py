"""A venue as a source: its live trades at once (following), and behind them what is missing (backfill).

The coverage that is committed with the trades says where to go on, so the position only tells whether the history of
a new market has begun, and what coverage can't say where ids are not contiguous (backfill_by_time).
The clock closes quiet minutes only while nothing can be missing at the newest end: the socket is open, and a live trade
or the venue itself has said what came since the last one.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial

from common.clock import Clock, wait_at_most
from common.errors import BadInput, StoreUnavailable
from common.market.builder.gaps import UNKNOWN
from common.market.candle import LIVE, SIMULATED
from common.market.scale import Scales
from common.store.demand import StreamSlot
from common.store.health import BACKFILLING, DEGRADED, DISCONNECTED, MISMATCH, THROTTLED, TICK
from common.store.registry import Market
from workers.change.request import Request
from workers.sources import SourceContext
from workers.sources.base import NEVER, Applied, Batch
from workers.sources.venue.backfill import Backfill
from workers.sources.venue.backfill_by_id import BackfillById
from workers.sources.venue.backfill_by_time import BackfillByTime
from workers.sources.venue.batch_queue import BatchQueue, joined
from workers.sources.venue.book import BookKeeper, BookStores, book_stores
from workers.sources.venue.checks import Checks
from workers.sources.venue.following import Following
from workers.sources.venue.live_trades import LiveTrades
from workers.sources.venue.relisting import Relisting
from workers.venues.registry import VenueAccess, fleet_budget, open_venue, rule_of
from workers.venues.shared.base import (
    Listing,
    Refused,
    Venue,
)
from workers.venues.shared.fleet_budget import FleetBudget

log = logging.getLogger(__name__)


@dataclass(slots=True)
class VenueSource:
    """One market of one venue. `history_ms`: how much a new market has behind it. `books`: None keeps no book.

    `slot`: its place among the streams of the fleet; without one it is read by REST, slowly. None: it always has one.
    """

    venue: Venue
    listing: Listing
    clock: Clock
    budget: FleetBudget
    history_ms: int
    books: BookStores | None = None
    slot: StreamSlot | None = None
    # What changes the symbol to a finer listing; None: it stays as it is. And the market's name in the fleet.
    change: Callable[[Request], Awaitable[object]] | None = None
    listed_as: str = ""
    sources: int = LIVE
    _live: LiveTrades = field(default_factory=LiveTrades)
    _queue: BatchQueue = field(default_factory=BatchQueue)
    # From `open` on.
    _backfill: Backfill = field(init=False)
    _following: Following = field(init=False)
    _checks: Checks | None = None
    _relisting: Relisting | None = None
    _tasks: "list[asyncio.Task[None]]" = field(default_factory=list)
    _refused: Counter[str] = field(default_factory=Counter)
    _told: Counter[str] = field(default_factory=Counter)
    # Whose turn it is when live and fetched trades wait.
    _queue_is_next: bool = False

    @property
    def name(self) -> str:
        return self._following.name

    async def open(self, position: str, applied: Applied) -> None:
        self._backfill = self._backfiller(position, applied)
        self._following = self._follower(applied)
        self.venue.on_refused = self._refuse_row
        jobs = {"live": self._following.run(), "backfill": self._backfill.run()}
        if self.change:
            self._relisting = Relisting(self.listing, self._ask_listing, self.change, self.clock, self._arrived)
            jobs["relisting"] = self._relisting.run()
        if self.venue.candle_fields:
            self._checks = Checks(self.venue, self.listing, self.clock, applied, self._may_check, self._arrived)
            jobs["checks"] = self._checks.run()
        if self._following.book:
            jobs["book"] = self._following.book.run()
        self._tasks = [asyncio.create_task(job, name=f"{name} {self.listing.name}") for name, job in jobs.items()]
        for task in self._tasks:
            task.add_done_callback(lambda _: self._arrived())

    async def read(self, limit: int, wait_ms: int) -> Batch:
        self._raise_failure()
        fetched = self._queue.read(limit) if self._queue_is_next or self._live.is_empty else []
        if self._live.is_empty and not fetched:
            await self._wait(wait_ms)
            self._raise_failure()
            fetched = self._queue.read(limit) if self._live.is_empty else []
        self._queue_is_next = not fetched
        batch = joined(fetched) if fetched else self._live.take(limit)
        self._backfill.wake()
        return self._dressed(batch)

    async def committed(self, position: str) -> None:
        """Nothing is kept behind: coverage says what is there."""

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.venue.close()
        if self.slot:
            with suppress(StoreUnavailable):
                await self.slot.leave()

    def _dressed(self, batch: Batch) -> Batch:
        """The batch with what holds for all of them."""
        complete = self._following.is_connected and self._backfill.head_known and self._live.is_empty
        refused, self._refused = self._refused, Counter()
        return replace(
            batch,
            # Nothing simulated ever passes for anything else.
            sources=batch.sources | (self.sources & SIMULATED) if batch.sources else 0,
            position=self._backfill.position,
            complete_ms=self.clock.now_ms() - (self._live.lag_ms or 0) if complete else NEVER,
            cause=self._live.cause if batch.cause == UNKNOWN else batch.cause,
            refused=refused,
            mismatches=self._checks.take() if self._checks else (),
            health=self._health(),
        )

    def _backfiller(self, position: str, applied: Applied) -> Backfill:
        kind = BackfillById if self.listing.instrument.ids == "contiguous" else BackfillByTime
        return kind(
            venue=self.venue,
            listing=self.listing,
            clock=self.clock,
            applied=applied,
            queue=self._queue,
            on_put=self._arrived,
            history_ms=self.history_ms,
            committed=position,
            is_held=self._is_held,
        )

    def _follower(self, applied: Applied) -> Following:
        return Following(
            venue=self.venue,
            listing=self.listing,
            clock=self.clock,
            slot=self.slot,
            live=self._live,
            backfill=self._backfill,
            book=self._keeper(self.books, applied) if self.books else None,
            refuse=self._refuse,
        )

    def _arrived(self) -> None:
        self._live.arrived.set()

    async def _ask_listing(self) -> Listing:
        return await self.venue.listing(self.listed_as or self.listing.name)

    def _is_held(self) -> bool:
        return self._relisting is not None and self._relisting.holds

    def _may_check(self) -> bool:
        return not (self.budget.is_throttled or self._backfill.is_blind or self._is_held())

    def _keeper(self, stores: BookStores, applied: Applied) -> BookKeeper:
        return BookKeeper(
            rule_of(self.venue.name),
            stores,
            lambda: asyncio.ensure_future(self.venue.depth(self.listing)),
            self.budget.is_half_free,
            self.clock,
            applied.token,
            self.listing.instrument.symbol,
            applied.scales or Scales.unchanged(self.listing.instrument.scale),
        )

    def _health(self) -> dict[str, str]:
        until_ms = self.budget.throttled_until_ms
        found = {"throttled": "false" if until_ms is None else "true", "throttled_until_ms": str(until_ms or "")}
        if reason := self._trouble():
            found |= {"mode": DEGRADED, "reason": reason}
        elif self._backfill.is_busy:
            found["mode"] = BACKFILLING
        return found

    def _trouble(self) -> str:
        if self._relisting and self._relisting.is_open:
            return TICK
        if self.budget.is_throttled:
            return THROTTLED
        if not self._following.is_connected:
            return DISCONNECTED
        return MISMATCH if self._checks and self._checks.is_wrong else ""

    async def _wait(self, wait_ms: int) -> None:
        self._live.arrived.clear()
        await wait_at_most(self._live.arrived, self.clock, wait_ms)

    def _raise_failure(self) -> None:
        for task in self._tasks:
            if task.done():
                task.result()

    def _refuse_row(self, refused: Refused) -> None:
        """Of an answer, not of the stream."""
        self._refuse(refused)
        self._backfill.unread(refused.ts_ms)

    def _refuse(self, refused: Refused) -> None:
        """Counted each; logged the first time, and then ever more rarely."""
        reason = refused.reason
        self._refused[reason] += 1
        self._told[reason] += 1
        count = self._told[reason]
        if count & (count - 1) == 0:
            what = {"symbol": self.listing.instrument.symbol, "reason": reason, "detail": refused.detail}
            log.warning("frame refused", extra=what | {"count": count})
        if self._relisting:
            self._relisting.note(refused)


def venue_source(market: Market, means: SourceContext) -> VenueSource:
    """The source a market describes. BadInput where it names no venue we know."""
    found = market.source
    try:
        name = str(found["venue"])
        listing = Listing(
            str(found["name"]), market.instrument, int(found["price_step_ticks"]), int(found["size_step_lots"])
        )
        budget = fleet_budget(name, means.commands, means.clock)
    except (KeyError, ValueError, TypeError) as error:
        raise BadInput(f"the source of {market.symbol} is {found}, expected a venue, a name and steps") from error
    urls = str(found.get("rest_url", "")), str(found.get("socket_url", ""))
    access = VenueAccess(means.clock, budget, *urls, key=means.binance_key)
    books = book_stores(means.commands, market.instrument, means.depth_minutes) if means.depth_minutes else None
    slot = StreamSlot(means.commands, name, market.symbol, means.caps, market.instrument_kind)
    change = partial(means.change, market.symbol) if means.change else None
    listed_as = market.symbol.removeprefix(f"{name}:") if market.symbol.startswith(f"{name}:") else ""
    venue = open_venue(name, access)
    source = VenueSource(venue, listing, means.clock, budget, means.backfill_ms, books, slot, change, listed_as)
    if found.get("simulated"):
        source.sources = SIMULATED
    return source
