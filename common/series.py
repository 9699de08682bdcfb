"""The series of minutes that are made of a symbol's trades: each is told here, once.

What stores, seals, archives and reads minutes goes by MINUTE_SERIES. One more is a descriptor with its codec here, its
frames in common.frames.minutes, and the names of its columns in common.archive.series.

Pure, and small enough for every worker: numpy, which blocks take, is loaded with the first block.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from common.market.coding import codec
from common.market.rescaling import Rescaling
from common.market.scale import Scale, Scales
from common.market.timeframes.timeframe import MINUTE, Timeframe


@dataclass(frozen=True, slots=True)
class BlockCodec:
    """A day's members as one block (common.market.coding.blocks). `scales`: None where there was only ever one."""

    # (members, at least one, ascending; the scale that the block is to name) -> block
    pack: Callable[[Sequence[bytes], Scale | None], bytes]
    # (block, scales) -> members
    unpack: Callable[[bytes, Scales | None], list[bytes]]
    # (block, open_ms, scales) -> the member that opens then, if there is one
    at: Callable[[bytes, int, Scales | None], bytes | None]
    # How many rows of a frame a block is, without opening it.
    rows: Callable[[bytes], int]


@dataclass(frozen=True, slots=True)
class MinuteCodec:
    """How a series is packed: a member a period, and blocks of them."""

    # When a member opens, ms UTC.
    open_of: Callable[[bytes], int]
    # A member in another scale; an empty one stays empty. Raises Unfit.
    rescale: Callable[[Rescaling, bytes], bytes]
    # Loads numpy.
    blocks: Callable[[], BlockCodec]


@dataclass(frozen=True, slots=True)
class MinuteSeries:
    """One series: how it is called, cut, kept and packed."""

    # In keys, fields, seals and paths: the plural of what one member is called.
    name: str
    codec: MinuteCodec
    # What one of the archive's objects holds; readers keep as much of it decoded at once.
    archive_period: Timeframe
    # The setting, and the field of the registry's entry, that says for how many days it is kept.
    retention: str
    # What one member is of.
    period: Timeframe = MINUTE

    @property
    def member(self) -> str:
        """The field of the state that has the member that grows."""
        return self.name.removesuffix("s")

    @property
    def floor(self) -> str:
        """The field of the state that tells before which open (ms) members have been dropped."""
        return f"{self.member}_floor_ms"


def _candle_blocks() -> BlockCodec:
    from common.market.coding import candle_blocks as blocks

    return BlockCodec(blocks.pack, blocks.members, blocks.at, blocks.count)


def _footprint_blocks() -> BlockCodec:
    from common.market.coding import footprint_blocks as blocks

    return BlockCodec(blocks.pack, blocks.members, blocks.at, blocks.level_count)


# The series that leads: a minute is there if its candle is, and of the others nothing stays longer than that.
CANDLES = MinuteSeries(
    "candles", MinuteCodec(codec.candle_open, Rescaling.candle, _candle_blocks), Timeframe(1, "M"), "candle_days"
)
FOOTPRINTS = MinuteSeries(
    "footprints",
    MinuteCodec(codec.footprint_open, Rescaling.footprint, _footprint_blocks),
    Timeframe(1, "d"),
    "footprint_days",
)
# By name, in the order in which commits, seals and scripts have them: the one that leads first, new ones last.
MINUTE_SERIES = {series.name: series for series in (CANDLES, FOOTPRINTS)}


def followers() -> list[MinuteSeries]:
    """All but the one that leads."""
    return [series for series in MINUTE_SERIES.values() if series is not CANDLES]
