"""How long a market may be silent before its socket is suspected: judged by the market's own data, not by heartbeats.

A socket can be open, and answer pings, while one of its streams has stopped. So each stream (trades, depth or quotes
of one market) has a pace of its own. Trades come in bursts: their mean distance alone would call every pause after a
burst a stall, so the longest silence of the last minutes counts as well.
"""

from dataclasses import dataclass

# A silence of so many mean distances, or of so many times the longest recent silence, whichever is longer.
MEAN_TIMES, LONGEST_TIMES = 20, 3
# The mean is over about so many events; the longest silence is remembered for one to two windows.
MEAN_EVENTS = 64
WINDOW_MS = 5 * 60 * 1_000
# Events before which the pace is not known.
MIN_EVENTS = 8
# A new socket that stays silent as well says that the market does: each time the next suspicion waits twice as long.
MAX_DOUBLINGS = 4


@dataclass(frozen=True, slots=True)
class StallLimits:
    """Bounds of the silence allowed, in ms. `unknown_ms` holds until a stream has been watched for as long."""

    min_ms: int = 10_000
    max_ms: int = 300_000
    unknown_ms: int = 60_000


@dataclass(slots=True)
class StallDetector:
    """The recent pace of one stream. Times are monotonic ms: of the first event, and of the last one."""

    first_ms: int
    last_ms: int
    _waiting_since_ms: int
    _fruitless: int = 0
    _events: int = 0
    _mean_ms: float = 0.0
    _longest_ms: int = 0
    _longest_before_ms: int = 0
    _window_end_ms: int = 0

    @classmethod
    def starting(cls, now_ms: int) -> "StallDetector":
        """Of a stream whose first event comes now."""
        return cls(now_ms, now_ms, now_ms)

    def seen(self, now_ms: int) -> None:
        gap_ms = now_ms - self.last_ms
        self.last_ms = self._waiting_since_ms = now_ms
        self._fruitless = 0
        self._events += 1
        self._mean_ms += (gap_ms - self._mean_ms) / min(self._events, MEAN_EVENTS)
        if now_ms >= self._window_end_ms:
            self._window_end_ms = now_ms + WINDOW_MS
            self._longest_before_ms, self._longest_ms = self._longest_ms, 0
        if gap_ms > self._longest_ms:
            self._longest_ms = gap_ms

    def suspect(self) -> None:
        """The socket is given up because of this silence; should the next one be silent too, wait for longer."""
        self._fruitless = min(self._fruitless + 1, MAX_DOUBLINGS)

    def wait_from(self, now_ms: int) -> None:
        """There is a new socket. A silence that was not suspected was that of the lost one: it teaches nothing."""
        self._waiting_since_ms = now_ms
        if not self._fruitless:
            self.last_ms = now_ms

    def limit_ms(self, patience: StallLimits) -> int:
        """How long the silence may last now."""
        usual_ms = float(patience.unknown_ms)
        if self._events >= MIN_EVENTS and self.last_ms - self.first_ms >= patience.unknown_ms:
            longest_ms = max(self._longest_ms, self._longest_before_ms)
            usual_ms = max(MEAN_TIMES * self._mean_ms, LONGEST_TIMES * longest_ms, patience.min_ms)
        return int(min(usual_ms, patience.max_ms)) << self._fruitless

    def stalled(self, now_ms: int, patience: StallLimits) -> bool:
        return now_ms - self._waiting_since_ms > self.limit_ms(patience)
