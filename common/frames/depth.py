"""Chunks of a book's history (common.market.depth.chunk) to frames: runs in a range, and the book at a time.

A reader fetches the chunks of the minutes it asks for and no others; for `book_at` that is one. A chunk may name its
scale: `scales` says in which one it is asked for; None: none has another.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from common.market.coding.named import rescale
from common.market.depth.chunk import SPAN, TRUNCATED, ChunkHead, unpack_body, unpack_head
from common.market.rescaling import Rescaling, power
from common.market.scale import Scales

BID, ASK = 0, 1

# One row per run; `side` is BID or ASK. `continues`: the run goes on from the chunk before.
RUNS = pl.Schema(
    {
        "side": pl.UInt8,
        "price_ticks": pl.Int64,
        "size_lots": pl.Int64,
        "from_ms": pl.Int64,
        "until_ms": pl.Int64,
        "continues": pl.Boolean,
    }
)
# Where the history is whole (common.market.depth.chunk.PriceSpan): what the venue told of reached that far.
# `truncated`: a bound on numbers cut levels of that minute. `resolution_ms`: of the times in it.
SPANS = pl.Schema(
    {
        "from_ms": pl.Int64,
        "until_ms": pl.Int64,
        "low_ticks": pl.Int64,
        "high_ticks": pl.Int64,
        "truncated": pl.Boolean,
        "resolution_ms": pl.Int64,
    }
)
LEVELS = pl.Schema({"price_ticks": pl.Int64, "size_lots": pl.Int64})

# common.market.depth.chunk.SPAN as numpy sees it; a test holds them equal.
PACKED_SPAN = np.dtype([("from_ms", "<u2"), ("until_ms", "<u2"), ("low_ticks", "<i8"), ("high_ticks", "<i8")])

# The columns of a part differ in type: whole numbers, small ones and flags.
Column = npt.NDArray[Any]
Ints = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class BookAt:
    """A book of the past: LEVELS frames, best first, whole from `low_ticks` to `high_ticks`."""

    low_ticks: int
    high_ticks: int
    bids: pl.DataFrame
    asks: pl.DataFrame


def book_at(chunk: bytes, ts_ms: int, scales: Scales | None = None) -> BookAt | None:
    """The book after all that happened until `ts_ms`, included; `chunk` is that of its minute. None: not known."""
    head, body = _opened(chunk)
    spans = _overlapping(_spans(head, body, scales), ts_ms, ts_ms + 1)
    if not len(spans["from_ms"]):
        return None
    standing = _overlapping(_runs(head, body, scales), ts_ms, ts_ms + 1)
    bids, asks = (_frame(_where(standing, standing["side"] == side), LEVELS) for side in (BID, ASK))
    return BookAt(int(spans["low_ticks"][0]), int(spans["high_ticks"][0]), bids.reverse(), asks)


def runs(
    chunks: Sequence[bytes], from_ms: int, to_ms: int, low_ticks: int, high_ticks: int, scales: Scales | None = None
) -> pl.DataFrame:
    """The runs that stand at any time of `[from_ms, to_ms)` at a price from `low_ticks` to `high_ticks`, included.

    A RUNS frame, each run as it is in its chunk: bids before asks, by price and then by time within a chunk.
    """
    parts = []
    for chunk in chunks:
        part = _runs(*_opened(chunk), scales)
        price = part["price_ticks"]
        parts.append(_overlapping(_where(part, (price >= low_ticks) & (price <= high_ticks)), from_ms, to_ms))
    return _frame(_stacked(parts), RUNS)


def spans(chunks: Sequence[bytes], from_ms: int, to_ms: int, scales: Scales | None = None) -> pl.DataFrame:
    """The spans that share a time with `[from_ms, to_ms)`, ascending: a SPANS frame. Outside them nothing is known."""
    parts = [_spans(*_opened(chunk), scales) for chunk in chunks]
    return _frame(_stacked([_overlapping(part, from_ms, to_ms) for part in parts]), SPANS)


def joined(frame: pl.DataFrame) -> pl.DataFrame:
    """Join the runs that a minute has cut: a RUNS frame by side, price and time.

    Only where both parts are there and meet; a run whose beginning is not in the frame still `continues`.
    """
    ordered = frame.sort("side", "price_ticks", "from_ms")
    side, price, from_ms, until_ms = (
        ordered[name].to_numpy() for name in ("side", "price_ticks", "from_ms", "until_ms")
    )
    goes_on = ordered["continues"].to_numpy()[1:] & (until_ms[:-1] == from_ms[1:])
    goes_on &= (price[1:] == price[:-1]) & (side[1:] == side[:-1])
    first = np.flatnonzero(np.concatenate([np.ones(min(1, len(ordered)), bool), ~goes_on]))
    last = np.concatenate([first[1:], np.full(min(1, len(ordered)), len(ordered))]) - 1
    return ordered[first].with_columns(until_ms=pl.Series(until_ms[last], dtype=pl.Int64))


class OpenedChunk(NamedTuple):
    """A chunk as columns. `times_ms`: every time at which a run starts or ends, ascending."""

    head: ChunkHead
    times_ms: Ints
    runs: dict[str, Column]
    spans: dict[str, Column]

    @classmethod
    def of(cls, chunk: bytes, scales: Scales | None = None) -> "OpenedChunk":
        head, body = _opened(chunk)
        times_ms = head.open_ms + np.cumsum(_columns(head, body, 1)[0])
        return cls(head, times_ms, _runs(head, body, scales), _spans(head, body, scales))


def _opened(chunk: bytes) -> tuple[ChunkHead, bytes]:
    head = unpack_head(chunk)
    return head, unpack_body(chunk, head)


def _runs(head: ChunkHead, body: bytes, scales: Scales | None) -> dict[str, Column]:
    """Columns of RUNS. The Python of this is common.market.depth.chunk.unpack_chunk."""
    times, steps, sizes, starts, rests = _columns(head, body)
    times = head.open_ms + np.cumsum(times)
    steps *= head.price_step
    count = len(steps)
    # Until when a run could last: until the next of its price, or the end.
    limits = np.full(count, len(times) - 1)
    same = steps[1:] == 0
    if 0 < head.bids < count:
        same[head.bids - 1] = False
    limits[:-1][same] = starts[1:][same] - 1
    bids, asks = np.cumsum(steps[: head.bids]), np.cumsum(steps[head.bids :])
    columns = {
        "side": np.repeat(np.array([BID, ASK], np.uint8), [head.bids, head.asks]),
        "price_ticks": np.concatenate([head.lowest_bid + bids, head.lowest_ask + asks]),
        "size_lots": sizes * head.lot_step,
        "from_ms": times[np.maximum(starts - 1, 0)],
        "until_ms": times[limits - rests],
        "continues": starts == 0,
    }
    return _rescaled(columns, head, scales)


def _spans(head: ChunkHead, body: bytes, scales: Scales | None) -> dict[str, Column]:
    count = head.spans if head.says_what_is_known else 0
    packed = np.frombuffer(body, PACKED_SPAN, count)
    columns: dict[str, Column] = {name: packed[name].astype(np.int64) for name in PACKED_SPAN.names or ()}
    columns["from_ms"] += head.open_ms
    columns["until_ms"] += head.open_ms
    columns["truncated"] = np.full(count, bool(head.flags & TRUNCATED))
    columns["resolution_ms"] = np.full(count, head.resolution_ms)
    rescaling = Rescaling(head.scale or scales.unnamed, scales.now) if scales else None
    if rescaling and rescaling.price_shift < 0:
        # Bounds, not levels: those that lie between two prices of the new scale are moved inwards.
        factor = power(-rescaling.price_shift)
        columns["low_ticks"] = -(-columns["low_ticks"] // factor)
        columns["high_ticks"] //= factor
        return columns
    return _rescaled(columns, head, scales)


def _rescaled(columns: dict[str, Column], head: ChunkHead, scales: Scales | None) -> dict[str, Column]:
    rescaling = Rescaling(head.scale or scales.unnamed, scales.now) if scales else None
    if rescaling and not rescaling.is_none:
        rescale(columns, slice(None), rescaling)
    return columns


def _columns(head: ChunkHead, body: bytes, most: int | None = None) -> list[Ints]:
    """Times, steps, sizes, starts and rests, or the first of them, widened. Every packed value is below 2**63."""
    at, columns = head.spans * SPAN.size, []
    for width, count in head.columns[:most]:
        planes = np.frombuffer(body, np.uint8, width * count, at).reshape(width, count)
        columns.append(np.ascontiguousarray(planes.T).view(f"<u{width}").ravel().astype(np.int64))
        at += width * count
    return columns


def _overlapping(part: dict[str, Column], from_ms: int, to_ms: int) -> dict[str, Column]:
    return _where(part, (part["from_ms"] < to_ms) & (part["until_ms"] > from_ms))


def _where(part: dict[str, Column], chosen: Flags) -> dict[str, Column]:
    return part if chosen.all() else {name: column[chosen] for name, column in part.items()}


def _stacked(parts: list[dict[str, Column]]) -> dict[str, Column]:
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]} if parts else {}


def _frame(columns: dict[str, Column], schema: pl.Schema) -> pl.DataFrame:
    return pl.DataFrame({name: columns[name] for name in schema}) if columns else schema.to_frame()
