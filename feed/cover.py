"""What is known to be complete, and so which bars are partial: coverage, as answers need it.

A bar is partial if trades of its span may be missing: it begins before coverage does, or a hole overlaps it. That the
bar is still growing does not make it partial.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import orjson

from common.market.coverage import load_coverage
from common.market.instrument import Ids
from common.market.spans import Hole, Span
from common.market.timeframe import Timeframe
from common.market.trade import Trades
from common.store.reads import Spans


@dataclass(frozen=True, slots=True)
class Cover:
    """`start_ms`: what opens before is partial. Equal to common.market.coverage.covers, for many bars at once.

    `lost`: spans of time, both ends included, that were covered and of which not all is kept.
    """

    start_ms: int
    spans: list[Span]
    holes: list[Hole]
    lost: Spans = ()

    @classmethod
    def load(cls, coverage_json: bytes, ids: Ids, floor_ms: int = -1) -> "Cover":
        """`floor_ms`: where retention ends; what opened before is gone."""
        coverage = load_coverage(ids, orjson.loads(coverage_json), Trades())
        spans = coverage.spans()
        return cls(max(spans[0].from_ms, floor_ms) if spans else 0, spans, coverage.holes())

    def since(self, ts_ms: int) -> "Cover":
        """The same, where nothing older than `ts_ms` is left."""
        return replace(self, start_ms=max(self.start_ms, ts_ms))

    def lacking(self, lost: Spans) -> "Cover":
        """The same, where trades of these spans of time are lost."""
        return replace(self, lost=lost)

    def partial(self, open_ms: int, end_ms: int) -> bool:
        if open_ms < self.start_ms:
            return True
        return any(from_ms < end_ms and to_ms >= open_ms for from_ms, to_ms in self._missing())

    def partial_among(self, opens: Sequence[int] | npt.NDArray[np.int64], timeframe: Timeframe) -> set[int]:
        """Return the positions of the partial bars; `opens` ascend."""
        found = set(range(bisect_left(opens, self.start_ms)))
        for from_ms, to_ms in self._missing():
            first = bisect_left(opens, timeframe.open_of(from_ms))
            found.update(range(first, bisect_right(opens, to_ms)))
        return found

    def _missing(self) -> Iterator[tuple[int, int]]:
        yield from ((hole.from_ms, hole.to_ms) for hole in self.holes)
        yield from self.lost

    @property
    def from_ms(self) -> int:
        """Where coverage begins, whatever has been dropped of it since."""
        return self.spans[0].from_ms if self.spans else 0

    def reshaped(self, other: "Cover") -> bool:
        """Whether they differ by more than what is dropped at the old end and grows at the new one."""
        return self.from_ms != other.from_ms or self.holes != other.holes

    def differences(self, other: "Cover") -> Iterator[tuple[int, int]]:
        """Yield the times `(from_ms, to_ms)`, both included, where bars may be partial in only one of the two."""
        if self.from_ms != other.from_ms:
            yield min(self.from_ms, other.from_ms), max(self.from_ms, other.from_ms)
        for hole in set(self.holes) ^ set(other.holes):
            yield hole.from_ms, hole.to_ms

    def within(self, from_ms: int, to_ms: int) -> tuple[list[list[int]], list[Hole]]:
        """Return the spans of time and the holes that touch `[from_ms, to_ms)`."""
        spans = [[s.from_ms, s.to_ms] for s in self.spans if s.from_ms < to_ms and s.to_ms >= from_ms]
        return spans, [hole for hole in self.holes if hole.from_ms < to_ms and hole.to_ms >= from_ms]


EMPTY = Cover(0, [], [])
