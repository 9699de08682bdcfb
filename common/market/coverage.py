"""Coverage: which trades have been applied. A trade inside it is a duplicate; its holes are the gaps.

Two kinds, by what the venue's trade ids promise:

- `IdCoverage` (contiguous ids): a set of id intervals. Exact without limit of time.
- `RecentCoverage` (unique ids): the last `window` ids applied, and the time `floor_ms` up to which ids have been
  forgotten. A trade at or before the floor can't be told from a duplicate and is refused as too late.
"""

from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import islice
from typing import NamedTuple, Protocol

from common.market.instrument import Ids
from common.market.trade import Trades

# 4096 holes are 128 kB in the checkpoint; beyond that the oldest hole is given up and counted.
MAX_SPANS = 4096
# Ids remembered where they are not contiguous. The trade stream keeps at least as many (store.commit).
RECENT_IDS = 50_000

DUPLICATE, TOO_LATE = "duplicate", "too_late"


class Span(NamedTuple):
    """Ids `first..last`, all applied, traded from `from_ms` (of the first) to `to_ms` (of the last)."""

    first: int
    last: int
    from_ms: int
    to_ms: int


class Hole(NamedTuple):
    """Ids `first..last` are missing; they were traded between `from_ms` and `to_ms`."""

    first: int
    last: int
    from_ms: int
    to_ms: int


class Coverage(Protocol):
    def refuse(self, ts_ms: int, trade_id: int) -> str | None:
        """Return why the trade can't be applied, or None and remember it as applied."""

    def extend(self, trades: Trades) -> bool:
        """Remember a whole batch if all of it is new and in order; else change nothing, return False."""

    def cover(self, spans: Iterable[Span]) -> None:
        """Count these ids as applied though no trade of them will come. Nothing where ids are not contiguous."""

    def spans(self) -> list[Span]: ...

    def holes(self) -> list[Hole]: ...

    def holes_at(self, first: int, last: int) -> list[Hole]:
        """Those with an id in `first..last`."""

    def take_forgotten(self) -> list[Hole]:
        """Holes given up since the last call, because there were too many: nothing can fill them any more."""

    def take_reshaped(self) -> list[tuple[int, int]]:
        """The ids `first..last` applied since the last call, but for those the newest span grew by at its end.

        Holes have changed only at these, and right beside them.
        """

    def dump(self) -> list[list[int]]: ...


@dataclass(slots=True)
class IdCoverage:
    """Intervals in ascending order, none touching the next. `forgotten` counts holes given up."""

    _spans: list[Span] = field(default_factory=list)
    forgotten: int = 0
    _reshaped: list[tuple[int, int]] = field(default_factory=list, compare=False)
    _forgotten: list[Hole] = field(default_factory=list, compare=False)

    def refuse(self, ts_ms: int, trade_id: int) -> str | None:
        at = bisect_right(self._spans, trade_id, key=_first)
        if at and trade_id <= self._spans[at - 1].last:
            return DUPLICATE
        self._insert(at, Span(trade_id, trade_id, ts_ms, ts_ms))
        return None

    def extend(self, trades: Trades) -> bool:
        ids = trades.ids
        first, last = ids[0], ids[-1]
        at = bisect_right(self._spans, first, key=_first)
        before = self._spans[at - 1].last if at else -2
        free = before < first and (at == len(self._spans) or last < self._spans[at].first)
        # At the bound a new span gives up the oldest hole, which may be where the batch goes: trade by trade then.
        roomy = len(self._spans) < MAX_SPANS or before + 1 == first
        # The comparison with a range runs in C: a fifth of the cost of a loop.
        if not free or not roomy or ids != list(range(first, first + len(ids))):
            return False
        self._insert(at, Span(first, last, trades.ts_ms[0], trades.ts_ms[-1]))
        return True

    def cover(self, spans: Iterable[Span]) -> None:
        for span in spans:
            first = span.first
            while first <= span.last:
                at = bisect_right(self._spans, first, key=_first)
                if at and first <= self._spans[at - 1].last:
                    first = self._spans[at - 1].last + 1
                    continue
                last = min(span.last, self._spans[at].first - 1) if at < len(self._spans) else span.last
                self._insert(at, Span(first, last, span.from_ms, span.to_ms))
                first = last + 1

    def spans(self) -> list[Span]:
        return self._spans

    def holes(self) -> list[Hole]:
        pairs = zip(self._spans, self._spans[1:], strict=False)
        return [Hole(a.last + 1, b.first - 1, a.to_ms, b.from_ms) for a, b in pairs]

    def holes_at(self, first: int, last: int) -> list[Hole]:
        start = max(0, bisect_right(self._spans, first, key=_first) - 1)
        end = bisect_right(self._spans, last, key=_first) + 1
        pairs = zip(self._spans[start:end], self._spans[start + 1 : end], strict=False)
        holes = (Hole(a.last + 1, b.first - 1, a.to_ms, b.from_ms) for a, b in pairs)
        return [hole for hole in holes if hole.first <= last and first <= hole.last]

    def take_forgotten(self) -> list[Hole]:
        found, self._forgotten = self._forgotten, []
        return found

    def take_reshaped(self) -> list[tuple[int, int]]:
        found, self._reshaped = self._reshaped, []
        return found

    def dump(self) -> list[list[int]]:
        return [[self.forgotten], *map(list, self._spans)]

    @classmethod
    def load(cls, rows: list[list[int]]) -> "IdCoverage":
        return cls([Span(*row) for row in rows[1:]], rows[0][0])

    def _insert(self, at: int, span: Span) -> None:
        """Put `span` before position `at`, joined with a neighbour it touches."""
        left, right = at, at
        if at < len(self._spans) or not at or self._spans[-1].last + 1 != span.first:
            self._reshaped.append((span.first, span.last))
        if at and self._spans[at - 1].last + 1 == span.first:
            left -= 1
            span = _join(self._spans[left], span)
        if at < len(self._spans) and span.last + 1 == self._spans[at].first:
            right += 1
            span = _join(span, self._spans[at])
        self._spans[left:right] = [span]
        if len(self._spans) > MAX_SPANS:
            older, newer = self._spans[:2]
            self._forgotten.append(Hole(older.last + 1, newer.first - 1, older.to_ms, newer.from_ms))
            self._spans[:2] = [_join(older, newer)]
            self.forgotten += 1


