"""The series of minutes (common.series) as frames: how members and blocks are read, and minutes merged."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Protocol

import polars as pl

from common.frames import decode, schema
from common.frames.footprint import regroup
from common.frames.resample import resample
from common.market.coding.blocks import LevelBlock
from common.market.scale import Scales
from common.market.timeframes.timeframe import MINUTE
from common.series import CANDLES, FOOTPRINTS, MinuteSeries


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

    @property
    def columns(self) -> tuple[str, ...]:
        return tuple(self.schema)


CANDLE_FRAMES = MinuteFrames(
    CANDLES, schema.CANDLES, decode.candles, decode.sealed_candles, partial(resample, timeframe=MINUTE)
)
# Candles for bars that are shown: minutes come in order, so their order keys are not needed.
SHOWN_FRAMES = replace(
    CANDLE_FRAMES,
    schema=schema.SHOWN,
    decode=partial(decode.candles, schema=schema.SHOWN),
    unseal=partial(decode.sealed_candles, schema=schema.SHOWN),
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
