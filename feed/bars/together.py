"""Several kinds of bars as of one commit: candles, their rows, what their levels add up to.

A first look says which commit. What is read after it is closed minutes up to that commit's open one, and then that one
as the commit has it. So all is as of that commit, whatever has been written since, but for an amendment of a closed
minute: then all is read once more.
"""

from dataclasses import dataclass, field, replace
from typing import Protocol

from common.errors import Overtaken
from common.market.timeframes.periods import DAY
from common.market.timeframes.timeframe import MINUTE, Timeframe, minute_of
from common.series import FOOTPRINTS
from common.store.reads import View
from feed.bars.closed import Closed, fit, made_again, with_open
from feed.bars.data import SymbolData
from feed.bars.recipe import BarRecipe
from feed.bars.source import BarRows
from feed.reading.bounds import Bounds
from feed.reading.coverage import KnownCoverage


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
    # The levels that were read last, and within which bounds: what is made of them next needs not be read again.
    _levels: tuple[Bounds, Closed] | None = field(default=None, init=False)

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
        if self._levels and self._levels[0] == bounds and self._levels[1].pieces:
            return await made_again(self.data.history, self._levels[1], recipe, bounds)
        closed = await self._read(recipe, bounds, view, keeps_pieces=True)
        self._levels = bounds, closed
        return closed

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


def _watermark_ms(view: View) -> int:
    return max(view.state.watermark_ms, 0) if view.state else 0
