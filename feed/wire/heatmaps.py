"""Heatmaps as answers: JSON, the grid frame, and a long table in Arrow."""

import io
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import orjson
import polars as pl

from common.errors import BadInput
from common.frames.depth import ASK, BID, Ints
from common.frames.grid import (
    COUNTED,
    NO_PRICE,
    DepthChannel,
    GridCells,
    GridFlags,
    GridHead,
    GridKind,
)
from common.frames.liquidity import CellGrid, CellKind, Liquidity, scale_of
from common.frames.text import decimals_json
from common.market import units
from common.market.instrument import Instrument
from common.store.reads import View
from common.store.registry import Market
from feed.wire.answers import JSON, TABLES, Answer, SymbolAnswer, cursor_of, exact, simulated

HeatmapForm = Literal["json", "grid", "arrow"]
GRID = "application/vnd.fleet.grid"

# Of an answer in JSON: some 8 MB.
MAX_JSON_CELLS = 200_000
# Decimals of a mean beyond those of sizes.
MEAN_DECIMALS = 2
_CHANNELS: dict[CellKind, tuple[DepthChannel, DepthChannel]] = {
    "max": (DepthChannel.BID_MAX, DepthChannel.ASK_MAX),
    "last": (DepthChannel.BID_LAST, DepthChannel.ASK_LAST),
    "mean": (DepthChannel.BID_SIZE_MS, DepthChannel.ASK_SIZE_MS),
}


@dataclass(frozen=True, slots=True)
class Heatmap:
    """`known_ms`: the end of what is known of the book at all."""

    market: Market
    found: Liquidity
    cell: CellKind
    known_ms: int
    view: View
    health: Mapping[str, object]

    @property
    def known_cells(self) -> Ints:
        """Those of which nothing is known are 0, like those that are empty: spans tell them apart."""
        return _known(self.found)

    @property
    def best(self) -> Ints:
        return np.stack(self.found.best, axis=1)


@dataclass(frozen=True, slots=True)
class JsonHeatmap:
    heatmap: Heatmap
    media_type: ClassVar[str] = JSON

    def body(self) -> bytes:
        now: dict[str, object] = {"cursor": cursor_of(self.heatmap.view.state), "health": self.heatmap.health}
        return SymbolAnswer(self.heatmap.market, self.told() | now).body()

    def told(self) -> dict[str, object]:
        """What is said of the cells."""
        instrument, grid, cells = self.heatmap.market.instrument, self.heatmap.found.grid, self.heatmap.known_cells
        price = instrument.price_text
        col, row = np.nonzero(cells.any(axis=0))
        check_json(len(col))
        shown, decimals = self._shown(cells)
        spans = [
            [from_ms, until_ms, exact(price(low)), exact(price(high))]
            for from_ms, until_ms, low, high in self.heatmap.found.spans
        ]
        fields: dict[str, object] = {
            "kind": "depth",
            "cell": self.heatmap.cell,
            **told_grid(grid, instrument),
            "knownTo": self.heatmap.known_ms,
            "resolutionMs": self.heatmap.found.resolution_ms,
            "spans": spans,
            "best": told_best(self.heatmap.best, instrument),
            "scale": told_scale(shown, decimals),
            "cells": {
                "col": told_decimals(col),
                "row": told_decimals(row),
                "bid": told_decimals(shown[BID][col, row], decimals),
                "ask": told_decimals(shown[ASK][col, row], decimals),
            },
        }
        said = {"truncated": self.heatmap.found.truncated, "approx": self.heatmap.found.is_bound}
        return fields | {name: True for name, is_so in said.items() if is_so}

    def _shown(self, cells: Ints) -> tuple[Ints, int]:
        """Sizes, or means of them, in units of the last of so many decimals."""
        decimals = self.heatmap.market.instrument.size_decimals
        if self.heatmap.cell != "mean":
            return cells, decimals
        known = np.maximum(self.heatmap.found.known_ms, 1)
        whole, rest = np.divmod(cells, known)
        unit = 10**MEAN_DECIMALS
        return whole * unit + (2 * rest * unit + known) // (2 * known), decimals + MEAN_DECIMALS


