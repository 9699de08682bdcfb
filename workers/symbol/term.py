"""One term: from a won claim to the loss of it. Read, step, commit, renew; nothing in memory counts before OK.

After any error the outcome of the last command is unknown. The term then ends: what is in memory is dropped, the
right to write is given back as far as possible, and the next claim goes on from the last checkpoint.
"""

import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from common.clock import JudgedClock
from common.errors import Fenced, StoreUnavailable
from common.market.builder.builder import Builder, Changes
from common.market.builder.floor import Floor
from common.market.builder.gaps import Gap, Ledger
from common.market.builder.recent import RECENT_TRADES, Conflict, RecentTrades
from common.market.builder.recent_coverage import RECENT_IDS
from common.market.candle import Candle
from common.market.instrument import Instrument
from common.market.scale import Scales
from common.market.trade import Trades
from common.store.format import CHUNKED_COVERAGE, DELTA_RANGES, written
from common.store.health import BACKFILLING, CLOSED, LIVE, Tally, failure_of
from common.store.instrument import DataInstrument, check_instrument
from common.store.symbol import Claim
from workers.sources.base import NEVER, Applied, Batch, Source
from workers.symbol import doubt
from workers.symbol.commit import CommitHead, Retention, make_commit
from workers.symbol.conflicts import Conflicts
from workers.symbol.heartbeat import Heartbeat
from workers.symbol.store import Store
from workers.symbol.verdicts import Faults, Inspection, Verdicts
from workers.symbol.vitals import Vitals

log = logging.getLogger(__name__)

# Between reads a term notices that it is to stop; so no read may wait for longer, however long the lease.
MAX_WAIT_MS = 1_500


@dataclass(frozen=True, slots=True)
class TermSettings:
    """All in ms but `batch_trades`, the most trades of one commit.

    `beat_phase_ms`: when, of the monotonic clock, all idle symbols of the process beat, together.
    """

    lease_ttl_ms: int
    commit_interval_ms: int
    batch_trades: int
    close_grace_ms: int
    retention: Retention
    beat_phase_ms: int = 0


@dataclass(slots=True)
class Progress:
    """What a term has done so far, for logs and for `fleet replay`."""

    commits: int = 0
    applied: int = 0
    closed: int = 0
    amended: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    # Of the trades refused because another one with their id had been applied, the first ones.
    conflicts: Sequence[Conflict] = ()


