"""Ticks: everything that is due and not under way is enqueued. Whatever was missed, the next tick finds."""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from common.clock import Clock, wait_at_most
from common.errors import FleetError, RetryableError
from common.store.clock_lease import ClockLease
from common.store.jobs import Jobs
from workers.rollup.rq_queue import JobQueue
from workers.rollup.work import Work

log = logging.getLogger(__name__)

# How often a clock that waits asks for the lease: it takes over within the lease and this.
WAIT_MOST_MS = 1_000
# While Redis is away: half to whole of a doubling span.
FIRST_BACKOFF_MS, MAX_BACKOFF_MS = 200, 5_000


@dataclass(slots=True)
class Ticker:
    """`due`: all work that there is, the most urgent first."""

    due: Callable[[], Awaitable[Sequence[Work]]]
    jobs: Jobs
    queue: JobQueue
    lease: ClockLease
    clock: Clock
    lease_ttl_ms: int
    tick_ms: int
    _stop: asyncio.Event = field(default_factory=asyncio.Event)
    _next_tick_ms: int = 0
    _holds: bool = False
    # Whether the last tick found work, be it queued, running or new.
    _is_busy: bool = False

    def stop(self) -> None:
        self._stop.set()

    @property
    def stopping(self) -> bool:
        return self._stop.is_set()

    async def run(self) -> None:
        """Until `stop`: tick while the lease is ours, else wait for it."""
        failures = 0
        while not self._stop.is_set():
            try:
                await self._step()
                failures = 0
                # Three attempts to keep the lease before it ends.
                pause_ms = min(WAIT_MOST_MS, self.lease_ttl_ms // 3, self.tick_ms)
            except Exception as error:
                failures += 1
                if failures == 1:
                    known = isinstance(error, RetryableError)
                    text = "store or queue is away" if known else "tick failed"
                    log.warning(text, extra={"error": str(error)}, exc_info=not known)
                span_ms = min(MAX_BACKOFF_MS, FIRST_BACKOFF_MS * 2 ** min(failures - 1, 10))
                pause_ms = round(span_ms * random.uniform(0.5, 1))
            await wait_at_most(self._stop, self.clock, pause_ms)
        await self._give_up()

    async def tick(self) -> int:
        """Enqueue what is due; return how much it was."""
        for job in await asyncio.to_thread(self.queue.free_dead):
            log.warning("job of a dead process is free again", extra={"job": job})
        works, failures, now_ms = await self.due(), await self.jobs.failures(), self.clock.now_ms()
        waiting = {job for job, failure in failures.items() if failure.waits(now_ms)}
        wanted = [work for work in works if work.job not in waiting]
        self._is_busy = bool(wanted)
        count = await asyncio.to_thread(self.queue.offer, wanted)
        # Its time has come, and it is not wanted any more: it was done otherwise, or its symbol is gone.
        await self.jobs.forget(failures.keys() - waiting - {work.job for work in works})
        return count

    async def _step(self) -> None:
        held, self._holds = self._holds, await self.lease.hold()
        if self._holds and not held:
            log.info("clock has the lease")
        if self._holds and await self._is_time():
            self._next_tick_ms = self.clock.monotonic_ms() + self.tick_ms
            if count := await self.tick():
                log.info("work enqueued", extra={"jobs": count})

    async def _is_time(self) -> bool:
        """A backlog does not wait: what a job had no time for is to be queued before the queue is empty."""
        if self.clock.monotonic_ms() >= self._next_tick_ms:
            return True
        return self._is_busy and await asyncio.to_thread(self.queue.is_low)

    async def _give_up(self) -> None:
        try:
            if self._holds:
                await self.lease.release()
        except FleetError:
            pass  # it ends by itself
