"""What one query may cost: it reads until its budget is spent, and answers what it has found by then."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import ParamSpec, TypeVar

from feed.reading.lanes import LanePlace, Weight
from feed.reading.workers import QueryThreads

# Minutes, levels or trades that are read; seconds of work; bytes of an answer.
MAX_ROWS = 2_000_000
MAX_WORK_S = 2.0
MAX_ANSWER_BYTES = 32 << 20
# But for the first bar of an answer, which has to be whole, so many times as many rows.
BAR_FACTOR = 4
# Fewer rows than that take about as long as to hand them to a thread.
INLINE_ROWS = 4_000
UNLIMITED = 1 << 62

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(slots=True)
class QueryBudget:
    """Of one query. Without `workers` all is worked out in place; without a `place` no other query is waited for."""

    workers: QueryThreads | None = None
    place: LanePlace | None = None
    max_rows: int = MAX_ROWS
    max_work_s: float = MAX_WORK_S
    max_bytes: int = MAX_ANSWER_BYTES
    rows: int = 0
    work_s: float = 0.0

    @classmethod
    def unlimited(cls) -> "QueryBudget":
        """For what is bounded otherwise, and for a process that does nothing else."""
        return cls(None, None, UNLIMITED, float(UNLIMITED), UNLIMITED)

    def has_room(self, rows: int) -> bool:
        """Whether so many more may be read."""
        return self.rows + rows <= self.max_rows and self.work_s < self.max_work_s

    @property
    def has_room_for_a_bar(self) -> bool:
        """Whether more may be read of the first bar of an answer."""
        return self.rows < BAR_FACTOR * self.max_rows

    async def read(self, rows: int) -> None:
        """Count rows before they are decoded: what is too much never is in memory. Raises Beyond."""
        self.rows += rows
        if self.place:
            await self.place.reads(self.rows)

    async def run(self, rows: int, work: Callable[P, T], *args: P.args, **options: P.kwargs) -> T:
        """Return what `work` does, about so many rows, without holding up others."""
        timed = partial(self._timed, partial(work, *args, **options))
        if self.workers is None or rows <= INLINE_ROWS:
            return timed()
        patient = self.place is not None and self.place.weight > Weight.LIGHT
        return await self.workers.run(timed, patient=patient)

    def _timed(self, work: Callable[[], T]) -> T:
        began_s = time.thread_time()
        try:
            return work()
        finally:
            self.work_s += time.thread_time() - began_s
