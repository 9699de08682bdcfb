"""Several kinds of bars as of one commit: candles, their rows, what their levels add up to.

A first look says which commit. What is read after it is closed minutes up to that commit's open one, and then that one
as the commit has it. So all is as of that commit, whatever has been written since, but for an amendment of a closed
minute: then all is read once more.
"""

from collections.abc import Hashable
from dataclasses import dataclass, field, replace
from typing import Protocol

from common.errors import Overtaken
from common.frames.minutes import within
from common.market.timeframes.periods import DAY
from common.market.timeframes.timeframe import DAY_MS, MINUTE, Timeframe, day_of, minute_of
from common.series import FOOTPRINTS
from common.store.reads import View
from feed.bars.closed import Closed, cut, fit, made_again, with_open
from feed.bars.data import SymbolData
from feed.bars.recipe import BarRecipe
from feed.bars.source import BarRows
from feed.reading.bounds import FOREVER_MS, Bounds
from feed.reading.coverage import KnownCoverage
from feed.reading.history import History

# More than there are between any two times.
MAX_BARS = 1 << 40


class ClosedReads(Protocol):
    """Closed bars, and what they cover."""

    async def closed(self, recipe: BarRecipe, bounds: Bounds, *, keeps_pieces: bool = False) -> Closed: ...

    def cover(self, recipe: BarRecipe, view: View) -> KnownCoverage: ...


@dataclass(slots=True)
class ClosedTogether:
    """`days`: of bars of `timeframe` of which days are stored; all others come from `minutes`."""

    data: SymbolData
    minutes: ClosedReads
    days: ClosedReads
    timeframe: Timeframe
    _view: View | None = field(default=None, init=False)
    _levels: "ReadLevels | None" = field(default=None, init=False)

    @property
    def finest(self) -> Timeframe:
        return MINUTE.anchored(self.timeframe.sessions)

    async def read(self, recipe: BarRecipe, bounds: Bounds) -> BarRows:
        view = self._view = self._view or await self.data.history.look(FOOTPRINTS)
        closed = await self._closed(recipe, bounds, view)
        frame = await self.data.budget.run(len(closed.bars), with_open, closed, recipe, bounds)
        return BarRows(
            frame, view, self._source(recipe).cover(recipe, view), recipe.more_of(frame, bounds, closed.more_ms)
        )

    def _source(self, recipe: BarRecipe) -> ClosedReads:
        return self.days if recipe.has_days and recipe.timeframe == self.timeframe else self.minutes

    async def _closed(self, recipe: BarRecipe, bounds: Bounds, view: View) -> Closed:
        """Closed bars as they were at the view. Raises Overtaken."""
        if recipe.minutes.series != FOOTPRINTS:
            return await self._read(recipe, bounds, view)
        levels = self._levels
        if levels is None or not levels.has(recipe, bounds):
            wide = whole_days(recipe.timeframe, bounds)
            closed = await self._read(recipe, wide, view, keeps_pieces=True)
            levels = self._levels = ReadLevels(wide, closed, {recipe.how: closed})
        closed = await levels.bars(self.data.history, recipe)
        return closed if levels.bounds == bounds else _narrowed(closed, bounds)

    async def _read(self, recipe: BarRecipe, bounds: Bounds, view: View, *, keeps_pieces: bool = False) -> Closed:
        source = self._source(recipe)
        until_ms = min(bounds.end_ms, minute_of(_watermark_ms(view)))
        until = replace(bounds, end_ms=max(until_ms, bounds.start_ms))
        closed = await source.closed(recipe, until, keeps_pieces=keeps_pieces)
        day = DAY.anchored(recipe.timeframe.sessions)
        # A day that has ended since may be stored, with minutes that were not there yet.
        same_day = day.open_of(_watermark_ms(view)) == day.open_of(_watermark_ms(closed.view))
        if not (same_day or source is self.minutes) or not fit([view, closed.view], recipe):
            raise Overtaken("minutes were amended while bars of them were read")
        return replace(closed, view=view)


@dataclass(frozen=True, slots=True)
class ReadLevels:
    """Levels that were read, and what has been made of them: more can be, without reading them again."""

    bounds: Bounds
    closed: Closed
    # By recipe.
    _made: dict[Hashable, Closed]

    def has(self, recipe: BarRecipe, bounds: Bounds) -> bool:
        """Whether bars of these bounds can be made of them."""
        if not self.closed.pieces:
            return False
        if whole_days(recipe.timeframe, bounds) == self.bounds:
            return True
        inside = self.bounds.start_ms <= bounds.start_ms and bounds.end_ms <= self.bounds.end_ms
        return inside and self.closed.more_ms is None and is_on_grid(recipe.timeframe, bounds)

    async def bars(self, history: History, recipe: BarRecipe) -> Closed:
        found = self._made.get(recipe.how)
        if found is None:
            found = self._made[recipe.how] = await made_again(history, self.closed, recipe, self.bounds)
        return found


def is_on_grid(timeframe: Timeframe, bounds: Bounds) -> bool:
    """Whether bars begin and end where the bounds do. Of sessions a last bar ends where no other begins."""
    start_ms, end_ms = bounds.start_ms, bounds.end_ms
    ends = end_ms >= FOREVER_MS or timeframe.sessions is not None or timeframe.open_of(end_ms) == end_ms
    return ends and timeframe.open_of(start_ms) == start_ms


def whole_days(timeframe: Timeframe, bounds: Bounds) -> Bounds:
    """The bounds with all of the day in which reading ends: bars of a whole day are cached, of a part of one they are
    made each time. Where they are not on the grid of bars, as they are."""
    if not is_on_grid(timeframe, bounds):
        return bounds
    if bounds.oldest_first:
        end_ms = min(day_of(bounds.end_ms + DAY_MS - 1), FOREVER_MS)
        return Bounds(bounds.start_ms, end_ms, MAX_BARS, oldest_first=True)
    return Bounds(day_of(bounds.start_ms), bounds.end_ms, MAX_BARS, oldest_first=False)


def _narrowed(closed: Closed, bounds: Bounds) -> Closed:
    """Those of the bounds, of bars that were read of wider ones."""
    more_ms = closed.more_ms
    if more_ms is not None and not bounds.start_ms < more_ms < bounds.end_ms:
        more_ms = None
    bars = cut(within(closed.bars, bounds.start_ms, bounds.end_ms), bounds)
    return replace(closed, bars=bars, more_ms=more_ms)


def _watermark_ms(view: View) -> int:
    return max(view.state.watermark_ms, 0) if view.state else 0
