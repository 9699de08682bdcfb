"""Coverage where trade ids count on by one: every hole is known."""

from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain

from common.market.builder.coverage import (
    DUPLICATE,
    MAX_HOLES,
    TOO_MANY_HOLES,
    Reshaped,
    StoredCoverage,
    some,
)
from common.market.builder.spans import Hole, IdSpan, Spans, holes_of
from common.market.trade import Trades


class IdCoverage:
    """`max_holes`: a trade that would open one more is refused. `forgotten`: holes that an earlier release gave up."""

    __slots__ = (
        "_filled",
        "_first",
        "_from_ms",
        "_has_news",
        "_is_reshaped",
        "_known",
        "_last",
        "_latest_hole_ms",
        "_older",
        "_to_ms",
        "forgotten",
        "max_holes",
    )

    def __init__(self, older: Spans | None = None, newest: IdSpan | None = None, forgotten: int = 0) -> None:
        # All spans but the newest.
        self._older = older or Spans()
        # The newest. Without one no id is beside it.
        self._first, self._last, self._from_ms, self._to_ms = newest or (-2, -3, -1, -1)
        self.forgotten = forgotten
        self.max_holes = MAX_HOLES
        # No hole has a later trade.
        self._latest_hole_ms = max((hole.to_ms for hole in self.holes()), default=-1)
        # Since it was last told how holes have changed: ids that came into those that were there, and whether any has.
        self._filled: list[tuple[int, int]] = []
        self._has_news = False
        # The first and the last id at that time; None without one.
        self._known = self._ends()
        self._is_reshaped = False

    def __eq__(self, other: object) -> bool:
        return isinstance(other, IdCoverage) and self.dump() == other.dump()

    def __repr__(self) -> str:
        return f"IdCoverage({self.dump()})"

    def refuse(self, ts_ms: int, trade_id: int) -> str | None:
        if self.has(trade_id):
            return DUPLICATE
        return None if self._put(trade_id, trade_id, ts_ms, ts_ms) else TOO_MANY_HOLES

    def extend(self, trades: Trades) -> bool:
        first, last = trades.row(0), trades.row(-1)
        # Where there is no room for one more hole, its trades one by one may find some.
        is_roomy = len(self._older) < self.max_holes or (first.id > 0 and self.has(first.id - 1))
        if not is_roomy or not self._is_free(first.id, last.id) or not trades.counts_on():
            return False
        return self._put(first.id, last.id, first.ts_ms, last.ts_ms)

    def has(self, trade_id: int) -> bool:
        return trade_id <= self._last and (self._first <= trade_id or self._older.last_of(trade_id) >= trade_id)

    def has_any(self, ids: Sequence[int]) -> bool:
        # Newer ones are the rule, and are told at once.
        return min(ids, default=self._last + 1) <= self._last and any(map(self.has, ids))

    def cover(self, spans: Iterable[IdSpan]) -> None:
        """But for those for which there is no room."""
        self.admit(spans)

    def admit(self, spans: Iterable[IdSpan]) -> list[IdSpan]:
        """The same; return those for which there is no room."""
        return [left for span in spans for left in self._admit(span)]

    def spans(self) -> list[IdSpan]:
        return list(self._all())

    def oldest(self) -> IdSpan | None:
        return self._older.oldest() or self.newest()

    def newest(self) -> IdSpan | None:
        return IdSpan(self._first, self._last, self._from_ms, self._to_ms) if self._last >= 0 else None

    def latest_ms(self) -> int:
        return max(self._older.latest_ms(), self._to_ms)

    def columns(self) -> "tuple[array[int], array[int]]":
        """The first ids of all spans, and the last ones."""
        firsts, lasts = self._older.columns()
        if self._last >= 0:
            firsts.append(self._first)
            lasts.append(self._last)
        return firsts, lasts

    def holes(self) -> list[Hole]:
        return list(holes_of(self._all()))

    def holes_at(self, first: int, last: int) -> list[Hole]:
        near = chain(self._older.between(first, last), some(self.newest()))
        return [hole for hole in holes_of(near) if hole.first <= last and first <= hole.last]

    def covers(self, start_ms: int, end_ms: int) -> bool:
        oldest, last_older = self.oldest(), self._older.newest()
        if oldest is None or start_ms < oldest.from_ms:
            return False
        if start_ms > self._latest_hole_ms or last_older is None:
            return True
        is_newest_hole = last_older.to_ms < end_ms and self._from_ms >= start_ms
        return not is_newest_hole and not self._older.holds_hole(start_ms, end_ms)

    def take_reshaped(self) -> Reshaped:
        known, self._known = self._known, self._ends()
        if not self._has_news:
            return Reshaped()
        found = Reshaped(united(self._filled), self._opened(known))
        self._filled, self._has_news = [], False
        return found

    def dump(self) -> list[list[int]]:
        return [[self.forgotten], *map(list, self._all())]

    def take_stored(self) -> StoredCoverage:
        reshaped, self._is_reshaped = self._is_reshaped, False
        newest = [[self.forgotten], *map(list, some(self.newest()))]
        return StoredCoverage(newest, self._older.take_changed(), reshaped)

    @classmethod
    def of(cls, spans: Sequence[IdSpan], forgotten: int = 0) -> "IdCoverage":
        """Of spans that ascend."""
        return cls(Spans.of(spans[:-1]), spans[-1] if spans else None, forgotten)

    @classmethod
    def load(cls, rows: Sequence[Sequence[int]], chunks: Mapping[int, bytes] | None = None) -> "IdCoverage":
        """Of a dump; or of what is stored of it, `newest` and all the chunks."""
        spans, forgotten = [IdSpan(*row) for row in rows[1:]], rows[0][0]
        if not chunks:
            return cls.of(spans, forgotten)
        (newest,) = spans
        return cls(Spans.load(chunks), newest, forgotten)

    def _all(self) -> Iterator[IdSpan]:
        return chain(self._older, some(self.newest()))

    def _ends(self) -> tuple[int, int] | None:
        oldest = self.oldest()
        return (oldest.first, self._last) if oldest else None

    def _opened(self, known: tuple[int, int] | None) -> list[Hole]:
        """The holes outside of the ids known."""
        ends = self._ends()
        if known is None or ends is None:
            return self.holes()
        below = self.holes_at(ends[0], known[0] - 1) if ends[0] < known[0] else []
        return [*below, *self.holes_at(known[1] + 1, ends[1])] if known[1] < ends[1] else below

    def _following(self, trade_id: int) -> int | None:
        """The first id of the span after an id that is not covered."""
        if trade_id > self._last:
            return None
        found = self._older.first_after(trade_id)
        return self._first if found is None else found

    def _is_free(self, first: int, last: int) -> bool:
        if first > self._last:
            return True
        following = self._following(first)
        return not self.has(first) and (following is None or last < following)

    def _admit(self, span: IdSpan) -> Iterator[IdSpan]:
        first = span.first
        while first <= span.last:
            covered_to = self._last if self._first <= first <= self._last else self._older.last_of(first)
            if covered_to >= first:
                first = covered_to + 1
                continue
            following = self._following(first)
            last = span.last if following is None else min(span.last, following - 1)
            if not self._put(first, last, span.from_ms, span.to_ms):
                yield IdSpan(first, last, span.from_ms, span.to_ms)
            first = last + 1

    def _put(self, first: int, last: int, from_ms: int, to_ms: int) -> bool:
        """Cover ids of which none is covered yet. False if that would be one hole too many."""
        if first == self._last + 1:
            self._last, self._to_ms = last, to_ms
            return True
        if first > self._last:
            if self._last >= 0:
                if len(self._older) >= self.max_holes:
                    return False
                self._older.append(self._first, self._last, self._from_ms, self._to_ms)
            self._first, self._last, self._from_ms, self._to_ms = first, last, from_ms, to_ms
        elif last + 1 == self._first:
            self._lengthen(first, from_ms)
        elif not self._older.put(first, last, from_ms, to_ms, self.max_holes):
            return False
        elif self._known and self._known[0] <= first <= self._known[1]:
            self._filled.append((first, last))
        if from_ms > self._latest_hole_ms:
            self._latest_hole_ms = from_ms
        self._has_news = self._is_reshaped = True
        return True

    def _lengthen(self, first: int, from_ms: int) -> None:
        """Let the newest span begin earlier."""
        if self._known and self._known[0] <= first <= self._known[1]:
            self._filled.append((first, self._first - 1))
        before = self._older.newest()
        if before and before.last + 1 == first:
            self._older.pop()
            first, from_ms = before.first, before.from_ms
        self._first, self._from_ms = first, from_ms


def united(ranges: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Put ranges in order, those that touch as one. None overlap."""
    found: list[tuple[int, int]] = []
    for first, last in sorted(ranges):
        if found and found[-1][1] + 1 == first:
            found[-1] = (found[-1][0], last)
        else:
            found.append((first, last))
    return found
