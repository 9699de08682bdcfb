"""The heatmap of what rests in the book: its stored history, and beyond its end the books that are told.

The history is the truth, to the millisecond, and comes some seconds later; a book that is told is what of it is known
before. So the columns that both are of are worked out of the two of them, and again once the history has come further.
What of the book of another writer is kept is not known, so with another token the grid begins again.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import numpy as np

from common.errors import FleetError, StoreUnavailable
from common.frames.depth_minute import DepthMinute
from common.frames.grid import GridFlags
from common.frames.grid_columns import GridColumn, GridState, columns_of, spans_by_column
from common.frames.liquidity import CellGrid, CellKind, liquidity
from common.frames.live_runs import LiveRuns
from common.store.book import BookReader, BookSnapshot, NumberedBook
from common.store.reads import SymbolReader, View
from feed.bars.changes import Cursor
from feed.bars.live import At
from feed.queries.book import reader_of
from feed.reading.budget import QueryBudget
from feed.reading.coverage import EMPTY, KnownCoverage
from feed.reading.lanes import Busy
from feed.stream.channels.grid_series import GridSeries, GridWindow
from feed.stream.channels.held_grid import HeldGrid
from feed.stream.channels.touched import EVERY_S, REST
from feed.stream.series import Hears, SeriesHost
from feed.stream.topic import Topic
from feed.wire.errors import NoBook
from feed.wire.heatmaps import depth_cells

log = logging.getLogger(__name__)

# How often it is looked whether the history has come further.
LOOK_S = 1.0


@dataclass(slots=True)
class LiveDepth:
    """`at`: the picture that is told. `last`: the newest book, None if there is none yet; `runs`: of all that came."""

    at: At
    last: NumberedBook | None
    runs: LiveRuns = field(default_factory=LiveRuns)

    @classmethod
    def of(cls, found: NumberedBook | None) -> "LiveDepth":
        live = cls(At(0, found.token if found else "", -1, EMPTY, -1), None)
        if found:
            live.take(found)
        return live

    def apply(self, message: NumberedBook, cover: KnownCoverage | None) -> list[Any] | None:
        """None: of another writer."""
        if self.last and message.token != self.at.token:
            return None
        self.take(message)
        return []

    def take(self, message: NumberedBook) -> None:
        before, book = self.last, message.book
        if before and message.seq <= before.seq:
            return
        follows = before is not None and message.seq == before.seq + 1
        self.runs.take(book.ts_ms, (book.bids, book.asks), follows=follows, is_live=book.live)
        self.last = message
        self.at = replace(self.at, token=message.token)

    @property
    def middle(self) -> int | None:
        book = self.last.book if self.last else None
        return (book.bids[0][0] + book.asks[0][0]) // 2 if book and book.bids and book.asks else None


@dataclass(frozen=True, slots=True)
class DepthChanges:
    live: LiveDepth
    updates: Sequence[Any] = ()


@dataclass(slots=True)
class DepthSource:
    store: SymbolReader
    reader: BookReader
    followed: LiveDepth | None = None

    async def live(self) -> tuple[LiveDepth, View]:
        self.followed = LiveDepth.of(await self.reader.numbered())
        return self.followed, await self.store.view()

    async def changes(self, cursor: Cursor, known: KnownCoverage | None = None) -> DepthChanges | None:
        """Of what was not told the history will; None where another one writes it."""
        found = await self.reader.numbered()
        if self.followed is None or (found and self.followed.apply(found, None) is None):
            return None
        return DepthChanges(self.followed)


class DepthGrid(GridSeries):
    hears: ClassVar[Hears] = Hears.BOOK
    live: LiveDepth | None

    def __init__(self, host: SeriesHost, topic: Topic, cell: CellKind, window: GridWindow) -> None:
        super().__init__(host, topic, DepthSource(host.data.store, reader_of(host.symbol)))
        self.hold(window)
        self._cell: CellKind = cell
        # The end of what the history knows, as it was last read, and its minutes from that column on.
        self._stored_ms = 0
        self._stored: list[DepthMinute] = []
        self._next_s = 0.0
        self._is_due = False
        self._telling: asyncio.Task[None] | None = None
        self._looking: asyncio.Task[None] | None = None

    @property
    def growing_ms(self) -> int:
        return self._open_of(self._stored_ms)

    def close(self) -> None:
        super().close()
        for task in (self._telling, self._looking):
            if task:
                task.cancel()

    async def catch_up(self, grid: HeldGrid) -> bool:
        return True

    async def touched_since(self, cursor: Cursor) -> set[int] | None:
        return set()

    def _apply(self, live: Any, message: Any, cover: KnownCoverage | None) -> bool:
        """A number says only whether a book is missing; what is told has numbers of its own."""
        if live.apply(message, cover) is None:
            return False
        self._tell_updates(live.at, live.at, ())
        return True

    def _tell_updates(self, before: At, at: At, updates: Sequence[Any]) -> None:
        self._is_due = True
        if self.grid and self._telling is None:
            self._telling = asyncio.create_task(self._tell_due())

    # Reading.

    async def load(self) -> None:
        newest = await self._newest()
        self._stored_ms = newest.known_ms if newest else 0
        if not self._known_ms:
            raise NoBook(f"{self.market.symbol} has no order book: its source brings none, or has not brought one yet")
        self.placed(self._middle(newest))
        newest_ms = self._open_of(self._known_ms - 1)
        times = self.shape.times(newest_ms)
        minutes = await self._read_minutes(times.t0_ms, times.end_ms)
        if self._open_of(self._known_ms - 1) > newest_ms:
            # It has come further meanwhile: once more.
            return
        state, self._is_due = self._state(minutes), False
        columns = await self._worked_out(minutes, times)
        self._stored = [each for each in minutes if each.known_ms > self.growing_ms]
        self.grid = HeldGrid(self.shape, columns, state)
        self._advance(state)
        if self._looking is None:
            self._looking = asyncio.create_task(self._look())
        if self._is_due and self.live:
            # Books came meanwhile.
            self._tell_updates(self.live.at, self.live.at, ())

    async def _tell(self) -> None:
        """Work out the columns that the history has not all of. Within `reading`."""
        await self._tell_from(self.growing_ms, self._stored)

    async def _tell_further(self) -> None:
        """Work out the columns that the history has more of now, if it has."""
        newest = await self._newest()
        if newest is None or newest.known_ms == self._stored_ms:
            return
        if newest.known_ms < self._stored_ms and self.grid:
            self.begin_again(self.grid.shape, is_placed=True)
            return
        growing_ms = self.growing_ms
        minutes = await self._read_minutes(growing_ms, newest.known_ms)
        await self._tell_from(growing_ms, minutes)
        self._stored = [each for each in minutes if each.known_ms > self.growing_ms]

    async def _tell_from(self, growing_ms: int, minutes: list[DepthMinute]) -> None:
        grid = self.grid
        if grid is None:
            return
        newest_ms = max(self._open_of(self._known_ms - 1), grid.newest_ms)
        if growing_ms > newest_ms:
            # The history ends with the newest column, and nothing is known beyond it.
            return
        first_ms = max(growing_ms, newest_ms - (grid.shape.cols - 1) * grid.shape.bucket_ms)
        times = grid.shape.times(newest_ms, (newest_ms - first_ms) // grid.shape.bucket_ms + 1)
        state = self._state(minutes)
        columns = await self._worked_out(minutes, times)
        if self.grid is not grid:
            return
        patch = grid.take(columns, state)
        self._advance(state)
        self.tell_patch(grid, patch)
        self.follow(self.live.middle if self.live else None)

    async def _worked_out(self, minutes: list[DepthMinute], times: CellGrid) -> dict[int, GridColumn]:
        live = self._live_minute(minutes)
        budget = QueryBudget(self.host.symbol.queries.workers)
        parts = [*minutes, *([live] if live else [])]
        return await budget.run(times.cols * times.rows, _columns, parts, times, self._cell, self.shape.channels)

    def _live_minute(self, minutes: list[DepthMinute]) -> DepthMinute | None:
        """What is told beyond the history, known as far in prices as that was at its end."""
        if self.live is None or self.live.last is None:
            return None
        low, high = _reach(self.live.last.book)
        if minutes and minutes[-1].spans:
            low, high = max(low, minutes[-1].spans[-1][2]), min(high, minutes[-1].spans[-1][3])
        return self.live.runs.minute(low, high)

    async def _newest(self) -> DepthMinute | None:
        return await self.host.symbol.queries.depth.newest(*self._of_symbol)

    async def _read_minutes(self, from_ms: int, to_ms: int) -> list[DepthMinute]:
        """The minutes, which may know more than to that time: where they end, what is told begins."""
        queries = self.host.symbol.queries

        async def read(budget: QueryBudget) -> list[DepthMinute]:
            return await queries.depth.read(*self._of_symbol, from_ms, to_ms, budget)

        minutes = await queries.weighed(read)
        self._stored_ms = max([self._stored_ms, *(each.known_ms for each in minutes)])
        if self.live:
            self.live.runs.drop(self._stored_ms)
        return minutes

    @property
    def _of_symbol(self) -> tuple[Any, str, Any]:
        instrument = self.market.instrument
        return self.host.symbol.queries.client, instrument.symbol, instrument.scale

    @property
    def _known_ms(self) -> int:
        """The end of what is known: of the history, or of the books that were told."""
        return max(self._stored_ms, (self.live.runs.known_ms if self.live else None) or 0)

    def _middle(self, newest: DepthMinute | None) -> int:
        """The price of now, as far as it is known."""
        found = self.live.middle if self.live else None
        if found is not None or newest is None or not len(newest.best.bids):
            return found or 0
        # Asks are kept as keys, which are greater the better.
        return int(newest.best.bids[-1] - newest.best.asks[-1]) // 2

    def _state(self, minutes: Sequence[DepthMinute]) -> GridState:
        """With each picture a greater number, also than those of another feed before it."""
        assert self.live
        known_ms = self._known_ms
        flags = self.flags
        flags |= GridFlags.TRUNCATED if any(each.truncated for each in minutes) else GridFlags(0)
        flags |= GridFlags.APPROX if any(each.resolution_ms > 1 for each in minutes) else GridFlags(0)
        return GridState(max(self.live.at.seq + 1, known_ms), self.live.at.token, known_ms, flags)

    def _advance(self, state: GridState) -> None:
        assert self.live
        self.live.at = replace(self.live.at, seq=state.seq, watermark_ms=state.known_ms)

    def _open_of(self, ts_ms: int) -> int:
        return ts_ms // self.shape.bucket_ms * self.shape.bucket_ms

    # Telling.

    async def _tell_due(self) -> None:
        """Tell what has come, at most every EVERY_S."""
        while self._is_due:
            await asyncio.sleep(max(0.0, self._next_s - time.monotonic()))
            self._is_due, began_s = False, time.monotonic()
            async with self.reading:
                await self._tried(self._tell)
            took_s = time.monotonic() - began_s
            self._next_s = began_s + max(EVERY_S, (1 + REST) * took_s)
        self._telling = None

    async def _look(self) -> None:
        """Follow the history."""
        while True:
            await asyncio.sleep(LOOK_S)
            async with self.reading:
                await self._tried(self._tell_further)

    async def _tried(self, tell: Callable[[], Awaitable[None]]) -> None:
        try:
            await tell()
        except (StoreUnavailable, Busy) as error:
            log.warning("book waits", extra={"series": self.names, "error": str(error)})
        except FleetError as error:
            self.end(error)
        except Exception:
            log.exception("book failed", extra={"series": self.names})


def _reach(book: BookSnapshot) -> tuple[int, int]:
    """The lowest and highest price that the book tells of."""
    prices = [side[-1][0] for side in (book.bids, book.asks) if side]
    low = book.bids[-1][0] if book.bids else min(prices, default=0)
    high = book.asks[-1][0] if book.asks else max(prices, default=0)
    return low, high


def _columns(
    minutes: list[DepthMinute], times: CellGrid, cell: CellKind, channels: tuple[int, ...]
) -> dict[int, GridColumn]:
    found = liquidity(minutes, times, cell)
    cells = columns_of(times, depth_cells(found, cell), channels)
    spans = spans_by_column(found.spans, times)
    best = np.stack(found.best, axis=1).tolist()
    partial = np.any(found.known_ms < times.bucket_ms, axis=1).tolist()
    return {
        open_ms: GridColumn(values, spans[open_ms], tuple(best[at]), partial[at])
        for at, (open_ms, values) in enumerate(cells.items())
    }
