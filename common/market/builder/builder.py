"""The builder: trades in, closed and amended minutes out.

    accepted = builder.accept(trades, now_ms)     refuses, with a reason each, what must not be applied
    late = builder.late_minutes(accepted)         closed minutes the shell must hand back
    changes = builder.apply(accepted, now_ms, {open_ms: minute, ...})

`step` is the three in a row. The builder is deterministic: time is an argument, and how a sequence of trades is
cut into batches changes nothing (a law under test). It is changed in place, so after an error it is to be thrown
away and restored from the last checkpoint.

The watermark is the greatest trade time seen, or the minute boundary the clock has passed by `grace_ms` (a quiet
venue), whichever is later. It never goes back. A minute is open while the watermark is inside it and closed from
then on. A trade of a closed minute is late: it is applied all the same, the minute is amended and its `rev`
counts one more. A minute without trades has no candle.

A trade of a minute below the floor (common.market.builder.floor) is refused.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import repeat

import orjson

from common.market.builder.coverage import DUPLICATE, Coverage, max_holes
from common.market.builder.coverage_kinds import empty_coverage, load_coverage
from common.market.builder.floor import Floor
from common.market.builder.id_coverage import IdCoverage
from common.market.builder.recent import CONFLICT, Conflict, RecentTrades, differ
from common.market.builder.running_delta import OpenTrades
from common.market.builder.validity import BELOW_FLOOR, OVERFLOW, all_valid, invalid
from common.market.candle import BACKFILL, LIVE, Candle
from common.market.coding import codec
from common.market.coding.footprint_packer import FootprintPacker
from common.market.footprint import Footprint
from common.market.instrument import Instrument
from common.market.timeframes.timeframe import MINUTE_MS, minute_of
from common.market.trade import Trades

# What the packed candle holds; one more trade of the greatest size still fits the unsigned 64 bits.
MAX_VOLUME_LOTS = (1 << 63) - 1


@dataclass(slots=True)
class Minute:
    """One minute's candle and footprint: they are made, stored and amended together."""

    candle: Candle
    footprint: Footprint

    def merge(self, other: "Minute") -> "Minute":
        return Minute(self.candle.merge(other.candle), self.footprint.merge(other.footprint))


@dataclass(slots=True)
class Changes:
    """What one step did.

    `trades` were applied, in this order; `packed`: the same. `open` is the minute still growing. `moved`: the
    watermark passed a minute boundary; also without trades that is to be committed, for it closes coarser candles.
    """

    trades: Trades
    packed: bytes = codec.NO_TRADES
    closed: dict[int, Minute] = field(default_factory=dict)
    amended: dict[int, Minute] = field(default_factory=dict)
    open: Minute | None = None
    moved: bool = False

    @property
    def any(self) -> bool:
        return bool(self.trades or self.amended) or self.moved


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """All a builder needs to go on, packed; what a commit stores beside the candles."""

    watermark_ms: int
    candle: bytes
    footprint: bytes
    # All of coverage (JSON); or its newest span alone, where it is stored by chunks.
    coverage: bytes
    refused: bytes
    # The greatest trade time applied; -1 where an older release wrote it, which did not say.
    newest_ms: int = -1
    # The other spans, packed, by number. Made by a builder: those that changed since the last checkpoint, b"" of one
    # that is gone.
    chunks: Mapping[int, bytes] = field(default_factory=dict)
    # Whether coverage is stored by chunks; and whether more of it changed since than the end of its newest span.
    is_chunked: bool = False
    is_reshaped: bool = False


