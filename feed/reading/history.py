"""All minutes of a symbol as one: those that lie open in Redis, the sealed days, and the archive.

Three places, and a minute counts from the first of them that has it: an amendment of a sealed day is written open,
until the day is sealed again. The archive is asked for what Redis has dropped: minutes that open before the floor. What
late trades make of those is kept in Redis until the archive has it, and is merged here; an object says what it has.

What is open, and which blocks are sealed, is read in one transaction; blocks are named by their digest, so they may
be fetched after it, and be cached for as long as there is room.
"""

from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import replace
from functools import partial
from typing import TypeVar

import polars as pl

from common.archive.archive import Archive
from common.archive.late import period_with
from common.archive.series import SERIES
from common.errors import Overtaken, Superseded
from common.frames import encode
from common.frames.minutes import CANDLE_FRAMES, MinuteFrames, MinuteRows, within
from common.market.instrument import Instrument
from common.market.manifest import ManifestEntry
from common.market.scale import Scales
from common.market.timeframes.timeframe import day_of
from common.retry import retry_when_overtaken
from common.series import CANDLES, MINUTE_SERIES, MinuteSeries
from common.store.months import RolledMonths
from common.store.parts import Late, Minutes, Part, Range, Seals
from common.store.reads import SymbolReader, View
from feed.reading import archived
from feed.reading.archived import Periods, with_others
from feed.reading.budget import QueryBudget
from feed.reading.frame_cache import FrameCache
from feed.reading.minutes_part import (
    MinutesPart,
    chosen_of,
    covered,
    cut_to,
    joined_with,
    may_be_sealed,
    open_part,
    stretches_of,
)
from feed.reading.rolled_days import DayPlan, RolledDays, UnevenDays, planned
from feed.reading.sealed_days import SealedDays, span_of

# Of an open minute, about: a candle, or a level.
PACKED_ROW_BYTES = 64
# A day sealed again between two commands is read once more.
ATTEMPTS = 8

T = TypeVar("T")


