"""A symbol's order book in its worker: kept in step with the venue, its history written a chunk a minute, and its
present a few times a second.

What is written here is beside the commits: a book has no sequence of its own that clients could go on from, and losing
the last quarter of a second of it costs nothing. The fence is the same: only the holder of the symbol may write.
"""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace

from redis.asyncio import Redis

from common.clock import Clock
from common.errors import RetryableError
from common.market.depth.chunk import DepthChunk, pack_chunk
from common.market.depth.history import BookHistory
from common.market.depth.runs import DepthLimits
from common.market.depth.sync import Rule
from common.market.instrument import Instrument
from common.market.rescaling import Unfit
from common.market.scale import Scales
from common.store.book import MAX_BOOK_LEVELS, BookSnapshot, BookStore
from common.store.depth import DepthReader, DepthStore
from workers.venues.shared.base import DepthEvent, VenueError

log = logging.getLogger(__name__)

# How often the present book is written, if it has changed; while it has listeners as soon as it has, but no more often.
WRITE_MS, LISTENED_MS = 250, 50
# How often the history of the current minute is: what a reader, or the next holder, may be behind.
CURRENT_MS = 3_000
TICK_MS = 1_000
SNAPSHOT_BACKOFF_MS, SNAPSHOT_BACKOFF_CAP_MS = 500, 30_000
# How often a book in step is asked for once more because the middle nears what the last snapshot reached.
MIN_WIDENING_MS = 60_000


@dataclass(frozen=True, slots=True)
class BookStores:
    """Where a symbol's book goes."""

    depth: DepthStore
    chunks: DepthReader
    book: BookStore


def book_stores(client: Redis, instrument: Instrument, minutes: int) -> BookStores:
    symbol, scale = instrument.symbol, instrument.scale
    return BookStores(
        DepthStore(client, symbol, minutes), DepthReader(client, symbol), BookStore(client, symbol, scale)
    )


