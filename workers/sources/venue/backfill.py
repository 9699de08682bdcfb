"""What is missing, fetched from the venue behind the live stream, job by job, through the budget.

One job at a time. Before the next one is chosen, all that was fetched has been applied, so coverage says what is
missing and nothing is asked for twice. Only the holder of a symbol has a source, so a backfill runs once in the fleet,
and it ends with the term.

What the jobs are depends on what the venue's trade ids promise: backfill_by_id, backfill_by_time.
"""

import asyncio
import logging
import random
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from common.clock import Clock, wait_at_most
from common.errors import StoreUnavailable
from workers.sources.base import Applied, Batch
from workers.sources.venue.batch_queue import BatchQueue
from workers.venues.shared.base import Listing, Throttled, Venue, VenueError, VenueUnavailable

log = logging.getLogger(__name__)

# How long a closed minute rests before its candle is taken for final.
SETTLE_MS = 3_000
# Silence after a reconnect before the head is asked for.
HEAD_MS = 2_000
BACKOFF_MS, BACKOFF_CAP_MS = 250, 30_000
# A position says that the history of a new market has begun, and from when on trades may be missing.
BEGUN = "begun"
# A refusal for good (a delisted market, say) is tried again so rarely.
REFUSED_MS = 60_000

Job = Callable[[], Awaitable[None]]


@dataclass(slots=True, kw_only=True)
class Backfill(ABC):
    """`queue` takes what was found, `on_put` is told of it. `committed`: the position to go on from."""

    venue: Venue
    listing: Listing
    clock: Clock
    applied: Applied
    queue: BatchQueue
    on_put: Callable[[], None]
    # How much history a new market has behind it.
    history_ms: int
    committed: str
    # Whether what can't be read now may be so soon: nothing is asked for, and nothing given up.
    is_held: Callable[[], bool] = lambda: False
    # Whether the history of a new market has begun.
    begun: bool = field(init=False)
    # Nothing was traded between the newest trade and the reconnect, or all of it is known.
    head_known: bool = False
    # Whether something that is missing is being fetched.
    is_busy: bool = False
    _head_due_ms: int | None = None
    _failures: int = 0
    _woken: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.begun = self.committed.partition(" ")[0] == BEGUN

    @property
    def position(self) -> str:
        """What the next term must know besides coverage."""
        return BEGUN if self.begun else ""

    @property
    def is_blind(self) -> bool:
        """Whether trades may be missing now without coverage showing it."""
        return False

    def wake(self) -> None:
        """Coverage has changed: look again."""
        self._woken.set()

    def reconnected(self) -> None:
        self.head_known = False
        self._head_due_ms = self.clock.monotonic_ms() + HEAD_MS
        self.wake()

    def disconnected(self) -> None:
        self.head_known = False
        self._head_due_ms = None

    @abstractmethod
    def heard(self, ts_ms: int = 0) -> None:
        """A live trade came."""

    @abstractmethod
    def missed(self, ts_ms: int) -> None:
        """A trade of the stream could not be used."""

    @abstractmethod
    def unread(self, ts_ms: int) -> None:
        """A trade that the venue gave when it was asked can't be used."""

    @abstractmethod
    async def _begin(self) -> None:
        """The beginning of a new market's history."""

    @abstractmethod
    def _next_of_begun(self) -> Job | None:
        """What is to be done first; None if nothing is."""

    async def run(self) -> None:
        while True:
            await self.queue.applied.wait()
            job = self._next()
            self.is_busy = job is not None
            if job is None:
                await self._rest()
                continue
            try:
                await job()
            except (VenueUnavailable, StoreUnavailable) as error:
                self._failures += 1
                await self._back_off(error)
            except VenueError as error:
                log.error("backfill refused", extra={"symbol": self._symbol, "error": str(error)})
                await self.clock.sleep_ms(REFUSED_MS)
            else:
                self._failures = 0

    @property
    def _symbol(self) -> str:
        return self.listing.instrument.symbol

    def _next(self) -> Job | None:
        if self.is_held():
            return None
        return self._next_of_begun() if self.begun else self._begin

    async def _rest(self) -> None:
        """Wait for a change, or until something may be due of which there is no word."""
        self._woken.clear()
        await wait_at_most(self._woken, self.clock, HEAD_MS // 4)

    async def _back_off(self, error: Exception) -> None:
        bound_ms = min(BACKOFF_MS << min(self._failures, 10), BACKOFF_CAP_MS)
        wait_ms = int(random.uniform(0.5, 1) * bound_ms)
        if isinstance(error, Throttled):
            # The budget of the fleet waits as well; it is asked again only when that makes sense.
            wait_ms = max(wait_ms, int(min(error.retry_after_ms, BACKOFF_CAP_MS) * random.uniform(1, 1.1)))
        log.warning("backfill waits", extra={"symbol": self._symbol, "error": str(error), "wait_ms": wait_ms})
        await self.clock.sleep_ms(wait_ms)

    @property
    def _begins_ms(self) -> int:
        """Where the history of a new market begins: what is older than all that is kept would be refused."""
        return max(self.clock.now_ms() - self.history_ms, self.applied.floor_ms())

    @property
    def _is_head_due(self) -> bool:
        return self._head_due_ms is not None and self.clock.monotonic_ms() >= self._head_due_ms

    def _put(self, batch: Batch) -> None:
        self.queue.put(batch)
        self.on_put()