class History:
    """All minutes of one symbol, for a query of this budget. `store`: reads what the store alone has."""

    def __init__(
        self,
        store: SymbolReader,
        instrument: Instrument,
        frame_cache: FrameCache,
        archive: Archive | None = None,
        budget: QueryBudget | None = None,
    ) -> None:
        self.store, self.frame_cache, self.budget = store, frame_cache, budget or QueryBudget.unlimited()
        self._instrument, self._archive = instrument, archive
        # As the last read had it: what is sealed is then asked for at once, and not once it is found that some is.
        self._sealed_to_ms = -1

    @property
    def symbol(self) -> str:
        return self._instrument.symbol

    async def view(self, *parts: Part) -> View:
        """As SymbolReader.view, with the minutes that are sealed, and of a range without a limit the archived ones.

        Minutes are those of candles.
        """
        return await self._retried(lambda: self._view(parts))

    async def _view(self, parts: tuple[Part, ...]) -> View:
        minutes = [wanted for part in parts if isinstance(part, Minutes) for wanted in part.ranges]
        view = await self.store.view(*parts)
        asked = list(zip(minutes, view.minutes, strict=True))
        lacking = [wanted.start_ms for wanted, found in asked if may_be_sealed(CANDLES, view, wanted, found)]
        if not lacking:
            return self._kept_of(view)
        view = await self.store.view(*parts, Seals(min(lacking)), *self._late_of(minutes))
        asked = list(zip(minutes, view.minutes, strict=True))
        read = [await self._part(CANDLE_FRAMES, view, wanted, found) for wanted, found in asked]
        older = [await self._older(view, wanted) for wanted in minutes]
        frames = [[*before, *part.frames] for before, part in zip(older, read, strict=True)]
        whole = [cut_to(pl.concat(each), wanted) for each, wanted in zip(frames, minutes, strict=True)]
        return self._kept_of(replace(view, minutes=list(map(encode.candles, whole))))

    async def look(self, series: MinuteSeries) -> View:
        """Return the state alone, with the open minutes of candles and of a series."""
        view = await self.store.view(Minutes(Range(0, 0, series=series)))
        self._sealed_to_ms = view.state.sealed_to_ms if view.state else -1
        return self._kept_of(view)

    async def sealed(self, *parts: Part) -> View:
        """Return the state with parts that tell what is sealed."""
        return self._kept_of(await self.store.view(*parts))

    def scales(self, view: View) -> Scales:
        """In which scale what is sealed is read."""
        return view.state.scales(self._instrument) if view.state else Scales.unchanged(self._instrument.scale)

    async def read(
        self, frames: MinuteFrames, wanted: Range, max_open: int, uneven_days: UnevenDays | None = None
    ) -> MinutesPart:
        """Return minutes of `wanted`, beginning at the end that is asked for: at least one if there are any.

        As many as asked for, unless they are not sealed yet and more than `max_open`; or some more. `uneven_days`:
        those whose minutes 15m candles may not stand for; None: they may nowhere.
        """
        return await self._retried(lambda: self._read(frames, wanted, max_open, uneven_days))

    async def _read(
        self, frames: MinuteFrames, wanted: Range, max_open: int, uneven_days: UnevenDays | None
    ) -> MinutesPart:
        series, forward = frames.series, wanted.oldest is not None
        limited = Range.some(wanted.start_ms, wanted.end_ms, max_open, oldest_first=forward, series=series)
        # Whole stretches, as they are cached.
        sealed: list[Part] = [Seals(series.archive_period.open_of(wanted.start_ms))]
        if uneven_days:
            sealed.append(RolledMonths(wanted.start_ms))
        expected = wanted.start_ms < self._sealed_to_ms
        view = await self.store.view(Minutes(limited), *(sealed if expected else ()))
        self._sealed_to_ms = view.state.sealed_to_ms if view.state else -1
        floor_ms = self._archived_to(series, view)
        if wanted.start_ms < floor_ms and (forward or wanted.end_ms <= floor_ms):
            view = await self.store.view(_late_from(series, wanted.start_ms))
            self._check_archived_to(series, view, floor_ms)
            return await self._of_archive(frames, view, wanted, floor_ms)
        if not may_be_sealed(series, view, limited, view.minutes[0]):
            return self._up_to_archive(frames, wanted, await self._opened(frames, view, limited, view.minutes[0]))
        if not expected:
            view = await self.store.view(Minutes(limited), *sealed)
        part = await self._part(frames, view, wanted, view.minutes[0], max_open, uneven_days)
        self._check_archived_to(series, view, floor_ms)
        return self._up_to_archive(frames, wanted, part)

    async def _retried(self, attempt: Callable[[], Awaitable[T]]) -> T:
        by = (Overtaken, Superseded)
        return await retry_when_overtaken(attempt, self.symbol, by=by, attempts=ATTEMPTS)

    def _late_of(self, candles: Sequence[Range]) -> list[Late]:
        """What `_older` needs: late trades of ranges without a limit."""
        starts = [wanted.start_ms for wanted in candles if wanted.newest is None and wanted.oldest is None]
        return [_late_from(CANDLES, min(starts))] if self._archive and starts else []

    async def _older(self, view: View, wanted: Range) -> list[pl.DataFrame]:
        """What the archive alone has of a range without a limit: of bars that began before what Redis has dropped."""
        floor_ms = self._archived_to(CANDLES, view)
        if wanted.newest is not None or wanted.oldest is not None or wanted.start_ms >= floor_ms:
            return []
        return (await self._of_archive(CANDLE_FRAMES, view, wanted, floor_ms)).frames

    def _archived_to(self, series: MinuteSeries, view: View) -> int:
        """Where the archive's part ends: at what Redis has dropped. -1 if there is none."""
        known = view.archived.minutes.get(series.name)
        if self._archive is None or view.state is None or known is None or known.from_ms < 0:
            return -1
        return view.state.floor_ms(series)

    def _check_archived_to(self, series: MinuteSeries, view: View, floor_ms: int) -> None:
        if self._archived_to(series, view) != floor_ms:
            raise Overtaken(f"the store dropped {series.name} of {self.symbol} while they were read")

    def _kept_of(self, view: View) -> View:
        """The view with the floors of all that is kept: with an archive, these are where it begins."""
        if self._archive is None or view.state is None:
            return view
        floors = dict(view.state.floors_ms)
        for name, series in MINUTE_SERIES.items():
            if self._archived_to(series, view) >= 0:
                floors[name] = min(view.state.floor_ms(series), view.archived.minutes[name].from_ms)
        archived_to_ms = self._archived_to(CANDLES, view)
        return replace(view, state=replace(view.state, floors_ms=floors), archived_to_ms=archived_to_ms)

    def _up_to_archive(self, frames: MinuteFrames, wanted: Range, part: MinutesPart) -> MinutesPart:
        """A part out of Redis, after which the archive's comes."""
        floor_ms, view = self._archived_to(frames.series, part.view), self._kept_of(part.view)
        if part.ended and wanted.start_ms < floor_ms:
            return replace(part, view=view, from_ms=max(part.from_ms, floor_ms), ended=False)
        return replace(part, view=view)

    async def _of_archive(self, frames: MinuteFrames, view: View, wanted: Range, floor_ms: int) -> MinutesPart:
        """Read whole periods of the archive, from the end that is asked for, until they are enough. Raises Faulty."""
        assert self._archive is not None
        forward, end_ms = wanted.oldest is not None, min(wanted.end_ms, floor_ms)
        limit = wanted.oldest if forward else wanted.newest
        from_ms, to_ms, ended = wanted.start_ms, end_ms, end_ms == wanted.end_ms
        found: list[MinuteRows] = []
        taken_ms = end_ms
        there = await archived.periods(self.store, self._archive, SERIES[frames.series.name])
        async with aclosing(_asked(there, frames.series, view, (from_ms, end_ms), oldest_first=forward)) as asked:
            async for period_ms, expected in asked:
                if limit is not None and sum(map(len, found)) >= limit:
                    from_ms, to_ms, ended = (from_ms, period_ms, False) if forward else (taken_ms, to_ms, False)
                    break
                frame = await self._period(there, frames, period_ms, view, expected)
                found.append(within(frame, wanted.start_ms, end_ms))
                taken_ms = period_ms
        ascending = found if forward else found[::-1]
        return MinutesPart(self._kept_of(view), ascending or [frames.decode([])], from_ms, to_ms, ended)

    async def _period(
        self, there: Periods, frames: MinuteFrames, period_ms: int, view: View, expected: ManifestEntry | None
    ) -> MinuteRows:
        """Return a period with the late trades of it. In one version they only ever become more."""
        assert self._archive is not None and view.state is not None
        series = frames.series
        version = view.archived.minutes[series.name].version
        end_ms = series.archive_period.next_open(period_ms)
        late = [part for part in view.late if period_ms <= part.open_ms < end_ms]
        newest = max((part.seq, part.token) for part in late) if late else None
        scale = self._instrument.scale
        key = (self.symbol, series.name, frames.columns, period_ms, version, newest, scale)
        frame = self.frame_cache.get(key)
        await self.budget.read(len(frame) if frame is not None else max(expected.rows, 0) if expected else 0)
        if frame is None:
            place = self._archive, SERIES[series.name], self._instrument, period_ms
            at = view.state.token, view.state.seq
            frame = await there.read(period_ms, partial(period_with, *place, late, at, frames.columns, expected))
            self.frame_cache.keep(key, frame)
        return frame

    async def _opened(
        self, frames: MinuteFrames, view: View, wanted: Range, found: list[bytes], limit: int | None = None
    ) -> MinutesPart:
        rows = sum(map(len, found)) // PACKED_ROW_BYTES
        part = await self.budget.run(rows, open_part, frames, view, wanted, found, limit)
        await self.budget.read(sum(map(len, part.pieces)))
        return part

    async def _part(
        self,
        frames: MinuteFrames,
        view: View,
        wanted: Range,
        found: list[bytes],
        max_open: int | None = None,
        uneven_days: UnevenDays | None = None,
    ) -> MinutesPart:
        """Join open minutes and sealed days of one view."""
        limit = max_open or wanted.oldest or wanted.newest
        opened = await self._opened(frames, view, wanted, found, limit)
        stretches = stretches_of(frames.series, view, wanted)
        chosen = chosen_of(frames.series, stretches, wanted)
        scales = self.scales(view)
        plan = DayPlan(chosen, [])
        if uneven_days and view.months:
            amended = {day_of(frames.series.codec.open_of(member)) for member in found}
            plan = planned(chosen, view.months, (opened.from_ms, opened.to_ms), amended, uneven_days)
        room = self.store, self.frame_cache, self.budget
        rolled = await RolledDays(*room).read(frames, plan.rolled, scales) if plan.rolled else []
        if rolled is None:
            # Made again since, or damaged: the minutes of what is sealed serve.
            plan, rolled = DayPlan(chosen, []), []
        known = [*await SealedDays(*room).read(frames, plan.by_minute, scales, wanted), *rolled]
        known.sort(key=lambda stretch: stretch.from_ms)
        # What ends the part: days that were not chosen, or the rest of a day that is cut.
        ends = [(stretch.from_ms, stretch.to_ms) for stretch in known if stretch.is_cut]
        if len(chosen) < len(stretches):
            ends.append(span_of(chosen[-1] if wanted.oldest is not None else chosen[0]))
        from_ms, to_ms = opened.from_ms, opened.to_ms
        if wanted.oldest is not None:
            to_ms = min([to_ms, *(end for _, end in ends)])
        else:
            from_ms = max([from_ms, *(start for start, _ in ends)])
        sealed, (minutes,) = [stretch.minutes for stretch in known], opened.frames
        rows = sum(len(each) for each in sealed if covered(each, minutes))
        pieces = await self.budget.run(rows, joined_with, sealed, minutes, from_ms, to_ms)
        return MinutesPart(view, pieces, from_ms, to_ms, opened.ended and not ends)


def _asked(
    there: Periods, series: MinuteSeries, view: View, span: tuple[int, int], *, oldest_first: bool
) -> AsyncGenerator[tuple[int, ManifestEntry | None], None]:
    """Yield the periods that touch the span, of which the archive or the late trades have something."""
    from_ms, end_ms = series.archive_period.open_of(span[0]), span[1]
    late = {series.archive_period.open_of(part.open_ms) for part in view.late}
    others = [period_ms for period_ms in late if from_ms <= period_ms < end_ms]
    return with_others(there.between(from_ms, end_ms, oldest_first=oldest_first), others, oldest_first=oldest_first)


def _late_from(series: MinuteSeries, start_ms: int) -> Late:
    """Late trades of whole periods, as these are cached."""
    return Late(series, series.archive_period.open_of(start_ms))
