"""The newest closed bars of a symbol and timeframe, kept here as JSON, so that an answer costs what it is long.

A Tail is a value: what was true at one commit. `follow` brings it up to a newer view, or says what has to be read
again first. Answers are cut out of it, so there is no moment at which an answer is half old and half new, and
requests need no lock between them.

Why what it says is true. A commit is named by (seq, token), and under one token the store never goes back (a worker
that meets a store at another seq claims again). So with the token unchanged and seq not smaller, the store is the one
the tail was read from plus later commits. Those can change a closed minute only by amending it, which commit.lua notes
in `state.amended`, or by dropping it, which shows in `candle_floor_ms`. Anything else has opened since.
"""

from bisect import bisect_left
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace

import polars as pl

from common.byte_lru import ByteLru
from common.market.candle import Candle
from common.market.coding import codec
from common.market.coding.bar_json import open_ended
from common.market.instrument import Instrument
from common.market.timeframes.timeframe import MINUTE_MS, Timeframe, minute_of
from common.retry import always_changing
from common.store.parts import Entries, Minutes, Range
from common.store.reads import View
from common.store.state import AMENDED_KEPT, SymbolState
from feed.bars.closed import Closed, merged
from feed.bars.forms import NATIVE, BarForm
from feed.bars.recipe import CHUNK
from feed.reading.bounds import FOREVER_MS, Bounds, Span, grid_at, united
from feed.reading.history import History

# Longer tails are not cached: a page that far back is read from the store.
MAX_BARS = 20_000
# What all tails of a process may take. A bar takes some 250 bytes.
MAX_BYTES = 64 << 20
# Beyond the text: the bytes object, the integer, and their places in two lists.
BAR_OVERHEAD = 90
# Reads before giving up on a symbol that changes under each of them.
ROUNDS = 64


