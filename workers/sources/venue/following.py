"""One market followed for ever: by its stream, or slowly by REST where there is no place for another stream."""

import asyncio
import logging
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import dataclass

from common.clock import Clock
from common.store.demand import SLOT_TTL_MS, StreamSlot
from workers.sources.venue.backfill import Backfill
from workers.sources.venue.backfill_by_id import PAGE
from workers.sources.venue.book import BookKeeper
from workers.sources.venue.live_trades import LiveTrades
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

log = logging.getLogger(__name__)

# What health says of where trades come from.
WS, REST = "ws", "rest"
# How often a symbol without a place among the streams is read.
POLL_MS = 10_000
# How often one looks whether its place is still its own, and one without whether it has come into focus.
LOOK_MS = 1_000
# Times a place is renewed before it would be given to others.
RENEWALS = 3
LOOKS_PER_RENEWAL = SLOT_TTL_MS // LOOK_MS // RENEWALS
# Why the stream was opened again: the book is out of step, and only a new subscription brings a whole one.
RESUBSCRIBED = "resubscribed"
# A venue whose books are wrong from the start is not to be asked for them all the time.
RESUBSCRIBE_MS = 1_000


@dataclass(slots=True, kw_only=True)
class Following:
    """`slot`: its place among the streams of the fleet; None: it always has one. `refuse`: told of bad rows."""

    venue: Venue
    listing: Listing
    clock: Clock
    slot: StreamSlot | None
    live: LiveTrades
    backfill: Backfill
    book: BookKeeper | None
    refuse: Callable[[Refused], None]
    name: str = WS
    is_connected: bool = False

    async def run(self) -> None:
        while True:
            if self.slot and not await self.slot.take():
                await self._read_without(self.slot)
            self.name = WS
            streaming = asyncio.create_task(self._stream())
            try:
                is_lost = await self._while_slot(streaming)
            finally:
                streaming.cancel()
                await asyncio.gather(streaming, return_exceptions=True)
            if is_lost and self.slot:
                # Not before: another one waits until this stream has ended.
                await self.slot.leave()
            self._take(Disconnected(self.clock.now_ms(), RESUBSCRIBED))
            await self.clock.sleep_ms(RESUBSCRIBE_MS)

    async def _read_without(self, slot: StreamSlot) -> None:
        """By REST, until there is a place."""
        self.name = REST
        while True:
            await self._poll()
            for _ in range(POLL_MS // LOOK_MS):
                await self.clock.sleep_ms(LOOK_MS)
                if await slot.may_be_given() and await slot.take():
                    return
            if await slot.take():
                return

    async def _while_slot(self, streaming: "asyncio.Task[None]") -> bool:
        """Wait until the stream has ended, or its place is lost; return whether it is."""
        looks = 0
        while True:
            await asyncio.wait({streaming}, timeout=LOOK_MS / 1_000)
            if streaming.done():
                streaming.result()
                return False
            looks += 1
            if self.slot and not await self._holds(self.slot, renews=looks % LOOKS_PER_RENEWAL == 0):
                log.info("place for the stream lost", extra={"symbol": self.listing.instrument.symbol})
                return True

    async def _holds(self, slot: StreamSlot, *, renews: bool) -> bool:
        return await slot.is_held() and (not renews or await slot.take())

    async def _stream(self) -> None:
        """Until the book needs a new subscription."""
        async with aclosing(self.venue.stream([self.listing], depth=bool(self.book), quotes=False)) as events:
            async for event in events:
                self._take(event)
                if self.book and self.book.needs_resubscription:
                    return
                await self.live.room()

    async def _poll(self) -> None:
        """Read on from the newest trade, page by page, until there are no more."""
        while True:
            newest = self.backfill.applied.coverage.newest()
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
                self.is_connected = False
                return
            self.is_connected = True
            if found:
                self.live.put(list(found.rows()))
            # By time the last millisecond comes again.
            if len(found) < PAGE if by_id else not found or found.ts_ms[-1] <= since_ms:
                self.backfill.heard()
                self.live.lag_ms = POLL_MS
                return
            await self.live.until_empty()

    def _take(self, event: Event) -> None:
        match event:
            case TradesEvent(_, rows):
                self.live.put(rows)
                self._heard(rows[-1][0])
            case NoTrade(_, ts_ms, trade_id):
                self.live.put_none(trade_id, ts_ms)
                self._heard(ts_ms)
            case Connected():
                self.is_connected = True
                self.backfill.reconnected()
                if self.book:
                    self.book.connected()
            case Disconnected(_, cause):
                self.is_connected = False
                self.live.disconnected(cause)
                self.backfill.disconnected()
                if self.book:
                    self.book.lost()
            case DepthEvent():
                if self.book:
                    self.book.take(event)
            case Refused():
                self.refuse(event)
                self.backfill.missed(event.ts_ms)
        self.live.arrived.set()

    def _heard(self, ts_ms: int) -> None:
        self.live.lags(max(0, self.clock.now_ms() - ts_ms))
        self.backfill.heard(ts_ms)
