"""Health of a symbol, in the words everybody sees: derived from one view, never guessed.

The modes:

    LIVE          held, and trades come
    BACKFILLING   held, and its source is reading a backlog
    DEGRADED      held, but the holder says that something is wrong (throttled, source failing, candles not the venue's)
    STALE         held, but without a trade for STALE_AFTER_MS
    CLOSED        its source has ended: a finished replay
    IDLE          on demand, and nobody asks for it
    UNASSIGNED    nobody holds it, or its holder gives no sign of life
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from common.store.reads import View
from common.store.registry import Market

# A minute without a trade is usual for a thin market, so this says "look", not "broken".
STALE_AFTER_MS = 60_000

LIVE, BACKFILLING, DEGRADED = "LIVE", "BACKFILLING", "DEGRADED"
STALE, CLOSED, IDLE, UNASSIGNED = "STALE", "CLOSED", "IDLE", "UNASSIGNED"


@dataclass(frozen=True, slots=True)
class Tally:
    """Closed minutes found wrong since the symbol began, and the last of each kind: its open in ms, or None.

    `mismatches`: the venue has them otherwise. `faults`: they contradict themselves (common.market.validation).
    """

    mismatches: int = 0
    mismatch_ms: int | None = None
    faults: int = 0
    fault_ms: int | None = None

    @classmethod
    def load(cls, health: Mapping[str, str]) -> "Tally":
        """Out of the fields of `{S}:health`; what is not there has never been."""
        found = {name: int(health[field]) for name, field in _TALLY_FIELDS.items() if field in health}
        return cls(**found)

    def dump(self) -> dict[str, str]:
        """Nothing while nothing has been wrong."""
        values = self.json() if self.mismatches or self.faults else {}
        return {field: str(value) for field, value in values.items() if value is not None}

    def json(self) -> dict[str, int | None]:
        """The shape of docs/protocol.md."""
        return {field: getattr(self, name) for name, field in _TALLY_FIELDS.items()}


_TALLY_FIELDS = {"mismatches": "mismatches", "mismatch_ms": "mismatchT", "faults": "faults", "fault_ms": "faultT"}


def health_of(view: View, market: Market, lease_ttl_ms: int, gaps: int) -> dict[str, Any]:
    """Return the `health` object of docs/protocol.md. Ages are of the server's clock: one clock for everybody."""
    ago_ms = view.server_ms - view.state.updated_ms if view.state and view.state.updated_ms else None
    return {
        "mode": mode_of(view, market, lease_ttl_ms),
        "source": view.health.get("source", market.kind),
        "lastUpdateMsAgo": ago_ms,
        "providerThrottled": view.health.get("throttled", "") == "true",
        "gapsDetected": gaps,
    }


def mode_of(view: View, market: Market, lease_ttl_ms: int) -> str:
    claimed = view.health.get("mode", LIVE)
    if claimed == CLOSED:
        return CLOSED
    if market.on_demand and not view.owner.token:
        return IDLE
    if not view.owner.token or view.server_ms - view.owner.beat_ms > lease_ttl_ms:
        return UNASSIGNED
    quiet = view.state is None or view.server_ms - view.state.updated_ms > STALE_AFTER_MS
    return STALE if claimed == LIVE and quiet else claimed
