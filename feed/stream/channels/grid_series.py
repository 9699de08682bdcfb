"""A heatmap that goes on: all its listeners hold the same grid, and are told what changes of it, at most every EVERY_S.

A listener begins with the grid as it is, a full frame. It begins so again where the grid becomes another one: the price
has left its rows, or they have become too many for a frame.
"""

import asyncio
from abc import abstractmethod
from dataclasses import dataclass
from typing import Any

from common.errors import StoreUnavailable
from common.frames.grid import GridFlags
from common.frames.grid_columns import GridShape
from feed.bars.changes import ROUNDS, Cursor
from feed.bars.live import At
from feed.reading.coverage import EMPTY
from feed.stream.channels.held_grid import MAX_FRAME_BYTES, HeldGrid
from feed.stream.series import LiveSeries, ReadAgain, SnapshotRead
from feed.wire.answers import simulated
from feed.wire.grid_messages import GridMessage, GridPatch, told_snapshot

# Of a resumption, all columns that may be others told whole. Beyond that a full frame is the shorter answer.
MAX_RESUMED_CELLS = 50_000


@dataclass(frozen=True, slots=True)
class GridWindow:
    """What is asked for. `shape`: its prices count where `is_fixed`, else it is around the price of now."""

    shape: GridShape
    is_fixed: bool


class GridSeries(LiveSeries[Any]):
    """`shape`: of the next grid that is read; it has its place once `is_placed`. `grid`: None until it is read."""

    def hold(self, window: GridWindow) -> None:
        self.window = window
        self.shape, self.is_placed = window.shape, window.is_fixed
        self.grid: HeldGrid | None = None
        # Who reads the grid, or what changes of it.
        self.reading = asyncio.Lock()

    @abstractmethod
    async def load(self) -> None:
        """Read the grid. Within `reading`."""

    @abstractmethod
    async def catch_up(self, grid: HeldGrid) -> bool:
        """Bring the grid to where the series is; False if it is not there yet."""

    @property
    @abstractmethod
    def growing_ms(self) -> int:
        """The first column that may change without a commit that touches it."""

    @property
    def flags(self) -> GridFlags:
        return GridFlags.SIMULATED if simulated(self.market) else GridFlags(0)

    async def snapshot(self, limit: int) -> SnapshotRead:
        view = await self.host.data.store.view()
        grid = await self.current()
        more: dict[str, object] = {"cursor": grid.cursor(self.growing_ms), "health": self.host.symbol.health(view)}
        if grid.shape.row_ticks != self.window.shape.row_ticks:
            more["coarsened"] = True
        told = told_snapshot(self.market, grid.shape, grid.newest_ms, len(grid.columns), grid.state, more)
        return SnapshotRead(told, view, self._at(grid), grid.full())

    async def changes_since(self, cursor: Cursor) -> ReadAgain | None:
        grid = await self.current()
        growing_ms = grid.growing_at(cursor)
        touched = None if growing_ms is None else await self.touched_since(cursor)
        if touched is None or growing_ms is None:
            return None
        grid = await self.current()
        if grid.growing_at(cursor) is None:
            return None
        opens = touched | {open_ms for open_ms in grid.columns if open_ms >= growing_ms}
        if len(opens) * grid.shape.rows > MAX_RESUMED_CELLS:
            return None
        patch = grid.whole(opens, cursor.seq)
        at, held = self._at(grid), grid.cursor(self.growing_ms).partition("@")[2]
        messages = [self._message(grid, patch)] if patch and at.cursor != f"{cursor.seq}-{cursor.token}" else []
        return ReadAgain(at.seq, at.token, at.watermark_ms, messages, held)

    @abstractmethod
    async def touched_since(self, cursor: Cursor) -> set[int] | None:
        """The columns that changed since a cursor besides those that were growing then; None if that can't be said."""

    async def current(self) -> HeldGrid:
        """The grid, as of where the series is."""
        for _ in range(ROUNDS):
            async with self.reading:
                if self.grid is None:
                    await self.load()
            grid = self.grid
            if grid is None or not await self.catch_up(grid) or self.grid is not grid:
                continue
            if len(grid.full()) <= MAX_FRAME_BYTES or grid.shape.rows == 1:
                return grid
            self.begin_again(grid.shape.coarser(), is_placed=True)
        raise StoreUnavailable(f"{self.market.symbol} changed under every attempt to read it")

    def begin_again(self, shape: GridShape, *, is_placed: bool) -> None:
        """With another grid: every listener is sent it."""
        self.shape, self.is_placed, self.grid = shape, is_placed, None
        self._restart(set(self.listeners))

    def placed(self, price_ticks: int) -> GridShape:
        """Put the grid around the price, if it has no place yet."""
        if not self.is_placed:
            self.shape, self.is_placed = self.shape.around(price_ticks), True
        return self.shape

    def follow(self, price_ticks: int | None) -> None:
        """Where the price has left the grid it begins again, with half of its height of room on both sides."""
        grid = self.grid
        if grid and price_ticks is not None and not self.window.is_fixed and not grid.shape.has(price_ticks):
            self.begin_again(grid.shape, is_placed=False)

    def tell_patch(self, grid: HeldGrid, patch: GridPatch | None) -> None:
        if patch:
            self._push(self._message(grid, patch))

    def _message(self, grid: HeldGrid, patch: GridPatch) -> GridMessage:
        return GridMessage(self.names, grid.state.seq, "heatmap", grid.cursor(self.growing_ms), patch)

    def _at(self, grid: HeldGrid) -> At:
        return At(grid.state.seq, grid.state.token, grid.state.known_ms, EMPTY, -1)

    def _lost(self) -> None:
        self.grid = None
        super()._lost()
