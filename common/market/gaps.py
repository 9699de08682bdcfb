"""The gap ledger: every hole in coverage as an object with a cause and a state, from the moment it is seen.

    open         seen; nothing of it has come back
    repairing    a part of it has come back
    repaired     nothing of it is missing: its trades came back, or the venue's own candles took their place
    unfillable   the venue gives out neither its trades nor its candles any more

The ledger follows coverage: `follow` compares the holes with what it knows. A hole that shrinks or is cut in two is
still the same gap; a gap is over when no hole is left in its ids.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import orjson

from common.market.coverage import Hole, Span

OPEN, REPAIRING, REPAIRED, UNFILLABLE = "open", "repairing", "repaired", "unfillable"
DISCONNECT, ID_JUMP, THROTTLE, START, UNKNOWN = "disconnect", "id_jump", "throttle", "start", "unknown"
# Gaps that are over are forgotten, oldest first, beyond this many; those that are not are bounded by coverage.
MOST_ENDED = 500


@dataclass(frozen=True, slots=True)
class Gap:
    """Ids `first..last` were missing when it was seen, traded between `from_ms` and `to_ms`. Times in ms UTC.

    `missing` counts the ids still missing, `recovered` those whose trades came back, `replaced` those of which no trade
    came: the venue's own candles took their place, or it spent the id on something else.
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

    @property
    def id(self) -> str:
        return f"{self.first}-{self.last}"

    @property
    def over(self) -> bool:
        return self.state in (REPAIRED, UNFILLABLE)

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

    def follow(self, holes: list[Hole], cause: str, now_ms: int, covered: Sequence[Span] = ()) -> list[Gap]:
        """Bring the ledger up to the holes there are; return the gaps that changed.

        `cause`: of those new to it. `covered`: ids that stopped missing without a trade.
        """
        known = list(self.gaps.values())
        changed = [gap for was in known if (gap := _seen_again(was, holes, covered, now_ms)) != was]
        live = [gap for gap in self.gaps.values() if gap.state != REPAIRED]
        for hole in holes:
            if not any(gap.first <= hole.first and hole.last <= gap.last for gap in live):
                changed.append(
                    Gap(*hole, cause=cause, seen_ms=now_ms, missing=hole.last - hole.first + 1),
                )
        self._put(changed)
        return changed

    def give_up(self, hole: Hole, now_ms: int) -> Gap | None:
        """The venue has it no more. None if no gap that goes on holds it."""
        for gap in self.gaps.values():
            if not gap.over and gap.first <= hole.first and hole.last <= gap.last:
                given_up = replace(gap, state=UNFILLABLE, ended_ms=now_ms)
                self._put([given_up])
                return given_up
        return None

    def given_up(self, hole: Hole) -> bool:
        """Whether the hole is of a gap nobody can fill."""
        return any(
            gap.state == UNFILLABLE and gap.first <= hole.first and hole.last <= gap.last for gap in self.gaps.values()
        )

    def dump(self) -> dict[str, bytes]:
        return {gap.id: gap.dump() for gap in self.gaps.values()}

    @classmethod
    def load(cls, dumped: Mapping[Any, bytes]) -> "Ledger":
        gaps = [Gap(**orjson.loads(text)) for text in dumped.values()]
        return cls({gap.id: gap for gap in sorted(gaps, key=lambda gap: (gap.seen_ms, gap.first))})

    def forgotten(self) -> list[str]:
        """Drop the oldest of the gaps that are over beyond the bound; return their ids."""
        ended = [gap.id for gap in self.gaps.values() if gap.over]
        dropped = ended[: max(0, len(ended) - MOST_ENDED)]
        for gap_id in dropped:
            del self.gaps[gap_id]
        return dropped

    def _put(self, gaps: list[Gap]) -> None:
        self.gaps.update((gap.id, gap) for gap in gaps)


def _seen_again(gap: Gap, holes: list[Hole], covered: Sequence[Span], now_ms: int) -> Gap:
    """The gap as the holes show it now. One that was given up may still be filled, by another source."""
    if gap.state == REPAIRED:
        return gap
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
