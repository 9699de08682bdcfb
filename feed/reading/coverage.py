"""What is known to be complete, and so which bars are partial: coverage, as answers need it.

A bar is partial if trades of its span may be missing: it begins before coverage does, or a hole overlaps it. That the
bar is still growing does not make it partial.

All but the end of the newest span is a shape, which is made once and kept for as long as the spans it is made of are:
there may be 65,536 holes, and an answer costs what it is long.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from weakref import WeakKeyDictionary

import numpy as np
import numpy.typing as npt
import orjson

from common.market.builder.spans import Hole
from common.market.coding.packed import Ints
from common.market.instrument import Ids
from common.market.manifest import Fault
from common.market.timeframes.timeframe import Timeframe
from common.store.archived import Spans, touches
from common.store.older import NO_OLDER, OlderSpans
from common.store.state import SymbolState
from feed.reading.bounds import Span, united

# Holes that one answer names. Where there are more, those next to each other are named as one.
MAX_HOLES_TOLD = 1_000


@dataclass(frozen=True, slots=True, eq=False)
class Shape:
    """Coverage without the end of its newest span, oldest first."""

    span_from_ms: Ints
    span_to_ms: Ints
    # A row a hole, as a Hole; it lies behind the span of the same number.
    holes: Ints
    # When trades are missing, ascending, both ends included; none overlap.
    missing_from_ms: list[int]
    missing_to_ms: list[int]

    @classmethod
    def of(cls, spans: Ints) -> "Shape":
        """`spans`: columns of first ids, last ids, from_ms and to_ms."""
        first, last, from_ms, to_ms = spans
        holes = np.column_stack((last[:-1] + 1, first[1:] - 1, to_ms[:-1], from_ms[1:]))
        return cls(from_ms, to_ms, holes, *_united(holes))

    @classmethod
    def of_time(cls, from_ms: int, to_ms: int, holes: Ints) -> "Shape":
        """Where ids are not contiguous: `holes`, from when they were, as columns."""
        span_from_ms, span_to_ms = np.append(from_ms, holes[3]), np.append(holes[2], to_ms)
        return cls(span_from_ms, span_to_ms, holes.T, *_united(holes.T))

    @property
    def from_ms(self) -> int:
        """Where coverage begins, whatever has been dropped of it since."""
        return int(self.span_from_ms[0]) if len(self.span_from_ms) else 0

    def equals(self, other: "Shape") -> bool:
        return self is other or (self.from_ms == other.from_ms and np.array_equal(self.holes, other.holes))


# Of spans that are kept, by them.
_shapes: WeakKeyDictionary[OlderSpans, Shape] = WeakKeyDictionary()


@dataclass(frozen=True, slots=True)
class KnownCoverage:
    """`start_ms`: what opens before is partial. Equal to common.market.builder.coverage, for many bars at once.

    `to_ms`: the end of the newest span. `lost`: spans of time, both ends included, that were covered and of which not
    all can be shown. `faults`: objects of the archive because of which that is so.
    """

    start_ms: int
    to_ms: int
    shape: Shape
    lost: Spans = ()
    faults: tuple[Fault, ...] = ()

    @classmethod
    def of(cls, state: SymbolState, ids: Ids, floor_ms: int = -1) -> "KnownCoverage":
        """`floor_ms`: where retention ends; what opened before is gone."""
        return cls.load(state.coverage_json, ids, floor_ms, state.older)

    @classmethod
    def load(cls, coverage_json: bytes, ids: Ids, floor_ms: int = -1, older: OlderSpans = NO_OLDER) -> "KnownCoverage":
        """`coverage_json`: all of it, or what `older` has not."""
        rows = orjson.loads(coverage_json)
        rows = rows[1:] if ids == "contiguous" else [row for row in rows[-1:] if row[3] >= 0]
        if not rows:
            return EMPTY
        shape = _shape(rows, older, ids)
        return cls(max(shape.from_ms, floor_ms), rows[-1][3], shape)

    def grown(self, newest_json: bytes) -> "KnownCoverage":
        """The same after a commit that only let the newest span grow."""
        return replace(self, to_ms=orjson.loads(newest_json)[-1][3])

    def since(self, ts_ms: int) -> "KnownCoverage":
        """The same, where nothing older than `ts_ms` is left."""
        return replace(self, start_ms=max(self.start_ms, ts_ms))

    def lacking(self, lost: Spans, faults: tuple[Fault, ...] = ()) -> "KnownCoverage":
        """The same, where trades of these spans of time are lost."""
        return replace(self, lost=lost, faults=faults)

    def partial(self, open_ms: int, end_ms: int) -> bool:
        if open_ms < self.start_ms:
            return True
        at = bisect_left(self.shape.missing_to_ms, open_ms)
        if at < len(self.shape.missing_to_ms) and self.shape.missing_from_ms[at] < end_ms:
            return True
        return touches(self.lost, open_ms, end_ms)

    def partial_among(self, opens: Sequence[int] | npt.NDArray[np.int64], timeframe: Timeframe) -> set[int]:
        """Return the positions of the partial bars; `opens` ascend."""
        return {at for some in self._partial(opens, timeframe) for at in range(some.start, some.stop)}

    def partial_flags(self, opens: npt.NDArray[np.int64], timeframe: Timeframe) -> npt.NDArray[np.bool_]:
        """The same as a flag a bar."""
        flags = np.zeros(len(opens), np.bool_)
        for some in self._partial(opens, timeframe):
            flags[some] = True
        return flags

    def _partial(self, opens: Sequence[int] | npt.NDArray[np.int64], timeframe: Timeframe) -> Iterator[slice]:
        yield slice(0, bisect_left(opens, self.start_ms))
        if not len(opens):
            return
        for from_ms, to_ms in (*self._missing(opens), *self.lost):
            yield slice(bisect_left(opens, timeframe.open_of(from_ms)), bisect_right(opens, to_ms))

    def partial_spans(self, from_ms: Ints, end_ms: Ints) -> npt.NDArray[np.bool_]:
        """Whether trades may be missing from each of these spans."""
        missing_from, missing_to = (
            np.array(each, np.int64) for each in (self.shape.missing_from_ms, self.shape.missing_to_ms)
        )
        flags = from_ms < self.start_ms
        if len(missing_to):
            at = np.searchsorted(missing_to, from_ms)
            flags |= (at < len(missing_to)) & (missing_from[np.minimum(at, len(missing_to) - 1)] < end_ms)
        for lost_from_ms, lost_to_ms in self.lost:
            flags |= (lost_to_ms >= from_ms) & (lost_from_ms < end_ms)
        return flags

    def whole_since(self, from_ms: int, end_ms: int) -> int:
        """Since when nothing is missing up to `end_ms`; `from_ms` if nothing is from then on."""
        missing = (*zip(self.shape.missing_from_ms, self.shape.missing_to_ms, strict=True), *self.lost)
        ends = [to_ms + 1 for start_ms, to_ms in missing if start_ms < end_ms and to_ms >= from_ms]
        return max(from_ms, self.start_ms, *ends)

    def first_missing(self, from_ms: int, end_ms: int) -> int | None:
        """From when on something is missing of `[from_ms, end_ms)`; None: nothing is."""
        missing = (*zip(self.shape.missing_from_ms, self.shape.missing_to_ms, strict=True), *self.lost)
        starts = [max(start_ms, from_ms) for start_ms, to_ms in missing if start_ms < end_ms and to_ms >= from_ms]
        return min([from_ms] if from_ms < self.start_ms else starts, default=None)

    def whole_spans(self, from_ms: int, end_ms: int) -> list[Span]:
        """When nothing is missing of `[from_ms, end_ms)`, ascending."""
        at_ms, end_ms = max(from_ms, self.start_ms), min(end_ms, self.to_ms + 1)
        missing = (*zip(self.shape.missing_from_ms, self.shape.missing_to_ms, strict=True), *self.lost)
        found = list[Span]()
        # Between a trade and one of a later id and an earlier time none is missing of any time.
        lost = ((a, b + 1) for a, b in missing if a <= b and b >= at_ms and a < end_ms)
        for lost_from_ms, lost_to_ms in united(lost):
            found.append((at_ms, lost_from_ms))
            at_ms = lost_to_ms
        return [span for span in (*found, (at_ms, end_ms)) if span[0] < span[1]]

    def lost_within(self, from_ms: int, to_ms: int) -> bool:
        """Whether something is lost of `[from_ms, to_ms)`."""
        return touches(self.lost, from_ms, to_ms)

    def faults_within(self, from_ms: int, to_ms: int) -> list[Fault]:
        return [fault for fault in self.faults if fault.from_ms < to_ms and fault.to_ms > from_ms]

    def _missing(self, opens: Sequence[int] | npt.NDArray[np.int64]) -> Iterator[tuple[int, int]]:
        """When trades are missing from the first bar on: of many times in one bar the first is enough."""
        from_ms, to_ms = self.shape.missing_from_ms, self.shape.missing_to_ms
        at = bisect_left(to_ms, int(opens[0]))
        while at < len(to_ms):
            yield from_ms[at], to_ms[at]
            following = bisect_right(opens, to_ms[at])
            at = bisect_left(to_ms, int(opens[following]), at + 1) if following < len(opens) else len(to_ms)

    @property
    def from_ms(self) -> int:
        """Where coverage begins, whatever has been dropped of it since."""
        return self.shape.from_ms

    @property
    def hole_count(self) -> int:
        return len(self.shape.holes)

    def newest_holes(self, count: int) -> list[Hole]:
        return [Hole(*row) for row in self.shape.holes[-count:].tolist()]

    def reshaped(self, other: "KnownCoverage") -> bool:
        """Whether they differ by more than what is dropped at the old end and grows at the new one."""
        return not self.shape.equals(other.shape)

    def differences(self, other: "KnownCoverage") -> Iterator[tuple[int, int]]:
        """Yield the times `(from_ms, to_ms)`, both included, where bars may be partial in only one of the two."""
        if self.from_ms != other.from_ms:
            yield min(self.from_ms, other.from_ms), max(self.from_ms, other.from_ms)
        if self.shape is not other.shape:
            holes, others = self.shape.holes, other.shape.holes
            changed = np.concatenate([_only_among(holes, others), _only_among(others, holes)])
            yield from zip(*_united(changed), strict=True)

    def within(self, from_ms: int, to_ms: int) -> tuple[list[list[int]], list[Hole]]:
        """Return the spans of time and the holes that touch `[from_ms, to_ms)`.

        Of too many holes those next to each other are one, and the spans between them are left out.
        """
        shape, ends = self.shape, self._span_ends()
        spans = (shape.span_from_ms < to_ms) & (ends >= from_ms)
        found = np.flatnonzero((shape.holes[:, 2] < to_ms) & (shape.holes[:, 3] >= from_ms))
        starts = _starts_of_groups(shape.holes[found])
        spans[found[~starts]] = False
        begins, ends_of_groups = shape.holes[found[starts]], shape.holes[found[np.append(starts, True)[1:]]]
        told = np.column_stack((begins[:, 0], ends_of_groups[:, 1], begins[:, 2], ends_of_groups[:, 3]))
        return np.column_stack((shape.span_from_ms, ends))[spans].tolist(), [Hole(*row) for row in told.tolist()]

    def _span_ends(self) -> Ints:
        ends = self.shape.span_to_ms.copy()
        ends[-1:] = self.to_ms
        return ends


def _shape(rows: Sequence[Sequence[int]], older: OlderSpans, ids: Ids) -> Shape:
    """`rows`: the newest spans, which `older` has not; or the one span of time where ids are not contiguous."""
    kept = _shapes.get(older)
    if kept is None:
        stored = _columns(older.chunks)
        if ids == "contiguous":
            kept = Shape.of(np.concatenate([stored, np.array(rows, np.int64).T], axis=1))
        else:
            from_ms, to_ms = rows[0][2:]
            kept = Shape.of_time(from_ms, to_ms, stored)
        if older is not NO_OLDER:
            _shapes[older] = kept
    return kept


def _columns(chunks: Mapping[int, bytes]) -> Ints:
    """Spans as they are stored (common.market.builder.spans): columns, ascending."""
    parts = [np.frombuffer(chunk, "<i8").reshape(4, -1) for chunk in chunks.values()]
    spans: Ints = np.concatenate([np.zeros((4, 0), np.int64), *parts], axis=1)
    return spans[:, np.argsort(spans[0])]


def _united(holes: Ints) -> tuple[list[int], list[int]]:
    """When trades of these holes are missing: times that overlap or touch are one."""
    if not len(holes):
        return [], []
    order = np.argsort(holes[:, 2], kind="stable")
    begins, ends = holes[order, 2], np.maximum.accumulate(holes[order, 3])
    apart = begins[1:] > ends[:-1] + 1
    return begins[np.append(True, apart)].tolist(), ends[np.append(apart, True)].tolist()


def _only_among(holes: Ints, others: Ints) -> Ints:
    """Those that are not among the others, in both of which first ids ascend."""
    if not len(others):
        return holes
    at = np.minimum(np.searchsorted(others[:, 0], holes[:, 0]), len(others) - 1)
    found: Ints = holes[(others[at] != holes).any(axis=1)]
    return found


def _starts_of_groups(holes: Ints) -> npt.NDArray[np.bool_]:
    """Which holes begin a group, so that there are not too many; those that are nearest to each other are together."""
    starts = np.ones(len(holes), np.bool_)
    if len(holes) > MAX_HOLES_TOLD:
        between = holes[1:, 0] - holes[:-1, 1]
        widest = np.argpartition(between, len(between) - MAX_HOLES_TOLD + 1)[len(between) - MAX_HOLES_TOLD + 1 :]
        starts[1:] = False
        starts[1 + widest] = True
    return starts


# Of a symbol without a commit.
EMPTY = KnownCoverage(0, -1, Shape.of(np.zeros((4, 0), np.int64)))
