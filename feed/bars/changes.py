"""What changed since a cursor: the seam between an answer or a lost connection and the stream.

The trade stream has one entry per commit. If it still has the one the cursor names, the entries after it say which
bars were touched since; these are read as they are now. Together they are one sequence with what came before: nothing
is lost, and nothing is told that did not change.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from common.errors import BadInput
from common.market.coding import codec
from common.market.timeframes.timeframe import Timeframe
from common.store.parts import TradeEntry
from common.store.reads import View
from feed.bars.live import BarGrid, Live, Update
from feed.reading.bounds import Span
from feed.reading.coverage import KnownCoverage

# Reads before giving up on what is touched while it is read.
ROUNDS = 16

_CURSOR = re.compile(r"([0-9]{1,19})-([0-9A-Za-z]{0,64})(?:@([0-9.-]{1,64}))?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Cursor:
    """Names a commit: its seq and its writer's token. `held`: what else a client has to tell of what it holds."""

    seq: int
    token: str
    held: str = ""

    @classmethod
    def parse(cls, text: str) -> "Cursor":
        match = _CURSOR.fullmatch(text)
        if not match or int(match[1]) >= 1 << 63:
            raise BadInput(f"cursor {text[:40]!r} is not one that an answer or a message carried")
        return cls(int(match[1]), match[2], match[3] or "")

    def __str__(self) -> str:
        return f"{self.seq}-{self.token}" + (f"@{self.held}" if self.held else "")


@dataclass(frozen=True, slots=True)
class BarChanges:
    """`updates`, oldest bar first, lead from the cursor to `live.at`."""

    live: Live
    updates: list[Update]


@dataclass(frozen=True, slots=True)
class Touched:
    """Bars that changed after the watermark was `was_ms`: by their opens, and all those within spans of time."""

    was_ms: int
    growing_ms: int
    opens: set[int]
    ranges: list[tuple[int, int]]

    def spans(self, timeframe: Timeframe) -> Iterator[Span]:
        for open_ms in self.opens:
            yield open_ms, timeframe.next_open(open_ms)
        for from_ms, to_ms in self.ranges:
            yield timeframe.open_of(from_ms), timeframe.next_open(timeframe.open_of(to_ms))

    def closed_spans(self, timeframe: Timeframe) -> list[Span]:
        """The same without the growing bar, which the tail has."""
        return [(start, min(end, self.growing_ms)) for start, end in self.spans(timeframe) if start < self.growing_ms]

    def grew(self, timeframe: Timeframe) -> bool:
        return any(end > self.growing_ms for _, end in self.spans(timeframe))


def touched_since(
    grid: BarGrid, view: View, cursor: Cursor, known: KnownCoverage | None, step_ms: int = 1
) -> Touched | None:
    """Return what commits after the cursor's touched; None if the stream has not got the cursor's commit.

    `step_ms`: of the times that are looked at. For bars of whole minutes the minutes will do, and are far fewer.
    """
    state, entries = view.state, [entry for entry in view.stream.entries if entry.seq >= cursor.seq]
    if state is None or not entries or (entries[0].seq, entries[0].token) != (cursor.seq, cursor.token):
        return None
    if known is None and state.reshaped_seq > cursor.seq:
        return None
    timeframe, was_ms = grid.timeframe, entries[0].watermark_ms
    opens = {timeframe.open_of(ts_ms) for ts_ms in _times(entries[1:], timeframe, step_ms)}
    before_ms = timeframe.open_of(max(was_ms, 0))
    if timeframe.next_open(before_ms) <= state.watermark_ms:
        # It was growing then, and is closed now even if no trade came: by the clock.
        opens.add(before_ms)
    cover = KnownCoverage.of(state, grid.instrument.ids)
    ranges = list(cover.differences(known)) if known else []
    return Touched(was_ms, timeframe.open_of(max(state.watermark_ms, 0)), opens, ranges)


def _times(entries: Iterable[TradeEntry], timeframe: Timeframe, step_ms: int) -> set[int]:
    times = {ts_ms - ts_ms % step_ms for entry in entries for ts_ms in codec.unpack_trades(entry.trades).ts_ms}
    return {ts_ms for ts_ms in times if timeframe.holds(ts_ms)} if timeframe.sessions else times
