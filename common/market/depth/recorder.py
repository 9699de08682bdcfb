"""The history of a book as runs: what stood at which price, from when to when, a chunk a minute.

A run extends while the size is equal, a change starts a new one, a removal ends it. Whatever ends the book ends all
runs at the last time anything was known, and the next book starts new ones with its first diff: broken, not smeared.
Time is the venue's, and never goes back.

Only what the book is known to is recorded. Where its edges close in (a venue that shows its best thousand levels, each
change moves them), the minute has what was known all the time since its window was last taken.

Bounded: by distance from the middle, by levels of a side, by runs and spans of a minute. The window of prices follows
the middle only once that has moved by an eighth of the reach, for each move ends spans and runs. Beyond the other
bounds the farthest levels go first, and the chunk says that it is truncated.

Deterministic: time is an argument.
"""

from dataclasses import dataclass, field

from common.market.depth.book import BASIS_POINTS, TO_ITS_END, Book, Levels, bounds
from common.market.depth.chunk import DepthChunk, PriceSpan, Run, unpack_chunk
from common.market.depth.runs import MIN_REACH_TICKS, DepthLimits, RunSide
from common.market.scale import Scales
from common.market.timeframes.timeframe import MINUTE_MS, minute_of

# The window follows the middle once that has moved by one part in so many of the reach.
HYSTERESIS = 8
# What is left where a bound cuts, so that the next level doesn't have it cut again. Most runs are near the middle: to
# leave fewer of them would cost far more of the depth.
LEVELS_LEFT, RUNS_LEFT = 7 / 8, 15 / 16
# Spans of a minute; a market that needs more is not recorded until the next minute. 5 kB.
MAX_SPANS = 256
# A book that neither the venue nor the clock has spoken of for so long is not to be trusted: we were asleep.
MAX_SILENT_MS = 3 * MINUTE_MS


