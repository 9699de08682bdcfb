"""Best bid and ask over time, out of the minutes of a book's history.

A side's best price at a time is the greatest (asks: the least) of all runs that stand then. Each run is laid over the
times of its minute as two blocks whose lengths are powers of two, which may overlap, and the blocks are then handed
down to halves: no loop over runs, and none over times.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from common.frames.depth import Column, Ints

# No price, for it is not known or the side is empty: the least int64.
NOT_THERE = -(1 << 63)
_NONE = 1 << 62


class BestPrices(NamedTuple):
    """By bucket, in ticks: the last ones that are known, the least bid and the greatest ask. NOT_THERE: none."""

    bid_last: Ints
    ask_last: Ints
    bid_min: Ints
    ask_max: Ints


@dataclass(frozen=True, slots=True)
class BestSteps:
    """Best prices from each time to the next, in steps that are known; as keys, which are greater the better."""

    from_ms: Ints
    until_ms: Ints
    bids: Ints
    asks: Ints

    @classmethod
    def of(
        cls, times_ms: Ints, bids: Mapping[str, Column], asks: Mapping[str, Column], spans: Mapping[str, Column]
    ) -> "BestSteps":
        """Of the runs of a minute, and every time at which one of them starts or ends."""
        times = np.unique(np.concatenate([times_ms, spans["from_ms"], spans["until_ms"]]))
        if len(times) < 2:
            nothing = np.zeros(0, np.int64)
            return cls(nothing, nothing, nothing, nothing)
        known = np.cumsum(_counted(times, spans["from_ms"]) - _counted(times, spans["until_ms"]))[:-1] > 0
        best_bids = _best(times, bids["from_ms"], bids["until_ms"], bids["price_ticks"])
        best_asks = _best(times, asks["from_ms"], asks["until_ms"], -asks["price_ticks"])
        return cls(times[:-1][known], times[1:][known], best_bids[known], best_asks[known])

    @property
    def nbytes(self) -> int:
        return 4 * self.from_ms.nbytes


def best_by_bucket(steps: Sequence[BestSteps], t0_ms: int, bucket_ms: int, cols: int) -> BestPrices:
    """`steps`: of the minutes that share a time with the buckets, ascending."""
    nothing = np.zeros(0, np.int64)
    from_ms, until_ms, bids, asks = (
        np.concatenate([nothing, *(getattr(each, name) for each in steps)])
        for name in ("from_ms", "until_ms", "bids", "asks")
    )
    end_ms = t0_ms + cols * bucket_ms
    inside = (from_ms < end_ms) & (until_ms > t0_ms)
    first = (np.maximum(from_ms[inside], t0_ms) - t0_ms) // bucket_ms
    last = (np.minimum(until_ms[inside], end_ms) - 1 - t0_ms) // bucket_ms
    # A step that lasts over several buckets is in each of them.
    counts = last - first + 1
    of = np.repeat(np.arange(len(first)), counts)
    buckets = np.arange(len(of)) - np.repeat(np.cumsum(counts) - counts, counts) + first[of]
    bid_last, bid_min = _of_buckets(buckets, bids[inside][of], cols)
    ask_last, ask_max = _of_buckets(buckets, asks[inside][of], cols)
    return BestPrices(bid_last, _negated(ask_last), bid_min, _negated(ask_max))


def _of_buckets(buckets: Ints, keys: Ints, cols: int) -> tuple[Ints, Ints]:
    """The last key of each bucket, and the worst there was."""
    lasts, worst = np.full(cols, NOT_THERE), np.full(cols, NOT_THERE)
    if len(buckets):
        starts = np.flatnonzero(np.concatenate([[True], buckets[1:] != buckets[:-1]]))
        ends = np.append(starts[1:], len(buckets)) - 1
        lasts[buckets[starts]] = np.where(keys[ends] == -_NONE, NOT_THERE, keys[ends])
        least = np.minimum.reduceat(np.where(keys == -_NONE, _NONE, keys), starts)
        worst[buckets[starts]] = np.where(least == _NONE, NOT_THERE, least)
    return lasts, worst


def _negated(keys: Ints) -> Ints:
    return np.where(keys == NOT_THERE, NOT_THERE, -keys)


def _counted(times: Ints, at_ms: Ints) -> Ints:
    return np.bincount(np.searchsorted(times, at_ms), minlength=len(times))


def _best(times: Ints, from_ms: Ints, until_ms: Ints, keys: Ints) -> Ints:
    """The greatest key over each step between two times."""
    count = len(times) - 1
    starts, ends = np.searchsorted(times, from_ms), np.searchsorted(times, until_ms)
    levels = count.bit_length()
    table = np.full((levels, count), -_NONE)
    level = np.frexp(np.maximum(ends - starts, 1))[1] - 1
    for at in (starts, ends - (1 << level)):
        np.maximum.at(table, (level, at), keys)
    for upper in range(levels - 1, 0, -1):
        half = 1 << (upper - 1)
        np.maximum(table[upper - 1], table[upper], out=table[upper - 1])
        table[upper - 1, half:] = np.maximum(table[upper - 1, half:], table[upper, : count - half])
    found: Ints = table[0]
    return found
