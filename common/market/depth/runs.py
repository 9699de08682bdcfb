"""One side of a book as runs: what stands at which price, since when."""

from dataclasses import dataclass, field

from common.errors import BadInput
from common.market.depth.book import BASIS_POINTS, Levels
from common.market.depth.chunk import Run
from common.market.timeframes.timeframe import MINUTE_MS


@dataclass(frozen=True, slots=True)
class DepthLimits:
    """`reach_bp`: how far from the middle levels are recorded, in hundredths of a percent; at least MIN_REACH_TICKS.

    `max_levels`: of one side. `max_runs`: of a minute, both sides; a run takes 3 to 4 bytes. `grace_ms`: how long after
    its end the clock closes a minute. `resolution_ms`: the history has the book as of every multiple of it, so that
    what comes and goes between two of them takes no room; 1 is exact, 1000 halves a busy market.
    """

    reach_bp: int = 500
    max_levels: int = 4_000
    max_runs: int = 60_000
    grace_ms: int = 2_000
    resolution_ms: int = 1

    def __post_init__(self) -> None:
        if not 0 < self.reach_bp < BASIS_POINTS:
            raise BadInput(f"reach_bp is {self.reach_bp}, expected 1 to {BASIS_POINTS - 1} hundredths of a percent")
        if self.max_levels < 1:
            raise BadInput(f"max_levels is {self.max_levels}, expected at least 1")
        # Else the levels that stand could fill a minute by themselves.
        if self.max_runs < 4 * self.max_levels:
            raise BadInput(f"max_runs is {self.max_runs}, expected at least 4 x max_levels ({4 * self.max_levels})")
        # A minute begins with the book as of its open.
        if self.resolution_ms < 1 or MINUTE_MS % self.resolution_ms:
            raise BadInput(f"resolution_ms is {self.resolution_ms}, expected a divisor of {MINUTE_MS}")


@dataclass(slots=True)
class RunSide:
    """Runs of one side in the current minute.

    `standing`: price -> (size_lots, from_ms). `cut`: what the changes at `at_ms` ended: price -> its place in `ended`.
    """

    standing: dict[int, tuple[int, int]] = field(default_factory=dict)
    ended: list[Run] = field(default_factory=list)
    at_ms: int = -1
    cut: dict[int, int] = field(default_factory=dict)

    def set(self, levels: Levels, low_ticks: int, high_ticks: int, at_ms: int) -> None:
        standing, ended, cut = self.standing, self.ended, self.cut
        if at_ms != self.at_ms:
            self.at_ms = at_ms
            cut.clear()
        for price, size in levels:
            if not low_ticks <= price <= high_ticks:
                continue
            run = standing.get(price)
            if run is not None:
                if run[0] == size:
                    continue
                # What stood for less than a millisecond stood at no time there is.
                if run[1] < at_ms:
                    cut[price] = len(ended)
                    ended.append((price, run[0], run[1], at_ms))
            if not size:
                standing.pop(price, None)
            elif price in cut and ended[cut[price]][1] == size:
                self._resume(price)
            else:
                standing[price] = (size, at_ms)

    def move(self, levels: Levels, low_ticks: int, high_ticks: int, at_ms: int) -> None:
        """The window is another one; `levels` are those of the book in it."""
        outside = [price for price in self.standing if not low_ticks <= price <= high_ticks]
        if outside:
            self.set([(price, 0) for price in outside], min(outside), max(outside), at_ms)
        self.set(levels, low_ticks, high_ticks, at_ms)

    def end(self, at_ms: int) -> None:
        self.ended += self._standing(at_ms)
        self.standing.clear()

    def keep(self, low_ticks: int, high_ticks: int) -> None:
        """Drop the runs of all other prices from the whole minute."""
        self.ended = [run for run in self.ended if low_ticks <= run[0] <= high_ticks]
        self.standing = {price: run for price, run in self.standing.items() if low_ticks <= price <= high_ticks}
        self.cut.clear()

    def runs(self, open_ms: int, until_ms: int) -> list[Run]:
        """All of the minute; of one price in the order of time."""
        # What ended with the first moment of the minute came first, and was over before it.
        over = next((at for at, run in enumerate(self.ended) if run[3] > open_ms), len(self.ended))
        return self.ended[over:] + self._standing(until_ms)

    def prices(self) -> list[int]:
        return [*self.standing, *(run[0] for run in self.ended)]

    def _resume(self, price: int) -> None:
        """The size is what it was before this very millisecond: the run goes on as if nothing had been."""
        place = self.cut.pop(price)
        _, size, from_ms, _ = self.ended[place]
        self.standing[price] = (size, from_ms)
        last = self.ended.pop()
        if place < len(self.ended):
            self.ended[place] = last
            self.cut[last[0]] = place

    def _standing(self, until_ms: int) -> list[Run]:
        standing = self.standing.items()
        return [(price, size, from_ms, until_ms) for price, (size, from_ms) in standing if from_ms < until_ms]


# Recorded whatever the percentage is: of a price of few ticks it would be nothing.
MIN_REACH_TICKS = 50
