"""The gap ledger: every hole in coverage as an object with a cause and a state, from the moment it is seen.

    open         seen; nothing of it has come back
    repairing    a part of it has come back
    repaired     nothing of it is missing: its trades came back, or the venue's own candles took their place
    unfillable   the venue gives out neither its trades nor its candles any more; or it is not asked, see below

The ledger follows coverage: `follow` looks at the holes where coverage has changed. A hole that shrinks or is cut in
two is still the same gap; a gap is over when no hole is left in its ids.

What lies between imported history and the rest is `not_imported`: years it may be, which nobody fetches, so it is
unfillable from the beginning, until an import brings it. It was never there, so nothing is said of how it shrinks:
what is left of it takes its place, under its own ids.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import orjson

from common.market.coverage import Coverage, Hole, Span

OPEN, REPAIRING, REPAIRED, UNFILLABLE = "open", "repairing", "repaired", "unfillable"
DISCONNECT, ID_JUMP, THROTTLE, START, UNKNOWN = "disconnect", "id_jump", "throttle", "start", "unknown"
NOT_IMPORTED = "not_imported"
# Gaps that coverage has no hole of any more are forgotten, oldest first, beyond this many; it bounds the others.
MOST_ENDED = 500


@dataclass(frozen=True, slots=True)
class Gap:
    """Ids `first..last` were missing when it was seen, traded between `from_ms` and `to_ms`. Times in ms UTC.

    `missing` counts the ids still missing, `recovered` those whose trades came back, `replaced` those of which no trade
    came: the venue's own candles took their place, or it spent the id on something else. `lost`: coverage has forgotten
    the hole.
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

    def follow(self, coverage: Coverage, cause: str, now_ms: int, covered: Sequence[Span] = ()) -> list[Gap]:
        """Bring the ledger up to coverage; return the gaps that changed.

        `cause`: of those new to it. `covered`: ids that stopped missing without a trade.
        """
        changed: dict[str, Gap] = {}
        for first, last in coverage.take_reshaped():
            for gap in self._pending_at(first - 1, last + 1):
                left = _left_of(gap, coverage.holes_at(gap.first, gap.last), covered, now_ms)
                if left == [gap]:
                    continue
                self._drop(gap)
                changed.pop(gap.id, None)
                for seen in left:
                    self._put(seen)
                    changed[seen.id] = seen
            for hole in coverage.holes_at(first - 1, last + 1):
                if not self._pending_at(*hole[:2]):
                    new = _new(hole, cause, now_ms)
                    self._put(new)
                    changed[new.id] = new
        for hole in coverage.take_forgotten():
            for gap in self._pending_at(*hole[:2]):
                lost = replace(gap, state=UNFILLABLE, ended_ms=gap.ended_ms or now_ms, lost=True)
                self._put(lost)
                changed[lost.id] = lost
        return list(changed.values())

    def give_up(self, hole: Hole, now_ms: int) -> Gap | None:
        """The venue has it no more. None if no gap that goes on holds it."""
        for gap in self._pending_at(*hole[:2]):
            if not gap.over:
                given_up = replace(gap, state=UNFILLABLE, ended_ms=now_ms)
                self._put(given_up)
                return given_up
        return None

    def gap_of(self, hole: Hole) -> Gap | None:
        """The gap the hole is of; None if that is repaired, or was never seen."""
        return next(iter(self._pending_at(*hole[:2])), None)

    def given_up(self, hole: Hole) -> bool:
        """Whether the hole is of a gap nobody can fill."""
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
        gone, self._replaced = [gap_id for gap_id in self._replaced if gap_id not in self.gaps], []
        count = len(self.gaps) - len(self._pending) - MOST_ENDED
        if count > 0:
            dropped = [gap.id for gap in self.gaps.values() if not gap.pending][:count]
            for gap_id in dropped:
                del self.gaps[gap_id]
            gone += dropped
        return gone

    def _pending_at(self, first: int, last: int) -> list[Gap]:
        """Those with an id in `first..last`."""
        start = max(0, bisect_right(self._pending, (first, "~")) - 1)
        end = bisect_right(self._pending, (last, "~"))
        found = (self.gaps[gap_id] for _, gap_id in self._pending[start:end])
        return [gap for gap in found if gap.last >= first]

    def _drop(self, gap: Gap) -> None:
        self._pending.remove((gap.first, gap.id))
        del self.gaps[gap.id]
        self._replaced.append(gap.id)

    def _put(self, gap: Gap) -> None:
        place, entry = bisect_left(self._pending, (gap.first, gap.id)), (gap.first, gap.id)
        is_there = self._pending[place : place + 1] == [entry]
        if is_there and not gap.pending:
            del self._pending[place]
        elif not is_there and gap.pending:
            self._pending.insert(place, entry)
        # To the end: what is over is forgotten in the order it was.
        self.gaps.pop(gap.id, None)
        self.gaps[gap.id] = gap


def _new(hole: Hole, cause: str, now_ms: int) -> Gap:
    gap = Gap(*hole, cause=cause, seen_ms=now_ms, missing=hole.last - hole.first + 1)
    return replace(gap, state=UNFILLABLE, ended_ms=now_ms) if cause == NOT_IMPORTED else gap


def _left_of(gap: Gap, holes: Sequence[Hole], covered: Sequence[Span], now_ms: int) -> list[Gap]:
    """What the gap is now: itself, or what has taken its place."""
    if gap.cause != NOT_IMPORTED or not holes:
        return [_seen_again(gap, holes, covered, now_ms)]
    same = _shared(gap, holes) == gap.missing
    return [gap] if same else [_new(hole, NOT_IMPORTED, gap.seen_ms) for hole in holes]


def _seen_again(gap: Gap, holes: Sequence[Hole], covered: Sequence[Span], now_ms: int) -> Gap:
    """The gap as the holes show it now. One that was given up may still be filled, by another source."""
    missing = _shared(gap, holes)
    if missing == gap.missing:
        return gap
    # What was covered may have been there already.
    replaced = gap.replaced + min(_shared(gap, covered), gap.missing - missing)
    recovered = gap.last - gap.first + 1 - missing - replaced
    gap = replace(gap, missing=missing, recovered=recovered, replaced=replaced)
    if missing == 0:
        return replace(gap, state=REPAIRED, ended_ms=now_ms)
    return gap if gap.state == UNFILLABLE else replace(gap, state=REPAIRING)


def _shared(gap: Gap, ranges: Iterable[Hole | Span]) -> int:
    """How many ids of the gap are in the ranges, which do not overlap."""
    return sum(max(0, min(one.last, gap.last) - max(one.first, gap.first) + 1) for one in ranges)