@dataclass(slots=True)
class Builder:
    instrument: Instrument
    sources: int = LIVE
    grace_ms: int = 2_000
    watermark_ms: int = -1
    coverage: Coverage = field(default_factory=IdCoverage)
    open: Minute | None = None
    refused: Counter[str] = field(default_factory=Counter)
    # The greatest trade time applied.
    newest_ms: int = -1
    floor: Floor = field(default_factory=Floor)
    # What has been applied, as far as it is at hand.
    recent: RecentTrades = field(default_factory=RecentTrades, compare=False)
    _conflicts: list[Conflict] = field(default_factory=list, compare=False)
    # Of the open minute.
    _packer: FootprintPacker = field(default_factory=FootprintPacker, compare=False)
    _open_trades: OpenTrades = field(default_factory=OpenTrades, compare=False)
    # Whether candles have the range of their running delta.
    has_delta_range: bool = True
    # Whether checkpoints have coverage by chunks, of which there may be many; else whole.
    is_chunked: bool = False

    def __post_init__(self) -> None:
        self.keep_coverage(is_chunked=self.is_chunked)

    @classmethod
    def new(cls, instrument: Instrument, sources: int = LIVE, grace_ms: int = 2_000) -> "Builder":
        return cls(instrument, sources, grace_ms, coverage=empty_coverage(instrument.ids))

    @classmethod
    def restore(
        cls, instrument: Instrument, checkpoint: Checkpoint, recent: Trades | None, sources: int, grace_ms: int
    ) -> "Builder":
        """`recent`: the last trades applied, needed only where ids are not contiguous (RecentCoverage.load)."""
        coverage = load_coverage(instrument.ids, orjson.loads(checkpoint.coverage), recent, checkpoint.chunks)
        growing = unpack_minute(checkpoint.candle, checkpoint.footprint) if checkpoint.candle else None
        return cls(
            instrument,
            sources,
            grace_ms,
            checkpoint.watermark_ms,
            coverage,
            growing,
            Counter(orjson.loads(checkpoint.refused)),
            max(checkpoint.newest_ms, coverage.latest_ms()),
            _open_trades=OpenTrades(has_all=growing is None),
        )

    def keep_coverage(self, *, is_chunked: bool) -> None:
        """How the next checkpoints have it."""
        self.is_chunked = is_chunked
        if isinstance(self.coverage, IdCoverage):
            self.coverage.max_holes = max_holes(is_chunked=is_chunked)

    def checkpoint(self) -> Checkpoint:
        """To be stored: where coverage is by chunks it has those that changed since the last one."""
        candle, footprint = pack_minute(self.open, self._packer.pack) if self.open else (b"", b"")
        refused = orjson.dumps(self.refused, option=orjson.OPT_SORT_KEYS)
        if not self.is_chunked:
            coverage = orjson.dumps(self.coverage.dump())
            return Checkpoint(self.watermark_ms, candle, footprint, coverage, refused, self.newest_ms)
        newest, chunks, is_reshaped = self.coverage.take_stored()
        coverage = orjson.dumps(newest)
        return Checkpoint(
            self.watermark_ms, candle, footprint, coverage, refused, self.newest_ms, chunks, True, is_reshaped
        )

    def accept(self, trades: Trades, now_ms: int) -> Trades:
        """Return the trades to apply. Every other one is counted in `refused`, by reason."""
        if not trades:
            return trades
        oldest_ms, newest_ms = trades.oldest_ms(), max(self.newest_ms, trades.newest_ms())
        is_kept = oldest_ms >= self.floor.least_taken(newest_ms)
        is_valid = all_valid(trades, oldest_ms, newest_ms, now_ms)
        if is_kept and is_valid and self.coverage.extend(trades):
            self.newest_ms = newest_ms
            return trades
        # Where only coverage may refuse some, nothing else is asked.
        reasons = repeat(None, len(trades)) if is_kept and is_valid else self._reasons(trades, now_ms, is_kept=is_kept)
        return self._accept_each(trades, reasons)

    def take_conflicts(self) -> list[Conflict]:
        """Trades refused since the last call, because another one with their id had been applied."""
        found, self._conflicts = self._conflicts, []
        return found

    def _reasons(self, trades: Trades, now_ms: int, *, is_kept: bool) -> Iterator[str | None]:
        """Why trades are refused that need not come again for it. To be asked of each before the next is accepted."""
        for ts_ms, trade_id, ticks, lots, side in trades.rows():
            reason = invalid(ts_ms, trade_id, ticks, lots, side, now_ms)
            is_old = reason is None and not is_kept and ts_ms < self.floor.least_taken(self.newest_ms)
            yield BELOW_FLOOR if is_old else reason

    def _accept_each(self, trades: Trades, reasons: Iterable[str | None]) -> Trades:
        kept, again, refuse = [], [], self.coverage.refuse
        for at, (ts_ms, trade_id, reason) in enumerate(zip(trades.ts_ms, trades.ids, reasons, strict=True)):
            reason = reason or refuse(ts_ms, trade_id)
            if reason is None:
                kept.append(at)
                if ts_ms > self.newest_ms:
                    self.newest_ms = ts_ms
            elif reason == DUPLICATE:
                again.append(at)
            else:
                self.refused[reason] += 1
        if again:
            self._compare(trades, kept, again)
        return trades if len(kept) == len(trades) else trades.take(kept)

    def _compare(self, trades: Trades, kept: Sequence[int], again: Sequence[int]) -> None:
        """Count trades whose ids had been applied: in this batch, with the trades `kept` of it, or before."""
        here = {trades.ids[at]: at for at in kept}
        for trade in map(trades.row, again):
            applied = trades.row(here[trade.id]) if trade.id in here else self.recent.find(trade.id)
            if applied is None or not differ(applied, trade):
                self.refused[DUPLICATE] += 1
            else:
                self.refused[CONFLICT] += 1
                self._conflicts.append(Conflict(applied, trade))

    def late_minutes(self, accepted: Trades) -> list[int]:
        """Opens of minutes that were closed before this batch and get a late trade in it."""
        closed_before = minute_of(self.watermark_ms)
        if not accepted or self.watermark_ms < 0 or accepted.oldest_ms() >= closed_before:
            return []
        return sorted({minute_of(ts_ms) for ts_ms in accepted.ts_ms if ts_ms < closed_before})

    def apply(self, accepted: Trades, now_ms: int, stored: Mapping[int, Minute]) -> Changes:
        """Apply accepted trades, then the clock.

        `stored`: those of `late_minutes(accepted)` that exist. While a backlog is read, `now_ms` is to be the time
        of the backlog, else the clock closes minutes whose trades are still on their way.
        """
        changes = Changes(accepted, codec.pack_trades(accepted))
        self.recent.add(changes.packed)
        for open_ms, run in accepted.by_minute():
            if open_ms + MINUTE_MS <= self.watermark_ms:
                self._amend(changes, stored, open_ms, run)
            else:
                self._grow(changes, open_ms, run)
        if self.watermark_ms >= 0:
            self._pass(minute_of(now_ms - self.grace_ms), changes)
        changes.open = self.open
        return changes

    def step(self, trades: Trades, now_ms: int, stored: Mapping[int, Minute]) -> Changes:
        """All at once, for callers that hold every closed minute in memory."""
        return self.apply(self.accept(trades, now_ms), now_ms, stored)

    def replace(self, changes: Changes, candles: Iterable[Candle], stored: Mapping[int, Minute]) -> None:
        """Put the venue's own candles in the place of closed minutes whose trades can't be had any more.

        Without a footprint: of which prices the volume is made is not known. `stored`: those of the minutes that exist.
        Such an amendment counts as one late trade in `rev`. A minute that is not closed yet is left alone.
        """
        for candle in candles:
            before = changes.amended.get(candle.open_ms) or stored.get(candle.open_ms)
            if candle.open_ms + MINUTE_MS <= self.watermark_ms:
                rev = before.candle.rev + 1 if before else 1
                changes.amended[candle.open_ms] = Minute(replace(candle, rev=rev, sources=BACKFILL), Footprint())

    def next_close_ms(self) -> int | None:
        """When the clock will close the current minute, or None before the first trade."""
        return minute_of(self.watermark_ms) + MINUTE_MS + self.grace_ms if self.watermark_ms >= 0 else None

    def _grow(self, changes: Changes, open_ms: int, run: Trades) -> None:
        self._pass(open_ms, changes)
        self.watermark_ms = max(self.watermark_ms, run.newest_ms())
        self.open = self._add(self.open, open_ms, run, self._open_trades)
        if self.open:
            self._packer.added(self.open.footprint, run)
            if self.has_delta_range:
                self.open.candle = self._open_trades.with_range(self.open.candle)

    def _amend(self, changes: Changes, stored: Mapping[int, Minute], open_ms: int, run: Trades) -> None:
        target = changes.closed if open_ms in changes.closed else changes.amended
        before = target.get(open_ms) or stored.get(open_ms)
        after = self._add(before, open_ms, run)
        if after is not None and after is not before:
            added = after.candle.trades - (before.candle.trades if before else 0)
            # A late trade lies anywhere in its minute: only all of its trades tell the range of the running delta.
            rev = after.candle.rev + added
            after.candle = replace(after.candle, rev=rev, delta_min_lots=None, delta_max_lots=None)
            target[open_ms] = after

    def _add(self, minute: Minute | None, open_ms: int, run: Trades, added: OpenTrades | None = None) -> Minute | None:
        """Return the minute with the run's trades in it; without those that would overflow its volume.

        `added`: is told which they are.
        """
        candle = candle_of(open_ms, run, self.sources)
        if not self.has_delta_range:
            candle = replace(candle, delta_min_lots=None, delta_max_lots=None)
        volume = candle.volume_lots + (minute.candle.volume_lots if minute else 0)
        if volume > MAX_VOLUME_LOTS and len(run) > 1:
            # One by one, so that which of them fit does not depend on how they were cut into batches.
            for at in range(len(run)):
                minute = self._add(minute, open_ms, run[at : at + 1], added)
            return minute
        if volume > MAX_VOLUME_LOTS:
            self.refused[OVERFLOW] += len(run)
            return minute
        minute = Minute(minute.candle.merge(candle), minute.footprint) if minute else Minute(candle, Footprint())
        run.add_to(minute.footprint)
        if added is not None:
            added.add(run)
        return minute

    def _pass(self, boundary_ms: int, changes: Changes) -> None:
        """Move the watermark to a minute boundary; close the open minute if that lies behind it."""
        if boundary_ms <= self.watermark_ms:
            return
        if self.open and self.open.candle.open_ms < boundary_ms:
            changes.closed[self.open.candle.open_ms] = self.open
            self.open = None
            self._open_trades.clear()
        self.watermark_ms = boundary_ms
        changes.moved = True


