"""A book kept in step, its history, and how far both are known.

    history = BookHistory.new(BinanceSpotRule(), DepthLimits())
    chunks = history.step(event, now_ms)     # of the minutes that this event closed: mostly none
    chunks = history.tick(now_ms)            # the clock: closes minutes of a quiet market
    history.lost()                           # the connection is gone
    history.nears_edge                       # time for a snapshot around the middle of now:
    history.await_wider()                    # from now on, until it is fed

Packing a chunk (common.market.depth.chunk) takes up to 30 ms in a busy market, so that is left to the shell, which can
do it in a thread.

A wider snapshot does not break the history: a second book is made of it beside the first, by the same rule, and takes
its place where both stand at the same update. If they are not equal as far as both are known, one of them is wrong, and
the history is broken there.

Deterministic: time is an argument. `BookHistory.restore` goes on with the minute that was stored; that equals never
having stopped but for a break.
"""

from dataclasses import dataclass

from common.market.depth.book import Book
from common.market.depth.chunk import DepthChunk
from common.market.depth.recorder import Recorder
from common.market.depth.runs import DepthLimits
from common.market.depth.sync import DIFFERENT, BookEvent, BookSync, Outcome, Rule
from common.market.scale import Scales
from common.market.timeframes.timeframe import DAY_MS

# A venue's clock may run ahead of ours; a time further ahead would stop the history until that time comes. A time
# further behind than any backlog is no time at all.
MAX_AHEAD_MS, MAX_BEHIND_MS = 60_000, DAY_MS


@dataclass(slots=True)
class BookHistory:
    """`wider`: waits for a wider snapshot, or follows until it stands where `sync` does."""

    sync: BookSync
    recorder: Recorder
    wider: BookSync | None = None

    @classmethod
    def new(cls, rule: Rule, limits: DepthLimits) -> "BookHistory":
        return cls(BookSync(rule), Recorder(limits))

    @classmethod
    def restore(cls, rule: Rule, limits: DepthLimits, packed: bytes, scales: Scales | None = None) -> "BookHistory":
        """`packed`: the newest chunk stored. A book is not stored: it begins with a new snapshot."""
        return cls(BookSync(rule), Recorder.restore(limits, packed, scales))

    @property
    def nears_edge(self) -> bool:
        return not self.sync.needs_snapshot and self.sync.book.nears_edge

    def await_wider(self) -> None:
        """The next snapshot is one of a book that is in step."""
        self.wider = BookSync(self.sync.rule)

    def forget_wider(self) -> None:
        """It will not come."""
        self.wider = None

    def step(self, event: BookEvent, now_ms: int) -> list[DepthChunk]:
        """Feed one event. Returns the chunks of the minutes that it closed."""
        closed = [] if event.snapshot and self.wider else self._follow(event, now_ms)
        if self.wider:
            self._widen(self.wider, event)
        return closed

    def tick(self, now_ms: int) -> list[DepthChunk]:
        """The clock, on the venue's time, while no event is waiting: closes minutes that ended `grace_ms` ago.

        To be called about every second, and not once the connection is in doubt.
        """
        return self.recorder.close_until(now_ms - self.recorder.limits.grace_ms)

    def lost(self) -> None:
        self.sync.lost()
        self.recorder.stop()
        self.wider = None

    def _follow(self, event: BookEvent, now_ms: int) -> list[DepthChunk]:
        outcome = self.sync.feed(event)
        if outcome is Outcome.APPLIED:
            believed = now_ms - MAX_BEHIND_MS <= event.ts_ms <= now_ms + MAX_AHEAD_MS
            return self.recorder.record(self.sync.book, self.sync.changed, event.ts_ms if believed else now_ms)
        if outcome is Outcome.BROKEN:
            # The snapshot that is on its way is one to begin with.
            self.wider = None
        if outcome is Outcome.SYNCED or outcome is Outcome.BROKEN:
            self.recorder.stop()
        return []

    def _widen(self, wider: BookSync, event: BookEvent) -> None:
        if wider.feed(event) is Outcome.BROKEN:
            self.wider = None
        elif not wider.needs_snapshot and wider.book.last_id == self.sync.book.last_id:
            self._adopt(wider)

    def _adopt(self, wider: BookSync) -> None:
        before, self.sync, self.wider = self.sync, wider, None
        wider.breaks, wider.cause = before.breaks, before.cause
        if _agree(before.book, wider.book):
            self.recorder.look_again(wider.book)
        else:
            wider.breaks[DIFFERENT] += 1
            self.recorder.stop()


def _agree(one: Book, other: Book) -> bool:
    """Whether both are equal as far as both are known."""
    low, high = max(one.low_ticks, other.low_ticks), min(one.high_ticks, other.high_ticks)
    return all(
        side.between(low, high) == same.between(low, high)
        for side, same in ((one.bids, other.bids), (one.asks, other.asks))
    )
