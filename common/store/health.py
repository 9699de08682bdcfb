"""Health of a symbol, in the words everybody sees: derived from one view, never guessed.

The modes:

    LIVE          held, and trades come
    BACKFILLING   held, and its source is reading a backlog
    DEGRADED      held, but the holder says that something is wrong (throttled, source failing, candles not the venue's)
                  or, held or not, something is wrong with the store itself (common.store.server)
    STALE         held, but without a trade for STALE_AFTER_MS; with the reason QUIET that is no fault: no client pushes
                  to its inbox
    FAILED        its last holder gave up in an error, and no other has brought anything since
    CLOSED        its source has ended: a replay or import, finished or stopped; with the reason SESSION: it is held and
                  quiet, for its market has no session now
    IDLE          on demand, and no client asks for it
    UNASSIGNED    it has no holder, or that gives no sign of life

DEGRADED and FAILED come with a reason, one word, as those two may: the constants below the modes.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from redis.asyncio import Redis

from common.errors import BadInput, FleetError, Stale, StoreUnavailable
from common.market.instrument import Instrument
from common.market.manifest import Fault
from common.market.timeframes.timeframe import DAY_MS, day_of
from common.series import MINUTE_SERIES
from common.store.archived import Spans, lost_spans
from common.store.client import translated
from common.store.instrument import InstrumentMismatch
from common.store.keys import SymbolKeys
from common.store.manifest import faults_of
from common.store.reads import View
from common.store.registry import Market
from common.store.rescale import LIST
from common.store.trade_archive import ask_waiting, waiting_of

# A minute without a trade is usual for a thin market, so this says "look", not "broken".
STALE_AFTER_MS = 60_000
# A failed symbol is tried again within 30 s (workers/symbol/claims.py); without a sign of life for longer, never.
FAILED_FOR_MS = 60_000
# Objects of the archive that health names; all are counted.
FAULTS_TOLD = 20

LIVE, BACKFILLING, DEGRADED = "LIVE", "BACKFILLING", "DEGRADED"
STALE, FAILED, CLOSED, IDLE, UNASSIGNED = "STALE", "FAILED", "CLOSED", "IDLE", "UNASSIGNED"

# Why it is DEGRADED: the venue throttles, its connection is lost, its candles are others than ours; the worker does
# not believe its wall clock (common/clock.py).
THROTTLED, DISCONNECTED, MISMATCH, CLOCK = "throttled", "disconnected", "mismatch", "clock"
# The venue prices finer than the symbol does; its data is of another instrument than the registry's entry (FAILED).
TICK, INSTRUMENT = "tick", "instrument"
# Why it is CLOSED though its source has not ended, and why it is STALE without a fault.
SESSION, QUIET = "session", "quiet"
# Why it FAILED: the store did not answer, or is not where it was left; the deployment or its input is wrong; a bug.
# STORE is also why all are DEGRADED: it keeps nothing for good, or takes no writes (common.store.server).
STORE, REWOUND, CONFIG, ERROR = "store", "rewound", "config", "error"


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


def health_of(view: View, market: Market, rules: HealthRules, gaps: int) -> dict[str, Any]:
    """Return the `health` object of docs/protocol.md. Ages are of the server's clock: one clock for everybody."""
    ago_ms = view.server_ms - view.state.updated_ms if view.state and view.state.updated_ms else None
    return {
        **standing_of(view, market, rules)._asdict(),
        **({"detail": market.mismatch} if market.mismatch else {}),
        "source": view.health.get("source", market.kind),
        "lastUpdateMsAgo": ago_ms,
        "providerThrottled": view.health.get("throttled", "") == "true",
        "gapsDetected": gaps,
    }


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
    """Quiet as it is to be, or not."""
    if not all(_is_open(market.instrument, ts_ms) for ts_ms in (view.server_ms - STALE_AFTER_MS, view.server_ms)):
        return HealthStanding(CLOSED, SESSION)
    return HealthStanding(STALE, QUIET if market.kind == "inbox" else None)


def _is_open(instrument: Instrument, ts_ms: int) -> bool:
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


