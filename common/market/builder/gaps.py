"""The gap ledger: every hole in coverage as an object with a cause and a state, from the moment it is seen.

    open         seen; nothing of it has come back
    repairing    a part of it has come back
    repaired     nothing of it is missing: its trades came back, or the venue's own candles took their place
    unfillable   the venue gives out neither its trades nor its candles any more; or it is not asked, see below

The ledger follows coverage: `follow` looks at how its holes have changed. A hole that shrinks or is cut in two is still
the same gap; holes next to each other that come with one commit are one gap, which so has trades between its ids that
are there. A gap is over when no hole is left in its ids.

What lies between imported history and the rest is `not_imported`: years it may be, which are not fetched, so it is
unfillable from the beginning, until an import brings it. It was never there, so nothing is said of how it shrinks:
what is left of it takes its place, under its own ids.
"""

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from typing import Any

import orjson

from common.market.builder.coverage import Coverage
from common.market.builder.spans import Hole, IdSpan

OPEN, REPAIRING, REPAIRED, UNFILLABLE = "open", "repairing", "repaired", "unfillable"
DISCONNECT, ID_JUMP, THROTTLE, START, UNKNOWN = "disconnect", "id_jump", "throttle", "start", "unknown"
NOT_IMPORTED = "not_imported"
# Gaps that coverage has no hole of any more are forgotten, oldest first, beyond this many; it bounds the others.
MAX_ENDED = 500
# Beyond so many that are pending, a new one is put to the nearest: a ledger is read whole.
MAX_PENDING = 4_096
# So many ids that are there may lie between two holes of one gap.
MAX_BETWEEN = 1_000


@dataclass(frozen=True, slots=True)
class Gap:
    """Of ids `first..last` some were missing when it was seen, traded between `from_ms` and `to_ms`. Times in ms UTC.

    `missing` counts the ids still missing, `recovered` those whose trades came back, `replaced` those of which no trade
    came: the venue's own candles took their place, or it spent the id on something else. `lost`: an earlier release has
    forgotten the hole.
    """

    first: int
    last: int
    from_ms: int
    to_ms: int
    cause: str
    seen_ms: int
    state: str = OPEN
    missing: int = 0
    recovered: int = 0
    replaced: int = 0
    ended_ms: int | None = None
    lost: bool = False

    @property
    def id(self) -> str:
        return f"{self.first}-{self.last}"

    @property
    def over(self) -> bool:
        return self.state in (REPAIRED, UNFILLABLE)

    @property
    def pending(self) -> bool:
        """Whether coverage has a hole of it."""
        return self.state != REPAIRED and not self.lost

    def dump(self) -> bytes:
        """As it is stored."""
        return orjson.dumps(self)

    def json(self) -> dict[str, Any]:
        """The shape of docs/protocol.md."""
        return {
            "id": self.id,
            "from": self.from_ms,
            "to": self.to_ms,
            "firstId": self.first,
            "lastId": self.last,
            "cause": self.cause,
            "state": self.state,
            "missing": self.missing,
            "tradesRecovered": self.recovered,
            "tradesReplaced": self.replaced,
            "seenAt": self.seen_ms,
            "endedAt": self.ended_ms,
        }


