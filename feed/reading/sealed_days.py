"""Minutes of sealed days: all that are not cached are fetched by one command, and opened in one go.

A block is known by its digest, so what was read of it is cached for as long as there is room: of candles what is sealed
of them, without its compression, a quarter of the room of their frame; of other series their frame.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import polars as pl

from common.errors import Overtaken
from common.frames.minutes import MinuteFrames, MinuteRows
from common.market.coding import blocks
from common.market.coding.limbs import Scratch
from common.market.scale import Scales
from common.market.timeframes.timeframe import DAY_MS
from common.series import MinuteSeries
from common.store.parts import Range, Seal
from common.store.reads import SymbolReader
from feed.reading.bounds import Span
from feed.reading.budget import UNLIMITED, QueryBudget
from feed.reading.frame_cache import FrameCache
from feed.reading.minutes_part import DayStretch

# Levels of a day decoded at once. A busier day is decoded some minutes at a time, and not cached: it takes 300 MB.
MAX_LEVELS_AT_ONCE = 1 << 19


class SealedStretch(NamedTuple):
    """Days as they were fetched: the blocks that their seals name."""

    days: list[Seal]
    blocks: list[bytes]
    rows: int


@dataclass(frozen=True, slots=True)
class SealedDays:
    """Those of one symbol, for a query of this budget."""

    store: SymbolReader
    cache: FrameCache
    budget: QueryBudget

    async def read(
        self, frames: MinuteFrames, stretches: Sequence[list[Seal]], scales: Scales, wanted: Range
    ) -> list[DayStretch]:
        """Return the minutes of each stretch of days. Raises Overtaken where one has been sealed again since."""
        cached, lacking = list[DayStretch](), list[list[Seal]]()
        for days in stretches:
            minutes = self.cache.get(self._key(frames, days, scales))
            if minutes is None:
                lacking.append(days)
            else:
                cached.append(DayStretch(minutes, *span_of(days)))
        await self.budget.read(sum(len(stretch.minutes) for stretch in cached))
        read = await self._read(frames, lacking, scales, wanted) if lacking else []
        return sorted([*cached, *read], key=lambda stretch: stretch.from_ms)

    def _key(self, frames: MinuteFrames, days: Sequence[Seal], scales: Scales) -> Hashable:
        digests = tuple(day.digest(frames.series) for day in days)
        return self.store.keys.symbol, frames.series.name, frames.columns, days[0].day_ms, digests, scales

    async def _read(
        self, frames: MinuteFrames, stretches: Sequence[list[Seal]], scales: Scales, wanted: Range
    ) -> list[DayStretch]:
        # Fetched no sooner than there is a turn to open it: what waits holds nothing.
        async with self.cache.turns:
            fetched = await self._fetched(frames.series, stretches)
            is_limited = wanted.oldest is not None or wanted.newest is not None
            busy = [each for each in fetched if frames.by_part and is_limited and each.rows > MAX_LEVELS_AT_ONCE]
            opened = await self._opened(frames, [each for each in fetched if each not in busy], scales)
            return opened + [await self._busy_day(frames, each, scales, wanted) for each in busy]

    async def _fetched(self, series: MinuteSeries, stretches: Sequence[list[Seal]]) -> list[SealedStretch]:
        seals = [seal for days in stretches for seal in days]
        found = [block for block in await self.store.blocks(series, [seal.day_ms for seal in seals]) if block]
        rows = sum(seal.count(series) for seal in seals)
        digests = await self.budget.run(rows, lambda: list(map(blocks.digest, found)))
        if digests != [seal.digest(series) for seal in seals]:
            raise Overtaken(f"a day of {self.store.keys.symbol} was sealed again while it was read")
        rows_of, following = series.codec.blocks().rows, iter(found)
        sealed = [[next(following) for _ in days] for days in stretches]
        return [
            SealedStretch(days, each, sum(map(rows_of, each))) for days, each in zip(stretches, sealed, strict=True)
        ]

    async def _opened(self, frames: MinuteFrames, fetched: Sequence[SealedStretch], scales: Scales) -> list[DayStretch]:
        rows = sum(each.rows for each in fetched)
        await self.budget.read(rows)
        # A year takes 30 ms, in which no other question would be answered.
        opened = await self.budget.run(rows, _open, frames, fetched, scales)
        for each, minutes in zip(fetched, opened, strict=True):
            self.cache.keep(self._key(frames, each.days, scales), minutes)
        return [DayStretch(minutes, *span_of(each.days)) for each, minutes in zip(fetched, opened, strict=True)]

    async def _busy_day(
        self, frames: MinuteFrames, fetched: SealedStretch, scales: Scales, wanted: Range
    ) -> DayStretch:
        """Return as many minutes of a day of footprints as are decoded at once, from the end that is asked for."""
        assert frames.by_part
        (block,), oldest_first, (from_ms, to_ms) = fetched.blocks, wanted.oldest is not None, span_of(fetched.days)
        opened = await self.budget.run(fetched.rows, frames.by_part, block, scales)
        from_ms, to_ms = max(from_ms, wanted.start_ms), min(to_ms, wanted.end_ms)
        some = opened.within(from_ms, to_ms, MAX_LEVELS_AT_ONCE, oldest_first=oldest_first)
        whole = opened.within(from_ms, to_ms, UNLIMITED, oldest_first=oldest_first)
        await self.budget.read(opened.count(some))
        frame = pl.DataFrame(await self.budget.run(opened.count(some), opened.levels, some))
        if some == whole:
            return DayStretch(frame, from_ms, to_ms)
        if oldest_first:
            return DayStretch(frame, from_ms, int(opened.opens[some.stop]), is_cut=True)
        return DayStretch(frame, int(opened.opens[some.start]), to_ms, is_cut=True)


def _open(frames: MinuteFrames, fetched: Sequence[SealedStretch], scales: Scales) -> list[MinuteRows]:
    scratch = Scratch()
    return [frames.opened(each.blocks, scales, scratch) for each in fetched]


def span_of(days: Sequence[Seal]) -> Span:
    return days[0].day_ms, days[-1].day_ms + DAY_MS
