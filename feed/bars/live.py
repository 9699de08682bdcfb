"""Live bars of one timeframe, from commit messages: values in, updates out. No Redis, no clock.

`apply` takes the next commit and returns what changed, or None if it can't say: a commit is missing, the writer is
another one, a closed minute was amended, or a gap changed. Then the bars are read again (feed.bars.changes), by the
same code that answers history, and the result replaces this object.

A live bar is the merge of its closed minutes and the open one, so it is equal to the bar history will show.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import groupby
from typing import NamedTuple, Protocol

from common.market.builder.builder import candle_of
from common.market.candle import Candle
from common.market.coding import codec
from common.market.instrument import Ids, Instrument
from common.market.timeframes.timeframe import Timeframe
from common.market.trade import Trades
from common.store.archived import Spans
from common.store.messages import CommitMessage
from common.store.state import SymbolState
from feed.reading.coverage import EMPTY, KnownCoverage

# Bars shorter than a minute kept for late trades: most come within seconds.
RECENT_BARS = 64


class ShownBar(NamedTuple):
    """A bar as it is at a commit."""

    candle: Candle
    is_final: bool
    partial: bool


class Update(NamedTuple):
    """A bar that changed. `amended`: it had been final before."""

    open_ms: int
    end_ms: int
    amended: bool
    bar: ShownBar


@dataclass(frozen=True, slots=True)
class At:
    """The commit that live bars are true of. `floor_ms`: what opens before has been dropped, so is partial."""

    seq: int
    token: str
    watermark_ms: int
    cover: KnownCoverage
    floor_ms: int

    @classmethod
    def of(cls, state: SymbolState | None, ids: Ids, floor_ms: int, lost: Spans = ()) -> "At":
        if state is None:
            return cls(0, "", -1, EMPTY, floor_ms)
        cover = KnownCoverage.of(state, ids).lacking(lost)
        return cls(state.seq, state.token, state.watermark_ms, cover, floor_ms)

    @property
    def cursor(self) -> str:
        return f"{self.seq}-{self.token}"

    def then(self, message: CommitMessage, cover: KnownCoverage | None) -> "At | None":
        """Return the next commit's, or None if the message is not about the next commit, or gaps changed with it.

        `cover`: its coverage, where the message has all of it.
        """
        if message.seq != self.seq + 1 or message.token != self.token or message.is_reshaped:
            return None
        if cover is None:
            grown = self.cover.grown(message.coverage_json)
        elif cover.reshaped(self.cover):
            return None
        else:
            grown = cover.lacking(self.cover.lost)
        return At(message.seq, message.token, message.watermark_ms, grown, self.floor_ms)


@dataclass(frozen=True, slots=True)
class BarGrid:
    """How bars of one symbol and timeframe are cut, and what is said of them."""

    instrument: Instrument
    timeframe: Timeframe

    def update(self, bar: Candle, at: At, was_ms: int) -> Update:
        """`was_ms`: the watermark that was known before."""
        end_ms = self.timeframe.next_open(bar.open_ms)
        return Update(bar.open_ms, end_ms, end_ms <= was_ms, self.shown(bar, at))

    def shown(self, bar: Candle, at: At) -> ShownBar:
        end_ms = self.timeframe.next_open(bar.open_ms)
        partial = bar.open_ms < at.floor_ms or at.cover.partial(bar.open_ms, end_ms)
        return ShownBar(bar, end_ms <= at.watermark_ms, partial)

    def final(self, bar: Candle, watermark_ms: int) -> bool:
        return self.timeframe.next_open(bar.open_ms) <= watermark_ms


class Live(Protocol):
    """`at`: the last commit applied. `growing`: the newest bar, while it is not final."""

    grid: BarGrid
    at: At

    @property
    def growing(self) -> Candle | None: ...

    def apply(self, message: CommitMessage, cover: KnownCoverage | None) -> list[Update] | None: ...


@dataclass(slots=True)
class MinuteLive:
    """Bars of whole minutes. `base`: closed minutes of the growing bar, merged; `growing`: with the open one."""

    grid: BarGrid
    at: At
    base: Candle | None
    growing: Candle | None

    def apply(self, message: CommitMessage, cover: KnownCoverage | None) -> list[Update] | None:
        at = self.at.then(message, cover)
        if at is None or message.amended:
            return None
        touched: dict[int, Candle] = {}
        holds = self.grid.timeframe.holds
        for minute in message.closed:
            if not holds(minute.open_ms):
                continue
            self.base = self._joined(minute)
            touched[self.base.open_ms] = self.base
        if message.open and holds(message.open.open_ms):
            bar = self._joined(message.open)
            touched[bar.open_ms] = bar
        shown, was_ms = self.growing, self.at.watermark_ms
        if shown and self.grid.final(shown, at.watermark_ms):
            touched.setdefault(shown.open_ms, shown)
        elif shown and touched.get(shown.open_ms) == shown:
            del touched[shown.open_ms]
        self._advance(at, touched)
        return [self.grid.update(bar, at, was_ms) for _, bar in sorted(touched.items())]

    def _joined(self, minute: Candle) -> Candle:
        """The minute with the closed minutes of its bar."""
        bar = minute.rename(self.grid.timeframe.open_of(minute.open_ms))
        return self.base.merge(bar) if self.base and self.base.open_ms == bar.open_ms else bar

    def _advance(self, at: At, touched: dict[int, Candle]) -> None:
        self.at = at
        newest = touched[max(touched)] if touched else self.growing
        self.growing = newest if newest and not self.grid.final(newest, at.watermark_ms) else None
        if self.base and self.grid.final(self.base, at.watermark_ms):
            self.base = None


@dataclass(slots=True)
class TradeLive:
    """Other bars, straight from trades. `recent`: all bars that open from `from_ms` on; `sources`: their bits."""

    grid: BarGrid
    at: At
    recent: dict[int, Candle]
    from_ms: int
    sources: int

    @property
    def growing(self) -> Candle | None:
        newest = self.recent[max(self.recent)] if self.recent else None
        return newest if newest and not self.grid.final(newest, self.at.watermark_ms) else None

    def apply(self, message: CommitMessage, cover: KnownCoverage | None) -> list[Update] | None:
        at = self.at.then(message, cover)
        trades = codec.unpack_trades(message.trades)
        # Minutes without trades: the clock closed one; or they were imported, and the archive has the trades.
        may_be_imported = not len(trades) and (message.closed or message.amended or message.open)
        touched = None if at is None or may_be_imported else self._touched(message, trades)
        if at is None or touched is None:
            return None
        shown, was_ms = self.growing, self.at.watermark_ms
        if shown and self.grid.final(shown, at.watermark_ms):
            touched.setdefault(shown.open_ms, shown)
        self.at = at
        self.recent.update(touched)
        self._forget()
        return [self.grid.update(bar, at, was_ms) for _, bar in sorted(touched.items())]

    def _touched(self, message: CommitMessage, trades: Trades) -> dict[int, Candle] | None:
        newest = message.open or (message.closed[-1] if message.closed else None)
        self.sources = newest.sources if newest else self.sources
        touched: dict[int, Candle] = {}
        watermark_ms = self.at.watermark_ms
        for open_ms, run in _runs(trades, self.grid.timeframe):
            bar = candle_of(open_ms, run, self.sources)
            if self.grid.final(bar, watermark_ms):
                bar = replace(bar, rev=len(run))
            before = touched.get(open_ms) or self.recent.get(open_ms)
            if before is None and open_ms < self.from_ms:
                return None
            touched[open_ms] = before.merge(bar) if before else bar
            watermark_ms = max(watermark_ms, max(run.ts_ms))
        return touched

    def _forget(self) -> None:
        if len(self.recent) > 2 * RECENT_BARS:
            kept = sorted(self.recent)[-RECENT_BARS:]
            self.recent = {open_ms: self.recent[open_ms] for open_ms in kept}
            self.from_ms = kept[0]


def _runs(trades: Trades, timeframe: Timeframe) -> Iterable[tuple[int, Trades]]:
    """Cut a batch where the bar changes, in the order the trades came. Those in no session are left out."""
    start = 0
    for open_ms, group in groupby(trades.ts_ms, lambda ts: timeframe.open_of(ts) if timeframe.holds(ts) else None):
        end = start + sum(1 for _ in group)
        if open_ms is not None:
            yield open_ms, trades[start:end]
        start = end
