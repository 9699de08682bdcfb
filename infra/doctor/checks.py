"""The checks of `fleet doctor`: what Redis says of itself in, findings out. Nothing here talks to it."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from enum import Enum
from typing import Any

from common.market.manifest import Fault
from common.store.cut import Wrong
from common.store.format import FORMAT
from common.store.jobs import FailedJob, JobsView
from common.store.presence import WORKER, Process
from common.store.registry import Market
from common.store.server import MIN_VERSION, is_old, version_of
from common.store.upkeep import Upkeep
from workers.rollup.work import Work

# A beat more than this far off in the future or past misleads people who compare times; nothing decides by it.
SKEW_WARN_MS, SKEW_FAIL_MS = 250, 5_000
# Above this share of its memory a store that must not evict will soon refuse writes.
MEMORY_WARN, MEMORY_FAIL = 0.75, 0.95
# Symbols that are named; all are counted.
BEHIND_TOLD = 5


class Level(Enum):
    OK = "OK"
    WARN = "WARN"
    FAIL = "FAIL"


@dataclass(frozen=True, slots=True)
class Finding:
    level: Level
    what: str
    found: str
    # What to do about it; empty when all is well.
    advice: str = ""


def version(info: Mapping[str, Any]) -> Finding:
    name, text = version_of(info)
    if not is_old(text):
        return Finding(Level.OK, "version", f"{name} {text}")
    least = ".".join(map(str, MIN_VERSION))
    return Finding(Level.FAIL, "version", f"{name} {text}", f"Use Redis {least} or newer, or any Valkey.")


def persistence(info: Mapping[str, Any], appendfsync: str | None) -> Finding:
    """`appendfsync` is None where the server does not tell (managed ones may deny CONFIG)."""
    if not info.get("aof_enabled"):
        advice = "A restart loses acknowledged trades: set 'appendonly yes' and 'appendfsync always'."
        return Finding(Level.FAIL, "persistence", "appendonly no", advice)
    if info.get("aof_last_write_status", "ok") != "ok":
        advice = "Its disk is full or failing: free some space, writes then go on by themselves."
        return Finding(Level.FAIL, "persistence", "the last write to disk failed", advice)
    return _fsync(appendfsync)


def _fsync(appendfsync: str | None) -> Finding:
    found = f"appendonly yes, appendfsync {appendfsync or 'unknown'}"
    match appendfsync:
        case "always":
            return Finding(Level.OK, "persistence", found)
        case "everysec":
            advice = "On a slow disk a kill -9 may lose commits of some seconds; 'appendfsync always' loses none."
            return Finding(Level.WARN, "persistence", found, advice)
        case None:
            advice = "The server denies CONFIG GET: ask its provider for 'appendfsync always'."
            return Finding(Level.WARN, "persistence", found, advice)
    advice = "Nothing forces commits to disk: set 'appendfsync always'."
    return Finding(Level.FAIL, "persistence", found, advice)


def role(info: Mapping[str, Any]) -> Finding:
    found = str(info.get("role", "master"))
    if found == "master":
        return Finding(Level.OK, "role", found)
    advice = "It takes no writes: set REDIS_URL to its primary."
    return Finding(Level.FAIL, "role", f"{found} of {info.get('master_host', '?')}", advice)


def eviction(info: Mapping[str, Any]) -> Finding:
    policy = str(info.get("maxmemory_policy", "unknown"))
    if evicted := int(info.get("evicted_keys", 0)):
        advice = "Data may be missing: set 'maxmemory-policy noeviction', look at it, then CONFIG RESETSTAT."
        return Finding(Level.FAIL, "eviction", f"{policy}, {evicted} keys evicted since the server started", advice)
    if policy == "noeviction":
        return Finding(Level.OK, "eviction", policy)
    if policy == "unknown":
        advice = "The server does not tell: make sure that 'maxmemory-policy' is noeviction."
        return Finding(Level.WARN, "eviction", policy, advice)
    advice = "It may drop candles in silence when memory is short: set 'maxmemory-policy noeviction'."
    return Finding(Level.FAIL, "eviction", policy, advice)


def memory(info: Mapping[str, Any]) -> Finding:
    used = int(info.get("used_memory", 0))
    limit = int(info.get("maxmemory", 0)) or int(info.get("total_system_memory", 0))
    if not limit:
        return Finding(Level.OK, "memory", f"{_mb(used)}, no limit known")
    share = used / limit
    found = f"{_mb(used)} of {_mb(limit)} ({share:.0%})"
    if share < MEMORY_WARN:
        return Finding(Level.OK, "memory", found)
    level = Level.WARN if share < MEMORY_FAIL else Level.FAIL
    advice = "When it is full, commits are refused: raise 'maxmemory', or keep less (fleet settings: FLEET_*_DAYS)."
    return Finding(level, "memory", found, advice)


def clock(skew_ms: float) -> Finding:
    """`skew_ms`: the server's time minus ours."""
    found = f"the store's is {abs(skew_ms):.0f} ms {'ahead of' if skew_ms > 0 else 'behind'} ours"
    if abs(skew_ms) <= SKEW_WARN_MS:
        return Finding(Level.OK, "clock", found)
    level = Level.WARN if abs(skew_ms) <= SKEW_FAIL_MS else Level.FAIL
    return Finding(level, "clock", found, "Keep both machines on network time (NTP): times in health are off.")


