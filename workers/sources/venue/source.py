"""A venue as a source: its live trades at once, and behind them what is missing (workers/sources/venue/backfill.py).

The coverage that is committed with the trades says where to go on, so the position only tells whether the history of
a new market has begun, and what coverage can't say where ids are not contiguous (workers/sources/venue/backfill.py).
The clock closes quiet minutes only while nothing can be missing at the newest end: the socket is open, and a live trade
or the venue itself has said what came since the last one.
"""

import asyncio
import logging
from collections import Counter, deque
from collections.abc import Awaitable, Callable
from contextlib import aclosing, suppress
from dataclasses import dataclass, field, replace
from functools import partial

from redis.asyncio import Redis

from common.clock import Clock, wait_at_most
from common.errors import BadInput, StoreUnavailable
from common.market.builder.gaps import DISCONNECT, ID_JUMP, START, THROTTLE, UNKNOWN
from common.market.builder.spans import IdSpan
from common.market.candle import LIVE, SIMULATED
from common.market.instrument import Instrument
from common.market.scale import Scales
from common.market.trade import Trades
from common.store.book import BookStore
from common.store.demand import SLOT_TTL_MS, StreamSlot
from common.store.depth import DepthReader, DepthStore
from common.store.health import BACKFILLING, DEGRADED, DISCONNECTED, MISMATCH, THROTTLED, TICK
from common.store.registry import Market
from workers.change.request import Request
from workers.sources import SourceContext
from workers.sources.base import NEVER, Applied, Batch
from workers.sources.venue.backfill import PAGE, Backfill, BatchQueue
from workers.sources.venue.book import BookKeeper, BookStores
from workers.sources.venue.checks import Checks
from workers.sources.venue.relisting import Relisting
from workers.venues.registry import VenueAccess, fleet_budget, open_venue, rule_of
from workers.venues.shared import live
from workers.venues.shared.base import (
    Connected,
    DepthEvent,
    Disconnected,
    Event,
    Listing,
    NoTrade,
    Refused,
    TradesEvent,
    Venue,
    VenueError,
    VenueUnavailable,
)
from workers.venues.shared.fleet_budget import FleetBudget

log = logging.getLogger(__name__)

