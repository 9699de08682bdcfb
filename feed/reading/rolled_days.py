"""Sealed days by their 15m candles, where bars can be made of these: a fifteenth of the rows.

Taken are whole days of what is asked for, whose seal names the block that the month's rows were made of, and of which
no minute was amended since. All others are read by their minutes (feed.reading.sealed_days).
"""

from bisect import bisect_left
from collections.abc import Callable, Collection, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain, groupby
from typing import NamedTuple

from common.frames.minutes import MinuteFrames, MinuteRows, within
from common.frames.sealed import SealedCandles
from common.market.coding import blocks
from common.market.coding.limbs import Scratch
from common.market.coding.quarter_hours import MINUTES_A_ROW
from common.market.scale import Scales
from common.market.timeframes.periods import MONTH, QUARTER_HOUR
from common.market.timeframes.timeframe import DAY_MS, Timeframe
from common.store.months import RolledMonth
from common.store.parts import Seal
from common.store.reads import SymbolReader
from feed.reading.bounds import Span
from feed.reading.budget import QueryBudget
from feed.reading.frame_cache import FrameCache
from feed.reading.minutes_part import DayStretch

# UTC days with a time of `[from_ms, to_ms)` in which a bar, or a session, begins or ends within a quarter of an hour.
UnevenDays = Callable[[int, int], Collection[int]]
Months = tuple[RolledMonth, ...]

_YEAR = Timeframe(12, "M")


class RolledRun(NamedTuple):
    """Days whose rows follow each other in the blocks of those months, which are of one year, without any others."""

    months: Months
    from_ms: int
    to_ms: int


class DayPlan(NamedTuple):
    """What days are read by: their minutes, by stretches, or rows of months."""

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
    known = {month.month_ms: month for month in months}
    by_minute, passed, taken = list[list[Seal]](), list[int](), dict[int, list[int]]()
    of_year = dict[int, Months]()
    for days in stretches:
        month = known.get(MONTH.open_of(days[0].day_ms))
        found = _taken(days, month, span, amended, uneven_days) if month else set()
        if not month or not found:
            # As a whole, as it is cached.
            by_minute.append(days)
            passed += [seal.day_ms for seal in days]
            continue
        asked = [seal for seal in days if seal.day_ms < span[1] and seal.day_ms + DAY_MS > span[0]]
        others = [seal for seal in asked if seal.day_ms not in found]
        by_minute += _apart(others, sorted(found))
        # Rows that are not taken lie between those that are.
        passed += sorted({*month.days, *(seal.day_ms for seal in others)} - found)
        year_ms = _YEAR.open_of(month.month_ms)
        taken.setdefault(year_ms, []).extend(sorted(found))
        of_year[year_ms] = (*of_year.get(year_ms, ()), month)
    runs = (_runs(group, taken[year_ms], passed) for year_ms, group in of_year.items())
    return DayPlan(by_minute, list(chain.from_iterable(runs)))


def _taken(
    days: Sequence[Seal], month: RolledMonth, span: Span, amended: Collection[int], uneven_days: UnevenDays
) -> set[int]:
    found = {
        seal.day_ms for seal in days if span[0] <= seal.day_ms and seal.day_ms + DAY_MS <= span[1] and month.has(seal)
    }
    return found.difference(amended, uneven_days(min(found), max(found) + DAY_MS)) if found else found


def _apart(seals: Sequence[Seal], between: Sequence[int]) -> list[list[Seal]]:
    """Put days together between which none of those lies."""
    return [list(run) for _, run in groupby(seals, lambda seal: bisect_left(between, seal.day_ms))]


def _runs(months: Months, taken: Sequence[int], passed: Sequence[int]) -> Iterator[RolledRun]:
    """Put ascending days together as far as no other ones lie between them."""
    for _, run in groupby(taken, lambda day_ms: bisect_left(passed, day_ms)):
        days = list(run)
        yield RolledRun(months, days[0], days[-1] + DAY_MS)


@dataclass(frozen=True, slots=True)
class RolledDays:
    """Those of one symbol, for a query of this budget. Months of a year are opened, and cached, as one."""

    store: SymbolReader
    cache: FrameCache
    budget: QueryBudget

    async def read(self, frames: MinuteFrames, runs: Sequence[RolledRun], scales: Scales) -> list[DayStretch] | None:
        """Return the rows of each run. None where a month of them is not there as it was named."""
        keys = [self._key(frames, run.months, scales) for run in runs]
        groups = {key: run.months for key, run in zip(keys, runs, strict=True)}
        rows = {key: found for key in groups if (found := self.cache.get(key)) is not None}
        lacking = {key: months for key, months in groups.items() if key not in rows}
        if lacking:
            read = await self._read(frames, lacking, scales)
            if read is None:
                return None
            rows |= read
        await self.budget.read(sum(map(len, rows.values())))
        return [
            DayStretch(within(rows[key], run.from_ms, run.to_ms), run.from_ms, run.to_ms)
            for key, run in zip(keys, runs, strict=True)
        ]

    def _key(self, frames: MinuteFrames, months: Months, scales: Scales) -> Hashable:
        digests = tuple(month.digest for month in months)
        return self.store.keys.symbol, QUARTER_HOUR, frames.columns, months[0].month_ms, digests, scales

    async def _read(
        self, frames: MinuteFrames, groups: Mapping[Hashable, Months], scales: Scales
    ) -> dict[Hashable, MinuteRows] | None:
        # Fetched no sooner than there is a turn to open it.
        async with self.cache.turns:
            months = [month for group in groups.values() for month in group]
            found = await self.store.rolled_months([month.month_ms for month in months])
            count = sum(month.rows for month in months)
            opened = await self.budget.run(count, _opened, frames, groups, found, scales)
        for key, rows in (opened or {}).items():
            self.cache.keep(key, rows)
        return opened


def _opened(
    frames: MinuteFrames, groups: Mapping[Hashable, Months], found: Sequence[bytes | None], scales: Scales
) -> dict[Hashable, MinuteRows] | None:
    known = [block for block in found if block]
    if list(map(blocks.digest, known)) != [month.digest for months in groups.values() for month in months]:
        return None
    opened, scratch, following = dict[Hashable, MinuteRows](), Scratch(), iter(known)
    for key, months in groups.items():
        rows = frames.opened([next(following) for _ in months], scales, scratch)
        opened[key] = replace(rows, minutes_a_row=MINUTES_A_ROW) if isinstance(rows, SealedCandles) else rows
    return opened
