"""The gap ledger: every hole in coverage as an object with a cause and a state, from the moment it is seen.

    open         seen; nobody works on it
    repairing    trades of it have come back, some are missing
    repaired     all of it came back
    unfillable   the venue has it no more; what could be had of its candles is there, its trades are lost

The ledger follows coverage: `follow` compares the holes with what it knows. A hole that shrinks or is cut in two is
still the same gap; a gap is over when no hole is left in its ids.
"""

from dataclasses import dataclass, field, replace
from typing import Any

import orjson

from common.market.coverage import Hole

OPEN, REPAIRING, REPAIRED, UNFILLABLE = "open", "repairing", "repaired", "unfillable"
DISCONNECT, ID_JUMP, THROTTLE, START, UNKNOWN = "disconnect", "id_jump", "throttle", "start", "unknown"
# Gaps that are over are forgotten, oldest first, beyond this many; those that are not are bounded by coverage.
MOST_ENDED = 500


@dataclass(frozen=True, slots=True)
class Gap:
    """Ids `first..last` were missing when it was seen, traded between `from_ms` and `to_ms`. Times in ms UTC.

    `missing` counts the ids still missing, `recovered` those that came back.
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
    ended_ms: int | None = None

    @property
    def id(self) -> str:
        return f"{self.first}-{self.last}"

    @property
    def over(self) -> bool:
        return self.state in (REPAIRED, UNFILLABLE)

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
            "seenAt": self.seen_ms,
            "endedAt": self.ended_ms,
        }


@dataclass(slots=True)
class Ledger:
    """Gaps by id, in the order they were seen."""

    gaps: dict[str, Gap] = field(default_factory=dict)

    def follow(self, holes: list[Hole], cause: str, now_ms: int) -> list[Gap]:
        """Bring the ledger up to the holes there are; return the gaps that changed. `cause`: of those new to it."""
        changed = [gap for known in list(self.gaps.values()) if (gap := _seen_again(known, holes, now_ms)) != known]
        live = [gap for gap in self.gaps.values() if gap.state != REPAIRED]
        for hole in holes:
            if not any(gap.first <= hole.first and hole.last <= gap.last for gap in live):
                changed.append(
                    Gap(*hole, cause=cause, seen_ms=now_ms, missing=hole.last - hole.first + 1),
                )
        self._put(changed)
        return changed

    def give_up(self, gap_id: str, now_ms: int) -> Gap:
        """The venue has it no more."""
        gap = replace(self.gaps[gap_id], state=UNFILLABLE, ended_ms=now_ms)
        self._put([gap])
        return gap

    def dump(self) -> dict[str, bytes]:
        return {gap.id: orjson.dumps(gap) for gap in self.gaps.values()}

    @classmethod
    def load(cls, dumped: dict[str, bytes]) -> "Ledger":
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


def _seen_again(gap: Gap, holes: list[Hole], now_ms: int) -> Gap:
    """The gap as the holes show it now. One that was given up may still be filled, by another source."""
    if gap.state == REPAIRED:
        return gap
    inside = [(max(hole.first, gap.first), min(hole.last, gap.last)) for hole in holes]
    missing = sum(last - first + 1 for first, last in inside if first <= last)
    recovered = gap.last - gap.first + 1 - missing
    if missing == 0:
        return replace(gap, state=REPAIRED, missing=0, recovered=recovered, ended_ms=now_ms)
    if recovered == gap.recovered and gap.missing == missing:
        return gap
    state = gap.state if gap.state == UNFILLABLE else REPAIRING
    return replace(gap, state=state, missing=missing, recovered=recovered)