@dataclass(slots=True)
class Ledger:
    """Gaps by id, in the order they were seen."""

    gaps: dict[str, Gap] = field(default_factory=dict)
    # Ids of gaps that others have taken the place of.
    _replaced: list[str] = field(default_factory=list)
    # (first id, gap id) of those that are pending, ascending. Their ids never overlap.
    _pending: list[tuple[int, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._pending = sorted((gap.first, gap.id) for gap in self.gaps.values() if gap.pending)

    def follow(self, coverage: Coverage, cause: str, now_ms: int, covered: Sequence[IdSpan] = ()) -> list[Gap]:
        """Bring the ledger up to coverage; return the gaps that changed.

        `cause`: of those new to it. `covered`: ids that stopped missing without a trade.
        """
        reshaped = coverage.take_reshaped()
        if not reshaped.filled and not reshaped.opened:
            return []
        filled, unseen = self._counted(reshaped.filled)
        changed: list[Gap] = []
        for gap_id, count in filled.items():
            gap = self.gaps[gap_id]
            changed += self._replace(gap, _left_of(gap, count, coverage, covered, now_ms))
        for holes in self._apart([*reshaped.opened, *self._unseen(unseen, coverage)]):
            changed.append(self._add(_new(holes, cause, now_ms)))
        return changed

    def give_up(self, coverage: Coverage, given_up: Sequence[Hole], now_ms: int) -> list[Gap]:
        """The venue has these holes no more: return the gaps that changed. The other holes of a gap are one apart."""
        by_gap: defaultdict[str, list[Hole]] = defaultdict(list)
        for hole in given_up:
            for gap in self._pending_at(*hole[:2]):
                if not gap.over:
                    by_gap[gap.id].append(hole)
        changed: list[Gap] = []
        for gap_id, lost in by_gap.items():
            gap = self.gaps[gap_id]
            parts = _parted(gap, coverage.holes_at(gap.first, gap.last), sorted(lost), now_ms)
            if parts != [gap]:
                changed += self._replace(gap, parts)
        return changed

    def gap_of(self, hole: Hole) -> Gap | None:
        """The gap the hole is of; None if that is repaired, or was never seen."""
        return next(iter(self._pending_at(*hole[:2])), None)

    @property
    def open(self) -> list[Gap]:
        """Those whose trades may still come."""
        pending = (self.gaps[gap_id] for _, gap_id in self._pending)
        return [gap for gap in pending if not gap.over]

    def given_up(self, hole: Hole) -> bool:
        """Whether the hole is of a gap that can't be filled."""
        gap = self.gap_of(hole)
        return gap is not None and gap.state == UNFILLABLE

    def dump(self) -> dict[str, bytes]:
        return {gap.id: gap.dump() for gap in self.gaps.values()}

    @classmethod
    def load(cls, dumped: Mapping[Any, bytes]) -> "Ledger":
        gaps = [Gap(**orjson.loads(text)) for text in dumped.values()]
        return cls({gap.id: gap for gap in sorted(gaps, key=lambda gap: (gap.seen_ms, gap.first))})

    def forgotten(self) -> list[str]:
        """Drop the oldest of the gaps that are not pending beyond the bound; return the ids of all that are gone."""
        gone, self._replaced = [gap_id for gap_id in dict.fromkeys(self._replaced) if gap_id not in self.gaps], []
        count = len(self.gaps) - len(self._pending) - MAX_ENDED
        if count > 0:
            dropped = [gap.id for gap in self.gaps.values() if not gap.pending][:count]
            for gap_id in dropped:
                del self.gaps[gap_id]
            gone += dropped
        return gone

    def _counted(self, filled: Iterable[tuple[int, int]]) -> tuple[Mapping[str, int], list[tuple[int, int]]]:
        """How many ids of each gap came, by its id; and those that came into no gap. The ranges ascend."""
        counts: defaultdict[str, int] = defaultdict(int)
        unseen = []
        gap_id, gap_last = "", -1
        for first, last in filled:
            # A gap may have thousands of holes: most often the next range is of the same.
            if last <= gap_last:
                counts[gap_id] += last - first + 1
                continue
            found = self._pending_at(first, last)
            for gap in found:
                counts[gap.id] += min(last, gap.last) - max(first, gap.first) + 1
                gap_id, gap_last = gap.id, gap.last
            if not found:
                unseen.append((first, last))
        return counts, unseen

    def _unseen(self, ranges: Iterable[tuple[int, int]], coverage: Coverage) -> list[Hole]:
        """Holes beside these ids that are in no gap: the ledger began later than they did."""
        found = {hole for first, last in ranges for hole in coverage.holes_at(first - 1, last + 1)}
        return sorted(hole for hole in found if not self._pending_at(*hole[:2]))

    def _apart(self, holes: Iterable[Hole]) -> Iterator[list[Hole]]:
        """Put holes together that are near each other, without another gap between them. They ascend."""
        for near in _neighbours(holes):
            between = [gap.first for gap in self._pending_at(near[0].first, near[-1].last)]
            for _, run in groupby(near, lambda hole: bisect_left(between, hole.first)):  # noqa: B023
                yield list(run)

    def _pending_at(self, first: int, last: int) -> list[Gap]:
        """Those with an id in `first..last`."""
        start = max(0, bisect_right(self._pending, (first, "~")) - 1)
        end = bisect_right(self._pending, (last, "~"))
        found = (self.gaps[gap_id] for _, gap_id in self._pending[start:end])
        return [gap for gap in found if gap.last >= first]

    def _add(self, gap: Gap) -> Gap:
        if len(self._pending) >= MAX_PENDING:
            near = max(0, bisect_left(self._pending, (gap.first, "")) - 1)
            nearest = self.gaps[self._pending[near][1]]
            # What an import left open is still not to be fetched.
            if (nearest.cause == NOT_IMPORTED) == (gap.cause == NOT_IMPORTED):
                self._drop(nearest)
                gap = _joined(nearest, gap)
        self._put(gap)
        return gap

    def _replace(self, gap: Gap, parts: Sequence[Gap]) -> Sequence[Gap]:
        """Put what it is now in its place."""
        self._drop(gap)
        for part in parts:
            self._put(part)
        return parts

    def _drop(self, gap: Gap) -> None:
        self._pending.remove((gap.first, gap.id))
        del self.gaps[gap.id]
        self._replaced.append(gap.id)

    def _put(self, gap: Gap) -> None:
        """At the end: what is over is forgotten in the order it was."""
        if gap.pending:
            self._pending.insert(bisect_left(self._pending, (gap.first, gap.id)), (gap.first, gap.id))
        self.gaps[gap.id] = gap


def _neighbours(holes: Iterable[Hole]) -> Iterator[list[Hole]]:
    """Put holes together that are near each other; they ascend."""
    group: list[Hole] = []
    for hole in holes:
        if group and hole.first - group[-1].last > MAX_BETWEEN + 1:
            yield group
            group = []
        group.append(hole)
    if group:
        yield group


def _new(holes: Sequence[Hole], cause: str, now_ms: int) -> Gap:
    first, last = holes[0], holes[-1]
    gap = Gap(first.first, last.last, first.from_ms, last.to_ms, cause, now_ms, missing=_count(holes))
    return replace(gap, state=UNFILLABLE, ended_ms=now_ms) if cause == NOT_IMPORTED else gap


def _left_of(gap: Gap, filled: int, coverage: Coverage, covered: Sequence[IdSpan], now_ms: int) -> list[Gap]:
    """What a gap is after so many of its ids have come: itself, or what has taken its place."""
    if gap.cause == NOT_IMPORTED and filled < gap.missing:
        holes = coverage.holes_at(gap.first, gap.last)
        return [_new(near, NOT_IMPORTED, gap.seen_ms) for near in _neighbours(holes)]
    # What was covered may have been there already.
    replaced = min(_shared(gap, covered), filled)
    gap = replace(
        gap,
        missing=gap.missing - filled,
        recovered=gap.recovered + filled - replaced,
        replaced=gap.replaced + replaced,
    )
    if gap.missing <= 0:
        return [replace(gap, state=REPAIRED, ended_ms=now_ms)]
    # One that was given up may still be filled, by another source.
    return [gap if gap.state == UNFILLABLE else replace(gap, state=REPAIRING)]


def _parted(gap: Gap, holes: Sequence[Hole], given_up: Sequence[Hole], now_ms: int) -> list[Gap]:
    """What a gap is when some of its holes have been given up: those are unfillable, apart from the others."""
    runs = [(is_lost, list(run)) for is_lost, run in groupby(holes, lambda hole: _touches(hole, given_up))]
    if not any(is_lost for is_lost, _ in runs):
        return [gap]
    parts = [gap] if len(runs) == 1 else [_part(gap, run, is_first=not at) for at, (_, run) in enumerate(runs)]
    pairs = zip(parts, runs, strict=True)
    return [replace(part, state=UNFILLABLE, ended_ms=now_ms) if is_lost else part for part, (is_lost, _) in pairs]


def _part(gap: Gap, holes: Sequence[Hole], *, is_first: bool) -> Gap:
    """What came of the gap is counted with the first of its parts."""
    first, last = holes[0], holes[-1]
    part = replace(gap, first=first.first, last=last.last, from_ms=first.from_ms, to_ms=last.to_ms)
    part = replace(part, missing=_count(holes))
    return part if is_first else replace(part, recovered=0, replaced=0)


def _touches(hole: Hole, others: Sequence[Hole]) -> bool:
    """Whether the hole has an id of the others, which ascend."""
    at = bisect_right(others, hole.last, key=lambda other: other.first)
    return at > 0 and others[at - 1].last >= hole.first


def _joined(gap: Gap, new: Gap) -> Gap:
    """One gap of two, beside each other: there is something to be filled in it again."""
    older, newer = sorted((gap, new), key=lambda each: each.first)
    return replace(
        gap,
        first=older.first,
        last=newer.last,
        from_ms=older.from_ms,
        to_ms=newer.to_ms,
        missing=gap.missing + new.missing,
        state=REPAIRING if gap.recovered or gap.replaced else OPEN,
        ended_ms=None,
    )


def _count(holes: Iterable[Hole]) -> int:
    return sum(hole.last - hole.first + 1 for hole in holes)


def _shared(gap: Gap, ranges: Iterable[Hole | IdSpan]) -> int:
    """How many ids of the gap are in the ranges, which do not overlap."""
    return sum(max(0, min(one.last, gap.last) - max(one.first, gap.first) + 1) for one in ranges)
