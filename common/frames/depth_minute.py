"""One minute of a book's history, opened: what any question of it is answered from, worked out once."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from common.frames.best import BestSteps
from common.frames.depth import Column, Ints, OpenedChunk
from common.market.depth.chunk import TRUNCATED
from common.market.scale import Scales

# Of RUNS, those that are asked for.
_COLUMNS = ("price_ticks", "size_lots", "from_ms", "until_ms")


@dataclass(frozen=True, slots=True)
class SideChanges:
    """How the sizes of a side change, by time: each run begins and ends in the minute, even if it continues."""

    prices: Ints
    times_ms: Ints
    deltas: Ints

    @classmethod
    def of(cls, prices: Ints, starts: Ints, ends: Ints, sizes: Ints) -> "SideChanges":
        """Of runs by price and time. Where one begins as the one before it ends, that is one change."""
        goes_on = np.append((prices[1:] == prices[:-1]) & (starts[1:] == ends[:-1]), False)[: len(prices)]
        deltas = sizes.copy()
        deltas[1:][goes_on[:-1]] -= sizes[:-1][goes_on[:-1]]
        over = ~goes_on
        times = np.concatenate([starts, ends[over]])
        order = np.argsort(times, kind="stable")
        return cls(
            np.concatenate([prices, prices[over]])[order],
            times[order],
            np.concatenate([deltas, -sizes[over]])[order],
        )

    def between(self, low_ticks: int, high_ticks: int) -> "SideChanges":
        some = (self.prices >= low_ticks) & (self.prices <= high_ticks)
        return self if some.all() else SideChanges(self.prices[some], self.times_ms[some], self.deltas[some])

    @property
    def nbytes(self) -> int:
        return self.prices.nbytes + self.times_ms.nbytes + self.deltas.nbytes


@dataclass(frozen=True, slots=True)
class DepthMinute:
    """`sides`: columns of RUNS, of bids and of asks, by price and then by time. `spans`: from, until, low and high.

    `from_ms`, `until_ms`: the times of all runs lie between.
    """

    open_ms: int
    sides: tuple[Mapping[str, Column], Mapping[str, Column]]
    changes: tuple[SideChanges, SideChanges]
    spans: tuple[tuple[int, int, int, int], ...]
    best: BestSteps
    from_ms: int
    until_ms: int
    truncated: bool
    resolution_ms: int
    nbytes: int

    @property
    def known_ms(self) -> int:
        """The end of what is known in it."""
        return max((span[1] for span in self.spans), default=self.open_ms)

    @classmethod
    def of(cls, chunk: bytes, scales: Scales | None = None) -> "DepthMinute":
        head, times_ms, runs, spans = OpenedChunk.of(chunk, scales)
        bids, asks = ({name: runs[name][some] for name in _COLUMNS} for some in _sides(head.bids))
        bid_changes, ask_changes = (_changes(side) for side in (bids, asks))
        best = BestSteps.of(times_ms, bids, asks, spans)
        rows = zip(*(spans[name].tolist() for name in ("from_ms", "until_ms", "low_ticks", "high_ticks")), strict=True)
        return cls(
            head.open_ms,
            (bids, asks),
            (bid_changes, ask_changes),
            tuple(rows),
            best,
            int(runs["from_ms"].min(initial=head.open_ms)) if len(runs["from_ms"]) else head.open_ms,
            int(runs["until_ms"].max(initial=head.open_ms)),
            bool(head.flags & TRUNCATED),
            head.resolution_ms or 1,
            sum(runs[name].nbytes for name in _COLUMNS) + bid_changes.nbytes + ask_changes.nbytes + best.nbytes,
        )


def _sides(bids: int) -> tuple[slice, slice]:
    return slice(None, bids), slice(bids, None)


def _changes(side: Mapping[str, Column]) -> SideChanges:
    return SideChanges.of(side["price_ticks"], side["from_ms"], side["until_ms"], side["size_lots"])
