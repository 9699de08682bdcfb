"""Time, as something handed in: the core takes it as an argument, tests move it by hand.

A wall clock may be set while we look at it: by hand, by an NTP daemon that finds it hours off, by a machine that wakes
up. `JudgedClock` believes it only while nothing speaks against it:

- between two looks it moved by what CLOCK_BOOTTIME passed, within MAX_STEP_MS. That clock only ever runs, also while
  the machine is suspended;
- it is within MAX_APART_MS of the store's, which comes with the answers to what is asked of the store anyway.

Until both hold again, time goes on from the last good look by CLOCK_BOOTTIME. A step that both clocks hold for HOLD_MS
was a correction, and is accepted; so it is by a process that starts, which has seen none. Where the two differ from the
start, the store's counts: it is the same for everybody. Where both share one wrong clock from the start, nothing tells.
"""

import asyncio
import logging
import time
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

log = logging.getLogger(__name__)

# More than a clock that is slewed gains between two looks, and more than a leap second.
MAX_STEP_MS = 2_000
# Two machines that keep their clocks are within some ms of each other.
MAX_APART_MS = 5_000
# A clock that was set by mistake is mostly set back within minutes.
HOLD_MS = 10 * 60_000
# Both clocks are read within that, or once more: between the two reads the process may have been paused.
MAX_READ_MS = 50
MAX_READS = 8


class Clock(Protocol):
    """Only the shell owns one."""

    def now_ms(self) -> int:
        """Wall clock, ms UTC. May jump."""

    def monotonic_ms(self) -> int:
        """Never goes back; only differences mean anything."""

    def boot_ms(self) -> int:
        """The same, and goes on while the machine is suspended."""

    async def sleep_ms(self, ms: int) -> None: ...


class SystemClock:
    """The machine's."""

    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000

    def monotonic_ms(self) -> int:
        return time.monotonic_ns() // 1_000_000

    def boot_ms(self) -> int:
        return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1_000_000

    async def sleep_ms(self, ms: int) -> None:
        await asyncio.sleep(ms / 1_000)


class ClockReading(NamedTuple):
    """What a wall clock showed at a moment of CLOCK_BOOTTIME. `slack_ms`: it may have shown so much more."""

    wall_ms: int
    boot_ms: int
    slack_ms: int = 0

    def at(self, boot_ms: int) -> int:
        """What it shows then if it is not set."""
        return self.wall_ms + boot_ms - self.boot_ms


@dataclass(slots=True)
class JudgedClock:
    """A Clock whose `now_ms` does not jump. One a process, for all its symbols: they share the machine's."""

    raw: Clock
    _good: ClockReading = field(init=False)
    _store: ClockReading | None = None
    # By how much the wall clock is off the last good look, as first seen; 0 while it is not.
    _step_ms: int = 0
    # Since when it has been so, and the store's clock has agreed.
    _held_from_ms: int = 0
    _apart: bool = False

    def __post_init__(self) -> None:
        self._good = self._read()

    def now_ms(self) -> int:
        return self._good.at(self._look().boot_ms)

    def monotonic_ms(self) -> int:
        return self.raw.monotonic_ms()

    def boot_ms(self) -> int:
        return self.raw.boot_ms()

    async def sleep_ms(self, ms: int) -> None:
        await self.raw.sleep_ms(ms)

    def is_refused(self) -> bool:
        """Whether the wall clock is not believed just now: then nothing is over because of its time alone."""
        self._look()
        return self._step_ms != 0 or self._apart

    def undecided_ms(self) -> int | None:
        """What the wall clock shows while it has stepped and the store's agrees, but not for long enough; else None."""
        seen = self._look()
        return seen.wall_ms if self._step_ms and not self._apart else None

    def heard(self, store_ms: int, asked_boot_ms: int) -> None:
        """The store said what time it is, to a question asked at `asked_boot_ms`."""
        seen = self._look()
        first, self._store = self._store is None, ClockReading(store_ms, seen.boot_ms, seen.boot_ms - asked_boot_ms)
        if first and self._is_apart(seen):
            self._good = self._store
        elif self._step_ms and abs(store_ms - self._good.at(seen.boot_ms)) <= MAX_STEP_MS:
            # It was the machine's clock alone that stepped: from here on the store's is the better one to go by.
            self._good = self._store
        self._look()

    def _look(self) -> ClockReading:
        seen = self._read()
        self._note_apart(seen)
        step_ms = seen.wall_ms - self._good.at(seen.boot_ms)
        if abs(step_ms) <= MAX_STEP_MS:
            if self._step_ms:
                log.warning("wall clock is back", extra={"step_ms": self._step_ms})
            self._good, self._step_ms = seen, 0
        elif abs(step_ms - self._step_ms) > MAX_STEP_MS:
            log.warning("wall clock was set, not believed", extra={"step_ms": step_ms, "hold_ms": HOLD_MS})
            self._step_ms, self._held_from_ms = step_ms, seen.boot_ms
        elif self._apart:
            self._held_from_ms = seen.boot_ms
        elif seen.boot_ms - self._held_from_ms >= HOLD_MS:
            log.warning("wall clock accepted as it was set", extra={"step_ms": step_ms, "held_ms": HOLD_MS})
            self._good, self._step_ms = seen, 0
        return seen

    def _note_apart(self, seen: ClockReading) -> None:
        before, self._apart = self._apart, self._is_apart(seen)
        if self._apart != before and self._store:
            apart_ms = seen.wall_ms - self._store.at(seen.boot_ms)
            text = "wall clock is not the store's, not believed" if self._apart else "wall clock is the store's again"
            log.warning(text, extra={"apart_ms": apart_ms})

    def _is_apart(self, seen: ClockReading) -> bool:
        if self._store is None:
            return False
        min_ms = self._store.at(seen.boot_ms)
        return not min_ms - MAX_APART_MS <= seen.wall_ms <= min_ms + self._store.slack_ms + MAX_APART_MS

    def _read(self) -> ClockReading:
        for _ in range(MAX_READS):
            boot_ms, wall_ms = self.raw.boot_ms(), self.raw.now_ms()
            if self.raw.boot_ms() - boot_ms <= MAX_READ_MS:
                break
        return ClockReading(wall_ms, boot_ms)


async def wait_at_most(event: asyncio.Event, clock: Clock, ms: int) -> None:
    """Wait for the event, but for no longer than `ms` of the clock."""
    happened, over = asyncio.ensure_future(event.wait()), asyncio.ensure_future(clock.sleep_ms(ms))
    try:
        await asyncio.wait({happened, over}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        happened.cancel()
        over.cancel()
