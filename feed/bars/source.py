"""Where the bars of one symbol and timeframe come from: stored days, minutes or trades (feed.bars.choice says which).

Bars are asked of a source, and which one it is makes no difference to the caller.
"""

from dataclasses import dataclass
from typing import Protocol

import polars as pl

from common.market.timeframes.timeframe import Timeframe
from common.store.reads import View
from feed.bars.changes import BarChanges, Cursor
from feed.bars.data import SymbolData
from feed.bars.live import BarGrid, Live
from feed.bars.page import Page
from feed.bars.recipe import BarRecipe
from feed.reading.bounds import Bounds, Window
from feed.reading.coverage import KnownCoverage

# Bars as JSON, the view and the coverage they are true of.
PageRead = tuple[Page, View, KnownCoverage]


@dataclass(frozen=True, slots=True)
class BarRows:
    """Bars of some bounds, ascending, the growing one included, and the view and coverage they are true of."""

    frame: pl.DataFrame
    view: View
    cover: KnownCoverage
    # Where to go on, an end or, oldest first, a start: before the limit was reached, the budget was spent.
    more_ms: int | None = None
    # The bar, or minute, before them that lends its close, if that was asked for and there is one.
    lender: pl.DataFrame | None = None


class BarsTogether(Protocol):
    @property
    def finest(self) -> Timeframe:
        """The shortest bars that can be read so: what is told of times within a bar is told by these."""

    async def read(self, recipe: BarRecipe, bounds: Bounds) -> BarRows:
        """Read bars of any recipe as of the commit of the first read. Raises Overtaken: all is to be read again."""


class BarSource(Protocol):
    @property
    def data(self) -> SymbolData: ...

    @property
    def grid(self) -> BarGrid: ...

    async def read(self, recipe: BarRecipe, bounds: Bounds, *, lend: bool = False) -> BarRows:
        """Read bars of a recipe of this timeframe. `lend`: with what lends its close to fill from the start on."""

    def together(self) -> BarsTogether:
        """For several reads that are all as of one commit."""

    async def page(self, window: Window) -> PageRead:
        """Return candles as JSON."""

    async def live(self) -> tuple[Live, View]:
        """Return live candles as of now, and the view they are of."""

    async def changes(self, cursor: Cursor, known: KnownCoverage | None = None) -> BarChanges | None:
        """Return which candles changed since the cursor, or None if that can't be said: a snapshot is due.

        `known`: the coverage at the cursor. Without it a gap that changed since is a reason for None, for its bars may
        have become partial, or stopped being so, without a trade of their own.
        """
