"""Bars read again once they have changed, by the functions that answer questions about them.

So a bar is the same bar on every face.
"""

from collections.abc import Awaitable, Callable, Collection, Iterator
from dataclasses import dataclass
from itertools import chain

from common.market.timeframes.timeframe import Timeframe
from feed.bars.changes import ROUNDS
from feed.queries.stated_pages import StatedPage
from feed.reading.bounds import Span, Window
from feed.wire.row_bars import RowBar, row_bars

# Of one read. Beyond that a fresh snapshot is the shorter answer.
MAX_BARS = 1_000
# Stretches of time in which the bars lie, and how many other bars may lie between two bars of one stretch.
MAX_STRETCHES = 8
MAX_BETWEEN = 64

ReadPage = Callable[[Window], Awaitable[StatedPage]]


@dataclass(frozen=True, slots=True)
class RowsRead:
    """Bars as of one commit."""

    seq: int
    token: str
    watermark_ms: int
    bars: list[RowBar]

    @property
    def cursor(self) -> str:
        return f"{self.seq}-{self.token}"


@dataclass(frozen=True, slots=True)
class RowsReader:
    """`is_running`: a bar has sums of those before it, so that with a bar all later ones change."""

    read_page: ReadPage
    timeframe: Timeframe
    is_running: bool = False

    def has(self, open_ms: int, opens: Collection[int]) -> bool:
        """Whether a bar is read if those that open then are."""
        return open_ms in opens or (self.is_running and open_ms > min(opens, default=open_ms))

    async def read(self, opens: Collection[int]) -> RowsRead | None:
        """Read these bars as they are at one commit; None if they are too many, or never all of one commit."""
        windows = list(self._windows(sorted(opens)))
        if len(windows) > MAX_STRETCHES:
            return None
        for _ in range(ROUNDS):
            pages = [await self.read_page(window) for window in windows]
            found = [row_bars(page.page.runs) for page in pages]
            if any(page.page.more for page in pages) or any(len(bars) > MAX_BARS for bars in found):
                return None
            commits = {(state.seq, state.token, state.watermark_ms) for page in pages if (state := page.view.state)}
            if len(commits) == 1:
                return RowsRead(*commits.pop(), [bar for bar in chain(*found) if self.has(bar.open_ms, opens)])
        return None

    def _windows(self, opens: list[int]) -> Iterator[Window]:
        if self.is_running:
            yield Window(opens[0], None, MAX_BARS + 1)
            return
        for start_ms, end_ms in stretches(opens, self.timeframe):
            yield Window(start_ms, end_ms, MAX_BARS + 1)


def stretches(opens: list[int], timeframe: Timeframe) -> Iterator[Span]:
    """Spans of time that hold the bars, a new one where many others lie between."""
    start_ms = end_ms = opens[0]
    for open_ms in opens:
        if open_ms - end_ms > MAX_BETWEEN * timeframe.longest_ms:
            yield start_ms, end_ms
            start_ms = open_ms
        end_ms = timeframe.next_open(open_ms)
    yield start_ms, end_ms
