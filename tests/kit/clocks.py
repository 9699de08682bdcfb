"""Clocks for tests: one that is moved by hand, and the machine's without the time in which nothing could run."""

from dataclasses import dataclass, field

from common.clock import SystemClock

# Between two looks at a clock no more time passes than this.
MAX_LOOK_MS = 20


class FakeClock:
    """A clock that stands still until it is moved."""

    def __init__(self, now_ms: int = 1_700_000_000_000) -> None:
        self._now_ms = now_ms
        self._monotonic_ms = 0
        self._suspended_ms = 0

    def now_ms(self) -> int:
        return self._now_ms

    def monotonic_ms(self) -> int:
        return self._monotonic_ms

    def boot_ms(self) -> int:
        return self._monotonic_ms + self._suspended_ms

    async def sleep_ms(self, ms: int) -> None:
        """To sleep is to move time."""
        self.advance(ms)

    def advance(self, span_ms: int) -> None:
        """Time passes."""
        self._now_ms += span_ms
        self._monotonic_ms += span_ms

    def jump(self, span_ms: int) -> None:
        """The wall clock is set; no time passes."""
        self._now_ms += span_ms

    def suspend(self, span_ms: int) -> None:
        """The machine sleeps: time passes, and nothing runs."""
        self._now_ms += span_ms
        self._suspended_ms += span_ms


@dataclass(slots=True)
class AttentiveClock(SystemClock):
    """The machine's, for who looks every few ms: time in which this process had to wait for a core does not pass.

    So what is silent only because both ends of it are in a process that could not run, is not found silent.
    """

    _looked_ms: int = field(default_factory=SystemClock().monotonic_ms)
    _passed_ms: int = 0

    def monotonic_ms(self) -> int:
        now_ms = SystemClock.monotonic_ms(self)
        self._passed_ms += min(now_ms - self._looked_ms, MAX_LOOK_MS)
        self._looked_ms = now_ms
        return self._passed_ms
