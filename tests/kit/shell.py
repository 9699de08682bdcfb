"""What tests put around a builder: the part of the worker that keeps closed minutes and hands back late ones."""

from collections.abc import Iterable, Mapping
from dataclasses import replace

from common.market.builder.builder import Builder, Changes, Checkpoint, Minute, pack_minute, unpack_minute
from common.market.builder.coverage import Coverage
from common.market.builder.coverage_kinds import empty_coverage
from common.market.builder.recent_coverage import RecentCoverage
from common.market.candle import Candle
from common.market.instrument import Instrument
from common.market.trade import Trades

# A grace no clock passes: only trades close minutes.
NEVER_MS = 1 << 60
# Later than any valid trade, so that none is from the future.
LATE_MS = 1 << 44

Packed = dict[int, tuple[bytes, bytes]]


def builder_of(instrument: Instrument, coverage: Coverage | None = None, grace_ms: int = NEVER_MS) -> Builder:
    return Builder(instrument, grace_ms=grace_ms, coverage=coverage or empty_coverage(instrument.ids))


class Shell:
    """A builder and the minutes it has closed."""

    def __init__(self, builder: Builder) -> None:
        self.builder = builder
        self.minutes: Packed = {}
        self.applied = Trades()

    def feed(self, batches: Iterable[Trades], now_ms: int = LATE_MS) -> "Shell":
        for batch in batches:
            self.step(batch, now_ms)
        return self

    def step(self, batch: Trades, now_ms: int) -> Changes:
        """One round as the worker does it: only the minutes asked for are handed back, fresh from their bytes."""
        accepted = self.builder.accept(batch, now_ms)
        late = self.builder.late_minutes(accepted)
        stored = {open_ms: unpack_minute(*self.minutes[open_ms]) for open_ms in late if open_ms in self.minutes}
        changes = self.builder.apply(accepted, now_ms, stored)
        for open_ms, minute in {**changes.closed, **changes.amended}.items():
            self.minutes[open_ms] = pack_minute(minute)
        self.applied += changes.trades
        return changes

    def restart(self) -> None:
        """Throw the builder away and go on from its checkpoint, with as few recent trades as the contract asks for."""
        old, coverage = self.builder, self.builder.coverage
        recent = self.applied[-coverage.window :] if isinstance(coverage, RecentCoverage) else Trades()
        self.builder = Builder.restore(old.instrument, old.checkpoint(), recent, old.sources, old.grace_ms)

    def all_minutes(self) -> Packed:
        """Closed minutes and the open one, packed."""
        still_open = self.builder.open
        return self.minutes | ({still_open.candle.open_ms: pack_minute(still_open)} if still_open else {})

    def outcome(self) -> tuple[Packed, Checkpoint]:
        """All there is: two shells with equal outcomes can't be told apart."""
        return self.all_minutes(), self.builder.checkpoint()


def unpacked(packed: Mapping[int, tuple[bytes, bytes]]) -> list[Minute]:
    return [unpack_minute(*packed[open_ms]) for open_ms in sorted(packed)]


def without_order(packed: Packed) -> Packed:
    """`rev` counts what came late, and what came late hides how the delta ran: these depend on the order of trades."""
    minutes = ((open_ms, unpack_minute(*pair)) for open_ms, pair in packed.items())
    return {open_ms: pack_minute(Minute(unordered(m.candle), m.footprint)) for open_ms, m in minutes}


def without_candle(checkpoint: Checkpoint) -> Checkpoint:
    return replace(checkpoint, candle=b"")


def unordered(candle: Candle) -> Candle:
    return replace(candle, rev=0, delta_min_lots=None, delta_max_lots=None)
