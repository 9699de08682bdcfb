"""Health of a symbol, in the words everybody sees: derived from one view, never guessed.

The modes:

    LIVE          held, and trades come
    BACKFILLING   held, and its source is reading a backlog
    DEGRADED      held, but the holder says that something is wrong (throttled, source failing, candles not the venue's)
                  or, held or not, something is wrong with the store itself (common.store.server)
    STALE         held, but without a trade for STALE_AFTER_MS; with the reason QUIET that is no fault: no client pushes
                  to its inbox. Never while its market is closed: silence is no news then
    FAILED        its last holder gave up in an error, and no other has brought anything since
    CLOSED        its source has ended: a replay or import, finished or stopped
    IDLE          on demand, and no client asks for it
    UNASSIGNED    it has no holder, or that gives no sign of life

DEGRADED and FAILED come with a reason, one word, as STALE may: the constants below the modes. Whether the market is
closed is told beside the mode.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from common.errors import BadInput, FleetError, Stale, StoreUnavailable
from common.market.instrument import Instrument
from common.store.instrument import InstrumentMismatch
from common.store.reads import View
from common.store.registry import Market

# A minute without a trade is usual for a thin market, so this says "look", not "broken".
STALE_AFTER_MS = 60_000
# A failed symbol is tried again within 30 s (workers/symbol/claims.py); without a sign of life for longer, never.
FAILED_FOR_MS = 60_000

LIVE, BACKFILLING, DEGRADED = "LIVE", "BACKFILLING", "DEGRADED"
STALE, FAILED, CLOSED, IDLE, UNASSIGNED = "STALE", "FAILED", "CLOSED", "IDLE", "UNASSIGNED"

# Why it is DEGRADED: the venue throttles, its connection is lost, its candles are others than ours; the worker does
# not believe its wall clock (common/clock.py).
THROTTLED, DISCONNECTED, MISMATCH, CLOCK = "throttled", "disconnected", "mismatch", "clock"
# The venue prices finer than the symbol does; its data is of another instrument than the registry's entry (FAILED).
TICK, INSTRUMENT = "tick", "instrument"
# Why it is STALE without a fault.
QUIET = "quiet"
# Why it FAILED: the store did not answer, or is not where it was left; the deployment or its input is wrong; a bug.
# STORE is also why all are DEGRADED: it keeps nothing for good, or takes no writes (common.store.server).
STORE, REWOUND, CONFIG, ERROR = "store", "rewound", "config", "error"

# The field that says how many minutes were amended since the symbol began.
AMENDED = "amended"
# The source of an answer that nobody adds to: of a symbol without a holder, or out of the archive.
CACHE = "cache"

# For people: of a mode, of a mode for a reason, and of what is told beside it.
RATE_LIMITED = "Rate-limited — showing last known data"
MARKET_CLOSED = "The market is closed — showing its last session"
_MESSAGES = {
    (LIVE, None): "Live",
    (BACKFILLING, None): "Fetching what is missing",
    (DEGRADED, None): "Something is wrong with its source — showing last known data",
    (DEGRADED, THROTTLED): RATE_LIMITED,
    (DEGRADED, DISCONNECTED): "The connection to the venue is lost — showing last known data",
    (DEGRADED, MISMATCH): "The newest minute that was compared is not as the venue has it",
    (DEGRADED, CLOCK): "The worker's clock can't be believed — minutes are closed by trades alone",
    (DEGRADED, TICK): "The venue prices finer than this symbol does — showing last known data",
    (DEGRADED, STORE): "Something is wrong with the store — GET /v1/health says what",
    (STALE, None): "No trade for a minute or more",
    (STALE, QUIET): "No client pushes trades",
    (FAILED, None): "Its worker gave up and tries again — showing last known data",
    (FAILED, INSTRUMENT): "Its data is of another instrument than its entry says",
    (CLOSED, None): "Its source has ended — showing all that it had",
    (IDLE, None): "Nobody has asked for it — showing last known data",
    (UNASSIGNED, None): "No worker has it — showing last known data",
}


def failure_of(error: BaseException) -> dict[str, str]:
    """What is told of a symbol whose holder gave up with this."""
    reasons: dict[type[BaseException], str] = {
        StoreUnavailable: STORE,
        Stale: REWOUND,
        InstrumentMismatch: INSTRUMENT,
        FleetError: CONFIG,
        BaseException: ERROR,
    }
    reason = next(word for kind, word in reasons.items() if isinstance(error, kind))
    return {"mode": FAILED, "reason": reason}


@dataclass(frozen=True, slots=True)
class Tally:
    """Closed minutes found wrong since the symbol began, and the last of each kind: its open in ms, or None.

    `mismatches`: the venue has them otherwise. `faults`: they contradict themselves (common.market.builder.validation).
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


@dataclass(frozen=True, slots=True)
class HealthRules:
    """What the health of all symbols is judged by. `is_store_troubled`: something is wrong with the store now."""

    lease_ttl_ms: int
    is_store_troubled: Callable[[], bool] = lambda: False


class HealthStanding(NamedTuple):
    mode: str
    # Why it is what it is, in one word; None where the mode says all.
    reason: str | None

    @property
    def is_sound(self) -> bool:
        """Whether all is as it is to be."""
        return self.mode in (LIVE, BACKFILLING, CLOSED, IDLE) or self.reason == QUIET


