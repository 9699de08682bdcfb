"""A socket followed for ever: opened, read, suspected, renewed and opened again. What comes out are a venue's events.

- After a loss, or a failed attempt, the next attempt waits for a time drawn from 0 to a bound that doubles (full
  jitter), and for the fleet's budget. A venue's Retry-After is waited out first.
- Venues cut a socket after 24 hours, and some tell before they restart. In both cases the next socket is opened, and
  has delivered, before the old one is closed: no trade is lost, some come twice. Depth and quotes can't be mixed from
  two sockets: those of the old one end with the first of the new one.
- A stream that is silent for longer than its market's pace allows costs the socket (pace.py).
"""

import asyncio
import logging
import random
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, ConnectionClosedOK, InvalidStatus, InvalidURI, WebSocketException

from common.clock import Clock
from workers.venues.shared.base import (
    Closing,
    Connected,
    DepthEvent,
    Disconnected,
    Event,
    Parser,
    QuoteEvent,
    Throttled,
    TradesEvent,
)
from workers.venues.shared.budget import CONNECT, RequestBudget
from workers.venues.shared.mailbox import Mailbox
from workers.venues.shared.rest import THROTTLE_STATUSES, retry_after_ms
from workers.venues.shared.stall import StallDetector, StallLimits

log = logging.getLogger(__name__)

# Why a socket was lost: closed by the venue in order, lost without, suspected by us, or not to be had at all.
CLOSED, LOST, STALLED, UNREACHABLE, THROTTLED = "closed", "lost", "stalled", "unreachable", "throttled"

# Greatest frame: Coinbase sends a whole book of some MB at once.
MAX_FRAME_BYTES = 1 << 24
# A venue that does not answer our close is not waited for.
CLOSE_TIMEOUT_S = 1
# Beyond 2**this the backoff has long met its cap.
MAX_DOUBLINGS = 10


@dataclass(frozen=True, slots=True)
class SocketFeed:
    """One socket: where it is, who reads its frames, and what to say when it opens."""

    url: str
    parser: Parser
    hello: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Timing:
    """All in ms. A planned renewal comes `renew_ms` to `renew_ms + renew_spread_ms` after the opening.

    At a renewal the old socket is read for `overlap_ms` after the new one's first event, which is waited for
    `overlap_max_ms` at most.
    """

    backoff_ms: int = 500
    backoff_cap_ms: int = 30_000
    open_timeout_ms: int = 10_000
    renew_ms: int = 23 * 3_600_000
    renew_spread_ms: int = 50 * 60_000
    overlap_ms: int = 3_000
    overlap_max_ms: int = 30_000
    check_ms: int = 500
    patience: StallLimits = StallLimits()

    def pause_ms(self, failures: int, retry_ms: int) -> int:
        """How long to wait after so many failures in a row. `retry_ms`: how long the venue told us to wait, or 0."""
        bound_ms = min(self.backoff_ms << min(failures, MAX_DOUBLINGS), self.backoff_cap_ms)
        # Spread, so that all who were told the same time do not come back at the same time.
        return int(max(random.uniform(0, bound_ms), retry_ms * random.uniform(1, 1.1)))


def follow(
    feeds: Sequence[SocketFeed], clock: Clock, budget: RequestBudget, timing: Timing | None = None
) -> AsyncGenerator[Event, None]:
    """Events of all feeds, for ever. Close it (contextlib.aclosing), and the sockets are closed."""
    mailbox = Mailbox()
    keepers = [FeedKeeper(feed, mailbox, clock, budget, timing or Timing()) for feed in feeds]
    return mailbox.events([(f"socket {keeper.feed.url}", keeper.run) for keeper in keepers])


@dataclass(slots=True, eq=False)
class Link:
    """One socket in use. `pump` reads it; its result is why it ended."""

    socket: ClientConnection
    number: int
    opened_ms: int
    renew_at_ms: float
    pump: "asyncio.Task[str]" = field(init=False)
    fed: asyncio.Event = field(default_factory=asyncio.Event)
    closing: bool = False


@dataclass(slots=True)
class Track:
    """One stream of a feed: its pace, and the number of the newest socket that delivered it."""

    pace: StallDetector
    number: int


