"""Coverage: which trades have been applied. A trade inside it is a duplicate; its holes are the gaps.

Two kinds, by what the venue's trade ids promise:

- `IdCoverage` (contiguous ids): a set of id intervals. Exact without limit of time.
- `RecentCoverage` (unique ids): the last `window` ids applied, and the time `floor_ms` up to which ids have been
  forgotten. A trade at or before the floor can't be told from a duplicate and is refused as too late.

It never says more than what was applied: a trade for whose hole there is no room is refused, and may come again.
"""

from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, islice
from typing import NamedTuple, Protocol

from common.market.builder.spans import Hole, IdSpan, Spans, holes_of
from common.market.instrument import Ids
from common.market.trade import Trades

# So many are 2 MB in the store.
MAX_HOLES = 65_536
# Where all of coverage is written with every commit: 128 kB.
MAX_HOLES_WHOLE = 4_095
# Ids remembered where they are not contiguous. The trade stream keeps at least as many (store.commit).
RECENT_IDS = 50_000

DUPLICATE, TOO_LATE, TOO_MANY_HOLES = "duplicate", "too_late", "too_many_holes"


class Reshaped(NamedTuple):
    """How holes have changed: ranges of ids that came into those that were there, ascending; and holes that are new."""

    filled: Sequence[tuple[int, int]] = ()
    opened: Sequence[Hole] = ()


class StoredCoverage(NamedTuple):
    """Coverage as it is stored by what changed: its newest span, which every trade changes, apart from the others.

    `newest`: as in a dump. `chunks`: those of the others that changed, packed, by number; b"" where one is gone.
    `reshaped`: whether more changed than the end of the newest span.
    """

    newest: list[list[int]]
    chunks: Mapping[int, bytes]
    reshaped: bool


