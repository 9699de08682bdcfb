"""The kept trades of a symbol as one frame: where bars come from that are not made of whole minutes.

A Tape is a value like a Tail, and simpler: trades are facts, so it only grows at one end and is cut at the other where
the store cuts its stream. It begins with the stream's oldest entry; feed.reading.trade_archive reads what is older.
"""

from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import polars as pl

from common.byte_lru import ByteLru
from common.frames import bulk, decode
from common.frames.schema import TRADES
from common.frames.spans import held, span_end, span_open
from common.market.candle import LIVE
from common.market.coding import codec
from common.market.instrument import Instrument
from common.market.timeframes.timeframe import Timeframe
from common.retry import always_changing
from common.store.parts import Entries, Minutes, Part, Range, TradeEntry
from common.store.reads import SymbolReader, View
from common.store.state import SymbolState
from feed.reading.bounds import FOREVER_MS, Bounds

# Entries fetched by one command.
PAGE = 4_096
# What all tapes of a process may take. A trade takes 49 bytes.
MAX_BYTES = 128 << 20
# Appending leaves the frame in pieces; so many of them cost more than copying it.
MAX_CHUNKS = 32
ROUNDS = 8
EVERYTHING = Bounds(0, FOREVER_MS, 1 << 62, oldest_first=False)

# Besides the trade: the commit it came with, and the watermark just before it.
_COLUMNS = pl.Schema([*TRADES.items(), ("seq", pl.Int64()), ("before_ms", pl.Int64())])


@dataclass(frozen=True, slots=True)
class Tape:
    """All kept trades up to commit (seq, token), in the order they were applied. `watermark_ms`: that commit's."""

    token: str
    seq: int
    watermark_ms: int
    trades: pl.DataFrame

    @classmethod
    def of(cls, entries: list[TradeEntry], watermark_ms: int = -1) -> "Tape":
        """`watermark_ms`: that of the entry before the first."""
        blobs = [entry.trades for entry in entries]
        counts = [codec.TRADES_HEAD.unpack_from(blob)[0] for blob in blobs]
        marks = [watermark_ms, *(entry.watermark_ms for entry in entries)]
        frame = decode.trades(blobs)
        # The watermark moves with each trade, so also within a batch.
        seen = np.maximum.accumulate(frame["ts_ms"].to_numpy()) if len(frame) else np.zeros(0, np.int64)
        before = np.maximum(np.repeat(marks[:-1], counts), np.concatenate([[-1], seen])[: len(frame)])
        trades = frame.with_columns(
            seq=pl.Series(np.repeat([entry.seq for entry in entries], counts), dtype=pl.Int64),
            before_ms=pl.Series(before, dtype=pl.Int64),
        )
        last = entries[-1]
        return cls(last.token, last.seq, last.watermark_ms, trades.select(list(_COLUMNS)))

    def then(self, entries: list[TradeEntry]) -> "Tape":
        """Return the tape with later entries."""
        if not entries:
            return self
        newer = Tape.of(entries, self.watermark_ms)
        trades = pl.concat([self.trades, newer.trades])
        if trades.n_chunks() > MAX_CHUNKS:
            trades = trades.rechunk()
        return Tape(newer.token, newer.seq, newer.watermark_ms, trades)

    def since(self, seq: int) -> "Tape":
        """Return the tape from commit `seq` on."""
        if self.trades.is_empty() or self.trades["seq"][0] >= seq:
            return self
        kept = self.trades.slice(self.trades["seq"].search_sorted(seq, "left"))
        return Tape(self.token, self.seq, self.watermark_ms, kept)


@dataclass(frozen=True, slots=True)
class TapeView:
    """A tape and the view it was brought up to. `from_ms`: trades up to that time may be missing, later ones are not.

    `sources` is taken from the newest minute: the stream does not say. `tape` is None before the first commit.
    """

    tape: Tape | None
    view: View
    from_ms: int
    sources: int

    def bars(self, timeframe: Timeframe, bounds: Bounds = EVERYTHING) -> pl.DataFrame:
        """Return at least the bars of `bounds`, the growing one included."""
        return bars_of(self.trades_of(timeframe, bounds), timeframe, self.sources)

    def trades_of(self, timeframe: Timeframe, bounds: Bounds) -> pl.DataFrame:
        """Return all trades of at least the bars of `bounds`, and not of many more: cost follows the answer's size."""
        first_ms = timeframe.open_of(self.from_ms) if self.from_ms >= 0 else 0
        trades = self.tape.trades if self.tape else _COLUMNS.to_frame()
        trades = trades.filter(pl.col("ts_ms").is_between(max(first_ms, bounds.start_ms), bounds.end_ms, closed="left"))
        trades, spans = held(trades, "ts_ms", timeframe), bounds.limit
        while not trades.is_empty():
            some = trades.filter(_at_the_end(trades["ts_ms"], timeframe, spans, oldest=bounds.oldest_first))
            opens = some.select(span_open(pl.col("ts_ms"), timeframe)).to_series()
            if len(some) == len(trades) or opens.n_unique() >= bounds.limit:
                return some
            # Some spans are empty: look at more of them.
            spans *= 4
        return trades

    def between(self, from_ms: int, to_ms: int) -> pl.DataFrame:
        """Return all trades of the tape in `[from_ms, to_ms)`, in the order they were applied."""
        trades = self.tape.trades if self.tape else _COLUMNS.to_frame()
        return trades.filter(pl.col("ts_ms").is_between(from_ms, to_ms, closed="left"))


