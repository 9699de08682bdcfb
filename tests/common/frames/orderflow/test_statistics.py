"""What tables of bars have beside the figures of their rows."""

import polars as pl

from common.frames.orderflow.statistics import RowRules, RowStatistics, bar_table, shares
from common.frames.schema import DELTA_RANGE, FLOW
from common.market.footprint import Footprint
from common.market.orderflow.ratios import basis_points
from tests.kit.frames import levels_frame

RULES = RowRules()


def bar(open_ms: int, buy: int, sell: int, unknown: int = 0) -> dict[str, int]:
    return dict.fromkeys(FLOW, 1) | {
        "open_ms": open_ms,
        "volume_lots": buy + sell + unknown,
        "buy_lots": buy,
        "sell_lots": sell,
    }


def table(bars: list[dict[str, int]], *footprints: tuple[int, Footprint], **columns: list[int | None]) -> pl.DataFrame:
    frame = pl.DataFrame(bars, FLOW).with_columns(pl.Series(name, each, pl.Int64) for name, each in columns.items())
    flagged = frame.with_columns(is_final=pl.lit(True), partial=pl.lit(False))
    return bar_table(flagged, RowStatistics.of(levels_frame(footprints), 1, RULES))


def test_a_range_of_delta_is_told_where_candles_have_one_and_null_where_not() -> None:
    bars = [bar(0, 5, 2), bar(60_000, 1, 0)]
    known = table(bars, delta_min_lots=[-2, None], delta_max_lots=[5, None])
    assert known.select(DELTA_RANGE).rows() == [(-2, 5), (None, None)]


def test_volume_that_no_row_has_is_missing() -> None:
    rows = (60_000, Footprint({7: [3, 1, 0, 1, 1, 0]}))
    found = table(
        [bar(0, 5, 2), bar(60_000, 3, 1), bar(120_000, 0, 0, 4)], rows, (120_000, Footprint({7: [0, 0, 1, 0, 0, 1]}))
    )
    assert found["missing_lots"].to_list() == [7, None, 3]
    assert found["poc_ticks"].to_list() == [None, 7, 7]
    assert found["delta_lots"].to_list() == [3, 2, 0]


def test_shares_of_volumes_that_are_too_large_for_64_bits_are_the_same() -> None:
    parts, wholes = [-3, 1, 2, 5, (1 << 62) - 1], [8, 3, 3, 0, (1 << 62)]
    small = shares(pl.Series(parts[:4], dtype=pl.Int128), pl.Series(wholes[:4]))
    assert small.to_list() == [basis_points(*pair) for pair in zip(parts[:4], wholes[:4], strict=True)]
    large = shares(pl.Series(parts, dtype=pl.Int128), pl.Series(wholes))
    assert large.to_list() == [-3750, 3333, 6667, None, 10_000]
