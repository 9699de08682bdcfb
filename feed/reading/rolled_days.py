"""Sealed days by their 15m candles, where bars can be made of these: a fifteenth of the rows.

Taken are whole days of what is asked for, whose seal names the block that the month's rows were made of, and of which
no minute was amended since. All others are read by their minutes (feed.reading.sealed_days).
"""

from bisect import bisect_left
from collections.abc import Callable, Collection, Hashable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import NamedTuple

from common.errors import Overtaken
from common.frames.minutes import MinuteFrames, MinuteRows, within
from common.frames.sealed import SealedCandles
from common.market.coding import blocks
from common.market.coding.limbs import Scratch
from common.market.coding.quarter_hours import MINUTES_A_ROW
from common.market.scale import Scales
from common.market.timeframes.periods import MONTH
from common.market.timeframes.timeframe import DAY_MS
from common.store.months import RolledMonth
from common.store.parts import Seal
from common.store.reads import SymbolReader
from feed.reading.bounds import Span
from feed.reading.budget import QueryBudget
from feed.reading.frame_cache import FrameCache
from feed.reading.minutes_part import DayStretch

# UTC days with a time of `[from_ms, to_ms)` in which a bar, or a session, begins or ends within a quarter of an hour.
UnevenDays = Callable[[int, int], Collection[int]]


class RolledRun(NamedTuple):
    """Days of a month that follow each other, all of which its block has."""

    month: RolledMonth
    from_ms: int
    to_ms: int


class DayPlan(NamedTuple):
    """What days are read by: their minutes, by stretches, or rows of a month."""

    by_minute: list[list[Seal]]
    rolled: list[RolledRun]


def planned(
    stretches: Sequence[list[Seal]],
    months: Sequence[RolledMonth],
    span: Span,
    amended: Collection[int],
    uneven_days: UnevenDays,
) -> DayPlan:
    """`span`: of what is asked for; `amended`: days with open minutes."""
    plan, known = DayPlan([], []), {month.month_ms: month for month in months}
    for days in stretches:
        month = known.get(MONTH.open_of(days[0].day_ms))
        taken = set(_whole(days, span)) if month else set()
        if month and taken:
            refused = {*amended, *uneven_days(days[0].day_ms, days[-1].day_ms + DAY_MS)}
            taken = {seal.day_ms for seal in days if month.has(seal)} & taken - refused
        if not month or not taken:
            # As a whole, as it is cached.
            plan.by_minute.append(days)
            continue
        asked = [seal for seal in days if seal.day_ms < span[1] and seal.day_ms + DAY_MS > span[0]]
        for is_taken, run in _runs(asked, taken, month):
            if is_taken:
                plan.rolled.append(RolledRun(month, run[0].day_ms, run[-1].day_ms + DAY_MS))
            else:
                plan.by_minute.append(run)
    return plan


def _whole(days: Sequence[Seal], span: Span) -> Iterator[int]:
    """Days that lie in the span with all their minutes."""
    return (seal.day_ms for seal in days if span[0] <= seal.day_ms and seal.day_ms + DAY_MS <= span[1])


def _runs(days: Sequence[Seal], taken: Collection[int], month: RolledMonth) -> list[tuple[bool, list[Seal]]]:
    """Put days together as they follow each other: those that are taken as far as no other rows lie between them."""
    others = sorted(day_ms for day_ms in month.days if day_ms not in taken)

    def kind(seal: Seal) -> int:
        return bisect_left(others, seal.day_ms) if seal.day_ms in taken else -1

    return [(at >= 0, list(run)) for at, run in groupby(days, kind)]


@dataclass(frozen=True, slots=True)
class RolledDays:
    """Those of one symbol, for a query of this budget."""

    store: SymbolReader
    cache: FrameCache
    budget: QueryBudget

    async def read(self, frames: MinuteFrames, runs: Sequence[RolledRun], scales: Scales) -> list[DayStretch]:
        """Return the rows of each run. Raises Overtaken where its month has been made again since."""
        wanted = {run.month.month_ms: run.month for run in runs}
        found = {month_ms: self.cache.get(self._key(frames, month, scales)) for month_ms, month in wanted.items()}
        rows = {month_ms: minutes for month_ms, minutes in found.items() if minutes is not None}
        lacking = [month for month_ms, month in wanted.items() if month_ms not in rows]
        if lacking:
            rows |= await self._read(frames, lacking, scales)
        await self.budget.read(sum(map(len, rows.values())))
        return [
            DayStretch(within(rows[run.month.month_ms], run.from_ms, run.to_ms), run.from_ms, run.to_ms) for run in runs
        ]

    def _key(self, frames: MinuteFrames, month: RolledMonth, scales: Scales) -> Hashable:
        return self.store.keys.symbol, "15m", frames.columns, month.month_ms, month.digest, scales

    async def _read(self, frames: MinuteFrames, months: Sequence[RolledMonth], scales: Scales) -> dict[int, MinuteRows]:
        # Fetched no sooner than there is a turn to open it.
        async with self.cache.turns:
            found = await self.store.rolled_months([month.month_ms for month in months])
            count = sum(month.rows for month in months)
            opened = await self.budget.run(count, self._opened, frames, months, found, scales)
        for month, rows in zip(months, opened, strict=True):
            self.cache.keep(self._key(frames, month, scales), rows)
        return {month.month_ms: rows for month, rows in zip(months, opened, strict=True)}

    def _opened(
        self, frames: MinuteFrames, months: Sequence[RolledMonth], found: Sequence[bytes | None], scales: Scales
    ) -> list[MinuteRows]:
        scratch = Scratch()
        opened = list[MinuteRows]()
        for month, block in zip(months, found, strict=True):
            if block is None or blocks.digest(block) != month.digest:
                raise Overtaken(f"a month of {self.store.keys.symbol} was made again while it was read")
            rows = frames.opened([block], scales, scratch)
            opened.append(replace(rows, minutes_a_row=MINUTES_A_ROW) if isinstance(rows, SealedCandles) else rows)
        return opened
