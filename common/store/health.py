"""Health of a symbol, in the words everybody sees: derived from one view, never guessed.

The modes:

    LIVE          held, and trades come
    BACKFILLING   held, and its source is reading a backlog
    DEGRADED      held, but the holder says that something is wrong (throttled, source failing)
    STALE         held, but without a trade for STALE_AFTER_MS
    CLOSED        its source has ended: a finished replay
    UNASSIGNED    nobody holds it, or its holder gives no sign of life
"""

from typing import Any

from common.store.reads import View

# A minute without a trade is usual for a thin market, so this says "look", not "broken".
STALE_AFTER_MS = 60_000

LIVE, BACKFILLING, DEGRADED = "LIVE", "BACKFILLING", "DEGRADED"
STALE, CLOSED, UNASSIGNED = "STALE", "CLOSED", "UNASSIGNED"


def health_of(view: View, source: str, lease_ttl_ms: int, gaps: int) -> dict[str, Any]:
    """Return the `health` object of docs/protocol.md. Ages are of the server's clock: one clock for everybody."""
    ago_ms = view.server_ms - view.state.updated_ms if view.state and view.state.updated_ms else None
    return {
        "mode": mode_of(view, lease_ttl_ms),
        "source": view.health.get("source", source),
        "lastUpdateMsAgo": ago_ms,
        "providerThrottled": view.health.get("throttled", "") == "true",
        "gapsDetected": gaps,
    }


def mode_of(view: View, lease_ttl_ms: int) -> str:
    claimed = view.health.get("mode", LIVE)
    if claimed == CLOSED:
        return CLOSED
    if not view.owner.token or view.server_ms - view.owner.beat_ms > lease_ttl_ms:
        return UNASSIGNED
    quiet = view.state is None or view.server_ms - view.state.updated_ms > STALE_AFTER_MS
    return STALE if claimed == LIVE and quiet else claimed
