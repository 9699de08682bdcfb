"""Tiles of what was traded: their cells are sums of trades, and read as they were packed."""

from collections import defaultdict

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from common.market.coding import traded_tiles
from common.market.coding.traded_tiles import Cells
from common.market.footprint import Row
from common.market.orderflow.tile_rows import MAX_FEW, RowRule, coarse_row
from common.market.scale import Scale, Scales
from common.tiles import DAY_LEVELS, TRADE_LEVELS, TRADED_LEVELS

SCALE = Scale(2, 3)
SCALES = Scales.unchanged(SCALE)
DAY = 1_700_006_400_000
LEVELS = [(level.bucket_ms, level.rows) for level in TRADED_LEVELS]
trades = st.lists(
    st.tuples(
        st.integers(0, 200_000),
        st.integers(-50, 3_000) | st.integers(99_990, 100_020),
        st.integers(0, 10**9),
        st.integers(0, 2),
    ),
    max_size=60,
)
Sums = dict[tuple[int, int], list[int]]


def of_trades(some: list[tuple[int, int, int, int]]) -> Cells:
    """As a tick of a millisecond each."""
    columns = np.zeros((len(Row._fields) + 1, len(some)), np.int64)
    for at, (ts_ms, ticks, lots, side) in enumerate(some):
        columns[:2, at] = DAY + ts_ms, ticks
        columns[2 + side, at] = lots
        columns[5 + side, at] = 1
    return dict(zip(("open_ms", *Row._fields), columns, strict=True))


def plain(some: list[tuple[int, int, int, int]], bucket_ms: int, row_ticks: int) -> Sums:
    found: Sums = defaultdict(lambda: [0] * 6)
    for ts_ms, ticks, lots, side in some:
        sums = found[(DAY + ts_ms) // bucket_ms * bucket_ms, ticks // row_ticks * row_ticks]
        sums[side] += lots
        sums[3 + side] += 1
    return dict(found)


def told(cells: Cells) -> Sums:
    rows = list(zip(*(cells[name].tolist() for name in ("open_ms", *Row._fields)), strict=True))
    assert [row[:2] for row in rows] == sorted({row[:2] for row in rows})
    return {row[:2]: list(row[2:]) for row in rows}


@given(trades, st.sampled_from(LEVELS))
def test_a_tile_reads_as_the_sums_of_its_trades(
    some: list[tuple[int, int, int, int]], level: tuple[int, RowRule]
) -> None:
    bucket_ms, rule = level
    cells = of_trades(some)
    row_ticks = traded_tiles.row_for(rule, cells, bucket_ms)
    made = traded_tiles.summed(cells, bucket_ms, row_ticks)
    assert made is not None
    packed = traded_tiles.pack(made, bucket_ms, row_ticks, None, "of")
    assert told(traded_tiles.cells_of([packed], bucket_ms, SCALES)) == plain(some, bucket_ms, row_ticks)
    head = traded_tiles.head_of(packed, SCALES)
    assert head == (row_ticks, "of", len(made["open_ms"]))


@given(trades)
def test_coarser_cells_are_sums_of_finer_ones(some: list[tuple[int, int, int, int]]) -> None:
    finest = of_trades(some)
    for levels in (TRADE_LEVELS, DAY_LEVELS):
        cells, row_ticks = finest, 1
        for level in levels:
            row_ticks = traded_tiles.row_for(level.rows, cells, level.bucket_ms, row_ticks)
            assert row_ticks == traded_tiles.row_for(level.rows, finest, level.bucket_ms)
            made = traded_tiles.summed(cells, level.bucket_ms, row_ticks)
            assert made is not None and told(made) == plain(some, level.bucket_ms, row_ticks)
            cells = made


@given(trades)
def test_no_column_of_few_rows_spans_more_and_no_finer_ones_would_do(some: list[tuple[int, int, int, int]]) -> None:
    cells = of_trades(some)
    row_ticks = traded_tiles.row_for("few", cells, 60_000)

    def most(height: int) -> int:
        by_column = defaultdict(set)
        for open_ms, ticks in plain(some, 60_000, height):
            by_column[open_ms].add(ticks // height)
        return max((max(rows) - min(rows) + 1 for rows in by_column.values()), default=0)

    assert most(row_ticks) <= MAX_FEW
    finer = row_ticks // 5 if str(row_ticks)[0] == "5" else row_ticks // 2
    assert row_ticks == 1 or most(finer) > MAX_FEW


def test_coarse_rows_tell_five_digits_apart() -> None:
    assert [coarse_row(ticks) for ticks in (618_000, 240_000, 6_180_000, 99_999, 1, -7)] == [10, 10, 100, 1, 1, 1]


def test_a_tile_of_another_scale_is_read_in_that_of_now() -> None:
    made = traded_tiles.summed(of_trades([(0, 123_450, 7, 0)]), 50, 10)
    assert made is not None
    packed = traded_tiles.pack(made, 50, 10, SCALE)
    finer, coarser = (Scales(Scale(price, size), Scale(0, 0)) for price, size in ((4, 5), (1, 3)))
    for scales, row, ticks, lots in ((finer, 1_000, 12_345_000, 700), (coarser, 1, 12_345, 7)):
        head = traded_tiles.head_of(packed, scales)
        cells = traded_tiles.cells_of([packed], 50, scales)
        assert head and head.row_ticks == row
        assert (cells["price_ticks"].tolist(), cells["buy_lots"].tolist()) == ([ticks], [lots])


def test_a_sum_beyond_64_bits_makes_none() -> None:
    assert traded_tiles.summed(of_trades([(0, 1, 1 << 62, 0), (1, 1, 1 << 62, 0)]), 50, 1) is None


def test_a_later_version_is_not_taken_for_this_one() -> None:
    packed = traded_tiles.pack(of_trades([]), 50, 1)
    assert traded_tiles.head_of(packed, SCALES) == (1, "", 0)
    assert traded_tiles.head_of(bytes([2]) + packed[1:], SCALES) is None


def test_levels_are_cut_at_the_clock_and_nest() -> None:
    spans = [(each.bucket_ms, each.span_ms) for each in TRADED_LEVELS]
    assert all(span_ms % bucket_ms == 0 and 86_400_000 % span_ms == 0 for bucket_ms, span_ms in spans)
    assert all(coarser % finer == 0 for (finer, _), (coarser, _) in zip(spans, spans[1:], strict=False))