@dataclass(slots=True)
class FeedKeeper:
    """Keeps one feed open. At most two links at a time."""

    feed: SocketFeed
    mailbox: Mailbox
    clock: Clock
    budget: RequestBudget
    timing: Timing
    _links: set[Link] = field(default_factory=set)
    _tracks: dict[tuple[type, str], Track] = field(default_factory=dict)
    _opening: "asyncio.Task[Link] | None" = None
    _opened: int = 0
    # Attempts and sockets since the last one that delivered.
    _fruitless: int = 0
    _told_lost: bool = False

    async def run(self) -> None:
        try:
            while True:
                await self._stay(await self._open(alone=True))
        finally:
            if self._opening is not None:
                self._opening.cancel()
                await asyncio.gather(self._opening, return_exceptions=True)
            await asyncio.gather(*map(self._drop, tuple(self._links)))

    async def _stay(self, link: Link) -> None:
        """From Connected to Disconnected, over as many sockets as it takes."""
        self._told_lost = False
        self.mailbox.put([Connected(self.clock.now_ms())])
        cause = await self._watch(link)
        while cause is None:
            link = await self._renewed(link)
            cause = await self._watch(link)
        await self._drop(link)
        self._tell_lost(cause)

    async def _watch(self, link: Link) -> str | None:
        """Wait until the link is lost or suspected, and say why; None when it is to be renewed."""
        while True:
            await asyncio.wait({link.pump}, timeout=self.timing.check_ms / 1_000)
            if link.pump.done():
                return link.pump.result()
            now_ms = self.clock.monotonic_ms()
            if link.closing or now_ms >= link.renew_at_ms:
                return None
            if self.mailbox.full:
                # The silence is ours: frames wait for their reader.
                self._start_waiting(now_ms)
            elif self._stalled(link, now_ms):
                return STALLED

    async def _renewed(self, old: Link) -> Link:
        """Open the next link beside the old one and return the one to go on with."""
        self._opening = asyncio.create_task(self._open(alone=False))
        await asyncio.wait({self._opening, old.pump}, return_when=asyncio.FIRST_COMPLETED)
        if not self._opening.done():
            # Too late for a seamless change. The reader is to know at once, however long the opening takes.
            self._tell_lost(old.pump.result())
        new = await self._opening
        if self._told_lost:
            self._told_lost = False
            self.mailbox.put([Connected(self.clock.now_ms())])
        else:
            await self._overlap(old, new)
        kept, dropped = (old, new) if new.pump.done() and not old.pump.done() else (new, old)
        await self._drop(dropped)
        return kept

    async def _overlap(self, old: Link, new: Link) -> None:
        """Read both until the new link delivers, and a little longer: what the old one has is on its way."""
        fed = asyncio.create_task(new.fed.wait())
        ends: set[asyncio.Task[str]] = {old.pump, new.pump}
        max_s, more_s = self.timing.overlap_max_ms / 1_000, self.timing.overlap_ms / 1_000
        try:
            await asyncio.wait({fed, *ends}, timeout=max_s, return_when=asyncio.FIRST_COMPLETED)
            await asyncio.wait(ends, timeout=more_s, return_when=asyncio.FIRST_COMPLETED)
        finally:
            fed.cancel()

    async def _open(self, alone: bool) -> Link:
        """Open a socket, however many attempts it takes. `alone`: none is open, so the reader hears of a failure."""
        retry_ms, cause = 0, UNREACHABLE
        while True:
            await self._pause(retry_ms)
            try:
                return await self._dial()
            except InvalidURI:
                raise
            except Throttled as error:
                retry_ms, cause, text = error.retry_after_ms, THROTTLED, str(error)
            except (OSError, WebSocketException) as error:
                retry_ms, cause, text = 0, UNREACHABLE, f"{type(error).__name__}: {error}"
            self._fruitless += 1
            log.warning("socket not opened", extra={"url": self.feed.url, "cause": cause, "error": text[:200]})
            if alone:
                self._tell_lost(cause)

    async def _pause(self, retry_ms: int) -> None:
        if not (self._opened or self._fruitless):
            # The very first attempt: many starting at once are spread by the budget.
            return
        await self.clock.sleep_ms(self.timing.pause_ms(self._fruitless, retry_ms))

    async def _dial(self) -> Link:
        await self.budget.spend(CONNECT, 1)
        socket = await self._connect()
        try:
            for text in self.feed.hello:
                await socket.send(text)
        except BaseException:
            socket.transport.abort()
            raise
        now_ms = self.clock.monotonic_ms()
        self._start_waiting(now_ms)
        self._opened += 1
        renew_at_ms = now_ms + self.timing.renew_ms + random.uniform(0, self.timing.renew_spread_ms)
        link = Link(socket, self._opened, now_ms, renew_at_ms)
        link.pump = asyncio.create_task(self._pump(link), name=f"reader {self.feed.url}")
        self._links.add(link)
        log.info("socket open", extra={"url": self.feed.url, "number": link.number})
        return link

    async def _connect(self) -> ClientConnection:
        try:
            return await connect(
                self.feed.url,
                open_timeout=self.timing.open_timeout_ms / 1_000,
                close_timeout=CLOSE_TIMEOUT_S,
                max_size=MAX_FRAME_BYTES,
                # Inflating costs more than the bytes saved: frames are small.
                compression=None,
            )
        except InvalidStatus as error:
            if error.response.status_code not in THROTTLE_STATUSES:
                raise
            throttled = Throttled(
                f"{self.feed.url} answered {error.response.status_code}",
                retry_after_ms(error.response.headers, self.clock.now_ms()),
                banned=error.response.status_code != 429,
                endpoint=CONNECT,
            )
            await self.budget.throttled(throttled)
            raise throttled from error

    async def _pump(self, link: Link) -> str:
        """Read frames until the socket ends. Pings are answered by the library."""
        parse, receive = self.feed.parser.parse, link.socket.recv
        try:
            while True:
                events = parse(await receive(decode=False))
                if events:
                    self._pass_on(link, events)
                    if self.mailbox.full:
                        await self.mailbox.room()
        except ConnectionClosedOK:
            return CLOSED
        except ConnectionClosed:
            return LOST

    def _pass_on(self, link: Link, events: Sequence[Event | Closing]) -> None:
        now_ms = self.clock.monotonic_ms()
        for event in events:
            if isinstance(event, Closing):
                link.closing = True
            elif not isinstance(event, TradesEvent | DepthEvent | QuoteEvent) or self._is_news(link, event, now_ms):
                self.mailbox.put((event,))

    def _is_news(self, link: Link, event: TradesEvent | DepthEvent | QuoteEvent, now_ms: int) -> bool:
        """Note that the stream is alive. False: a newer socket delivers this book or quote already."""
        key = type(event), event.name
        track = self._tracks.get(key)
        if track is None:
            track = self._tracks[key] = Track(StallDetector.starting(now_ms), link.number)
        elif link.number < track.number and not isinstance(event, TradesEvent):
            return False
        track.number = max(track.number, link.number)
        track.pace.seen(now_ms)
        if not link.fed.is_set():
            link.fed.set()
            self._fruitless = 0
        return True

    def _stalled(self, link: Link, now_ms: int) -> bool:
        patience = self.timing.patience
        suspects = [track.pace for track in self._tracks.values() if track.pace.stalled(now_ms, patience)]
        for pace in suspects:
            pace.suspect()
        if not link.fed.is_set() and not self._tracks:
            # Nothing was ever delivered: of these markets no pace is known.
            bound_ms = patience.unknown_ms << min(self._fruitless, MAX_DOUBLINGS)
            return now_ms - link.opened_ms > min(bound_ms, patience.max_ms)
        return bool(suspects)

    def _start_waiting(self, now_ms: int) -> None:
        for track in self._tracks.values():
            track.pace.wait_from(now_ms)

    async def _drop(self, link: Link) -> None:
        self._links.discard(link)
        if not link.fed.is_set():
            self._fruitless += 1
        link.pump.cancel()
        await asyncio.gather(link.pump, return_exceptions=True)
        await link.socket.close()

    def _tell_lost(self, cause: str) -> None:
        if not self._told_lost:
            self._told_lost = True
            log.warning("socket lost", extra={"url": self.feed.url, "cause": cause})
            self.mailbox.put([Disconnected(self.clock.now_ms(), cause)])