def processes(found: Sequence[Process], wanted: int, per_worker: int) -> Finding:
    """`wanted`: symbols that want a worker now; `per_worker`: how many one takes, as it is set here."""
    kinds = Counter(process.kind for process in found)
    workers = [process for process in found if process.kind == WORKER]
    room = sum(process.max_symbols for process in workers)
    told = [f"{len(workers)} workers with room for {room} symbols, {wanted} are wanted"]
    told += [f"{count} {kind}" for kind, count in sorted(kinds.items()) if kind != WORKER]
    builds = Counter(f"{process.release} (format {process.format})" for process in found)
    if len(builds) > 1:
        told.append("of releases " + ", ".join(f"{build}: {count}" for build, count in sorted(builds.items())))
    if room >= wanted:
        return Finding(Level.OK, "processes", "; ".join(told))
    missing = -(-(wanted - room) // per_worker)
    advice = f"Start {missing} more: python -m workers, with FLEET_SYMBOLS_PER_WORKER={per_worker} each."
    return Finding(Level.WARN, "processes", "; ".join(told), advice)


def form(store: int, symbols: Mapping[int, int]) -> Finding:
    """`store`: the format of the store; `symbols`: how many symbols are written in which."""
    told = f"the store is in format {store}, this release knows up to {FORMAT}"
    if store > FORMAT:
        return Finding(Level.FAIL, "format", told, "Use the release that wrote it, or a newer one.")
    older = sum(count for symbol_format, count in symbols.items() if symbol_format < store)
    if older:
        told += f"; {older} symbols are in an older one until their next commit"
    if store < FORMAT:
        return Finding(Level.WARN, "format", told, "Once all processes are of this release: fleet upgrade.")
    return Finding(Level.OK, "format", told)


@dataclass(frozen=True, slots=True)
class Lease:
    """One symbol's owner as seen twice: at first, and after waiting for a beat."""

    symbol: str
    holder: str
    epoch: str
    beats: str
    held: bool
    beating: bool
    # Whether a worker is to serve it now: not what is replayed or imported, or is on demand and not asked for.
    wanted: bool = True

    @property
    def state(self) -> str:
        if self.held:
            return "alive" if self.beating else "standing still"
        return "UNASSIGNED" if self.wanted else "none needed"

    @property
    def is_troubled(self) -> bool:
        return self.state in ("standing still", "UNASSIGNED")


def leases(found: list[Lease]) -> Finding:
    if not found:
        return Finding(Level.WARN, "leases", "no symbols", "Add one: fleet symbols add --help.")
    wanted = [lease for lease in found if lease.wanted]
    troubled = [lease.symbol for lease in wanted if lease.state != "alive"]
    counted = f"{len(wanted) - len(troubled)} of {len(wanted)} symbols have a live worker"
    if len(wanted) < len(found):
        counted += f"; {len(found) - len(wanted)} need none"
    if not troubled:
        return Finding(Level.OK, "leases", counted)
    advice = f"Start more workers (infra/up does by itself) for {', '.join(troubled)}."
    return Finding(Level.WARN, "leases", counted, advice)


def leftovers(symbols: Sequence[str]) -> Finding:
    """`symbols`: of replays and imports that were killed before they wrote anything."""
    if not symbols:
        return Finding(Level.OK, "leftovers", "none")
    found = f"{len(symbols)} symbols of a replay or an import have nothing: {', '.join(symbols[:BEHIND_TOLD])}"
    advice = f"Run it again, or remove them: fleet symbols remove {symbols[0]} --purge."
    return Finding(Level.WARN, "leftovers", found, advice)


def queue(view: JobsView, clock: str) -> Finding:
    """`clock`: the process that ticks, "" if none does."""
    found = (
        f"{view.queued} queued, {len(view.running)} running, {view.workers} roll-up processes, clock {clock or 'none'}"
    )
    missing = [name for name, there in (("clock", clock), ("rollup", view.workers)) if not there]
    if not missing:
        return Finding(Level.OK, "queue", found)
    commands = " and ".join(f"python -m workers.{name}" for name in missing)
    advice = f"Days are neither rolled up nor archived: start {commands} (infra/up does by itself)."
    return Finding(Level.WARN, "queue", found, advice)


def failed_jobs(failures: Sequence[FailedJob]) -> Finding:
    """`failures`: latest first."""
    if not failures:
        return Finding(Level.OK, "failed jobs", "none")
    last = failures[0]
    found = f"{len(failures)}, the last is {last.job}: {last.reason}"
    advice = "Each is tried again by itself. fleet jobs shows all; fleet jobs retry tries one at once."
    return Finding(Level.WARN, "failed jobs", found, advice)


def unwritable(trouble: str) -> Finding:
    """`trouble`: why the archive can't be written."""
    advice = "Days and trades wait in the store meanwhile: mend the folder or the bucket, jobs try again by themselves."
    return Finding(Level.FAIL, "archive", f"DEGRADED: {trouble}", advice)


def due(works: Sequence[Work]) -> Finding:
    """`works`: all that is due. No trouble by itself: a correction makes an old day due for a moment."""
    if not works:
        return Finding(Level.OK, "due", "nothing")
    found = f"{len(works)} jobs of {len({work.symbol for work in works})} symbols"
    # That of a symbol without a trade is of no day.
    dated = [work for work in works if work.period_ms > 0]
    if dated:
        oldest = min(dated, key=lambda work: work.period_ms)
        found += f", the oldest of {oldest.symbol}, {_date(oldest.period_ms)}"
    return Finding(Level.OK, "due", found)


def behind(upkeep: Mapping[str, Upkeep], *, archiving: bool, in_hand: Collection[str] = ()) -> Finding:
    """`upkeep`: by symbol. A day is done some seconds after it is over; an old one is due again when corrected.

    `in_hand`: symbols whose days came all at once, by an import or a replay, and which the queue is at.
    """
    all_late = {symbol: days for symbol, found in upkeep.items() if (days := found.behind(archiving=archiving))}
    late = {symbol: days for symbol, days in all_late.items() if symbol not in in_hand}
    if all_late and not late:
        count = sum(map(len, all_late.values()))
        return Finding(Level.OK, "history", f"the queue is at {count:,} days of {len(all_late)} imported symbols")
    if not late:
        return Finding(Level.OK, "history", "every symbol is at most a day behind")
    told = [f"{symbol} {len(days)}, the oldest {_date(days[0])}" for symbol, days in list(late.items())[:BEHIND_TOLD]]
    more = [f"and {len(late) - BEHIND_TOLD} more"] if len(late) > BEHIND_TOLD else []
    found = f"{len(late)} of {len(upkeep)} symbols have days to do that are over since a day: {'; '.join(told + more)}"
    advice = "If they don't catch up, fleet jobs tells what fails; if they do so slowly, raise FLEET_ROLLUP_PROCESSES."
    return Finding(Level.WARN, "history", found, advice)


def scales(upkeep: Mapping[str, Upkeep]) -> Finding:
    """Archived objects that are of another scale than their symbol."""
    left = {symbol: found.to_rescale for symbol, found in upkeep.items() if found.to_rescale}
    if not left:
        return Finding(Level.OK, "decimals", "the archive has those of its symbols")
    told = [f"{symbol} {'not counted yet' if count < 0 else f'{count:,}'}" for symbol, count in left.items()]
    more = [f"and {len(told) - BEHIND_TOLD} more symbols"] if len(told) > BEHIND_TOLD else []
    found = f"archived objects with decimals of before a change: {'; '.join(told[:BEHIND_TOLD] + more)}"
    advice = "The queue writes them anew. Until then tools such as DuckDB may round: take them with union_by_name."
    return Finding(Level.WARN, "decimals", found, advice)


def damaged(faults: Mapping[str, Sequence[Fault]]) -> Finding:
    """`faults`: of the archive, by symbol."""
    told = [f"{symbol}: {fault}" for symbol, found in faults.items() for fault in found]
    if not told:
        return Finding(Level.OK, "archive", "it has what was confirmed")
    more = [f"and {len(told) - BEHIND_TOLD} more"] if len(told) > BEHIND_TOLD else []
    found = f"{len(told)} objects are not what was confirmed: {'; '.join(told[:BEHIND_TOLD] + more)}"
    return Finding(Level.FAIL, "archive", found, "Put a copy back, or see fleet archive verify --help for --repair.")


def instruments(markets: Mapping[str, Market]) -> Finding:
    """`markets`: as their data has them."""
    wrong = [market.mismatch for market in markets.values() if market.mismatch]
    if not wrong:
        return Finding(Level.OK, "instruments", "every symbol is registered as its data is")
    more = f"; and {len(wrong) - 1} more" if len(wrong) > 1 else ""
    return Finding(Level.FAIL, "instruments", wrong[0] + more, "Nobody serves these symbols until that is done.")


def trades(upkeep: Mapping[str, Upkeep], trades_kept: int | None) -> Finding:
    """`trades_kept`: of each symbol's stream, as it is set; None if trades are not archived. The worst is told."""
    lost = {symbol: found.trades_lost for symbol, found in upkeep.items() if found.trades_lost}
    if trades_kept is None:
        return Finding(Level.OK, "trades", "the archive keeps none")
    waiting = {symbol: found.trades_waiting for symbol, found in upkeep.items() if found.trades_waiting > trades_kept}
    if waiting:
        most = max(waiting, key=lambda symbol: waiting[symbol])
        found = f"of {len(waiting)} symbols more trades wait for the archive than are kept, of {most} {waiting[most]:,}"
        advice = "From ten times as many on the oldest are lost: fleet jobs tells what fails; see to it that it runs."
        return Finding(Level.WARN, "trades", found, advice)
    if lost:
        symbol, spans = max(lost.items(), key=lambda item: item[1][-1])
        found = f"of {len(lost)} symbols some are not in the archive, the last of {symbol}, {_date(spans[-1][0])}"
        advice = "For good: /v1/health/SYMBOL tells which. Raise FLEET_TRADES_KEPT to outlast a longer failure."
        return Finding(Level.WARN, "trades", found, advice)
    return Finding(Level.OK, "trades", f"{sum(each.trades_waiting for each in upkeep.values()):,} wait for the archive")


def sessions(outside: Mapping[str, tuple[int, int]], calendars: Mapping[str, str]) -> Finding:
    """`outside`: by symbol how many trades are in no session, and the newest day that has some; `calendars`: theirs."""
    if not outside:
        return Finding(Level.OK, "sessions", "every trade is in one")
    newest = sorted(outside, key=lambda symbol: -outside[symbol][1])
    told = [f"{name} {outside[name][0]:,}, the last on {_date(outside[name][1])}" for name in newest[:BEHIND_TOLD]]
    more = [f"and {len(outside) - BEHIND_TOLD} more"] if len(outside) > BEHIND_TOLD else []
    calendar, day = calendars[newest[0]], _date(outside[newest[0]][1])
    advice = (
        f"They are kept, no bar shows them. If {calendar} is wrong there: fleet calendars add {calendar} {day} "
        "--open HH:MM --close HH:MM."
    )
    return Finding(Level.WARN, "sessions", f"trades in no session: {'; '.join(told + more)}", advice)


def times(wrong: Mapping[str, Wrong]) -> Finding:
    """`wrong`: of symbols to which a wrong time was done, mostly by an earlier release."""
    if not wrong:
        return Finding(Level.OK, "times", "no symbol begins before 1990, none was cut short by a clock")
    told = [f"{symbol} {_wrong(each)}" for symbol, each in list(wrong.items())[:BEHIND_TOLD]]
    more = [f"and {len(wrong) - BEHIND_TOLD} more"] if len(wrong) > BEHIND_TOLD else []
    advice = (
        f"fleet symbols change {next(iter(wrong))} --from DAY cuts what is before a day, and lets it go on from there."
    )
    return Finding(Level.WARN, "times", "; ".join(told + more), advice)


def _wrong(wrong: Wrong) -> str:
    if wrong.from_ms is not None:
        return f"is said to be complete since {_date(wrong.from_ms)}: a trade without a time was taken for one"
    assert wrong.dropped_ms is not None, "one of the two"
    return f"was dropped up to {_date(wrong.dropped_ms)} by a clock that was ahead, and takes no trade until then"


def _date(ts_ms: int) -> date:
    return datetime.fromtimestamp(ts_ms / 1_000, UTC).date()


def _mb(count: int) -> str:
    return f"{count / 1e6:,.0f} MB"