@dataclass(slots=True)
class BookKeeper:
    """`fetch` asks the venue for a snapshot; `may_widen`: whether it may be asked for one that can wait.

    `token`: of the term. `scales`: of what is stored, and is written.
    """

    rule: Rule
    stores: BookStores
    fetch: "Callable[[], asyncio.Future[DepthEvent]]"
    may_widen: Callable[[], Awaitable[bool]]
    clock: Clock
    token: str
    symbol: str
    scales: Scales
    limits: DepthLimits = field(default_factory=DepthLimits)
    _history: BookHistory | None = None
    _closed: list[DepthChunk] = field(default_factory=list)
    _shown: BookSnapshot | None = None
    # The venue's time of the last event; None before the first diff of this connection.
    _heard_ms: int | None = None
    _dirty: bool = False
    _pace_ms: int = WRITE_MS
    _changed: asyncio.Event = field(default_factory=asyncio.Event)
    _connected: bool = False
    _lag_ms: int = 0
    _fetching: "asyncio.Future[DepthEvent] | None" = None
    _fetch_at_ms: int = 0
    _failures: int = 0
    _widened_ms: int | None = None

    @property
    def is_ready(self) -> bool:
        """Whether what was stored has been read: what comes before that is not taken."""
        return self._history is not None

    @property
    def needs_snapshot(self) -> bool:
        return self._history is None or self._history.sync.needs_snapshot

    @property
    def needs_resubscription(self) -> bool:
        """The venue sends a whole book only at the beginning of a subscription; that is over, and there is none."""
        if self._history is None or self._heard_ms is None:
            return False
        return not self.rule.numbered and self._history.sync.needs_snapshot

    def connected(self) -> None:
        self._connected = True

    def lost(self) -> None:
        """The socket is gone, and with it whatever came meanwhile."""
        self._connected, self._heard_ms = False, None
        if self._history:
            self._history.lost()
            self._dirty = True

    def take(self, event: DepthEvent) -> None:
        if self._history is None:
            # What was stored is still being read; the snapshot to come is newer than this.
            return
        self._closed += self._history.step(event, self.clock.now_ms())
        self._dirty = True
        self._changed.set()
        if not event.snapshot or not self.rule.numbered:
            now_ms = self.clock.now_ms()
            self._heard_ms = event.ts_ms if event.ts_ms >= 0 else now_ms
            self._lag_ms = max(0, now_ms - self._heard_ms)

    async def run(self) -> None:
        self._history = await self._restored()
        ticked_ms = written_ms = self.clock.monotonic_ms()
        try:
            while True:
                await self._pause()
                now_ms = self.clock.monotonic_ms()
                await self._fetch_if_needed(now_ms)
                if now_ms - ticked_ms >= TICK_MS:
                    ticked_ms = now_ms
                    if self._connected:
                        self._closed += self._history.tick(self.clock.now_ms() - self._lag_ms)
                await self._write_present()
                is_due = now_ms - written_ms >= CURRENT_MS
                written_ms = now_ms if is_due else written_ms
                await self._write_history(is_due)
        finally:
            if self._fetching:
                self._fetching.cancel()
                # The client is closed next, and must not find a request half way.
                await asyncio.gather(self._fetching, return_exceptions=True)

    async def _pause(self) -> None:
        """Until there may be something to be written: who listens need not wait for a tick."""
        await self.clock.sleep_ms(self._pace_ms)
        if self._pace_ms == LISTENED_MS and not self._dirty:
            self._changed.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout((WRITE_MS - LISTENED_MS) / 1_000):
                    await self._changed.wait()

    async def _restored(self) -> BookHistory:
        packed = await self.stores.chunks.newest()
        if packed is None:
            return BookHistory.new(self.rule, self.limits)
        try:
            return BookHistory.restore(self.rule, self.limits, packed, self.scales)
        except Unfit:
            # Of a scale that was too fine or too great: the minute is begun once more.
            return BookHistory.new(self.rule, self.limits)

    # Snapshots.

    async def _fetch_if_needed(self, now_ms: int) -> None:
        """Diffs are kept meanwhile, so the snapshot may be older than the newest of them."""
        assert self._history is not None
        if self._fetching or not self.rule.numbered or self._heard_ms is None:
            return
        if self._history.sync.needs_snapshot:
            if now_ms >= self._fetch_at_ms:
                self._fetch()
        elif self._history.nears_edge and self._is_widening_due(now_ms) and await self.may_widen():
            self._widen(now_ms)

    def _widen(self, now_ms: int) -> None:
        assert self._history is not None
        # It was asked meanwhile whether that may be.
        if not self._history.sync.needs_snapshot:
            self._widened_ms = now_ms
            self._history.await_wider()
            self._fetch()

    def _is_widening_due(self, now_ms: int) -> bool:
        return self._widened_ms is None or now_ms - self._widened_ms >= MIN_WIDENING_MS

    def _fetch(self) -> None:
        self._fetching = self.fetch()
        self._fetching.add_done_callback(self._fetched)

    def _fetched(self, found: "asyncio.Future[DepthEvent]") -> None:
        self._fetching = None
        if found.cancelled():
            return
        assert self._history is not None
        error = found.exception()
        if error is None:
            self.take(found.result())
        else:
            self._history.forget_wider()
            if not isinstance(error, RetryableError | VenueError):
                # A bug of ours: the book stays broken, and says so.
                log.error("snapshot failed", extra={"symbol": self.symbol, "error": repr(error)})
        self._failures = self._failures + 1 if self._history.sync.needs_snapshot else 0
        bound_ms = min(SNAPSHOT_BACKOFF_MS << min(self._failures, 10), SNAPSHOT_BACKOFF_CAP_MS)
        self._fetch_at_ms = self.clock.monotonic_ms() + int(random.uniform(0.5, 1) * bound_ms)

    # Writing.

    async def _write_present(self) -> None:
        assert self._history is not None
        sync = self._history.sync
        if not self._dirty:
            return
        self._dirty = False
        if sync.needs_snapshot:
            if self._shown is None or not self._shown.live:
                return
            shown = replace(self._shown, live=False)
        else:
            bids, asks = sync.book.depth(MAX_BOOK_LEVELS)
            at_ms = self.clock.now_ms() if self._heard_ms is None else self._heard_ms
            shown = BookSnapshot(at_ms, sync.book.last_id, bids, asks, live=True)
        listeners = await self.stores.book.put(self.token, shown)
        self._pace_ms = LISTENED_MS if listeners else WRITE_MS
        self._shown = shown

    async def _write_history(self, with_current: bool) -> None:
        assert self._history is not None
        chunks, self._closed = self._closed, []
        if with_current and (current := self._history.recorder.current()):
            chunks.append(current)
        if not chunks:
            return
        # Packing a busy minute takes up to 30 ms, which no trade shall wait for.
        packed = {chunk.open_ms: await asyncio.to_thread(pack_chunk, chunk, self.scales.now) for chunk in chunks}
        await self.stores.depth.put(self.token, packed)
