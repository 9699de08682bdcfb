"""The heatmap of what is traded: columns that a commit touches are read once more, as answers about them are."""

from collections.abc import Iterable, Sequence
from functools import partial

from common.frames.grid_columns import GridColumn, GridState, columns_of, spans_by_column
from common.frames.liquidity import CellGrid
from common.market.timeframes.timeframe import Timeframe
from feed.bars import traded
from feed.bars.changes import Cursor
from feed.bars.choice import source_of
from feed.bars.live import At, Live, Update
from feed.bars.traded import TradedRead
from feed.reading.budget import QueryBudget
from feed.stream.channels.grid_series import GridSeries, GridWindow
from feed.stream.channels.held_grid import HeldGrid
from feed.stream.channels.touched import TouchedBars, TouchedSeries
from feed.stream.series import SeriesHost
from feed.stream.topic import Topic
from feed.wire.traded_heatmaps import ALL_PRICES


class TradedGrid(GridSeries, TouchedSeries):
    live: Live | None

    def __init__(self, host: SeriesHost, topic: Topic, bucket: Timeframe, window: GridWindow) -> None:
        super().__init__(host, topic, source_of(host.data, bucket))
        self.hold(window)
        self._bucket = bucket
        # The end of what was known with the grid as it is held.
        self._covered_ms = 0

    @property
    def growing_ms(self) -> int:
        return min(self._open_of(self._covered_ms), self.grid.newest_ms) if self.grid else 0

    @property
    def _price(self) -> int | None:
        growing = self.live.growing if self.live else None
        return growing.close_ticks if growing else None

    @property
    def _window_ms(self) -> int:
        return self.shape.cols * self.shape.bucket_ms

    async def load(self) -> None:
        read = await self._read_from(None)
        state = self._state(read)
        if await self._followed(state.seq, state.token):
            self._covered_ms = read.cover.to_ms
            self.grid = HeldGrid(self.shape, self._columns(read), state)
            self._touched.told(state.seq)

    async def catch_up(self, grid: HeldGrid) -> bool:
        at = self.live.at if self.live else None
        if at is None or (at.token, at.seq) == (grid.state.token, min(at.seq, grid.state.seq)):
            return True
        await self._tell_once()
        return False

    async def touched_since(self, cursor: Cursor) -> set[int] | None:
        changes = await self.source.changes(cursor)
        grid = await self.current() if changes else None
        if changes is None or grid is None:
            return None
        at = changes.live.at
        if at.token != grid.state.token or grid.state.seq < at.seq:
            return None
        return {update.open_ms for update in changes.updates} | grid.changed_after(at.seq)

    def touched_by(self, before: At, at: At, updates: Sequence[Update]) -> Iterable[int]:
        """With each commit also the newest column, and those from where what is known ended: that is later now."""
        yield from super().touched_by(before, at, updates)
        yield self._open_of(min(before.watermark_ms, before.cover.to_ms))
        if at.cover.reshaped(before.cover):
            for hole in at.cover.differences(before.cover):
                yield self._open_of(min(hole))

    async def _tell_once(self) -> None:
        async with self.reading:
            grid = self.grid
            if grid is None:
                self._touched = TouchedBars()
                return
            if self.live and self.live.at.token != grid.state.token:
                self.begin_again(grid.shape, is_placed=True)
                return
            opens = self._touched.opens
            if not opens:
                return
            first_ms = max(min(opens), grid.oldest_ms)
            read = await self._read_from(first_ms)
            state = self._state(read)
            if not await self._followed(state.seq, state.token) or self.grid is not grid:
                return
            if state.seq < grid.state.seq or min(self._touched.until(state.seq), default=first_ms) < min(opens):
                return
            is_short = read.found.grid.t0_ms > max(first_ms, read.found.grid.end_ms - self._window_ms)
            if state.token != grid.state.token or is_short:
                self.begin_again(grid.shape, is_placed=True)
                return
            self._covered_ms = read.cover.to_ms
            self.tell_patch(grid, grid.take(self._columns(read), state))
            self._touched.told(state.seq)
        self.follow(self._price)

    async def _read_from(self, first_ms: int | None) -> TradedRead:
        """Read the columns from one on to the newest; None: all that are held, fewer where trades are not kept."""
        newest_ms = self._open_of(self.live.at.watermark_ms if self.live else 0)
        wanted = self.shape.cols if first_ms is None else (newest_ms - first_ms) // self.shape.bucket_ms + 1
        cols = max(1, min(wanted, self.shape.cols))
        while True:
            grid_of = partial(self._grid_of, newest_ms, cols)
            read = await self.host.symbol.queries.weighed(partial(self._read_cells, newest_ms, cols, grid_of))
            if read is None:
                cols = max(1, cols // 2)
                continue
            reached_ms = self._open_of(read.view.state.watermark_ms if read.view.state else 0)
            if reached_ms <= newest_ms:
                return read
            # Time has gone on meanwhile.
            cols = min(self.shape.cols, cols + (reached_ms - newest_ms) // self.shape.bucket_ms)
            newest_ms = reached_ms

    async def _read_cells(
        self, newest_ms: int, cols: int, grid_of: traded.GridOf, budget: QueryBudget
    ) -> TradedRead | None:
        times, data = self.shape.times(newest_ms, cols), self.host.symbol.data(budget)
        return await traded.read(data, self._bucket, times, grid_of, 0)

    def _grid_of(self, newest_ms: int, cols: int, lowest: int | None, highest: int | None) -> CellGrid:
        price, middle = self._price, ((lowest or 0) + (highest or 0)) // 2
        return self.placed(middle if price is None else price).times(newest_ms, cols)

    def _columns(self, read: TradedRead) -> dict[int, GridColumn]:
        grid, cover, state = read.found.grid, read.cover, read.view.state
        cells = columns_of(grid, read.found.cells, self.shape.channels)
        known_ms = state.watermark_ms + 1 if state else 0
        lacking = set(read.found.missing["open_ms"].to_list())
        whole = [(*span, *ALL_PRICES) for span in cover.whole_spans(grid.t0_ms, grid.end_ms)]
        spans = spans_by_column(whole, grid)
        found = dict[int, GridColumn]()
        for open_ms, values in cells.items():
            end_ms = open_ms + grid.bucket_ms
            is_partial = open_ms in lacking or cover.partial(open_ms, max(open_ms, min(end_ms, known_ms)))
            found[open_ms] = GridColumn(values, spans[open_ms], (), is_partial)
        return found

    def _state(self, read: TradedRead) -> GridState:
        state = read.view.state
        if state is None:
            return GridState(0, "", -1, self.flags)
        return GridState(state.seq, state.token, state.watermark_ms, self.flags)

    def _open_of(self, ts_ms: int) -> int:
        return max(ts_ms, 0) // self.shape.bucket_ms * self.shape.bucket_ms