def pack_minute(
    minute: Minute, pack_footprint: Callable[[int, Footprint], bytes] = codec.pack_footprint
) -> tuple[bytes, bytes]:
    """Candle and footprint; b"" for a footprint without a level."""
    candle, footprint = minute.candle, minute.footprint
    return codec.pack_candle(candle), pack_footprint(candle.open_ms, footprint) if footprint.levels else b""


def unpack_minute(candle: bytes, footprint: bytes) -> Minute:
    return Minute(codec.unpack_candle(candle), codec.unpack_footprint(footprint)[1] if footprint else Footprint())


def candle_of(open_ms: int, run: Trades, sources: int) -> Candle:
    """The candle of one span's trades, in any order."""
    sums = run.sums()
    return Candle(
        open_ms=open_ms,
        open_ticks=sums.first.price_ticks,
        high_ticks=sums.max_ticks,
        low_ticks=sums.min_ticks,
        close_ticks=sums.last.price_ticks,
        volume_lots=sums.volume_lots,
        buy_lots=sums.buy_lots,
        sell_lots=sums.sell_lots,
        turnover=sums.turnover,
        trades=len(run),
        first_ts_ms=sums.first.ts_ms,
        first_id=sums.first.id,
        last_ts_ms=sums.last.ts_ms,
        last_id=sums.last.id,
        sources=sources,
        delta_min_lots=sums.delta_min_lots,
        delta_max_lots=sums.delta_max_lots,
    )