class HealthSigns(NamedTuple):
    """What listeners are told of as soon as it changes."""

    standing: HealthStanding
    is_market_closed: bool
    is_throttled: bool
    # Until when the venue is not asked, and how much of what was missing has been fetched; None where not known.
    throttled_until_ms: int | None
    backfill_percent: int | None

    @classmethod
    def of(cls, view: View, market: Market, rules: HealthRules) -> "HealthSigns":
        told, standing = view.health, standing_of(view, market, rules)
        is_throttled = told.get("throttled") == "true"
        return cls(
            standing,
            not is_open(market.instrument, view.server_ms),
            is_throttled,
            _told_ms(told, "throttled_until_ms") if is_throttled else None,
            _told_ms(told, "backfill_percent") if standing.mode == BACKFILLING else None,
        )

    @property
    def message(self) -> str:
        """For people: one sentence."""
        mode, reason = self.standing
        if mode == DEGRADED and self.is_throttled:
            return RATE_LIMITED
        if mode == LIVE and self.is_market_closed:
            return MARKET_CLOSED
        done = "" if self.backfill_percent is None else f" ({self.backfill_percent} %)"
        return (_MESSAGES.get((mode, reason)) or _MESSAGES[mode, None]) + done


def health_of(
    view: View, market: Market, rules: HealthRules, gaps: int, *, from_archive: bool = False
) -> dict[str, Any]:
    """Return the `health` object of docs/protocol.md. Ages are of the server's clock: one clock for everybody.

    `from_archive`: all that it goes with was read there.
    """
    ago_ms = view.server_ms - view.state.updated_ms if view.state and view.state.updated_ms else None
    signs = HealthSigns.of(view, market, rules)
    is_cached = from_archive or not is_held(view, rules.lease_ttl_ms)
    return {
        **signs.standing._asdict(),
        "message": signs.message,
        "since": _since_ms(view, signs.standing, rules),
        **({"detail": market.mismatch} if market.mismatch else {}),
        "source": CACHE if is_cached else view.health.get("source", market.kind),
        "lastUpdateMsAgo": ago_ms,
        "marketClosed": signs.is_market_closed,
        "providerThrottled": signs.is_throttled,
        "throttledUntil": signs.throttled_until_ms,
        "backfillPercent": signs.backfill_percent,
        "gapsDetected": gaps,
    }


def _told_ms(told: Mapping[str, str], field: str) -> int | None:
    return int(told[field]) if told.get(field) else None


def is_held(view: View, lease_ttl_ms: int) -> bool:
    """Whether it has a holder that gives signs of life."""
    return bool(view.owner.token) and view.server_ms - view.owner.beat_ms <= lease_ttl_ms


def _since_ms(view: View, standing: HealthStanding, rules: HealthRules) -> int | None:
    """Since when it stands so, as far as that is known."""
    mode = standing.mode
    if mode == STALE and view.state and view.state.updated_ms:
        return view.state.updated_ms + STALE_AFTER_MS
    if mode in (UNASSIGNED, IDLE):
        return view.owner.beat_ms or None
    is_told = mode == view.health.get("mode", LIVE) and (standing.reason or "") == view.health.get("reason", "")
    return _told_ms(view.health, "since_ms") if is_told else None


def standing_of(view: View, market: Market, rules: HealthRules) -> HealthStanding:
    """What is told of the symbol: its own mode, unless a trouble of the store concerns all that are to be live."""
    mode = mode_of(view, market, rules.lease_ttl_ms)
    if market.mismatch:
        return HealthStanding(mode, INSTRUMENT)
    if rules.is_store_troubled() and mode not in (CLOSED, IDLE):
        return HealthStanding(DEGRADED, STORE)
    if mode == STALE:
        return _stale(view, market)
    return HealthStanding(mode, view.health.get("reason") or None if mode in (DEGRADED, FAILED) else None)


def _stale(view: View, market: Market) -> HealthStanding:
    """Quiet as it is to be, or not. A market that has just opened is given the time it takes to be found quiet."""
    if not all(is_open(market.instrument, ts_ms) for ts_ms in (view.server_ms - STALE_AFTER_MS, view.server_ms)):
        return HealthStanding(LIVE, None)
    return HealthStanding(STALE, QUIET if market.kind == "inbox" else None)


def is_open(instrument: Instrument, ts_ms: int) -> bool:
    """Whether the market has a session then, of the hours that the symbol keeps."""
    try:
        sessions = instrument.sessions
    except BadInput:
        # Of a calendar that this release does not know: then nothing excuses silence.
        return True
    if sessions is None:
        return True
    at = sessions.at(ts_ms)
    return sessions.opens[at] <= ts_ms < sessions.closes[at]


def mode_of(view: View, market: Market, lease_ttl_ms: int) -> str:
    """The symbol's own mode."""
    claimed = view.health.get("mode", LIVE)
    if market.mismatch:
        return FAILED
    if claimed == CLOSED:
        return CLOSED
    silent_ms = view.server_ms - view.owner.beat_ms
    if claimed == FAILED and silent_ms <= FAILED_FOR_MS:
        return FAILED
    if market.on_demand and not view.owner.token:
        return IDLE
    if market.kind and not market.is_fed and not view.owner.token:
        # Of a replay that was stopped: no worker of the fleet is to have it.
        return CLOSED
    if not view.owner.token or silent_ms > lease_ttl_ms:
        return UNASSIGNED
    quiet = view.state is None or view.server_ms - view.state.updated_ms > STALE_AFTER_MS
    return STALE if claimed == LIVE and quiet else claimed