# What health says of where trades come from.
WS, REST = "ws", "rest"
# How often a symbol without a place among the streams is read.
POLL_MS = 10_000
# Times a place is renewed before it would be given to others.
RENEWALS = 3
# Why the stream was opened anew: the book is out of step, and only a new subscription brings a whole one.
RESUBSCRIBED = "resubscribed"
# A venue whose books are wrong from the start is not to be asked for them all the time.
RESUBSCRIBE_MS = 1_000
# Live trades that wait to be read before the socket waits.
MAX_WAITING = 200_000
# The lag follows a rise by one part in so many a frame, and a fall at once.
LAG_EVENTS = 64


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
    name: str = WS
    sources: int = LIVE
    _live: deque[Batch] = field(default_factory=deque)
    _waiting: int = 0
    _desk: BatchQueue = field(default_factory=BatchQueue)
    _backfill: Backfill | None = None
    _checks: Checks | None = None
    _relisting: Relisting | None = None
    _book: BookKeeper | None = None
    _tasks: "list[asyncio.Task[None]]" = field(default_factory=list)
    _something: asyncio.Event = field(default_factory=asyncio.Event)
    _room: asyncio.Event = field(default_factory=asyncio.Event)
    # Why the next hole at the newest end is there.
    _cause: str = START
    _connected: bool = False
    _refused: Counter[str] = field(default_factory=Counter)
    _told: Counter[str] = field(default_factory=Counter)
    # How far the venue's trades are behind our clock.
    _lag_ms: int | None = None
    # Whose turn it is when live and fetched trades wait.
    _desk_is_next: bool = False

    async def open(self, position: str, applied: Applied) -> None:
        self._backfill = Backfill(
            self.venue,
            self.listing,
            self.clock,
            applied,
            self._desk,
            self._something.set,
            self.history_ms,
            position,
            self._is_held,
        )
        self.venue.on_refused = self._refuse_row
        jobs = {"live": self._follow(), "backfill": self._backfill.run()}
        if self.change:
            self._relisting = Relisting(self.listing, self._ask_listing, self.change, self.clock, self._something.set)
            jobs["relisting"] = self._relisting.run()
        if self.venue.candle_fields:
            self._checks = self._checker(applied)
            jobs["checks"] = self._checks.run()
        if self.books:
            self._book = self._keeper(self.books, applied)
            jobs["book"] = self._book.run()
        self._tasks = [asyncio.create_task(job, name=f"{name} {self.listing.name}") for name, job in jobs.items()]
        for task in self._tasks:
            task.add_done_callback(lambda _: self._something.set())

    async def read(self, limit: int, wait_ms: int) -> Batch:
        self._raise_failure()
        fetched = self._desk.read(limit) if self._desk_is_next or not self._live else []
        if not (self._live or fetched):
            await self._wait(wait_ms)
            self._raise_failure()
            fetched = [] if self._live else self._desk.read(limit)
        self._desk_is_next = not fetched
        batch = _joined(fetched) if fetched else self._take_live(limit)
        assert self._backfill is not None, "read before open"
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
        assert self._backfill is not None, "read before open"
        complete = self._connected and self._backfill.head_known and not self._live
        refused, self._refused = self._refused, Counter()
        return replace(
            batch,
            # Nothing simulated ever passes for anything else.
            sources=batch.sources | (self.sources & SIMULATED) if batch.sources else 0,
            position=self._backfill.position,
            complete_ms=self.clock.now_ms() - (self._lag_ms or 0) if complete else NEVER,
            cause=self._cause if batch.cause == UNKNOWN else batch.cause,
            refused=refused,
            mismatches=self._checks.take() if self._checks else (),
            health=self._health(),
        )

    def _checker(self, applied: Applied) -> Checks:
        return Checks(
            self.venue,
            self.listing,
            self.clock,
            applied,
            self._may_check,
            self._something.set,
        )

    async def _ask_listing(self) -> Listing:
        return await self.venue.listing(self.listed_as or self.listing.name)

    def _is_held(self) -> bool:
        return self._relisting is not None and self._relisting.holds

    def _may_check(self) -> bool:
        """Where ids are not contiguous, coverage does not say what is missing: backfill does, by its being busy."""
        assert self._backfill is not None, "a look before open"
        blind = self._backfill.is_busy and self.listing.instrument.ids != "contiguous"
        return not self.budget.is_throttled and not blind and not self._is_held()

    def _keeper(self, stores: BookStores, applied: Applied) -> BookKeeper:
        return BookKeeper(
            rule_of(self.venue.name),
            stores,
            lambda: asyncio.ensure_future(self.venue.depth(self.listing)),
            self.clock,
            applied.token,
            self.listing.instrument.symbol,
            applied.scales or Scales.unchanged(self.listing.instrument.scale),
        )

    def _health(self) -> dict[str, str]:
        assert self._backfill is not None, "read before open"
        found = {"throttled": "true" if self.budget.is_throttled else "false"}
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
        if not self._connected:
            return DISCONNECTED
        return MISMATCH if self._checks and self._checks.is_wrong else ""

    def _take_live(self, limit: int) -> Batch:
        """What waits, up to `limit`, of one cause."""
        if not self._live:
            return Batch(Trades(), "")
        parts, count = [self._live.popleft()], 0
        count = len(parts[0].trades)
        while self._live and count < limit and self._live[0].cause == parts[0].cause:
            parts.append(self._live.popleft())
            count += len(parts[-1].trades)
        self._waiting -= count
        self._room.set()
        return _joined(parts)

    async def _wait(self, wait_ms: int) -> None:
        self._something.clear()
        await wait_at_most(self._something, self.clock, wait_ms)

    def _raise_failure(self) -> None:
        for task in self._tasks:
            if task.done():
                task.result()

    # The stream.

    async def _follow(self) -> None:
        while True:
            if self.slot is None or await self.slot.take():
                self.name = WS
                streaming = asyncio.create_task(self._stream())
                try:
                    await self._while_slot(streaming)
                finally:
                    streaming.cancel()
                    await asyncio.gather(streaming, return_exceptions=True)
                self._take(Disconnected(self.clock.now_ms(), RESUBSCRIBED))
                await self.clock.sleep_ms(RESUBSCRIBE_MS)
            else:
                self.name = REST
                await self._poll()
                await self.clock.sleep_ms(POLL_MS)

    async def _while_slot(self, streaming: "asyncio.Task[None]") -> None:
        """Wait until the stream has ended, or its place is lost."""
        while not streaming.done():
            await asyncio.wait({streaming}, timeout=SLOT_TTL_MS / 1_000 / RENEWALS)
            if not streaming.done() and self.slot and not await self.slot.take():
                log.warning("place for the stream lost", extra={"symbol": self.listing.instrument.symbol})
                return
        streaming.result()

    async def _stream(self) -> None:
        """Until the book needs a new subscription."""
        async with aclosing(self.venue.stream([self.listing], depth=bool(self._book), quotes=False)) as events:
            async for event in events:
                self._take(event)
                if self._book and self._book.needs_resubscription:
                    return
                while self._waiting > MAX_WAITING:
                    self._room.clear()
                    await self._room.wait()

    async def _poll(self) -> None:
        """Read on from the newest trade, page by page, until there are no more."""
        assert self._backfill is not None, "a poll before open"
        while True:
            newest = self._backfill.applied.coverage.newest()
            by_id = self.listing.instrument.ids == "contiguous"
            now_ms = self.clock.now_ms()
            since_ms = newest.to_ms if newest else now_ms - POLL_MS
            try:
                if newest and by_id:
                    found = await self.venue.trades_from_id(self.listing, newest.last + 1, PAGE, newest.to_ms)
                else:
                    found = await self.venue.trades_between(self.listing, since_ms, now_ms)
            except (VenueUnavailable, VenueError) as error:
                log.warning("poll failed", extra={"symbol": self.listing.instrument.symbol, "error": str(error)})
                self._connected = False
                return
            self._connected = True
            if found:
                self._put(Batch(found, "", cause=self._cause))
                self._cause = ID_JUMP
                self._something.set()
            # By time the last millisecond comes again.
            if len(found) < PAGE if by_id else not found or found.ts_ms[-1] <= since_ms:
                self._backfill.heard()
                self._lag_ms = POLL_MS
                return
            while self._live:
                self._room.clear()
                await self._room.wait()

    def _take(self, event: Event) -> None:
        assert self._backfill is not None, "an event before open"
        match event:
            case TradesEvent(_, trades):
                self._put(Batch(trades, "", cause=self._cause))
                self._heard(trades.ts_ms[-1])
            case NoTrade(_, ts_ms, trade_id):
                self._put(Batch(Trades(), "", cause=self._cause, covered=[IdSpan(trade_id, trade_id, ts_ms, ts_ms)]))
                self._heard(ts_ms)
            case Connected():
                self._connected = True
                self._backfill.reconnected()
                if self._book:
                    self._book.connected()
            case Disconnected(_, cause):
                self._connected = False
                if self._cause != START:
                    self._cause = THROTTLE if cause == live.THROTTLED else DISCONNECT
                self._backfill.disconnected()
                if self._book:
                    self._book.lost()
            case DepthEvent():
                if self._book:
                    self._book.take(event)
            case Refused():
                self._refuse(event)
                self._backfill.missed(event.ts_ms)
        self._something.set()

    def _put(self, batch: Batch) -> None:
        self._live.append(batch)
        self._waiting += len(batch.trades)

    def _heard(self, ts_ms: int) -> None:
        assert self._backfill is not None, "an event before open"
        lag_ms = max(0, self.clock.now_ms() - ts_ms)
        if self._lag_ms is None or lag_ms < self._lag_ms:
            self._lag_ms = lag_ms
        else:
            self._lag_ms += (lag_ms - self._lag_ms) // LAG_EVENTS
        self._cause = ID_JUMP
        self._backfill.heard(ts_ms)

    def _refuse_row(self, refused: Refused) -> None:
        """Of an answer, not of the stream."""
        assert self._backfill is not None, "an answer before open"
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
    slot = StreamSlot(means.commands, name, market.symbol, means.caps)
    change = partial(means.change, market.symbol) if means.change else None
    listed_as = market.symbol.removeprefix(f"{name}:") if market.symbol.startswith(f"{name}:") else ""
    venue = open_venue(name, access)
    source = VenueSource(venue, listing, means.clock, budget, means.backfill_ms, books, slot, change, listed_as)
    if found.get("simulated"):
        source.sources = SIMULATED
    return source


def book_stores(client: Redis, instrument: Instrument, minutes: int) -> BookStores:
    symbol, scale = instrument.symbol, instrument.scale
    return BookStores(
        DepthStore(client, symbol, minutes), DepthReader(client, symbol), BookStore(client, symbol, scale)
    )


def _joined(parts: list[Batch]) -> Batch:
    """One batch of several of one cause: their trades in order, and all else."""
    if len(parts) == 1:
        return parts[0]
    trades = Trades()
    for part in parts:
        trades.ts_ms += part.trades.ts_ms
        trades.ids += part.trades.ids
        trades.price_ticks += part.trades.price_ticks
        trades.size_lots += part.trades.size_lots
    trades.sides = b"".join(part.trades.sides for part in parts)
    return replace(
        parts[0],
        trades=trades,
        covered=[span for part in parts for span in part.covered],
        candles=[candle for part in parts for candle in part.candles],
        given_up=[hole for part in parts for hole in part.given_up],
    )
