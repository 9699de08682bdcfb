"""Minutes of sealed days as they are kept, and bars made of them in one go.

A column is put together, merged into bars and written over by the next one while it is in the processor's cache: no
frame of the minutes is made. All arithmetic is plain, of 64 bits or fewer, for what is opened is within bounds
(common.market.coding.opened); sums are as wide as they need. Equal to resampling the decoded minutes, a law under test.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from common.frames.runs import Runs, Values
from common.frames.schema import LOTS, SHOWN, conform
from common.frames.spans import inside, opens_of
from common.market.coding.limbs import LimbColumn, Scratch, chain
from common.market.coding.opened import MAX_COUNT, OpenedCandles, opened
from common.market.coding.packed import Ints
from common.market.scale import Scales
from common.market.timeframes.timeframe import MINUTE_MS, Timeframe

_MAX_INT32 = (1 << 31) - 1
_TURNOVER = list(SHOWN).index("turnover")
# What each price of a run is.
_PRICE_OF: dict[str, Callable[[Runs, Values], Values]] = {
    "open_ticks": Runs.first,
    "high_ticks": lambda runs, prices: runs.reduced(np.maximum, prices),
    "low_ticks": lambda runs, prices: runs.reduced(np.minimum, prices),
    "close_ticks": Runs.last,
}


@dataclass(frozen=True, slots=True, eq=False)
class SealedCandles:
    """Minutes of sealed days, at least one, or longer candles: those `rows` of them. Columns of SHOWN."""

    days: OpenedCandles
    rows: slice
    first_ms: int
    last_ms: int
    # How many minutes a row may be made of.
    minutes_a_row: int = 1

    @classmethod
    def of(cls, sealed: Sequence[bytes], scales: Scales | None, scratch: Scratch) -> "SealedCandles | None":
        """Of blocks (common.market.coding.blocks). None where these are to be decoded instead."""
        days = opened(sealed, scales, scratch) if sealed else None
        if days is None:
            return None
        return cls(days, slice(0, len(days)), int(days.first_ms[0]), int(days.last_ms[-1]))

    def __len__(self) -> int:
        return int(self.rows.stop - self.rows.start)

    @property
    def minute_count(self) -> int:
        """Of how many minutes they may be made."""
        return len(self) * self.minutes_a_row

    def estimated_size(self) -> int:
        """Bytes that are held, as of a frame."""
        return self.days.nbytes

    def within(self, from_ms: int, to_ms: int) -> "SealedCandles | None":
        """Those that open in `[from_ms, to_ms)`, None if there are none. Nothing is copied."""
        if from_ms <= self.first_ms and self.last_ms < to_ms:
            return self
        from_ms, to_ms = max(from_ms, self.first_ms), min(to_ms, self.last_ms + 1)
        first, end = np.searchsorted(self.days.last_ms, from_ms), np.searchsorted(self.days.first_ms, to_ms)
        if first >= end:
            return None
        days = self.days.some(slice(int(first), int(end)))
        opens = days.opens(Scratch())
        start, stop = np.searchsorted(opens, (from_ms, to_ms)).tolist()
        if start >= stop:
            return None
        return SealedCandles(days, slice(start, stop), int(opens[start]), int(opens[stop - 1]), self.minutes_a_row)

    def frame(self, scratch: Scratch) -> pl.DataFrame:
        """The minutes themselves."""
        opens = self.days.opens(scratch)[self.rows].copy()
        return self._merged(opens, Runs.of(opens), self.rows, scratch)

    def bars(self, timeframe: Timeframe, scratch: Scratch) -> pl.DataFrame:
        """Merge them into spans of `timeframe`, as common.frames.resample does."""
        if self._is_dense and timeframe.fixed_ms and timeframe.fixed_ms % MINUTE_MS == 0:
            spans, runs = self._dense_runs(timeframe.open_of(self.first_ms), timeframe.fixed_ms)
            return self._merged(spans, runs, self.rows, scratch)
        rows: slice | Ints = self.rows
        opens = self.days.opens(scratch)[self.rows]
        held = inside(opens, timeframe)
        if held is not None:
            rows, opens = np.flatnonzero(held) + self.rows.start, opens[held]
        if not len(opens):
            return SHOWN.to_frame()
        spans = opens_of(opens, timeframe)
        runs = Runs.of(spans)
        return self._merged(spans[runs.starts], runs, rows, scratch)

    @property
    def _is_dense(self) -> bool:
        """Whether there is one each minute, as in a busy market."""
        later, days = self.days.columns.later, self.days
        apart = days.first_ms[1:] - days.last_ms[:-1]
        return not (later.limbs or later.constant) and bool((apart == MINUTE_MS).all())

    def _dense_runs(self, open_ms: int, length_ms: int) -> tuple[Ints, Runs]:
        """Spans of so many ms, the first of which opens then, and the runs in them: without a look at each minute."""
        opens = np.arange(open_ms, self.last_ms + 1, length_ms)
        return opens, Runs.at(np.maximum(-((self.first_ms - opens) // MINUTE_MS), 0), len(self))

    def _merged(self, opens: Ints, runs: Runs, rows: slice | Ints, scratch: Scratch) -> pl.DataFrame:
        """Merge each run of those rows into a bar, of which the opens are given."""
        bars: dict[str, Values | pl.Series] = {"open_ms": opens}
        for name, values in self._columns(scratch):
            bars[name] = self._of_runs(name, values[rows], runs)
        # A list of series: Polars takes longer over a dictionary than it takes to make most of the columns.
        series = [pl.Series(name, bars[name]) for name in SHOWN]
        series[_TURNOVER] = series[_TURNOVER].cast(pl.Int128)
        return conform(pl.DataFrame(series), SHOWN)

    def _of_runs(self, name: str, values: Values, runs: Runs) -> Values | pl.Series:
        days = self.days
        if name in LOTS:
            return runs.sums(values, days.lot_step, days.greatest.volume)
        if name == "turnover":
            return runs.sums(values, days.price_step * days.lot_step, days.greatest.turnover)
        if name in ("trades", "rev"):
            return runs.sums(values, greatest=MAX_COUNT)
        if name == "sources":
            return runs.reduced(np.bitwise_or, values)
        return np.multiply(_PRICE_OF[name](runs, values), days.price_step, dtype=np.int64)

    def _columns(self, scratch: Scratch) -> Iterator[tuple[str, Values]]:
        """Yield the columns but the opens, in the steps that the days share: each is good until the next is taken."""
        days, columns, rows = self.days, self.days.columns, len(self.days)
        price_factor, lot_factor = (_by_row(each, days.counts) for each in (days.price_factor, days.lot_factor))
        # Two of them are added.
        kind = np.int32 if 2 * days.greatest.price <= _MAX_INT32 else np.int64
        gap, body = columns.gap.signed("gap", rows, scratch), columns.body.signed("body", rows, scratch)
        close = np.add(gap, body, out=scratch.take("close", kind, rows), dtype=kind)
        chain(close, days.counts, days.before_close)
        open_ = np.subtract(close, body, out=scratch.take("open", kind, rows), dtype=kind)
        yield "open_ticks", _times(open_, price_factor)
        yield "close_ticks", _times(close, price_factor)
        high = np.maximum(open_, close, out=scratch.take("high", kind, rows))
        low = np.minimum(open_, close, out=close)
        high += columns.up.signed("up", rows, scratch)
        yield "high_ticks", _times(high, price_factor)
        low -= columns.down.signed("up", rows, scratch)
        yield "low_ticks", _times(low, price_factor)
        high += low
        typical = np.right_shift(high, 1, out=high)
        buy = columns.buy.numbers(scratch.take("buy", np.int64, rows))
        yield "buy_lots", _times(buy, lot_factor)
        sell = columns.sell.numbers(scratch.take("sell", np.int64, rows))
        yield "sell_lots", _times(sell, lot_factor)
        volume = np.add(buy, sell, out=buy)
        if columns.unknown.limbs or columns.unknown.constant:
            volume += columns.unknown.signed("up", rows, scratch)
        yield "volume_lots", _times(volume, lot_factor)
        turnover = np.multiply(volume, typical, out=volume)
        turnover += columns.left.signed("left", rows, scratch)
        yield "turnover", _times(_times(turnover, price_factor), lot_factor)
        yield "trades", _counts(columns.trades, sell)
        yield "rev", _counts(columns.rev, sell)
        yield "sources", _counts(columns.sources, scratch.take("sources", np.uint8, rows))


def _counts(column: LimbColumn, out: Values) -> Values:
    """Without writing them, where all are the same."""
    return column.numbers(out) if column.limbs else np.broadcast_to(out.dtype.type(column.constant), len(out))


def _by_row(factors: Ints, counts: Ints) -> Ints | None:
    """The factor of each row; None: it is 1."""
    return None if (factors == 1).all() else np.repeat(factors, counts)


def _times(values: Values, factor: Ints | None) -> Values:
    return values if factor is None else values * factor