@dataclass(slots=True)
class RecentCoverage:
    """`seen` maps the last `window` ids, oldest first, to their time. `from_ms..to_ms`: the time seen so far.

    `gone`: holes from when the ids were contiguous. Nothing fills them any more, and what they are in stays partial.
    """

    window: int = RECENT_IDS
    floor_ms: int = -1
    from_ms: int = -1
    to_ms: int = -1
    seen: dict[int, int] = field(default_factory=dict)
    gone: tuple[Hole, ...] = ()

    def refuse(self, ts_ms: int, trade_id: int) -> str | None:
        if trade_id in self.seen:
            return DUPLICATE
        if ts_ms <= self.floor_ms:
            return TOO_LATE
        self._remember([ts_ms], [trade_id])
        return None

    def extend(self, trades: Trades) -> bool:
        ids = set(trades.ids)
        if len(ids) != len(trades) or len(ids) > self.window or not ids.isdisjoint(self.seen):
            return False
        # What the batch pushes out of the window raises the floor midway: it may refuse none of the batch.
        pushed_out = islice(self.seen.values(), max(0, len(self.seen) + len(ids) - self.window))
        if min(trades.ts_ms) <= max(self.floor_ms, max(pushed_out, default=-1)):
            return False
        self._remember(trades.ts_ms, trades.ids)
        return True

    def cover(self, spans: Iterable[Span]) -> None:
        """Of ids that are not contiguous none is missing."""

    def spans(self) -> list[Span]:
        """One span of time: nothing is known of the ids."""
        return [Span(0, 0, self.from_ms, self.to_ms)] if self.to_ms >= 0 else []

    def holes(self) -> list[Hole]:
        return list(self.gone)

    def holes_at(self, first: int, last: int) -> list[Hole]:
        return [hole for hole in self.gone if hole.first <= last and hole.last >= first]

    def take_forgotten(self) -> list[Hole]:
        return []

    def take_reshaped(self) -> list[tuple[int, int]]:
        return []

    def dump(self) -> list[list[int]]:
        """Without `seen`: the trade stream has it, and the checkpoint is written with every commit."""
        return [*map(list, self.gone), [self.window, self.floor_ms, self.from_ms, self.to_ms]]

    @classmethod
    def load(cls, rows: list[list[int]], recent: Trades | None) -> "RecentCoverage":
        """`recent`: the last trades applied, at least `window` of them if there were so many; None if that is lost."""
        *holes, (window, floor_ms, from_ms, to_ms) = rows
        gone = tuple(Hole(*row) for row in holes)
        if recent is None:
            # Only what comes after all others is surely no duplicate.
            return cls(window, to_ms, from_ms, to_ms, gone=gone)
        newest = recent[-window:]
        return cls(window, floor_ms, from_ms, to_ms, dict(zip(newest.ids, newest.ts_ms, strict=True)), gone)

    def _remember(self, ts_ms: list[int], ids: list[int]) -> None:
        self.seen.update(zip(ids, ts_ms, strict=True))
        self.from_ms = min(ts_ms) if self.to_ms < 0 else min(self.from_ms, min(ts_ms))
        self.to_ms = max(self.to_ms, max(ts_ms))
        for _ in range(len(self.seen) - self.window):
            oldest = next(iter(self.seen))
            self.floor_ms = max(self.floor_ms, self.seen.pop(oldest))


def covers(coverage: Coverage, start_ms: int, end_ms: int) -> bool:
    """Whether nothing is known to be missing in `[start_ms, end_ms)`: it begins after coverage does, without a hole."""
    spans = coverage.spans()
    if not spans or start_ms < spans[0].from_ms:
        return False
    return not any(hole.from_ms < end_ms and hole.to_ms >= start_ms for hole in coverage.holes())


def empty_coverage(ids: Ids) -> IdCoverage | RecentCoverage:
    return IdCoverage() if ids == "contiguous" else RecentCoverage()


def load_coverage(ids: Ids, rows: list[list[int]], recent: Trades | None) -> IdCoverage | RecentCoverage:
    return IdCoverage.load(rows) if ids == "contiguous" else RecentCoverage.load(rows, recent)


def _first(span: Span) -> int:
    return span.first


def _join(left: Span, right: Span) -> Span:
    return Span(left.first, right.last, left.from_ms, right.to_ms)