@dataclass(frozen=True, slots=True)
class Upkeep:
    """The history of a symbol, and what the queue has still to do for it. Times in ms UTC; -1: there is none."""

    watermark_ms: int
    # The day of the oldest candle, also where the archive alone has it.
    from_ms: int
    # The end of the newest sealed day.
    sealed_to_ms: int
    # By series of minutes, up to where the archive is complete.
    archived_to_ms: Mapping[str, int]
    # Finished days to be rolled up, and days to be archived, once for each series; both ascend.
    due: tuple[int, ...]
    unarchived: tuple[int, ...]
    # Candles and footprints of minutes that the archive alone has: whose late trades wait for it, or had no room to.
    late: int = 0
    late_lost: int = 0
    # Up to which watermark the archive has the trades; how many it has not got; when it never will have all.
    trades_to_ms: int = -1
    trades_waiting: int = 0
    trades_lost: Spans = ()
    # Archived objects that may be of another scale than the symbol; -1 while they have yet to be counted.
    to_rescale: int = 0
    # Trades of days that were rolled up or imported that are in no session.
    outside: int = 0
    # Archived objects that were found missing or damaged, the newest first.
    faults: tuple[Fault, ...] = ()

    def json(self, *, archiving: bool) -> dict[str, Any]:
        """The `history` object of docs/protocol.md."""
        archive = {
            **{f"{name}To": _or_null(to_ms) for name, to_ms in self.archived_to_ms.items()},
            "pending": len(self.unarchived),
            "late": self.late,
            "lateLost": self.late_lost,
            "tradesTo": _or_null(self.trades_to_ms),
            "tradesPending": self.trades_waiting,
            "tradesLost": self.trades_lost,
            "toRescale": _or_null(self.to_rescale),
            "damaged": len(self.faults),
            "faults": [fault.json() for fault in self.faults[:FAULTS_TOLD]],
        }
        return {
            "candlesFrom": _or_null(self.from_ms),
            "sealedTo": _or_null(self.sealed_to_ms),
            "dirtyDays": len(self.due),
            "outOfSession": self.outside,
            "archive": archive if archiving else None,
        }

    def behind(self, *, archiving: bool) -> list[int]:
        """Days that should have been rolled up, or archived, a day ago: what is over since this long."""
        days = {*self.due, *(self.unarchived if archiving else ())}
        return sorted(day_ms for day_ms in days if day_ms + 2 * DAY_MS <= self.watermark_ms)


async def upkeep_of(client: Redis, symbol: str) -> Upkeep:
    """Read it in one consistent look. Of a symbol that was never written there is nothing."""
    keys = SymbolKeys(symbol)
    pipe = client.pipeline(transaction=True)
    pipe.hmget(keys.state, ("watermark_ms", "sealed_to_ms", "candle_floor_ms"))
    pipe.hmget(keys.archive, ("candles_from_ms", "late_lost", *(f"{name}_ms" for name in MINUTE_SERIES)))
    pipe.zrange(keys.candles, 0, 0, withscores=True)
    pipe.zrange(keys.seals, 0, 0, withscores=True)
    pipe.zrange(keys.dirty, 0, -1)
    pipe.zrange(keys.unarchived, 0, -1)
    ask_waiting(pipe, keys)
    pipe.hget(keys.archive, "trades_lost")
    pipe.zcard(keys.rescale)
    pipe.zscore(keys.rescale, LIST)
    pipe.hget(keys.outside, "total")
    pipe.hvals(keys.faults)
    for series in MINUTE_SERIES:
        pipe.zcard(keys.late(series))
    with translated(f"read of what is kept of {symbol}"):
        (
            (watermark, sealed, floor),
            (archived_from, late_lost, *archived_to),
            candles,
            seals,
            dirty,
            unarchived,
            state,
            archive,
            lost,
            to_rescale,
            unlisted,
            outside,
            faults,
            *late,
        ) = await pipe.execute()
    watermark_ms, waiting = _number(watermark), waiting_of(state, archive)
    # The seal of a day stays while its footprints do.
    oldest = [max(day_of(int(open_ms)), day_of(max(0, _number(floor)))) for _, open_ms in (*candles, *seals)]
    oldest += [int(archived_from)] if archived_from else []
    return Upkeep(
        watermark_ms,
        min(oldest, default=-1),
        _number(sealed),
        dict(zip(MINUTE_SERIES, map(_number, archived_to), strict=True)),
        tuple(sorted(day_ms for day_ms in map(int, dirty) if day_ms + DAY_MS <= watermark_ms)),
        tuple(sorted(int(member.rpartition(b":")[2]) for member in unarchived)),
        sum(late),
        max(0, _number(late_lost)),
        -1 if waiting is None or waiting.since_ms is None else waiting.since_ms,
        waiting.count if waiting else 0,
        lost_spans(lost),
        to_rescale if unlisted is None else -1,
        int(outside or 0),
        faults_of(faults),
    )


def _number(value: bytes | None) -> int:
    return -1 if value is None else int(value)


def _or_null(ms: int) -> int | None:
    return None if ms < 0 else ms