def bars_of(trades: pl.DataFrame, timeframe: Timeframe, sources: int) -> pl.DataFrame:
    """Make bars of trades, each with the watermark before it (`before_ms`), -1 where that is not known."""
    trades = held(trades, "ts_ms", timeframe)
    return _with_revisions(bulk.candles(trades.select(list(TRADES)), timeframe, sources), trades, timeframe)


class ReadView(Protocol):
    """Reads a view: what the store alone has, or all that is kept."""

    def __call__(self, *parts: Part) -> Awaitable[View]: ...


class Tapes:
    """The tapes of a process, by symbol and instrument."""

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        self._tapes: ByteLru[tuple[str, Instrument | None], Tape] = ByteLru(max_bytes, _bytes, min_count=1)

    async def read(self, store: SymbolReader, read_view: ReadView, since_seq: int | None = None) -> TapeView:
        """Return the tape as of a view, by `read_view`, that also has the entries since `since_seq`."""
        key = store.keys.symbol, store.instrument
        tape = self._tapes.get(key)
        for _ in range(ROUNDS):
            tape = tape or await _load(store)
            seqs = [seq for seq in (tape.seq if tape else None, since_seq) if seq is not None]
            newest = Minutes(Range(0, FOREVER_MS, newest=1))
            view = await read_view(newest, *Entries.since(min(seqs, default=None)))
            if view.state is None:
                return TapeView(None, view, -1, LIVE)
            tape = _followed(tape, view)
            if tape:
                self._tapes.put(key, tape)
                return TapeView(tape, view, _from_ms(view), _sources(view.state, view.minutes[0]))
        raise always_changing(store.keys.symbol)


async def _load(store: SymbolReader) -> Tape | None:
    """Read the whole stream, page by page. None if it is empty, or was another one at the end than at the start."""
    tape: Tape | None = None
    while True:
        entries = await store.entries(tape.seq if tape else 0, PAGE)
        if entries and tape and entries[0].seq != tape.seq + 1:
            return None
        if entries:
            tape = tape.then(entries) if tape else Tape.of(entries)
        if len(entries) < PAGE:
            return tape


def _followed(tape: Tape | None, view: View) -> Tape | None:
    """Return the tape up to the view, cut where the stream is; None if it is not of the same stream."""
    if tape is None or view.stream.first is None:
        return None
    newer = [entry for entry in view.stream.entries if entry.seq >= tape.seq]
    if not newer or (newer[0].seq, newer[0].token) != (tape.seq, tape.token):
        return None
    return tape.then(newer[1:]).since(view.stream.first.seq)


def _at_the_end(ts_ms: pl.Series, timeframe: Timeframe, spans: int, *, oldest: bool) -> pl.Expr:
    """Whether a trade is in the first or last so many spans of these times."""
    times, length_ms = ts_ms.to_numpy(), min(spans * timeframe.longest_ms, FOREVER_MS)
    # Where sessions come between, so far away is not where a span opens.
    if oldest:
        return pl.col("ts_ms") < timeframe.open_of(timeframe.open_of(int(times.min())) + length_ms)
    return pl.col("ts_ms") >= timeframe.open_of(timeframe.next_open(timeframe.open_of(int(times.max()))) - length_ms)


def _from_ms(view: View) -> int:
    """Entries that are gone had trades up to the watermark of the first one that is left, at most."""
    return view.stream.first.watermark_ms if view.stream.first and view.stream.first.seq > 1 else -1


def _sources(state: SymbolState, newest: list[bytes]) -> int:
    packed = [state.candle] if state.candle else newest
    return codec.unpack_candle(packed[0]).sources if packed else LIVE


def _with_revisions(bars: pl.DataFrame, trades: pl.DataFrame, timeframe: Timeframe) -> pl.DataFrame:
    """Count in `rev` the trades that came after their bar's span was closed, as the Builder does for minutes."""
    open_ms = span_open(pl.col("ts_ms"), timeframe)
    late = trades.filter(span_end(pl.col("ts_ms"), timeframe) <= pl.col("before_ms"))
    if late.is_empty():
        return bars
    counts = late.group_by(open_ms=open_ms).agg(late=pl.len().cast(pl.Int64))
    joined = bars.join(counts, on="open_ms", how="left", maintain_order="left")
    return joined.with_columns(rev=pl.col("rev") + pl.col("late").fill_null(0)).drop("late")


def _bytes(tape: Tape) -> int:
    return int(tape.trades.estimated_size())
