"""Heatmaps of what was traded, as answers: JSON, the grid frame, and a long table in Arrow."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

import numpy as np
import orjson
import polars as pl

from common.frames.depth import Ints
from common.frames.grid import GridCells, GridFlags, GridHead, GridKind, TradedChannel
from common.frames.traded import CHANNEL_COLUMNS, TradedCells
from common.market.builder.gaps import Ledger
from common.store.registry import Market
from feed.bars.traded import TradedRead
from feed.wire.answers import JSON, TABLES, Answer, SymbolAnswer, cursor_of, exact, simulated, told_coverage
from feed.wire.heatmaps import (
    GRID,
    HeatmapForm,
    check_json,
    told_best,
    told_decimals,
    told_grid,
    told_scale,
    written_table,
)

# As a row of a footprint names them.
ChannelName = Literal["bv", "sv", "uv", "bn", "sn", "un"]
TRADED_CHANNELS: dict[ChannelName, TradedChannel] = dict(zip(get_args(ChannelName), TradedChannel, strict=True))
# Of a span of coverage: it is of every price.
ALL_PRICES = (-(1 << 63), (1 << 63) - 1)


@dataclass(frozen=True, slots=True, eq=False)
class TradedHeatmap:
    """`best`: by column, or no row. `channels`: those that are told."""

    market: Market
    read: TradedRead
    bucket: str
    channels: Mapping[ChannelName, TradedChannel]
    best: Ints
    ledger: Ledger
    health: Mapping[str, object]

    @property
    def found(self) -> TradedCells:
        return self.read.found

    @property
    def known_ms(self) -> int:
        """The watermark."""
        return self.read.view.state.watermark_ms if self.read.view.state else -1

    @property
    def spans(self) -> Ints:
        """When all trades are there, as a frame has them: from, until (exclusive), lowest and highest price."""
        grid = self.found.grid
        whole = self.read.cover.whole_spans(grid.t0_ms, grid.end_ms)
        return np.array([(*span, *ALL_PRICES) for span in whole], np.int64).reshape(-1, 4)


@dataclass(frozen=True, slots=True)
class JsonTraded:
    heatmap: TradedHeatmap
    media_type: ClassVar[str] = JSON

    def body(self) -> bytes:
        heatmap, grid = self.heatmap, self.heatmap.found.grid
        fields = self.told() | {
            "cursor": cursor_of(heatmap.read.view.state),
            **told_coverage(heatmap.read.cover, heatmap.ledger, grid.t0_ms, grid.end_ms),
            "health": heatmap.health,
        }
        return SymbolAnswer(heatmap.market, fields).body()

    def told(self) -> dict[str, object]:
        """What is said of the cells."""
        heatmap, found, instrument = self.heatmap, self.heatmap.found, self.heatmap.market.instrument
        check_json(len(found.cells.cols))
        fields: dict[str, object] = {
            "kind": "traded",
            "bucket": heatmap.bucket,
            **told_grid(found.grid, instrument),
            "knownTo": heatmap.known_ms,
            "best": told_best(heatmap.best, instrument),
            "scale": told_scale(found.sizes, instrument.size_decimals),
            "missing": [[open_ms, exact(instrument.size_text(lots))] for open_ms, lots in found.missing.rows()],
            "cells": {"col": told_decimals(found.cells.cols), "row": told_decimals(found.cells.rows), **self._values()},
        }
        return fields | ({"partial": True} if heatmap.read.is_partial else {})

    def _values(self) -> dict[str, orjson.Fragment]:
        cells, decimals = self.heatmap.found.cells, self.heatmap.market.instrument.size_decimals
        return {
            name: told_decimals(cells.values[channel], 0 if channel in cells.counted else decimals)
            for name, channel in self.heatmap.channels.items()
        }


@dataclass(frozen=True, slots=True)
class GridTraded:
    heatmap: TradedHeatmap
    media_type: ClassVar[str] = GRID

    def body(self) -> bytes:
        heatmap, grid, all_cells = self.heatmap, self.heatmap.found.grid, self.heatmap.found.cells
        state, spans = heatmap.read.view.state, heatmap.spans
        head = GridHead(
            GridKind.TRADED, grid.bucket_ms, grid.t0_ms, grid.p0_ticks, grid.cols, grid.rows, grid.row_ticks, 1,
            *heatmap.market.instrument.scale, flags=self._flags(), seq=state.seq if state else 0,
            known_ms=heatmap.known_ms, token=state.token if state else "0" * 32,
        )  # fmt: skip
        told: dict[int, Ints] = {channel: all_cells.values[channel] for channel in heatmap.channels.values()}
        cells = GridCells(all_cells.cols, all_cells.rows, told, all_cells.counted)
        return cells.frame(head, self._known(spans), spans, heatmap.best).pack()

    def _known(self, spans: Ints) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
        """By column and 1: those that a span touches."""
        grid = self.heatmap.found.grid
        known = np.zeros((grid.cols, 1), np.bool_)
        for from_ms, until_ms, _, _ in spans.tolist():
            first, last = ((ts_ms - grid.t0_ms) // grid.bucket_ms for ts_ms in (from_ms, until_ms - 1))
            known[first : last + 1] = True
        return known

    def _flags(self) -> GridFlags:
        flags = GridFlags.PARTIAL if self.heatmap.read.is_partial else GridFlags(0)
        return flags | (GridFlags.SIMULATED if simulated(self.heatmap.market) else GridFlags(0))


@dataclass(frozen=True, slots=True)
class TableTraded:
    """Cells in which something was traded, in whole ticks and lots."""

    heatmap: TradedHeatmap
    media_type: ClassVar[str] = TABLES["arrow"]

    def body(self) -> bytes:
        grid, cells = self.heatmap.found.grid, self.heatmap.found.cells
        told = self.heatmap.channels.values()
        named = {name: cells.values[channel] for name, channel in CHANNEL_COLUMNS.items() if channel in told}
        times, prices = grid.t0_ms + cells.cols * grid.bucket_ms, grid.p0_ticks + cells.rows * grid.row_ticks
        return written_table(pl.DataFrame({"open_ms": times, "price_ticks": prices, **named}))


def traded_heatmap(form: HeatmapForm, found: TradedHeatmap) -> Answer:
    match form:
        case "json":
            return JsonTraded(found)
        case "grid":
            return GridTraded(found)
        case "arrow":
            return TableTraded(found)
