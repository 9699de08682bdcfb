"""A book as it is told, as runs: what is known of it beyond its stored history, until that has it, too.

From one book to the next in number the first one stood. Nothing is known of the time between two that don't follow each
other, or after one that is out of step with its venue.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from common.frames.best import BestSteps
from common.frames.depth import Column, Ints
from common.frames.depth_minute import DepthMinute, SideChanges

Level = tuple[int, int]
# Price, lots, from, until.
_Run = tuple[int, int, int, int]
_COLUMNS = ("price_ticks", "size_lots", "from_ms", "until_ms")


@dataclass(slots=True)
class LiveRuns:
    """`spans`: from, until of what is known. `standing`: by side and price, since when, and how many lots."""

    spans: list[tuple[int, int]] = field(default_factory=list)
    standing: tuple[dict[int, tuple[int, int]], ...] = field(default_factory=lambda: ({}, {}))
    ended: tuple[list[_Run], list[_Run]] = field(default_factory=lambda: ([], []))
    _goes_on: bool = False
    _last_ms: int = 0
    _floor_ms: int = 0

    @property
    def known_ms(self) -> int | None:
        """The end of what is known."""
        return self.spans[-1][1] if self.spans else None

    def take(self, ts_ms: int, sides: tuple[Sequence[Level], Sequence[Level]], *, follows: bool, is_live: bool) -> None:
        """The next book. `follows`: by its number the one before; `is_live`: it is in step with its venue."""
        ts_ms = self._last_ms = max(ts_ms, self._last_ms)
        if not (follows and self._goes_on):
            self._end(self.known_ms or ts_ms)
            start_ms = max(ts_ms, self._floor_ms)
            self.spans.append((start_ms, start_ms))
        from_ms, until_ms = self.spans[-1]
        # It stands for the millisecond of its event at the least.
        known_ms = ts_ms + is_live if ts_ms > self._floor_ms else until_ms
        self.spans[-1] = from_ms, max(until_ms, known_ms)
        for side, levels in enumerate(sides):
            self._step(side, ts_ms, dict(levels))
        if not is_live:
            self._end(ts_ms)
        self._goes_on = is_live

    def drop(self, before_ms: int) -> None:
        """What is known otherwise: also the newest book itself, where that was known at its event."""
        self._floor_ms = before_ms
        self.spans = [(max(a, before_ms), b) for a, b in self.spans if b > before_ms]
        if self._goes_on and self._last_ms <= before_ms:
            # It stands, and what is known goes on from there with the next one.
            self.spans = [(before_ms, before_ms)]
        for ended in self.ended:
            ended[:] = [run for run in ended if run[3] > before_ms]

    def minute(self, low_ticks: int, high_ticks: int) -> DepthMinute | None:
        """All of it, as the history has a minute, known between two prices; None of nothing."""
        known_spans = [span for span in self.spans if span[0] < span[1]]
        if not known_spans:
            return None
        bids, asks = (self._columns(side) for side in range(2))
        times = np.concatenate([each[name] for each in (bids, asks) for name in ("from_ms", "until_ms")])
        starts, ends = (np.array(each, np.int64) for each in zip(*known_spans, strict=True))
        spans = {"from_ms": starts, "until_ms": ends}
        best = BestSteps.of(np.unique(times), bids, asks, spans)
        first_ms, end_ms = known_spans[0][0], known_spans[-1][1]
        known = tuple((a, b, low_ticks, high_ticks) for a, b in known_spans)
        return DepthMinute(
            first_ms, (bids, asks), (_changes(bids), _changes(asks)), known, best, int(times.min(initial=first_ms)),
            int(times.max(initial=end_ms)), False, 1, 0,
        )  # fmt: skip

    def _step(self, side: int, ts_ms: int, levels: dict[int, int]) -> None:
        standing, ended = self.standing[side], self.ended[side]
        for price, (from_ms, lots) in list(standing.items()):
            if levels.get(price) != lots:
                self._close(ended, (price, lots, from_ms, ts_ms))
                del standing[price]
        for price, lots in levels.items():
            if price not in standing and lots:
                standing[price] = ts_ms, lots

    def _end(self, until_ms: int) -> None:
        """Nothing goes on beyond that time."""
        for standing, ended in zip(self.standing, self.ended, strict=True):
            for price, (from_ms, lots) in standing.items():
                self._close(ended, (price, lots, from_ms, until_ms))
            standing.clear()

    def _close(self, ended: list[_Run], run: _Run) -> None:
        if run[2] < run[3]:
            ended.append(run)

    def _columns(self, side: int) -> dict[str, Column]:
        """The runs of a side, by price and time."""
        until_ms = self.spans[-1][1]
        open_runs = [(price, lots, at, until_ms) for price, (at, lots) in self.standing[side].items() if at < until_ms]
        runs: Ints = np.array(self.ended[side] + open_runs, np.int64).reshape(-1, len(_COLUMNS))
        ordered = runs[np.lexsort((runs[:, 2], runs[:, 0]))]
        return {name: np.ascontiguousarray(ordered[:, at]) for at, name in enumerate(_COLUMNS)}


def _changes(side: dict[str, Column]) -> SideChanges:
    return SideChanges.of(side["price_ticks"], side["from_ms"], side["until_ms"], side["size_lots"])