@dataclass(slots=True)
class Recorder:
    """Turns the changes of a book into chunks.

    `known_ms`: the end, exclusive, of what is recorded: 1 ms after the last event, or the last minute's end.
    """

    limits: DepthLimits
    minute_ms: int = 0
    known_ms: int = 0
    recording: bool = False
    truncated: bool = False
    spans: list[PriceSpan] = field(default_factory=list)
    _bids: RunSide = field(default_factory=RunSide)
    _asks: RunSide = field(default_factory=RunSide)
    # The span that is growing.
    _since_ms: int = 0
    _low: int = 0
    _high: int = -1
    # Twice the middle that the window is around, and by how much it may be off.
    _twice_mid: int = 0
    _margin: int = -1
    # Twice the reach that max_runs has left, until the minute is over.
    _left: int | None = None
    # Whether a bound on numbers has made the window smaller.
    _narrow: bool = False
    # What the book's edges have left of the minute, where they closed in.
    _edge_low: int = TO_ITS_END
    _edge_high: int = -TO_ITS_END
    # Of the minute: that of a former holder may have been coarser.
    _resolution_ms: int = field(init=False)

    def __post_init__(self) -> None:
        self._resolution_ms = self.limits.resolution_ms

    @classmethod
    def restore(cls, limits: DepthLimits, packed: bytes, scales: Scales | None = None) -> "Recorder":
        """Go on with the minute that `packed` is of: all its runs have ended. `scales`: as of unpack_chunk."""
        chunk = unpack_chunk(packed, scales)
        recorder = cls(limits, chunk.open_ms, chunk.end_ms, truncated=chunk.truncated, spans=chunk.spans)
        recorder._bids.ended, recorder._asks.ended = chunk.bids, chunk.asks
        recorder._resolution_ms = max(limits.resolution_ms, chunk.resolution_ms)
        return recorder

    def record(self, book: Book, changed: tuple[Levels, Levels], ts_ms: int) -> list[DepthChunk]:
        """The book has changed; `changed` are levels of each side with the sizes they have now."""
        self._stop_if_silent(ts_ms)
        # Upwards: what is there at a multiple is all that came until then.
        ts_ms += -ts_ms % self.limits.resolution_ms
        if not self.recording:
            return self._begin(book, ts_ms)
        at_ms = max(ts_ms, self.known_ms - 1, self.minute_ms)
        closed = self._roll(at_ms)
        self.known_ms = at_ms + 1
        self._bids.set(changed[0], self._low, self._high, at_ms)
        self._asks.set(changed[1], self._low, self._high, at_ms)
        self._close_in(book)
        self._hold_bounds(book, at_ms)
        return closed

    def look_again(self, book: Book) -> None:
        """The same book as before, known from another price to another."""
        if self.recording:
            at_ms = max(self.known_ms - 1, self.minute_ms)
            self._move(book, book.twice_mid or self._twice_mid, at_ms)

    def close_until(self, now_ms: int) -> list[DepthChunk]:
        """Close the minutes that have ended by `now_ms`; the book is taken to be in step until then."""
        self._stop_if_silent(now_ms)
        return self._roll(now_ms)

    def stop(self) -> None:
        """The book is in doubt from now on: runs end where they were last known."""
        if self.recording:
            self._end_span(self.known_ms)
            self._bids.end(self.known_ms)
            self._asks.end(self.known_ms)
            self.recording = False

    def current(self) -> DepthChunk | None:
        """The minute as far as it is known, None while nothing is."""
        chunk = self._chunk(self.known_ms)
        return chunk if chunk.spans else None

    def _begin(self, book: Book, ts_ms: int) -> list[DepthChunk]:
        # Not before the open: the minute before may be closed and stored already.
        at_ms = max(ts_ms, self.known_ms, self.minute_ms)
        closed = self._roll(at_ms)
        if len(self.spans) >= MAX_SPANS:
            self.truncated = True
            return closed
        # Without both sides there is no middle to measure from.
        if book.twice_mid is None:
            return closed
        if minute_of(at_ms) != self.minute_ms:
            self.minute_ms, self.truncated = minute_of(at_ms), False
            self._forget_edges()
        self.known_ms, self.recording = at_ms + 1, True
        self._low, self._high, self._left = 0, -1, None
        self._move(book, book.twice_mid, at_ms)
        self._hold_bounds(book, at_ms)
        return closed

    def _stop_if_silent(self, now_ms: int) -> None:
        if now_ms - self.known_ms > MAX_SILENT_MS:
            self.stop()

    def _roll(self, to_ms: int) -> list[DepthChunk]:
        """Close every minute that ends by `to_ms` and has something in it."""
        closed = []
        while self.minute_ms + MINUTE_MS <= to_ms and (self.recording or self.spans or self.truncated):
            end_ms = self.minute_ms + MINUTE_MS
            if self.recording:
                self.known_ms = end_ms
            closed.append(self._chunk(self.known_ms))
            self._open(end_ms)
        return closed

    def _open(self, minute_ms: int) -> None:
        """The next minute. A bound that cut in the last one gets another chance with the next event."""
        self.minute_ms = self._since_ms = minute_ms
        self.spans, self._resolution_ms = [], self.limits.resolution_ms
        # What stands goes on standing.
        self._bids.ended, self._asks.ended = [], []
        self.truncated = self.recording and self._narrow
        self._left = None
        if self._has_closed_in:
            self._bids.keep(self._edge_low, self._edge_high)
            self._asks.keep(self._edge_low, self._edge_high)
        if self._narrow or self._has_closed_in:
            self._margin = -1
        self._forget_edges()

    @property
    def _has_closed_in(self) -> bool:
        return self._edge_low != TO_ITS_END or self._edge_high != -TO_ITS_END

    def _forget_edges(self) -> None:
        self._edge_low, self._edge_high = TO_ITS_END, -TO_ITS_END

    def _close_in(self, book: Book) -> None:
        """What is out of the book's edges now is taken from the whole minute, as it is handed out."""
        if book.low_ticks > self._low:
            self._low = self._edge_low = max(self._edge_low, book.low_ticks)
        if book.high_ticks < self._high:
            self._high = self._edge_high = min(self._edge_high, book.high_ticks)

    def _hold_bounds(self, book: Book, at_ms: int) -> None:
        bids, asks, most = self._bids, self._asks, self.limits.max_levels
        # While a side is empty, the window stays around the last middle there was.
        twice_mid = book.twice_mid or self._twice_mid
        moved = abs(twice_mid - self._twice_mid) > self._margin
        if moved or len(bids.standing) > most or len(asks.standing) > most:
            self._move(book, twice_mid, at_ms)
        if len(bids.standing) + len(bids.ended) + len(asks.standing) + len(asks.ended) > self.limits.max_runs:
            self._trim()
        if len(self.spans) >= MAX_SPANS:
            self.truncated = True
            self.stop()

    def _move(self, book: Book, twice_mid: int, at_ms: int) -> None:
        """Take the window again around the middle."""
        low, high = self._window(book, twice_mid)
        if (low, high) != (self._low, self._high):
            self._end_span(at_ms)
            self._since_ms, self._low, self._high = at_ms, low, high
            self._bids.move(book.bids.between(low, high), low, high, at_ms)
            self._asks.move(book.asks.between(low, high), low, high, at_ms)

    def _window(self, book: Book, twice_mid: int) -> tuple[int, int]:
        wanted = max(twice_mid * self.limits.reach_bp // BASIS_POINTS, 2 * MIN_REACH_TICKS)
        twice_reach = wanted if self._left is None else min(wanted, self._left)
        low, high = self._known(book, *bounds(twice_mid, twice_reach))
        most = self.limits.max_levels
        left = max(1, int(most * LEVELS_LEFT))
        if book.bids.count(low) > most:
            low = book.bids.nth(left)
        if book.asks.count(high) > most:
            high = book.asks.nth(left)
        self._twice_mid, self._margin = twice_mid, twice_reach // HYSTERESIS
        self._narrow = (low, high) != self._known(book, *bounds(twice_mid, wanted))
        self.truncated |= self._narrow
        return low, high

    def _known(self, book: Book, low: int, high: int) -> tuple[int, int]:
        return max(low, book.low_ticks, self._edge_low), min(high, book.high_ticks, self._edge_high)

    def _trim(self) -> None:
        """Drop the farthest levels from the whole minute, and so from all its spans."""
        prices = [*self._bids.prices(), *self._asks.prices()]
        distances = sorted(abs(2 * price - self._twice_mid) for price in prices)
        self._left = distances[int(self.limits.max_runs * RUNS_LEFT)] - 1
        low, high = bounds(self._twice_mid, self._left)
        self._bids.keep(low, high)
        self._asks.keep(low, high)
        spans = [(*span[:2], max(low, span.low_ticks), min(high, span.high_ticks)) for span in self.spans]
        self.spans = [PriceSpan(*span) for span in spans if span[2] <= span[3]]
        self._low, self._high = max(low, self._low), min(high, self._high)
        self._margin = self._left // HYSTERESIS
        self._narrow = self.truncated = True
        if self._low > self._high:
            self.stop()

    def _end_span(self, at_ms: int) -> None:
        if self._since_ms < at_ms and self._low <= self._high:
            self.spans.append(PriceSpan(self._since_ms, at_ms, self._low, self._high))

    def _chunk(self, until_ms: int) -> DepthChunk:
        spans = self.spans.copy()
        if self.recording and self._since_ms < until_ms:
            spans.append(PriceSpan(self._since_ms, until_ms, self._low, self._high))
        bids, asks = (side.runs(self.minute_ms, until_ms) for side in (self._bids, self._asks))
        if self._has_closed_in:
            bids, asks = self._inside(bids), self._inside(asks)
            spans = [
                PriceSpan(*span[:2], max(span.low_ticks, self._edge_low), min(span.high_ticks, self._edge_high))
                for span in spans
            ]
        spans = [span for span in spans if span.low_ticks <= span.high_ticks]
        return DepthChunk(self.minute_ms, until_ms, spans, bids, asks, self.truncated, self._resolution_ms)

    def _inside(self, runs: list[Run]) -> list[Run]:
        return [run for run in runs if self._edge_low <= run[0] <= self._edge_high]
