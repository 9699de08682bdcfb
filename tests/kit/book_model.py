"""A venue's book, and what a history of it must say: the definitions in the fewest words, without speed or bounds."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from hypothesis import strategies as st

from common.market.depth.book import Book, Levels
from common.market.depth.chunk import DepthChunk, PriceSpan, Run, pack_chunk
from common.market.depth.history import BookHistory
from common.market.depth.sync import Outcome
from common.market.timeframes.timeframe import MINUTE_MS
from common.market.trade import MAX_LOTS, MAX_TICKS
from tests.kit.strategies import START_MS
from workers.venues.shared.base import DepthEvent

Side = dict[int, int]
# Levels of either side that a new venue starts with, from the middle on.
FIRST_MID, FIRST_LEVELS = 100_000, 12


class Move(NamedTuple):
    """How the venue's book changes: time passes, the middle moves, then levels `(is_bid, distance, size)` are set."""

    gap_ms: int
    drift: int
    levels: Sequence[tuple[bool, int, int]]


@st.composite
def moves(draw: st.DrawFn, max_size: int = 40) -> list[Move]:
    """Several within a millisecond, and pauses over minutes; sizes are few, so that they come again."""
    gap = st.one_of(st.just(0), st.integers(0, 400), st.integers(0, 25_000), st.integers(0, 2 * MINUTE_MS))
    drift = st.one_of(st.just(0), st.integers(-2, 2), st.integers(-40, 40))
    level = st.tuples(st.booleans(), st.integers(1, 25), st.integers(0, 3))
    return draw(st.lists(st.builds(Move, gap, drift, st.lists(level, max_size=5)), min_size=1, max_size=max_size))


@dataclass(slots=True)
class Venue:
    """Keeps a book as an exchange does, never crossed. `shared_ids`: other symbols use up ids, too (Binance USD-M)."""

    shared_ids: bool = False
    ts_ms: int = START_MS
    mid: int = FIRST_MID
    last_id: int = 1_000
    bids: Side = field(default_factory=lambda: {FIRST_MID - at: at for at in range(1, FIRST_LEVELS)})
    asks: Side = field(default_factory=lambda: {FIRST_MID + at: at for at in range(1, FIRST_LEVELS)})

    def move(self, move: Move) -> DepthEvent:
        self.ts_ms += move.gap_ms
        self.mid = max(100, self.mid + move.drift)
        # What the middle has passed is traded away.
        bids = {price: 0 for price in self.bids if price >= self.mid}
        asks = {price: 0 for price in self.asks if price <= self.mid}
        for is_bid, distance, size in move.levels:
            if is_bid:
                bids[self.mid - distance] = size
            else:
                asks[self.mid + distance] = size
        self.bids = _set(self.bids, bids)
        self.asks = _set(self.asks, asks)
        previous = self.last_id
        first = previous + (7 if self.shared_ids else 1)
        self.last_id = first + len(bids) + len(asks)
        return DepthEvent("X", self.ts_ms, first, self.last_id, previous, list(bids.items()), list(asks.items()))

    def snapshot(self) -> DepthEvent:
        return DepthEvent(
            "X", -1, self.last_id, self.last_id, -1, list(self.bids.items()), list(self.asks.items()), snapshot=True
        )


@st.composite
def chunks(draw: st.DrawFn, open_ms: int = START_MS) -> DepthChunk:
    """Any chunk: some prices, each with runs that follow one another, some at once and some after a pause."""
    end = draw(st.one_of(st.just(MINUTE_MS), st.integers(1, MINUTE_MS)))
    time = st.integers(0, end)
    span = st.tuples(time, time, PRICES, PRICES)
    spans = [PriceSpan(open_ms + a, open_ms + b, low, high) for a, b, low, high in draw(st.lists(span, max_size=3))]
    bids, asks = ([run for price in draw(_PRICES_OF_A_SIDE) for run in draw(_runs(price, open_ms, end))] for _ in "ba")
    resolution_ms = draw(st.sampled_from([1, 100, MINUTE_MS]))
    return DepthChunk(open_ms, open_ms + end, spans, bids, asks, draw(st.booleans()), resolution_ms)


PRICES = st.one_of(st.integers(9_900, 10_100), st.integers(1, MAX_TICKS - 1))
_PRICES_OF_A_SIDE = st.lists(PRICES, unique=True, max_size=6)
_SIZES = st.one_of(st.integers(1, 5), st.integers(1, MAX_LOTS - 1))


@st.composite
def _runs(draw: st.DrawFn, price: int, open_ms: int, end: int) -> list[Run]:
    edges = sorted(draw(st.lists(st.integers(0, end), unique=True, min_size=2, max_size=6)))
    runs: list[Run] = []
    for at, until in zip(edges, edges[1:], strict=False):
        if draw(st.integers(0, 3)):
            continues = not runs and at == 0 and draw(st.booleans())
            runs.append((price, draw(_SIZES), open_ms - 1 if continues else open_ms + at, open_ms + until))
    return runs


class State(NamedTuple):
    """The book in `[from_ms, until_ms)`. The first `State` of a book is `fresh`: before it nothing was known."""

    from_ms: int
    until_ms: int
    bids: Side
    asks: Side
    fresh: bool


