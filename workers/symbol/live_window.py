"""How late live trades are committed, and how many there are: of the last five minutes, as health tells it.

A lag is from a trade's own time to the moment it is in the store. It is kept to two significant digits, so that there
are few that differ, and of a large commit some trades stand for all.
"""

from collections import Counter, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

WINDOW_MS, SLOT_MS = 300_000, 10_000
# Figures change that often at most.
TOLD_EVERY_MS = 1_000
# Of one commit.
MAX_SAMPLES = 64


@dataclass(slots=True)
class _Slot:
    begun_ms: int
    trades: int = 0
    # How many of the samples had each lag.
    lags: Counter[int] = field(default_factory=Counter)


@dataclass(slots=True)
class LiveWindow:
    """`begun_ms`, and all times beside those of trades: of the monotonic clock."""

    begun_ms: int
    _slots: deque[_Slot] = field(default_factory=deque)
    _told_ms: int | None = None
    _figures: Mapping[str, str] = field(default_factory=dict)

    def note(self, times_ms: Sequence[int], committed_ms: int, now_ms: int) -> None:
        """These trades were committed at `committed_ms`, by the clock that tells their times."""
        if not self._slots or now_ms - self._slots[-1].begun_ms >= SLOT_MS:
            self._slots.append(_Slot(now_ms))
        slot = self._slots[-1]
        slot.trades += len(times_ms)
        step = max(1, len(times_ms) // MAX_SAMPLES)
        for ts_ms in times_ms[::step]:
            slot.lags[_rounded(min(max(committed_ms - int(ts_ms), 0), WINDOW_MS))] += step

    def told(self, now_ms: int) -> Mapping[str, str]:
        """As health says it. A lag is `""` where no trade came."""
        if self._told_ms is None or now_ms - self._told_ms >= TOLD_EVERY_MS:
            self._told_ms, self._figures = now_ms, self._worked_out(now_ms)
        return self._figures

    def _worked_out(self, now_ms: int) -> Mapping[str, str]:
        while self._slots and now_ms - self._slots[0].begun_ms >= WINDOW_MS:
            self._slots.popleft()
        lags = sum((slot.lags for slot in self._slots), Counter[int]())
        count = sum(slot.trades for slot in self._slots)
        seconds = max(min(now_ms - self.begun_ms, WINDOW_MS), TOLD_EVERY_MS) / 1_000
        return {
            "lag_p50_ms": _percentile(lags, 0.5),
            "lag_p99_ms": _percentile(lags, 0.99),
            "trades_per_s": f"{count / seconds:.2f}",
        }


def _rounded(lag_ms: int) -> int:
    """To two significant digits."""
    step: int = 10 ** max(0, len(str(lag_ms)) - 2)
    return lag_ms // step * step


def _percentile(lags: Counter[int], share: float) -> str:
    """The least lag that so many of the samples do not exceed (nearest rank)."""
    left = share * lags.total()
    for lag_ms in sorted(lags):
        left -= lags[lag_ms]
        if left <= 0:
            return str(lag_ms)
    return ""