@dataclass(frozen=True, slots=True)
class Tail:
    """As of commit (seq, token): all closed bars that open in `[from_ms, to_ms)`, and the growing bar so far.

    `pieces` are the bars' JSON in a `form`, open-ended: coverage decides later which are partial. `base`: the closed
    minutes in `[to_ms, base_to_ms)`, merged; `open`: the open minute. Lists are never changed.
    """

    timeframe: Timeframe
    token: str
    seq: int
    floor_ms: int
    from_ms: int
    to_ms: int
    base_to_ms: int
    opens: list[int] = field(default_factory=list)
    pieces: list[bytes] = field(default_factory=list)
    base: Candle | None = None
    open: Candle | None = None
    form: BarForm = NATIVE

    @classmethod
    def empty(cls, timeframe: Timeframe, state: SymbolState, form: BarForm = NATIVE) -> "Tail":
        """A tail that begins with the growing bar, of which nothing has been read."""
        at_ms = timeframe.open_of(max(state.watermark_ms, 0))
        return cls(timeframe, state.token, state.seq, state.candle_floor_ms, at_ms, at_ms, at_ms, form=form)

    @property
    def growing(self) -> Candle | None:
        if self.base and self.open:
            return self.base.merge(self.open)
        return self.base or (self.open.rename(self.timeframe.open_of(self.open.open_ms)) if self.open else None)

    @property
    def size(self) -> int:
        """Bytes, near enough for a limit."""
        return len(self.pieces) * (BAR_OVERHEAD + (len(self.pieces[-1]) if self.pieces else 0))

    def missing(self, bounds: Bounds) -> int | None:
        """Return how many bars it lacks at its old end for `bounds`. None: the bounds lie elsewhere."""
        if self.from_ms <= bounds.start_ms or self.from_ms == 0:
            return 0
        if bounds.oldest_first or bounds.end_ms < self.from_ms:
            return None
        growing = self.growing
        found = bisect_left(self.opens, bounds.end_ms) + (growing is not None and growing.open_ms < bounds.end_ms)
        return max(0, bounds.limit - found)

    def stale(self, state: SymbolState) -> list[Span] | None:
        """Return what has to be read again, besides the minutes from `base_to_ms` on. None: everything."""
        if state.token != self.token or state.seq < self.seq:
            return None
        amended = state.amended
        if len(amended) == AMENDED_KEPT and amended[-1].seq > self.seq:
            return None
        spans = [self._bars_of(a.from_ms, a.to_ms) for a in amended if a.seq > self.seq]
        if state.candle_floor_ms > self.floor_ms and self.base and self.base.open_ms < state.candle_floor_ms:
            spans.append((self.to_ms, self.base_to_ms))
        return [(from_ms, to_ms) for from_ms, to_ms in united(spans) if from_ms < to_ms]

    def _bars_of(self, from_ms: int, to_ms: int) -> Span:
        """The minutes of all kept bars that hold a minute from `from_ms` to `to_ms`."""
        first, last = self.timeframe.open_of(from_ms), self.timeframe.open_of(to_ms)
        return max(first, self.from_ms), min(self.timeframe.next_open(last), self.base_to_ms)

    def repaired(self, spans: list[Span], members: list[list[bytes]], instrument: Instrument) -> "Tail":
        """Return the tail with the bars of these minutes made again."""
        opens, pieces, base = self.opens.copy(), self.pieces.copy(), self.base
        for (from_ms, to_ms), packed in zip(spans, members, strict=True):
            bars = merged(packed, self.timeframe)
            if to_ms > self.to_ms:
                base = bars.pop() if bars and bars[-1].open_ms == self.to_ms else None
            at = slice(bisect_left(opens, from_ms), bisect_left(opens, to_ms))
            opens[at] = [bar.open_ms for bar in bars]
            pieces[at] = self._written(bars, instrument)
        return replace(self, opens=opens, pieces=pieces, base=base)

    def followed(self, state: SymbolState, members: list[bytes], instrument: Instrument) -> "Tail":
        """Return the tail as of `state`. `members`: the minutes from `base_to_ms` on, all or the oldest CHUNK."""
        bars = [self.base] if self.base else []
        for bar in merged(members, self.timeframe):
            if bars and bars[-1].open_ms == bar.open_ms:
                bars[-1] = bars[-1].merge(bar)
            else:
                bars.append(bar)
        cut = len(members) == CHUNK
        read_to_ms = codec.candle_open(members[-1]) + MINUTE_MS if cut else minute_of(max(state.watermark_ms, 0))
        to_ms = self.timeframe.open_of(read_to_ms)
        base = bars.pop() if bars and bars[-1].open_ms >= to_ms else None
        return replace(
            self,
            token=state.token,
            seq=state.seq,
            to_ms=to_ms,
            base_to_ms=read_to_ms,
            opens=self.opens + [bar.open_ms for bar in bars] if bars else self.opens,
            pieces=self.pieces + self._written(bars, instrument) if bars else self.pieces,
            base=base,
            open=_open_minute(state, self.timeframe),
        ).above(state.candle_floor_ms)

    def above(self, floor_ms: int) -> "Tail":
        """Let go of bars that lost minutes to retention. Who asks for them gets what is left, read again."""
        if floor_ms <= max(self.floor_ms, self.from_ms):
            return replace(self, floor_ms=floor_ms) if floor_ms != self.floor_ms else self
        from_ms = min(grid_at(self.timeframe, floor_ms), self.to_ms)
        at = bisect_left(self.opens, from_ms)
        return replace(self, floor_ms=floor_ms, from_ms=from_ms, opens=self.opens[at:], pieces=self.pieces[at:])

    def extended(self, from_ms: int, bars: pl.DataFrame, instrument: Instrument) -> "Tail":
        """Return the tail with older bars, which are all that open in `[from_ms, self.from_ms)`."""
        opens = bars["open_ms"].to_list() + self.opens
        flagged = bars.with_columns(is_final=pl.lit(True), partial=pl.lit(False))
        pieces = list(map(open_ended, self.form.bars(flagged, instrument)))
        return replace(self, from_ms=from_ms, opens=opens, pieces=pieces + self.pieces)

    def growing_piece(self, instrument: Instrument) -> bytes:
        """Of the growing bar, if there is one."""
        return open_ended(self.form.bar(self.growing, instrument, is_final=False)) if self.growing else b""

    def _written(self, bars: Iterable[Candle], instrument: Instrument) -> list[bytes]:
        """Closed bars."""
        return [open_ended(self.form.bar(bar, instrument, is_final=True)) for bar in bars]


def _open_minute(state: SymbolState, timeframe: Timeframe) -> Candle | None:
    minute = codec.unpack_candle(state.candle) if state.candle else None
    return minute if minute and timeframe.holds(minute.open_ms) else None


@dataclass(frozen=True, slots=True)
class TailReading:
    """A tail and the view it was brought up to; `extra` has the minutes of each span asked for besides.

    `tail` is None before the first commit.
    """

    tail: Tail | None
    view: View
    extra: list[list[bytes]]