@dataclass(slots=True)
class Truth:
    """What a history has to say, kept as one whole book per state."""

    states: list[State] = field(default_factory=list)
    in_step: bool = False

    def applied(self, ts_ms: int, bids: Side, asks: Side) -> None:
        """A book is known from its first diff on, if it has two sides then."""
        fresh = not self.in_step
        if self.in_step:
            last = self.states.pop()
            ts_ms = max(ts_ms, last.from_ms)
            if last.from_ms < ts_ms:
                self.states.append(last._replace(until_ms=ts_ms))
            else:
                fresh = last.fresh
        elif bids and asks:
            ts_ms = max(ts_ms, self.states[-1].until_ms) if self.states else ts_ms
        else:
            return
        self.states.append(State(ts_ms, ts_ms + 1, bids, asks, fresh))
        self.in_step = True

    def broken(self) -> None:
        self.in_step = False

    def at(self, ts_ms: int) -> tuple[Side, Side] | None:
        found = [state for state in self.states if state.from_ms <= ts_ms < state.until_ms]
        return (found[0].bids, found[0].asks) if found else None

    def latest(self, ts_ms: int) -> tuple[Side, Side]:
        """The last book of `ts_ms` or before."""
        state = [state for state in self.states if state.from_ms <= ts_ms][-1]
        return state.bids, state.asks

    def times(self) -> list[int]:
        """Times worth a look: around all changes and the ends of minutes."""
        edges = {time_ms for state in self.states for time_ms in (state.from_ms, state.until_ms)}
        edges |= {edge - edge % MINUTE_MS for edge in edges}
        return sorted({edge + by for edge in edges for by in (-1, 0)})

    def runs(self) -> list[tuple[int, int, int, int, int]]:
        """`(side, price, size, from_ms, until_ms)`: equal sizes of one price in one book after the other joined."""
        found: list[tuple[int, int, int, int, int]] = []
        standing: dict[tuple[int, int], tuple[int, int]] = {}
        until_ms = 0
        for state in [*self.states, State(0, 0, {}, {}, fresh=True)]:
            now = {(0, price): size for price, size in state.bids.items()}
            now |= {(1, price): size for price, size in state.asks.items()}
            for key, (size, from_ms) in list(standing.items()):
                if state.fresh or now.get(key) != size:
                    found.append((*key, size, from_ms, until_ms if state.fresh else state.from_ms))
                    del standing[key]
            for key, size in now.items():
                standing.setdefault(key, (size, state.from_ms))
            until_ms = state.until_ms
        return sorted(found)


@dataclass(slots=True)
class Watched:
    """A history and the truth beside it, fed with the same events."""

    history: BookHistory
    truth: Truth = field(default_factory=Truth)
    closed: list[DepthChunk] = field(default_factory=list)

    def feed(self, event: DepthEvent) -> Outcome:
        """As the worker does, with the venue's clock."""
        breaks = self.history.sync.breaks.total()
        book = self.history.sync.book
        before = book.last_id
        self.closed += self.history.step(event, max(event.ts_ms, START_MS))
        if event.snapshot or self.history.sync.breaks.total() > breaks:
            self.truth.broken()
            return Outcome.BROKEN if self.history.sync.needs_snapshot else Outcome.SYNCED
        if self.history.sync.needs_snapshot:
            return Outcome.WAITING
        if book.last_id == before:
            return Outcome.IGNORED
        self.truth.applied(event.ts_ms, *sides_of(book))
        return Outcome.APPLIED

    def lost(self) -> None:
        self.history.lost()
        self.truth.broken()

    def chunks(self) -> list[bytes]:
        """All of it: what is closed, and the minute that is open, as a reader finds them in the store."""
        current = self.history.recorder.current()
        return [pack_chunk(chunk) for chunk in [*self.closed, *([current] if current else [])]]


def book_at(chunks: list[DepthChunk], ts_ms: int) -> tuple[PriceSpan, Side, Side] | None:
    """What a reader makes of it; there is never more than one span, or one run at a price."""
    chunk = next((chunk for chunk in chunks if chunk.open_ms == ts_ms - ts_ms % MINUTE_MS), None)
    spans = [span for span in chunk.spans if span.from_ms <= ts_ms < span.until_ms] if chunk else []
    if not chunk or not spans:
        return None
    (span,) = spans
    return span, _side_at(chunk.bids, ts_ms), _side_at(chunk.asks, ts_ms)


def _side_at(runs: list[Run], ts_ms: int) -> Side:
    standing = [run for run in runs if run[2] <= ts_ms < run[3]]
    side = {price: size for price, size, *_ in standing}
    assert len(side) == len(standing)
    return side


def sides_of(book: Book) -> tuple[Side, Side]:
    return book.bids.sizes.copy(), book.asks.sizes.copy()


def within(side: Side, low_ticks: int, high_ticks: int) -> Side:
    return {price: size for price, size in side.items() if low_ticks <= price <= high_ticks}


def feed_all(watched: Watched, venue: Venue, drawn: Iterable[Move]) -> Watched:
    """A venue without faults."""
    watched.feed(venue.snapshot())
    for move in drawn:
        watched.feed(venue.move(move))
    return watched


def _set(side: Side, levels: Side) -> Side:
    return {price: size for price, size in (side | levels).items() if size}


def best_first(bids: Side, asks: Side) -> tuple[Levels, Levels]:
    return sorted(bids.items(), reverse=True), sorted(asks.items())
