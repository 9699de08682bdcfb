"""Which symbols this process has: walk the wanted fleet, claim what is free, serve it, let it go."""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Collection, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception, wait_random_exponential

from common.clock import JudgedClock
from common.errors import Fenced, FleetError, NewerFormat, RetryableError, StoreUnavailable
from common.market.instrument import Instrument
from common.store.health import failure_of
from common.store.lease import LeaseObservation, Observer, new_token
from common.store.registry import Market
from common.store.symbol import Claim
from workers.sources.base import Batch, Source
from workers.symbol.store import Store
from workers.symbol.term import Progress, Term, TermSettings

log = logging.getLogger(__name__)

# Looks per lease at what is wanted; a process that is full only looks whether it is to let go of something.
LOOKS_PER_LEASE, FULL_LOOKS_PER_LEASE = 24, 12
# Looks per lease at the owners of all that is not ours: their last sign of life is seen so late at most. A look at one
# that stands still follows at the very moment when its lease is over.
OWNER_LOOKS_PER_LEASE = 9
# A term that failed on its own (a broken source, say) is tried again after 1 s, 2 s, ... at most this; one that lost
# the store begins with less: mostly it is there again at once.
FIRST_BACKOFF_MS, FIRST_LOST_MS, MAX_BACKOFF_MS = 1_000, 250, 30_000
# A symbol served that long is sound again: its backoff starts again.
SOUND_AFTER_MS = 60_000


@dataclass(frozen=True, slots=True)
class WorkerContext:
    """How a process makes what a term needs, and whom it tells."""

    holder: str
    clock: JudgedClock
    settings: TermSettings
    # Who holds these symbols now, None for one that is free; one that can't be looked at is left out.
    owners: Callable[[Sequence[str]], Awaitable[Mapping[str, LeaseObservation | None]]]
    stores: Callable[[str], Store]
    sources: Callable[[Market], Source]
    on_progress: Callable[[Progress, Batch], None] = lambda progress, batch: None
    # A term of the symbol ended, because its source did (None) or in an error that is not about the store.
    on_end: Callable[[str, Exception | None], None] = lambda symbol, error: None
    # Register what a change that was cut off has made of the data already.
    follow: Callable[[Market, Instrument], Awaitable[object]] | None = None
    # Let a term run beside the others; the simulation has a scheduler of its own.
    spawn: Callable[[Coroutine[Any, Any, None]], Awaitable[None]] = asyncio.create_task


@dataclass(slots=True)
class Failures:
    """Back-off per symbol. `until_ms` is our monotonic time; `count`: failures in a row."""

    count: dict[str, int] = field(default_factory=dict)
    until_ms: dict[str, int] = field(default_factory=dict)

    def waiting(self, symbol: str, now_ms: int) -> bool:
        return now_ms < self.until_ms.get(symbol, now_ms)

    def add(self, symbol: str, now_ms: int, *, was_sound: bool, first_ms: int = FIRST_BACKOFF_MS) -> int:
        """`was_sound`: the term had done its work. Return how often it has failed in a row."""
        count = 1 if was_sound else self.count.get(symbol, 0) + 1
        self.count[symbol] = count
        # Jitter, so that a fleet that failed together does not come back together.
        bound_ms = min(first_ms << min(count - 1, 16), MAX_BACKOFF_MS)
        self.until_ms[symbol] = now_ms + int(random.uniform(0.5, 1) * bound_ms)
        return count


class Wanted(Protocol):
    """Where the wanted fleet is read: common.store.wanted.WantedFleet, or one symbol of a replay."""

    async def symbols(self, only: Collection[str] | None = None) -> Mapping[str, Market]:
        """By symbol. `only`: the caller asks about these alone; others may be in the answer or not."""

    @property
    def format(self) -> int:
        """How far writers may go in the form of the store, as of the last look."""