Key = tuple[Instrument, Timeframe, BarForm]
ReadClosed = Callable[[Bounds], Awaitable[Closed]]


class Tails:
    """The tails of a process, by symbol, timeframe and how their bars are written."""

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        self._tails: ByteLru[Key, Tail] = ByteLru(max_bytes, lambda tail: tail.size)

    async def read(
        self,
        history: History,
        instrument: Instrument,
        timeframe: Timeframe,
        extra: Sequence[Span] = (),
        since_seq: int | None = None,
    ) -> TailReading:
        """Return the tail as of a view that also has the minutes of `extra` and the entries since `since_seq`."""
        tail = self._tails.get((instrument, timeframe, NATIVE))
        reading = await _follow(history, instrument, timeframe, tail, extra, since_seq)
        if reading.tail:
            self._keep(instrument, reading.tail)
        return reading

    async def read_bars(
        self,
        history: History,
        instrument: Instrument,
        timeframe: Timeframe,
        bounds: Bounds,
        older: ReadClosed,
        form: BarForm = NATIVE,
    ) -> TailReading | None:
        """Return a reading whose tail has the bars of `bounds`; None where a tail is not the place for them.

        `older`: reads those that the tail does not have yet.
        """
        tail = self._tails.get((instrument, timeframe, form))
        for _ in range(ROUNDS):
            reading = await _follow(history, instrument, timeframe, tail, form=form)
            tail = reading.tail
            if tail is None:
                return reading
            self._keep(instrument, tail)
            missing = tail.missing(bounds)
            if missing == 0:
                return reading
            if missing is None or len(tail.opens) + missing > MAX_BARS or not history.budget.has_room(0):
                return None
            tail = await _extend(older, instrument, tail, missing)
        raise always_changing(history.symbol)

    def _keep(self, instrument: Instrument, tail: Tail) -> None:
        key = (instrument, tail.timeframe, tail.form)
        before = self._tails.get(key)
        self._tails.put(key, _better(before, tail) if before else tail)


async def _follow(
    history: History,
    instrument: Instrument,
    timeframe: Timeframe,
    tail: Tail | None,
    extra: Sequence[Span] = (),
    since_seq: int | None = None,
    form: BarForm = NATIVE,
) -> TailReading:
    """Bring `tail` up to a new view. Usually one read; an amendment costs a second one, a new token begins again."""
    spans: list[Span] = []
    for _ in range(ROUNDS):
        view = await history.view(Minutes(*_ranges(tail, spans, extra)), *Entries.since(since_seq))
        asked = view.minutes[len(view.minutes) - len(extra) :]
        if view.state is None:
            return TailReading(None, view, asked)
        stale = tail.stale(view.state) if tail else None
        if tail is None or stale is None:
            tail, spans = Tail.empty(timeframe, view.state, form), []
        elif not set(stale) <= set(spans):
            spans = stale
        else:
            head, *rest = view.minutes
            tail = tail.repaired(spans, rest[: len(spans)], instrument) if spans else tail
            tail, spans = tail.followed(view.state, head, instrument), []
            if len(head) < CHUNK:
                return TailReading(tail, view, asked)
    raise always_changing(history.symbol)


async def _extend(older: ReadClosed, instrument: Instrument, tail: Tail, missing: int) -> Tail | None:
    """Return the tail with older bars, or None if they are not of the same store."""
    closed = await older(Bounds(0, tail.from_ms, missing, oldest_first=False))
    state = closed.view.state
    # Amendments since the tail's seq are looked up once more when it follows the next view.
    if state is None or state.token != tail.token or state.seq < tail.seq:
        return None
    from_ms = 0 if closed.from_start else closed.bars["open_ms"][0]
    return tail.extended(from_ms, closed.bars, instrument)


def _better(one: Tail, other: Tail) -> Tail:
    """Of two that requests brought along side by side: the longer one, else the newer one."""
    if one.token != other.token:
        return other
    one_from_ms = one.above(other.floor_ms).from_ms
    return one if (one_from_ms, -one.seq) < (other.from_ms, -other.seq) else other


def _ranges(tail: Tail | None, spans: Sequence[Span], extra: Sequence[Span]) -> list[Range]:
    head = [Range(tail.base_to_ms, FOREVER_MS, oldest=CHUNK)] if tail else []
    return head + [Range(from_ms, to_ms) for from_ms, to_ms in (*spans, *extra)]