@dataclass(frozen=True, slots=True)
class GridHeatmap:
    heatmap: Heatmap
    media_type: ClassVar[str] = GRID

    def body(self) -> bytes:
        grid, scale = self.heatmap.found.grid, self.heatmap.market.instrument.scale
        state = self.heatmap.view.state
        head = GridHead(
            GridKind.DEPTH, grid.bucket_ms, grid.t0_ms, grid.p0_ticks, grid.cols, grid.rows, grid.row_ticks, 1,
            *scale, flags=self._flags(), known_ms=self.heatmap.known_ms, token=state.token if state else "0" * 32,
        )  # fmt: skip
        spans = np.array(self.heatmap.found.spans, np.int64).reshape(-1, 4)
        known = self.heatmap.found.known_ms > 0
        return depth_cells(self.heatmap.found, self.heatmap.cell).frame(head, known, spans, self.heatmap.best).pack()

    def _flags(self) -> GridFlags:
        found, flags = self.heatmap.found, GridFlags(0)
        flags |= GridFlags.PARTIAL if (found.known_ms < found.grid.bucket_ms).any() else flags
        flags |= GridFlags.SIMULATED if simulated(self.heatmap.market) else flags
        flags |= GridFlags.APPROX if found.resolution_ms > 1 or found.is_bound else flags
        return flags | (GridFlags.TRUNCATED if found.truncated else flags)


@dataclass(frozen=True, slots=True)
class TableHeatmap:
    """Cells that hold something, in whole ticks and lots."""

    heatmap: Heatmap
    media_type: ClassVar[str] = TABLES["arrow"]

    def body(self) -> bytes:
        grid, cells = self.heatmap.found.grid, self.heatmap.known_cells
        col, row = np.nonzero(cells.any(axis=0))
        name = "size_lots_ms" if self.heatmap.cell == "mean" else "size_lots"
        table = pl.DataFrame(
            {
                "open_ms": grid.t0_ms + col * grid.bucket_ms,
                "price_ticks": grid.p0_ticks + row * grid.row_ticks,
                f"bid_{name}": cells[BID][col, row],
                f"ask_{name}": cells[ASK][col, row],
                "known_ms": self.heatmap.found.known_ms[col, row],
            }
        )
        return written_table(table)


def _known(found: Liquidity) -> Ints:
    return found.cells * (found.known_ms > 0)


def depth_channels(cell: CellKind) -> tuple[DepthChannel, ...]:
    return (*_CHANNELS[cell], *((DepthChannel.KNOWN_MS,) if cell == "mean" else ()))


def depth_cells(found: Liquidity, cell: CellKind) -> GridCells:
    values = dict(zip(_CHANNELS[cell], _known(found), strict=True))
    if cell != "mean":
        return GridCells.of(values)
    return GridCells.of({**values, DepthChannel.KNOWN_MS: found.known_ms}, COUNTED[GridKind.DEPTH])


def check_json(cells: int) -> None:
    if cells > MAX_JSON_CELLS:
        raise BadInput(
            f"that is {cells} cells, expected at most {MAX_JSON_CELLS} in JSON: format=grid, or a greater bucket"
        )


def told_grid(grid: CellGrid, instrument: Instrument) -> dict[str, object]:
    price = instrument.price_text
    return {
        "t0": grid.t0_ms,
        "bucketMs": grid.bucket_ms,
        "cols": grid.cols,
        "p0": exact(price(grid.p0_ticks)),
        "row": exact(price(grid.row_ticks)),
        "rows": grid.rows,
    }


def told_best(best: Ints, instrument: Instrument) -> list[list[orjson.Fragment | None]]:
    price = instrument.price_text
    return [[None if ticks == NO_PRICE else exact(price(ticks)) for ticks in each] for each in best.tolist()]


def told_scale(sizes: Ints, decimals: int) -> dict[str, object] | None:
    """`sizes`: in units of the last of so many decimals."""
    found = scale_of(sizes)
    if found is None:
        return None
    shares, greatest = found
    texts = {f"p{share}": size for share, size in shares.items()} | {"max": greatest}
    return {name: exact(units.render(size, decimals)) for name, size in texts.items()}


def told_decimals(values: Ints, decimals: int = 0) -> orjson.Fragment:
    return orjson.Fragment(decimals_json(values, decimals))


def written_table(table: pl.DataFrame) -> bytes:
    sink = io.BytesIO()
    table.write_ipc_stream(sink, compression="uncompressed", compat_level=pl.CompatLevel.oldest())
    return sink.getvalue()


def heatmap(form: HeatmapForm, found: Heatmap) -> Answer:
    match form:
        case "json":
            return JsonHeatmap(found)
        case "grid":
            return GridHeatmap(found)
        case "arrow":
            return TableHeatmap(found)
