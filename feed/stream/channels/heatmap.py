"""What rests in the book, or is traded, as cells of a bucket and a row of prices: a full grid frame, then patches."""

from dataclasses import dataclass, replace

from common.errors import BadInput
from common.frames.grid import COUNTED, GridKind
from common.frames.grid_columns import GridShape
from common.frames.liquidity import CellKind
from common.market.timeframes.timeframe import DAY_MS, Timeframe, width_text
from feed.queries.heatmap import CELL, CHANNELS, KIND, MAX_TRADED_MS, HeatmapKind
from feed.queries.heatmap_window import BUCKET, MAX_COLS, MAX_ROWS, PRICE_MAX, PRICE_MIN, ROW, HeatmapWindow
from feed.stream.channels.channel import Channel
from feed.stream.channels.depth_grid import DepthGrid
from feed.stream.channels.fixed_rows import FixedRowTicks
from feed.stream.channels.grid_series import GridSeries, GridWindow
from feed.stream.channels.traded_grid import TradedGrid
from feed.stream.series import SeriesHost
from feed.stream.topic import Topic
from feed.wire.heatmaps import depth_channels
from feed.wire.parameter_types import Whole
from feed.wire.params import Given, Parameter
from feed.wire.traded_heatmaps import TRADED_CHANNELS

# Of a book the changes of so long a time may be kept; what is older is no part of what goes on.
MAX_DEPTH_MS = 7 * DAY_MS

LIVE_BUCKET = replace(BUCKET, is_required=True)
LIVE_ROW = replace(ROW, type=FixedRowTicks(), is_required=True)
COLS = Parameter("cols", Whole(MAX_COLS), 600, "Columns that are held, the newest ones.")
ROWS = Parameter("rows", Whole(MAX_ROWS), 200, "Rows around the price, where no prices are given.")


@dataclass(frozen=True, slots=True)
class LiveHeatmapQuery:
    kind: HeatmapKind
    bucket: Timeframe
    row_ticks: int
    cols: int
    rows: int
    # The lowest and highest price; None: they follow the price.
    prices: tuple[int, int] | None
    cell: CellKind
    channels: tuple[int, ...]

    @classmethod
    def of(cls, given: Given) -> "LiveHeatmapQuery":
        low, high, row_ticks, bucket = given[PRICE_MIN], given[PRICE_MAX], given[LIVE_ROW], given[LIVE_BUCKET]
        assert row_ticks is not None and bucket is not None
        if (low is None) != (high is None):
            raise BadInput("price_min and price_max are not both given, expected both or neither")
        prices = (low, high) if low is not None and high is not None else None
        rows = given[ROWS] if prices is None else prices[1] // row_ticks - prices[0] // row_ticks + 1
        if given[KIND] == "depth":
            channels = tuple(map(int, depth_channels(given[CELL])))
        else:
            channels = tuple(int(channel) for name, channel in TRADED_CHANNELS.items() if name in given[CHANNELS])
        query = cls(
            given[KIND], bucket, row_ticks, given[COLS], rows, prices, given[CELL], channels
        )  # fmt: skip
        query.check()
        return query

    def check(self) -> None:
        """As a heatmap of so much is asked for: raises BadInput."""
        low = 0 if self.prices is None else self.prices[0] // self.row_ticks * self.row_ticks
        high = low + self.rows * self.row_ticks - 1
        span_ms = self.cols * (self.bucket.fixed_ms or 0)
        longest_ms = MAX_DEPTH_MS if self.kind == "depth" else MAX_TRADED_MS
        times = HeatmapWindow(0, None, low, high, self.bucket, 1, self.row_ticks, 1).times(max(span_ms, 1), 1 << 62)
        if span_ms > longest_ms:
            raise BadInput(
                f"that is {self.cols} columns of {width_text(times.bucket_ms)},"
                f" expected at most {longest_ms // DAY_MS} days: fewer cols, or a shorter bucket"
            )

    def window(self, scale: tuple[int, int]) -> GridWindow:
        kind = GridKind.DEPTH if self.kind == "depth" else GridKind.TRADED
        counted = tuple(at for at in self.channels if at in COUNTED[kind])
        p0 = 0 if self.prices is None else self.prices[0] // self.row_ticks * self.row_ticks
        bucket_ms = self.bucket.fixed_ms or 0
        shape = GridShape(
            kind, self.channels, counted, bucket_ms, self.cols, p0, self.row_ticks, self.rows, scale
        )  # fmt: skip
        return GridWindow(shape, self.prices is not None)


def begin(host: SeriesHost, topic: Topic, query: LiveHeatmapQuery) -> GridSeries:
    window = query.window(host.market.instrument.scale)
    if query.kind == "depth":
        return DepthGrid(host, topic, query.cell, window)
    return TradedGrid(host, topic, query.bucket, window)


CHANNEL = Channel(
    "heatmap",
    (KIND, LIVE_BUCKET, LIVE_ROW, COLS, ROWS, PRICE_MIN, PRICE_MAX, CELL, CHANNELS),
    LiveHeatmapQuery.of,
    begin,
    limit=None,
)