@dataclass(slots=True)
class Term:
    """`token` is the claim's, `stopping` is asked between commits."""

    instrument: Instrument
    store: Store
    source: Source
    clock: JudgedClock
    settings: TermSettings
    token: str
    stopping: Callable[[], bool]
    # How far writers may go in the form of the store, as far as is known by now.
    allowed_format: Callable[[], int] = lambda: 1
    on_progress: Callable[[Progress, Batch], None] = lambda progress, batch: None
    progress: Progress = field(default_factory=Progress)
    _builder: Builder = field(init=False)
    _gaps: Ledger = field(default_factory=Ledger)
    _verdicts: Verdicts = field(init=False)
    _conflicts: Conflicts = field(init=False)
    _vitals: Vitals = field(init=False)
    # Whether the builder has the trades that were applied before this term.
    _knows_recent: bool = False
    _format: int = field(init=False)
    _seq: int = field(init=False)
    _position: str = field(init=False)
    _floor_ms: int = field(init=False)
    _heartbeat: Heartbeat = field(init=False)
    # Our own monotonic time of the last commit.
    _commit_at_ms: int = field(init=False)
    # What the data does not say yet: of which instrument it is.
    _unsaid: DataInstrument | None = None
    _scales: Scales | None = None
    _trades_wanted: bool = False
    # The `complete_ms` of the last batch.
    _complete_ms: int = NEVER
    # What the source said of itself, and whether the clock was refused, when last nothing came; None if something did.
    _quiet: tuple[Mapping[str, str], bool] | None = None

    async def serve(self, claim: Claim) -> bool:
        """Work until stopped, ended or in error. True if the source has ended and all of it is committed."""
        try:
            self._check(claim)
            await self._restore(claim)
            ended = await self._loop()
        except Fenced:
            raise
        except Exception as error:
            await self._release_quietly(error)
            raise
        else:
            # First of all: a spare waits for this, and closing a connection may take a while or fail.
            await self.store.release(self.token)
            return ended
        finally:
            await self.source.close()

    def _check(self, claim: Claim) -> None:
        check_instrument(claim.data, self.instrument)
        data = claim.data or DataInstrument.begun(self.instrument)
        self._unsaid, self._scales = None if claim.data else data, data.scales

    async def _restore(self, claim: Claim) -> None:
        settings, instrument = self.settings, self.instrument
        self._verdicts, self._conflicts = Verdicts(instrument.symbol), Conflicts(instrument)
        told: Mapping[str, str] = {}
        if claim.checkpoint is None:
            self._builder = Builder.new(instrument, self.source.sources, settings.close_grace_ms)
            self._knows_recent = True
        else:
            recent = Trades() if instrument.ids == "contiguous" else await self.store.recent_trades(RECENT_IDS)
            self._builder = Builder.restore(
                instrument, claim.checkpoint, recent, self.source.sources, settings.close_grace_ms
            )
            self._gaps = await self.store.gaps()
            told = await self.store.health()
            self._verdicts.tally = Tally.load(told)
            doubt.tell_if_over(self.clock, instrument.symbol, told)
        self._vitals = Vitals.begin(told, self.clock.monotonic_ms())
        taken_from_ms = await self.store.taken_from_ms()
        self._builder.floor = Floor(settings.retention.candle_days, claim.candle_floor_ms, taken_from_ms)
        self._format = claim.format
        self._seq, self._position, self._floor_ms = claim.seq, claim.position, claim.candle_floor_ms
        self._heartbeat = Heartbeat(self.store, self.token, self.clock, settings.lease_ttl_ms, settings.beat_phase_ms)
        self._commit_at_ms = self._heartbeat.at_ms - settings.commit_interval_ms
        await self.source.open(claim.position, self._applied())

    def _applied(self) -> Applied:
        builder = self._builder
        return Applied(
            builder.coverage,
            self._gaps,
            self.token,
            lambda: builder.watermark_ms,
            self.store.minutes,
            lambda: builder.floor.least_taken(builder.newest_ms),
            self._scales,
        )

    async def _loop(self) -> bool:
        full = False
        while not self.stopping():
            if not full:
                await self._pace()
            batch = await self.source.read(self.settings.batch_trades, self._wait_ms())
            full = len(batch.trades) >= self.settings.batch_trades
            if not await self._is_clock_clear(batch):
                return False
            await self._take(batch)
            if batch.ended:
                return True
        return False

    async def _is_clock_clear(self, batch: Batch) -> bool:
        """Wait while it can't be told whether a trade is of the future; False if we are to stop before that."""
        while doubt.is_unclear(self.clock, batch.trades):
            if self.stopping():
                return False
            self._note_health(batch)
            await self._heartbeat.beat(self._seq)
            await self.clock.sleep_ms(max(1, min(self._heartbeat.due_ms(), MAX_WAIT_MS)))
        return True

    def _note_health(self, batch: Batch) -> None:
        mode = CLOSED if batch.ended else BACKFILLING if batch.backlog else LIVE
        said = {"mode": mode, "reason": "", "source": self.source.name, **batch.health}
        said |= self._vitals.said(self._gaps, is_fetching=said["mode"] == BACKFILLING)
        said |= {} if batch.ended else doubt.said(self.clock)
        self._heartbeat.health = said | self._verdicts.tally.dump()

    def _keep_format(self) -> None:
        """The next commit is of the newest form that it may be."""
        self._format = written(self._format, self.allowed_format())
        is_chunked = self._format >= CHUNKED_COVERAGE
        if is_chunked != self._builder.is_chunked:
            self._builder.keep_coverage(is_chunked=is_chunked)
        self._builder.has_delta_range = self._format >= DELTA_RANGES

    async def _take(self, batch: Batch) -> None:
        if self._is_quiet(batch):
            if self._heartbeat.due_ms() <= 0:
                self._vitals.look(self.clock.monotonic_ms())
                self._note_health(batch)
                await self._heartbeat.beat(self._seq)
        else:
            await self._take_all(batch)
        self.on_progress(self.progress, batch)

    def _is_quiet(self, batch: Batch) -> bool:
        """Nothing came, nothing closes, and nothing is to be told: as most looks at a quiet market find it."""
        was, self._quiet = self._quiet, None
        if batch.position != self._position or not batch.is_empty:
            return False
        self._quiet = batch.health, self.clock.is_refused()
        if was != self._quiet:
            return False
        self._complete_ms = NEVER if self._quiet[1] else batch.complete_ms
        close_ms = self._builder.next_close_ms()
        return close_ms is None or self._complete_ms < close_ms

    async def _take_all(self, batch: Batch) -> None:
        self._keep_format()
        changes, faults, stored = await self._step(batch)
        gaps = self._follow(batch)
        mismatches = self._verdicts.mismatched(batch.mismatches)
        conflicts = self._conflicts.tell(self._builder.take_conflicts())
        self._note_health(batch)
        if changes.any or gaps or batch.covered or mismatches or conflicts or batch.position != self._position:
            forgotten = self._gaps.forgotten() if gaps else []
            head = CommitHead(
                self.token,
                self._seq,
                batch.position,
                self._heartbeat.news,
                gaps,
                forgotten,
                faults,
                mismatches,
                stored,
                replaced=[candle.open_ms for candle in batch.candles],
                floor_ms=self._floor_ms,
                format=self._format,
                conflicts=conflicts,
                text_ids=batch.text_ids,
                note=batch.note,
            )
            await self._commit(head, changes)
            now_ms = self._heartbeat.at_ms
            self._vitals.committed(changes, batch, self._builder.sources, self.clock.now_ms(), now_ms)
        elif self._heartbeat.due_ms() <= 0 or self._heartbeat.news:
            await self._heartbeat.beat(self._seq)

    async def _step(self, batch: Batch) -> tuple[Changes, Faults, Mapping[int, Candle]]:
        """Also returns the late minutes that the store had, as they were."""
        if batch.refused:
            self._builder.refused.update(batch.refused)
        self._builder.sources = batch.sources or self.source.sources
        # While the clock is not believed, minutes are closed by trades alone.
        self._complete_ms = NEVER if self.clock.is_refused() else batch.complete_ms
        await self._look_below(batch.trades)
        await self._recall(batch.trades)
        accepted = self._builder.accept(batch.trades, self.clock.now_ms())
        self._builder.coverage.cover(batch.covered)
        late = sorted({*self._builder.late_minutes(accepted), *(candle.open_ms for candle in batch.candles)})
        stored = await self.store.minutes(late) if late else {}
        before = {open_ms: minute.candle for open_ms, minute in stored.items()}
        inspection = Inspection.begin(self._builder.watermark_ms, stored)
        changes = self._builder.apply(accepted, self._complete_ms, stored)
        self._builder.replace(changes, batch.candles, stored)
        faults = inspection.faults(changes)
        self._verdicts.faulty(faults, changes)
        return changes, faults, before

    async def _look_below(self, trades: Trades) -> None:
        """Trades of minutes below the floor are refused, but for those that an archive takes: ask from where on."""
        builder = self._builder
        if trades and trades.oldest_ms() < builder.floor.of(builder.newest_ms):
            builder.floor.taken_from_ms = await self.store.taken_from_ms()

    async def _recall(self, trades: Trades) -> None:
        """Have the last trades at hand when one comes again, to be compared with it: few terms ever need them."""
        builder = self._builder
        if self._knows_recent or not builder.coverage.has_any(trades.ids):
            return
        if len(builder.recent) < RECENT_TRADES:
            builder.recent = RecentTrades()
            for packed in await self.store.recent_batches(RECENT_TRADES):
                builder.recent.add(packed)
        self._knows_recent = True

    def _follow(self, batch: Batch) -> list[Gap]:
        """Bring the ledger up to coverage; return the gaps that changed."""
        now_ms = self.clock.now_ms()
        found = self._gaps.follow(self._builder.coverage, batch.cause, now_ms, batch.covered)
        changed = {gap.id: gap for gap in found}
        given_up = self._gaps.give_up(self._builder.coverage, batch.given_up, now_ms)
        changed |= {gap.id: gap for gap in given_up}
        return list(changed.values())

    async def _commit(self, head: CommitHead, changes: Changes) -> None:
        commit = make_commit(head, self._builder, changes, self.settings.retention, trades_wanted=self._trades_wanted)
        if self._unsaid:
            commit = replace(commit, data=self._unsaid)
        self._trades_wanted = await self.store.commit(commit) > 0
        self._unsaid = None
        self._seq += 1
        self._position = head.position
        self._heartbeat.given()
        self._commit_at_ms = self._heartbeat.at_ms
        self._count(changes)
        await self.source.committed(head.position)

    def _count(self, changes: Changes) -> None:
        self.progress.commits += 1
        self.progress.applied += len(changes.trades)
        self.progress.closed += len(changes.closed)
        self.progress.amended += len(changes.amended)
        self.progress.refused = self._builder.refused
        self.progress.conflicts = self._conflicts.told

    async def _pace(self) -> None:
        """At most one commit an interval: trades that come meanwhile share the next one."""
        rest_ms = self._commit_at_ms + self.settings.commit_interval_ms - self.clock.monotonic_ms()
        if rest_ms > 0:
            await self.clock.sleep_ms(rest_ms)

    def _wait_ms(self) -> int:
        """How long a read may wait: until the next sign of life, or until the source's time closes a minute."""
        wait_ms = min(self._heartbeat.due_ms(), MAX_WAIT_MS)
        close_ms = self._builder.next_close_ms()
        if close_ms is not None and self._complete_ms != NEVER:
            wait_ms = min(wait_ms, close_ms - self._complete_ms)
        return max(wait_ms, 1)

    async def _release_quietly(self, why: Exception) -> None:
        """Best effort: without it the spare waits out a lease."""
        try:
            await self.store.release(self.token, failure_of(why))
        except StoreUnavailable as error:
            log.info("release failed", extra={"symbol": self.instrument.symbol, "error": str(error)})