class Coverage(Protocol):
    def refuse(self, ts_ms: int, trade_id: int) -> str | None:
        """Return why the trade can't be applied, or None and remember it as applied."""

    def extend(self, trades: Trades) -> bool:
        """Remember a whole batch if all of it is new and in order; else change nothing, return False."""

    def has(self, trade_id: int) -> bool:
        """Whether a trade of that id has been applied, as far as that is known."""

    def has_any(self, ids: Sequence[int]) -> bool:
        """Whether it has one of them."""

    def cover(self, spans: Iterable[IdSpan]) -> None:
        """Count these ids as applied though no trade of them will come. Nothing where ids are not contiguous."""

    def spans(self) -> list[IdSpan]: ...

    def oldest(self) -> IdSpan | None: ...

    def newest(self) -> IdSpan | None: ...

    def latest_ms(self) -> int:
        """The greatest time at the end of a span; -1 without one."""

    def holes(self) -> list[Hole]: ...

    def holes_at(self, first: int, last: int) -> list[Hole]:
        """Those with an id in `first..last`."""

    def covers(self, start_ms: int, end_ms: int) -> bool:
        """Whether nothing is known to be missing in `[start_ms, end_ms)`: it begins after coverage, without a hole."""

    def take_reshaped(self) -> Reshaped:
        """How holes have changed since the last call, or since it was loaded."""

    def dump(self) -> list[list[int]]:
        """All of it."""

    def take_stored(self) -> StoredCoverage:
        """What has changed since the last call, or since it was loaded from what such calls returned."""


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
        ids = trades.ids
        first, last = ids[0], ids[-1]
        # Where there is no room for one more hole, its trades one by one may find some.
        is_roomy = len(self._older) < self.max_holes or (first > 0 and self.has(first - 1))
        # The comparison with a range runs in C: a fifth of the cost of a loop.
        if not is_roomy or not self._is_free(first, last) or ids != list(range(first, first + len(ids))):
            return False
        return self._put(first, last, trades.ts_ms[0], trades.ts_ms[-1])

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
        near = chain(self._older.between(first, last), _some(self.newest()))
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
        found = Reshaped(_united(self._filled), self._opened(known))
        self._filled, self._has_news = [], False
        return found

    def dump(self) -> list[list[int]]:
        return [[self.forgotten], *map(list, self._all())]

    def take_stored(self) -> StoredCoverage:
        reshaped, self._is_reshaped = self._is_reshaped, False
        newest = [[self.forgotten], *map(list, _some(self.newest()))]
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
        return chain(self._older, _some(self.newest()))

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
    _stored_from_ms: int = field(init=False, compare=False)
    _is_gone_stored: bool = field(default=False, init=False, compare=False)
    # No hole has a later trade.
    _latest_gone_ms: int = field(init=False, compare=False)

    def __post_init__(self) -> None:
        self._stored_from_ms = self.from_ms
        self._latest_gone_ms = max((hole.to_ms for hole in self.gone), default=-1)

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

    def cover(self, spans: Iterable[IdSpan]) -> None:
        """Of ids that are not contiguous none is missing."""

    def has(self, trade_id: int) -> bool:
        return trade_id in self.seen

    def has_any(self, ids: Sequence[int]) -> bool:
        return not self.seen.keys().isdisjoint(ids)

    def spans(self) -> list[IdSpan]:
        """One span of time: nothing is known of the ids."""
        return list(_some(self.newest()))

    def oldest(self) -> IdSpan | None:
        return self.newest()

    def newest(self) -> IdSpan | None:
        return IdSpan(0, 0, self.from_ms, self.to_ms) if self.to_ms >= 0 else None

    def latest_ms(self) -> int:
        return self.to_ms

    def holes(self) -> list[Hole]:
        return list(self.gone)

    def holes_at(self, first: int, last: int) -> list[Hole]:
        return [hole for hole in self.gone if hole.first <= last and hole.last >= first]

    def covers(self, start_ms: int, end_ms: int) -> bool:
        if self.to_ms < 0 or start_ms < self.from_ms:
            return False
        is_later = start_ms > self._latest_gone_ms
        return is_later or not any(hole.from_ms < end_ms and hole.to_ms >= start_ms for hole in self.gone)

    def take_reshaped(self) -> Reshaped:
        return Reshaped()

    def dump(self) -> list[list[int]]:
        """Without `seen`: the trade stream has it, and the checkpoint is written with every commit."""
        return [*map(list, self.gone), [self.window, self.floor_ms, self.from_ms, self.to_ms]]

    def take_stored(self) -> StoredCoverage:
        """The holes are stored by chunks, as the spans of ids are."""
        chunks = {} if self._is_gone_stored else Spans.of(IdSpan(*hole) for hole in self.gone).take_changed()
        self._is_gone_stored = True
        reshaped, self._stored_from_ms = self.from_ms != self._stored_from_ms, self.from_ms
        return StoredCoverage(self.dump()[-1:], chunks, reshaped)

    @classmethod
    def load(
        cls, rows: Sequence[Sequence[int]], recent: Trades | None, chunks: Mapping[int, bytes] | None = None
    ) -> "RecentCoverage":
        """`recent`: the last trades applied, at least `window` of them if there were so many; None if that is lost."""
        *holes, (window, floor_ms, from_ms, to_ms) = rows
        gone = tuple(Hole(*row) for row in (Spans.load(chunks) if chunks else holes))
        # Of ids that are lost only what comes after all others is surely no duplicate.
        newest = Trades() if recent is None else recent[-window:]
        seen = dict(zip(newest.ids, newest.ts_ms, strict=True))
        found = cls(window, to_ms if recent is None else floor_ms, from_ms, to_ms, seen, gone)
        found._is_gone_stored = bool(chunks)
        return found

    def _remember(self, ts_ms: list[int], ids: list[int]) -> None:
        self.seen.update(zip(ids, ts_ms, strict=True))
        self.from_ms = min(ts_ms) if self.to_ms < 0 else min(self.from_ms, min(ts_ms))
        self.to_ms = max(self.to_ms, max(ts_ms))
        # All in one pass: each look for the oldest one passes the places of those that are gone.
        for oldest in list(islice(self.seen, max(0, len(self.seen) - self.window))):
            self.floor_ms = max(self.floor_ms, self.seen.pop(oldest))


def empty_coverage(ids: Ids) -> IdCoverage | RecentCoverage:
    return IdCoverage() if ids == "contiguous" else RecentCoverage()


def load_coverage(
    ids: Ids, rows: list[list[int]], recent: Trades | None, chunks: Mapping[int, bytes] | None = None
) -> IdCoverage | RecentCoverage:
    """`chunks`: where coverage is stored by chunks, and `rows` are its newest span alone."""
    return IdCoverage.load(rows, chunks) if ids == "contiguous" else RecentCoverage.load(rows, recent, chunks)


def max_holes(*, is_chunked: bool) -> int:
    """How many holes there may be in coverage that is stored by chunks, or whole."""
    return MAX_HOLES if is_chunked else MAX_HOLES_WHOLE


def _some(span: IdSpan | None) -> tuple[IdSpan, ...]:
    return () if span is None else (span,)


def _united(ranges: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Put ranges in order, those that touch as one. None overlap."""
    found: list[tuple[int, int]] = []
    for first, last in sorted(ranges):
        if found and found[-1][1] + 1 == first:
            found[-1] = (found[-1][0], last)
        else:
            found.append((first, last))
    return found
