"""The levels of stored cells, by kind and width of a column: each is told here, once.

A tile is all cells of a span that is cut at the clock. What stores, makes, drops and reads tiles goes by TILE_LEVELS.
A tile says how high its rows are (common.market.orderflow.tile_rows).

Pure, and small enough for every worker.
"""

from dataclasses import dataclass
from typing import Literal

from common.market.orderflow.tile_rows import RowRule
from common.market.timeframes.timeframe import DAY_MS, MINUTE_MS, width_text
from common.series import FOOTPRINTS

TileKind = Literal["traded", "depth"]

HOUR_MS = 60 * MINUTE_MS


@dataclass(frozen=True, slots=True)
class TileLevel:
    """One level: what a column and a tile of it are, and how long tiles are kept."""

    kind: TileKind
    bucket_ms: int
    span_ms: int
    rows: RowRule
    # What its tiles are made of: `trades`, `depth` (the book's history), the width of finer tiles, or a series of
    # minutes, with whose day they are sealed and dropped.
    source: str
    # The setting that says for how long they are kept.
    retention: str

    @property
    def name(self) -> str:
        """In keys."""
        return f"{self.kind}:{width_text(self.bucket_ms)}"

    def opens(self, from_ms: int, end_ms: int) -> range:
        """When the tiles open that have a time of `[from_ms, end_ms)`."""
        return range(from_ms // self.span_ms * self.span_ms, end_ms, self.span_ms)


# Made of trades. A commit that amends a minute drops the tiles it is in.
TRADE_LEVELS = (
    TileLevel("traded", 50, MINUTE_MS, "tick", "trades", "tiles_50ms_hours"),
    TileLevel("traded", 1_000, HOUR_MS, "coarse", "trades", "tiles_1s_hours"),
    TileLevel("traded", 30_000, DAY_MS, "coarse", "trades", "tiles_30s_hours"),
)
# Made when a day is sealed, and kept as long.
DAY_LEVELS = (
    TileLevel("traded", 5 * MINUTE_MS, DAY_MS, "few", FOOTPRINTS.name, FOOTPRINTS.retention),
    TileLevel("traded", HOUR_MS, DAY_MS, "few", FOOTPRINTS.name, FOOTPRINTS.retention),
    TileLevel("traded", DAY_MS, DAY_MS, "few", FOOTPRINTS.name, FOOTPRINTS.retention),
)
# Finest first.
TRADED_LEVELS = (*TRADE_LEVELS, *DAY_LEVELS)

# Made once an hour of the book's history is over, exact: all three of it by one job, for the hour is opened once.
BOOK_LEVELS = (
    TileLevel("depth", 1_000, HOUR_MS, "coarse", "depth", "depth_tiles_1s_hours"),
    TileLevel("depth", 5_000, HOUR_MS, "coarse", "depth", "depth_tiles_5s_hours"),
    TileLevel("depth", 30_000, HOUR_MS, "coarser", "depth", "depth_tiles_30s_hours"),
)
# Made of the coarsest of those once a UTC day is over.
BOOK_DAY_LEVELS = (
    TileLevel("depth", 5 * MINUTE_MS, DAY_MS, "few", "30s", "depth_tiles_days"),
    TileLevel("depth", HOUR_MS, DAY_MS, "few", "30s", "depth_tiles_days"),
    TileLevel("depth", DAY_MS, DAY_MS, "few", "30s", "depth_tiles_days"),
)
# Finest first.
DEPTH_LEVELS = (*BOOK_LEVELS, *BOOK_DAY_LEVELS)
TILE_LEVELS = (*TRADED_LEVELS, *DEPTH_LEVELS)