class Claimer:
    """Holds up to `max_symbols` symbols, a task each."""

    def __init__(self, registry: Wanted, place: WorkerContext, kinds: frozenset[str], max_symbols: int) -> None:
        self._registry = registry
        self._place = place
        self._kinds = kinds
        self._max_symbols = max_symbols
        self._observer = Observer(place.settings.lease_ttl_ms)
        # Our monotonic time of the next look at all owners.
        self._look_at_ms = 0
        self._failures = Failures()
        # What a symbol was when it failed last: one that has been changed since is tried at once.
        self._failed_as: dict[str, Market] = {}
        self._held: dict[str, Awaitable[None]] = {}
        self._wanted: Mapping[str, Market] = {}
        self._stopping = asyncio.Event()

    def stop(self) -> None:
        """Finish the steps under way, release, return from `run`."""
        self._stopping.set()

    @property
    def held(self) -> int:
        """How many symbols it has."""
        return len(self._held)

    @property
    def stopping(self) -> bool:
        return self._stopping.is_set()

    async def run(self) -> None:
        retrying = self._patience()
        try:
            while not self._stopping.is_set():
                await retrying(self.walk)
                await self._pause(self._rest_ms() / 1_000)
        finally:
            # Also where the store is not for us any more, what is held is given back in order.
            self._stopping.set()
            await asyncio.gather(*self._held.values())

    def _rest_ms(self) -> float:
        """Until the next look."""
        lease_ttl_ms = self._place.settings.lease_ttl_ms
        if self._is_full:
            return lease_ttl_ms / FULL_LOOKS_PER_LEASE
        look_ms, due_ms = lease_ttl_ms / LOOKS_PER_LEASE, self._observer.due_in_ms(self._place.clock.monotonic_ms())
        # One that is overdue waits for its turn.
        return due_ms if 0 < due_ms < look_ms else look_ms

    def _patience(self) -> AsyncRetrying:
        return AsyncRetrying(
            # Whatever it is: what is held goes on, and the others are looked at again. But for a store that is not for
            # us any more.
            retry=retry_if_exception(lambda error: isinstance(error, Exception) and not isinstance(error, NewerFormat)),
            wait=wait_random_exponential(multiplier=0.1, max=2),
            before_sleep=_log_retry,
            sleep=self._pause,
            stop=lambda state: self._stopping.is_set(),
            reraise=False,
            retry_error_callback=lambda state: None,
        )

    async def walk(self) -> None:
        """One look at what is wanted; then, if there is room, at who holds what is not ours.

        What is free, or stands still since a lease, is claimed, in random order so that spares spread out.
        """
        self._wanted = await self._registry.symbols(self._held if self._is_full else None)
        if self._is_full:
            return
        markets = [self._wanted[symbol] for symbol in await self._claimable()]
        random.shuffle(markets)
        for market in markets:
            if self._is_full or self._stopping.is_set():
                return
            await self._try(market)

    @property
    def _is_full(self) -> bool:
        return len(self._held) >= self._max_symbols

    async def _claimable(self) -> list[str]:
        now_ms, lease_ttl_ms = self._place.clock.monotonic_ms(), self._place.settings.lease_ttl_ms
        others = [s for s, market in self._wanted.items() if market.kind in self._kinds and s not in self._held]
        look_at_ms = self._look_at_ms
        if now_ms < look_at_ms:
            # New ones, those that were free, and those that stand still since a lease.
            others = [symbol for symbol in others if self._observer.is_due(symbol, now_ms)]
        else:
            self._observer.forget_all_but(others)
            look_at_ms = now_ms + lease_ttl_ms // OWNER_LOOKS_PER_LEASE
        holders = await self._place.owners(others) if others else {}
        now_ms, self._look_at_ms = self._place.clock.monotonic_ms(), look_at_ms
        found = [s for s, holder in holders.items() if not holder or self._observer.has_stalled(s, holder, now_ms)]
        return [symbol for symbol in found if not self._is_waiting(symbol, now_ms)]

    def _is_waiting(self, symbol: str, now_ms: int) -> bool:
        return self._failures.waiting(symbol, now_ms) and self._failed_as.get(symbol) == self._wanted[symbol]

    async def _try(self, market: Market) -> None:
        symbol = market.symbol
        store, token = self._place.stores(symbol), new_token()
        stale = self._observer.stale(symbol, self._place.clock.monotonic_ms())
        try:
            claim = await store.claim(token, stale, self._place.holder)
        except NewerFormat as error:
            self._leave_alone(market, error)
            return
        if isinstance(claim, LeaseObservation):
            self._observer.note(symbol, claim, self._place.clock.monotonic_ms())
            return
        self._observer.forget(symbol)
        log.info("claimed", extra={"symbol": symbol, "epoch": claim.epoch, "seq": claim.seq})
        self._held[symbol] = self._place.spawn(self._serve(market, store, token, claim))

    def _leave_alone(self, market: Market, error: NewerFormat) -> None:
        """A later release has written it, and serves it: looked at again from time to time, and told of once."""
        self._failed_as[market.symbol] = market
        now_ms = self._place.clock.monotonic_ms()
        if self._failures.add(market.symbol, now_ms, was_sound=False, first_ms=MAX_BACKOFF_MS) == 1:
            log.error("not served", extra={"symbol": market.symbol, "error": str(error)})

    async def _serve(self, market: Market, store: Store, token: str, claim: Claim) -> None:
        symbol, since_ms = market.symbol, self._place.clock.monotonic_ms()
        progress = Progress()
        try:
            if await self._has_followed(market, store, token, claim):
                return
            term = await self._term(market, store, token)
            progress = term.progress
            if await term.serve(claim):
                self._place.on_end(symbol, None)
            log.info("released", extra={"symbol": symbol, "commits": progress.commits})
        except Fenced as error:
            # Another one has it, and is waited for like any holder.
            log.warning("lost", extra={"symbol": symbol, "error": str(error)})
        except RetryableError as error:
            self._failed_as[symbol] = market
            self._note_lost(symbol, error, since_ms, progress)
        except Exception as error:
            self._failed_as[symbol] = market
            now_ms = self._place.clock.monotonic_ms()
            self._failures.add(symbol, now_ms, was_sound=now_ms - since_ms >= SOUND_AFTER_MS)
            known = isinstance(error, FleetError)
            log.error("failed", extra={"symbol": symbol, "error": str(error)}, exc_info=not known)
            self._place.on_end(symbol, error)
        finally:
            del self._held[symbol]

    async def _has_followed(self, market: Market, store: Store, token: str, claim: Claim) -> bool:
        """End a change of the symbol that was cut off after the data was changed, and before the registry was."""
        data, follow = claim.data, self._place.follow
        if follow is None or data is None or data.instrument == market.instrument or data.before != market.instrument:
            return False
        try:
            await follow(market, data.instrument)
        finally:
            await store.release(token)
        return True

    def _note_lost(self, symbol: str, error: RetryableError, since_ms: int, progress: Progress) -> None:
        """Told the first time, and then ever more rarely."""
        now_ms = self._place.clock.monotonic_ms()
        was_sound = progress.commits > 0 or now_ms - since_ms >= SOUND_AFTER_MS
        times = self._failures.add(symbol, now_ms, was_sound=was_sound, first_ms=FIRST_LOST_MS)
        if times & (times - 1) == 0:
            log.warning("lost", extra={"symbol": symbol, "error": str(error), "times": times})

    async def _term(self, market: Market, store: Store, token: str) -> Term:
        try:
            source = self._place.sources(market)
        except Exception as error:
            # A market that describes no source must cost this symbol its worker, and neither the lease nor a process.
            await store.release(token, failure_of(error))
            raise
        settings = self._place.settings
        return Term(
            instrument=market.instrument,
            store=store,
            source=source,
            clock=self._place.clock,
            settings=replace(settings, retention=settings.retention.of(market)),
            token=token,
            stopping=lambda: self._stopping.is_set() or self._wanted.get(market.symbol) != market,
            allowed_format=lambda: self._registry.format,
            on_progress=self._place.on_progress,
        )

    async def _pause(self, seconds: float) -> None:
        """Sleep, but no longer than until `stop`."""
        try:
            await asyncio.wait_for(self._stopping.wait(), seconds)
        except TimeoutError:
            pass


def _log_retry(state: RetryCallState) -> None:
    error = state.outcome.exception() if state.outcome else None
    known = isinstance(error, StoreUnavailable)
    what = {"error": str(error), "next_try_in_s": round(state.upcoming_sleep, 3)}
    log.warning("store unavailable" if known else "look failed", extra=what, exc_info=None if known else error)
