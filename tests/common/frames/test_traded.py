"""Cells of what was traded: coarser ones out of finer ones are those out of the trades; and real trades one by one."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.frames import bulk
from common.frames.footprint import regroup
from common.frames.liquidity import CellGrid
from common.frames.traded import TradedCells, traded
from common.market.timeframes.timeframe import Timeframe
from common.market.trade import Trade, Trades
from tests.golden import recordings
from tests.kit.frames import trades_frame
from tests.kit.strategies import LAW, START_MS

Cells = dict[tuple[int, int], list[int]]
# Each coarser width, and one that divides it.
PARENTS = [("50ms", "100ms"), ("50ms", "250ms"), ("250ms", "1s"), ("1s", "5s"), ("5s", "30s"), ("30s", "1m")]
T0 = START_MS - START_MS % 60_000
TRADES = st.lists(
    st.tuples(st.integers(0, 119_999), st.integers(-20, 20), st.integers(0, 1 << 40), st.integers(0, 2)), max_size=40
)


def _grid(trades: Trades, bucket: Timeframe, row_ticks: int) -> CellGrid:
    """One that has all of them."""
    width, times, prices = (
        bucket.longest_ms,
        [each.ts_ms for each in trades.rows()],
        [each.price_ticks for each in trades.rows()],
    )
    t0_ms, p0_ticks = min(times, default=0) // width * width, min(prices, default=0) // row_ticks * row_ticks
    cols = (max(times, default=0) - t0_ms) // width + 1
    return CellGrid(t0_ms, width, cols, p0_ticks, row_ticks, (max(prices, default=0) - p0_ticks) // row_ticks + 1)


def _told(found: TradedCells) -> Cells:
    grid, cells = found.grid, found.cells
    opens, prices = grid.t0_ms + cells.cols * grid.bucket_ms, grid.p0_ticks + cells.rows * grid.row_ticks
    values = zip(*(column.tolist() for column in cells.values.values()), strict=True)
    return {(at, ticks): list(each) for at, ticks, each in zip(opens.tolist(), prices.tolist(), values, strict=True)}


def _one_by_one(trades: Trades, bucket_ms: int, row_ticks: int) -> Cells:
    found: Cells = {}
    for ts_ms, _, ticks, lots, side in trades.rows():
        cell = found.setdefault((ts_ms // bucket_ms * bucket_ms, ticks // row_ticks * row_ticks), [0] * 6)
        cell[side] += lots
        cell[3 + side] += 1
    return found


@LAW
@given(TRADES, st.sampled_from(PARENTS), st.sampled_from([1, 3, 10]))
def test_coarser_cells_out_of_finer_ones_are_those_out_of_trades(
    rows: list[tuple[int, int, int, int]], widths: tuple[str, str], row_ticks: int
) -> None:
    trades = Trades.of(Trade(T0 + ts_ms, at, *rest) for at, (ts_ms, *rest) in enumerate(sorted(rows)))
    frame, (fine, coarse) = trades_frame(trades), map(Timeframe.parse, widths)
    grid, candles = _grid(trades, coarse, row_ticks), bulk.candles(frame, coarse, 1)
    finer = bulk.footprints(frame, fine)
    out_of_finer = traded(regroup(finer, coarse, 1, "floor"), candles, coarse, grid)
    out_of_trades = traded(bulk.footprints(frame, coarse), candles, coarse, grid)
    expected = _one_by_one(trades, coarse.longest_ms, row_ticks)
    assert _told(out_of_finer) == _told(out_of_trades) == expected
    # Floor rows nest, too.
    assert _told(traded(regroup(finer, coarse, row_ticks, "floor"), candles, coarse, grid)) == expected
    assert len(out_of_trades.missing) == 0


@pytest.mark.parametrize("recorded", [recordings.xrp_eth, recordings.btc_usdt])
@pytest.mark.parametrize(("bucket", "row_ticks"), [("50ms", 1), ("250ms", 10), ("5s", 10), ("5m", 100)])
def test_real_trades_one_by_one(recorded: Callable[[], recordings.Recording], bucket: str, row_ticks: int) -> None:
    _, trades = recorded()
    frame, timeframe = trades_frame(trades), Timeframe.parse(bucket)
    levels, candles = bulk.footprints(frame, timeframe), bulk.candles(frame, timeframe, 1)
    found = traded(levels, candles, timeframe, _grid(trades, timeframe, row_ticks))
    assert _told(found) == _one_by_one(trades, timeframe.longest_ms, row_ticks)
    assert int(found.sizes.sum()) == int(candles["volume_lots"].sum())


def test_volume_without_prices_is_missing_whatever_is_left_out() -> None:
    trades = Trades.of([Trade(T0, 1, 100, 5, 0), Trade(T0 + 60_000, 2, 101, 7, 1)])
    frame, minute = trades_frame(trades), Timeframe.parse("1m")
    levels, candles = bulk.footprints(frame, minute), bulk.candles(frame, minute, 1)
    grid = CellGrid(T0, 60_000, 2, 100, 1, 1)
    found = traded(levels[:1], candles, minute, grid, min_lots=6)
    assert found.missing.rows() == [(T0 + 60_000, 7)] and _told(found) == {}
