"""The order book of a recorded stream: depth events and REST snapshots between its other frames."""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import orjson

from common.errors import BadInput
from common.market.simulation.book import Level
from infra.exchange.listing import SimulatedListing
from workers.recordings.text import is_frame, opened


class Frame(NamedTuple):
    """A depth event, or the first snapshot."""

    ts_ms: int
    last_id: int
    bids: list[Level]
    asks: list[Level]
    snapshot: bool


def has_depth(path: Path) -> bool:
    """Whether the file holds frames, and among the first of them one of depth."""
    with opened(path) as (lines, _):
        head = list(islice(lines, 1_000))
    return bool(head) and is_frame(head[0]) and any(b'"depthUpdate"' in line for line in head)


def depth_frames(path: Path, listing: SimulatedListing) -> Iterator[Frame]:
    """The depth events and snapshots of a frames file. A snapshot, which has no time, has that of the event before."""
    ts_ms = 0
    with opened(path) as (lines, _):
        for number, line in enumerate(lines, 1):
            if b'"depthUpdate"' not in line and b'{"lastUpdateId"' not in line:
                continue
            try:
                frame = _frame(line, listing, ts_ms)
            except (orjson.JSONDecodeError, BadInput, KeyError, TypeError, ValueError) as error:
                raise BadInput(f"{path} line {number}: {error}, expected a depth event or snapshot") from None
            ts_ms = frame.ts_ms
            yield frame


def _frame(line: bytes, listing: SimulatedListing, before_ms: int) -> Frame:
    local_ns, _, text = line.partition(b" ")
    message = orjson.loads(text)
    if "lastUpdateId" in message:
        bids, asks = _levels(message["bids"], listing), _levels(message["asks"], listing)
        return Frame(before_ms or int(local_ns) // 1_000_000, message["lastUpdateId"], bids, asks, True)
    data = message["data"]
    return Frame(data["E"], data["u"], _levels(data["b"], listing), _levels(data["a"], listing), False)


def from_first_snapshot(frames: Iterator[Frame]) -> Iterator[Frame]:
    """Only with a snapshot is the book known; a later one says nothing that the events have not said."""
    begun = False
    for frame in frames:
        if frame.snapshot and not begun:
            begun = True
            yield frame
        elif begun and not frame.snapshot:
            yield frame


def _levels(rows: list[list[str]], listing: SimulatedListing) -> list[Level]:
    instrument = listing.instrument
    return [(instrument.price_ticks(price), instrument.size_lots(size)) for price, size in rows]
