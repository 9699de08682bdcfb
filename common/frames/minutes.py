"""The series of minutes (common.series) as frames: how members and blocks are read, and minutes merged."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Protocol, overload

import numpy as np
import polars as pl

from common.frames import decode, schema
from common.frames.footprint import regroup
from common.frames.resample import resample
from common.frames.sealed import SealedCandles
from common.market.coding.footprint_blocks import LevelBlock
from common.market.coding.limbs import Scratch
from common.market.scale import Scales
from common.market.timeframes.timeframe import MINUTE
from common.series import CANDLES, FOOTPRINTS, MinuteSeries

# Ascending minutes: decoded, or as they are sealed.
MinuteRows = pl.DataFrame | SealedCandles


class Unseal(Protocol):
    """Blocks to one frame, in their order. `scales`: as common.market.coding.blocks has them."""

    def __call__(self, sealed: Sequence[bytes], *, scales: Scales | None = None) -> pl.DataFrame: ...


@dataclass(frozen=True, slots=True)
class MinuteFrames:
    """A series as frames: all of its columns, or some; the first is `open_ms`."""

    series: MinuteSeries
    schema: pl.Schema
    # Packed members to a frame, in their order.
    decode: Callable[[list[bytes]], pl.DataFrame]
    unseal: Unseal
    # Rows of minutes, in any order and several of a minute, to one of each, ascending. Takes all columns.
    merge: Callable[[pl.DataFrame], pl.DataFrame]
    # Opens a block that is too large to be decoded whole; None where none is.
    by_part: Callable[[bytes, Scales | None], LevelBlock] | None = None
    # Opens blocks, and decodes them no further than to make bars of them; it gives None where that can't be done.
    open: Callable[[Sequence[bytes], Scales | None, Scratch], SealedCandles | None] | None = None

    @property
    def columns(self) -> tuple[str, ...]:
        return tuple(self.schema)

    def opened(self, sealed: Sequence[bytes], scales: Scales | None, scratch: Scratch) -> MinuteRows:
        """What is kept of blocks: no more than bars are made of, if possible, else their frame."""
        found = self.open(sealed, scales, scratch) if self.open else None
        return self.unseal(sealed, scales=scales) if found is None else found


CANDLE_FRAMES = MinuteFrames(
    CANDLES, schema.CANDLES, decode.candles, decode.sealed_candles, partial(resample, timeframe=MINUTE)
)
# Candles for bars that are shown: minutes come in order, so their order keys are not needed.
SHOWN_FRAMES = replace(
    CANDLE_FRAMES,
    schema=schema.SHOWN,
    decode=partial(decode.candles, schema=schema.SHOWN),
    unseal=partial(decode.sealed_candles, schema=schema.SHOWN),
    open=SealedCandles.of,
)
# And those for order flow.
FLOW_FRAMES = replace(
    CANDLE_FRAMES,
    schema=schema.FLOW,
    decode=partial(decode.candles, schema=schema.FLOW),
    unseal=partial(decode.sealed_candles, schema=schema.FLOW),
)
FOOTPRINT_FRAMES = MinuteFrames(
    FOOTPRINTS,
    schema.LEVELS,
    decode.footprints,
    decode.sealed_footprints,
    partial(regroup, timeframe=MINUTE, row_ticks=1),
    LevelBlock,
)
# By the name of the series.
FRAMES = {frames.series.name: frames for frames in (CANDLE_FRAMES, FOOTPRINT_FRAMES)}


def frame_of(minutes: MinuteRows) -> pl.DataFrame:
    return minutes.frame(Scratch()) if isinstance(minutes, SealedCandles) else minutes


@overload
def within(minutes: pl.DataFrame, from_ms: int, to_ms: int) -> pl.DataFrame: ...
@overload
def within(minutes: MinuteRows, from_ms: int, to_ms: int) -> MinuteRows: ...
def within(minutes: MinuteRows, from_ms: int, to_ms: int) -> MinuteRows:
    """Those that open in `[from_ms, to_ms)`: nothing is copied."""
    if isinstance(minutes, SealedCandles):
        found = minutes.within(from_ms, to_ms)
        return schema.SHOWN.to_frame() if found is None else found
    opens = minutes["open_ms"]
    if not len(opens) or (from_ms <= opens[0] and opens[-1] < to_ms):
        return minutes
    first, end = place_of(minutes, from_ms), place_of(minutes, to_ms)
    return minutes.slice(first, end - first)


def place_of(rows: pl.DataFrame, ms: int) -> int:
    """The first row that opens then or later, of rows that ascend. Polars makes a query of the same search."""
    return int(np.searchsorted(rows["open_ms"].to_numpy(), ms))


def last_open_ms(minutes: MinuteRows) -> int:
    """When the last of them opens, of at least one."""
    return minutes.last_ms if isinstance(minutes, SealedCandles) else int(minutes["open_ms"][-1])
