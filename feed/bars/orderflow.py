"""Bars with their order flow: one row a bar."""

from dataclasses import dataclass
from functools import partial

import numpy as np
import polars as pl

from common.frames.orderflow.running import NO_ANCHOR, anchors_of, cumulative_delta, running_means
from common.frames.orderflow.statistics import RowRules, RowStatistics, bar_table
from common.frames.orderflow.table import OF_ANCHORS, OF_ROWS, OF_SUMS, FlowColumns, FlowField, flow_json
from common.frames.spans import ends_of
from common.market.coding.packed import Ints
from common.market.instrument import Instrument
from common.market.orderflow.anchors import Anchor
from common.market.timeframes.timeframe import Timeframe
from feed.bars.flow import FlowBars, FlowWanted, RowGrid, read_flow
from feed.bars.footprints import WrittenBars, written
from feed.bars.page import Page
from feed.bars.source import BarSource
from feed.reading.bounds import Window
from feed.reading.budget import QueryBudget

# Of the text of a row of a footprint a bar is worth, so that as much is written at once.
_ROWS_A_BAR = 8


@dataclass(frozen=True, slots=True)
class FlowQuery:
    timeframe: Timeframe
    window: Window
    grid: RowGrid
    fields: frozenset[FlowField]
    rules: RowRules
    anchor: Anchor

    @property
    def wanted(self) -> FlowWanted:
        anchored = not self.fields.isdisjoint(OF_ANCHORS)
        return FlowWanted(
            self.window,
            self.grid,
            rows=not self.fields.isdisjoint(OF_ROWS),
            sums=not self.fields.isdisjoint(OF_SUMS),
            anchor=self.anchor if anchored else None,
        )


@dataclass(frozen=True, slots=True, eq=False)
class FlowRead:
    """A flow table, since when each of its bars is counted, and what it was made of."""

    table: pl.DataFrame
    anchors: Ints
    flow: FlowBars

    async def page(self, instrument: Instrument, timeframe: Timeframe, budget: QueryBudget) -> Page:
        """The table as JSON, as much of it as an answer has room for."""
        edges = np.arange(len(self.table) + 1) * _ROWS_A_BAR

        def json(bars: slice) -> list[bytes]:
            return flow_json(self.table[bars], instrument)

        bars = WrittenBars(self.table["t"].to_numpy(), edges, json)
        return await written(bars, timeframe, self.flow.bounds, budget, self.flow.more_ms)

    def anchors_within(self, from_ms: int, to_ms: int) -> list[int]:
        """Those of bars that open within."""
        opens = self.table["t"].to_numpy()
        found = np.unique(self.anchors[(opens >= from_ms) & (opens < to_ms)]).tolist()
        return [ms for ms in found if ms != NO_ANCHOR]

    def reliable_since(self, timeframe: Timeframe) -> int | None:
        """Since when nothing is missing in the running sum of the newest bar. None without a bar or an anchor."""
        if not len(self.anchors) or self.anchors[-1] == NO_ANCHOR:
            return None
        end_ms = timeframe.next_open(int(self.table["t"][-1]))
        return self.flow.cover.whole_since(int(self.anchors[-1]), end_ms)


async def read(source: BarSource, query: FlowQuery) -> FlowRead:
    """`source`: of the query's timeframe."""
    flow = await read_flow(source, query.wanted)
    rows = len(flow.bars) + len(flow.levels) + len(flow.lead.bars)
    return await source.data.budget.run(rows, partial(_worked_out, flow, query))


def _worked_out(flow: FlowBars, query: FlowQuery) -> FlowRead:
    timeframe, lead = query.timeframe, flow.lead
    bars = flow.bars
    if query.wanted.rows:
        bars = bar_table(bars, RowStatistics.of(flow.levels, flow.row_ticks, query.rules))
    opens = bars["open_ms"].to_numpy()
    anchors = anchors_of(opens, query.anchor, timeframe.sessions)
    since = anchors_of(lead.bars["open_ms"].to_numpy(), query.anchor, timeframe.sessions)
    all_bars = pl.concat([lead.bars, flow.bars.select(lead.bars.columns)])
    all_anchors, before = np.append(since, anchors), len(lead.bars)
    cvd = cumulative_delta(all_bars, all_anchors)[before:] if "cvd" in query.fields else None
    means = None
    if not query.fields.isdisjoint(OF_ANCHORS - {"cvd"}):
        sums = pl.concat([lead.sums, flow.sums]) if query.wanted.sums else None
        means = list(running_means(all_bars, sums, all_anchors))[before:]
    ends = ends_of(opens, timeframe)
    uncovered = flow.cover.partial_spans(np.where(anchors == NO_ANCHOR, opens, anchors), ends)
    columns = FlowColumns(bars, flow.sums if query.wanted.sums else None, cvd, means, pl.Series(uncovered))
    return FlowRead(columns.table(query.fields), anchors, flow)
