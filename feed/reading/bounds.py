"""Which bars are asked for, and the grid of their timeframe."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from common.market.timeframes.timeframe import Timeframe
from common.market.trade import MAX_TS_MS

# Later than any minute there is.
FOREVER_MS = 2 * MAX_TS_MS
# An answer pieced together is thrown away when an amendment came in between. Then everything is read at once.
ATTEMPTS = 3


# Opens of minutes, `[from_ms, to_ms)`.
Span = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Window:
    """Which bars: those that open in `[start_ms, end_ms)`, None without bound, and at most `limit` of them.

    The newest ones, except with a start and no end: then the oldest, so that a reader can walk forward.
    """

    start_ms: int | None
    end_ms: int | None
    limit: int

    @property
    def oldest_first(self) -> bool:
        return self.start_ms is not None and self.end_ms is None


@dataclass(frozen=True, slots=True)
class Bounds:
    """A window on the grid of a timeframe: bars open in `[start_ms, end_ms)`, and so do exactly their minutes."""

    start_ms: int
    end_ms: int
    limit: int
    oldest_first: bool

    @classmethod
    def of(cls, window: Window, timeframe: Timeframe) -> "Bounds":
        end_ms = FOREVER_MS if window.end_ms is None else grid_at(timeframe, window.end_ms)
        start_ms = 0 if window.start_ms is None else min(grid_at(timeframe, window.start_ms), end_ms)
        return cls(start_ms, end_ms, window.limit, window.oldest_first)

    def reached(self, more_ms: int | None) -> "Bounds":
        """The bounds up to where an answer goes on (`more_ms`)."""
        if more_ms is None:
            return self
        return replace(self, end_ms=more_ms) if self.oldest_first else replace(self, start_ms=more_ms)


def grid_at(timeframe: Timeframe, ts_ms: int) -> int:
    """Return the first open at or after `ts_ms`."""
    open_ms = timeframe.open_of(ts_ms)
    return open_ms if open_ms >= ts_ms else timeframe.open_of(timeframe.next_open(open_ms))


def united(spans: Iterable[Span]) -> list[Span]:
    """Return ascending spans that don't overlap, for the same minutes."""
    united: list[Span] = []
    for from_ms, to_ms in sorted(spans):
        if united and from_ms <= united[-1][1]:
            united[-1] = (united[-1][0], max(to_ms, united[-1][1]))
        else:
            united.append((from_ms, to_ms))
    return united


def without(span: Span, taken: Iterable[Span]) -> list[Span]:
    """Return what is left of a span without others, ascending as these are."""
    left, at_ms = list[Span](), span[0]
    for from_ms, to_ms in taken:
        if to_ms <= span[0] or from_ms >= span[1]:
            continue
        if at_ms < from_ms:
            left.append((at_ms, from_ms))
        at_ms = max(at_ms, to_ms)
    return [*left, (at_ms, span[1])] if at_ms < span[1] else left
