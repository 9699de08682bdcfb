import json
from fractions import Fraction
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.errors import BadInput
from common.frames.footprint import footprints_json, poc, regroup
from common.frames.schema import LEVELS
from common.market.footprint import Footprint
from common.market.instrument import Instrument
from common.market.timeframes.timeframe import MINUTE_MS, Timeframe
from common.market.trade import Trades
from tests.kit.frames import built, levels_frame
from tests.kit.strategies import LAW, MINUTE_TIMEFRAMES, START_MS, footprints, instruments, trades

INSTRUMENT = Instrument("BTCUSDT", 2, 3)
ROW_TICKS = st.one_of(st.integers(1, 7), st.integers(1, 100_000))
MANY = st.dictionaries(st.integers(0, 50), footprints(min_size=1), max_size=5).map(
    lambda drawn: [(START_MS + number * MINUTE_MS, footprint) for number, footprint in sorted(drawn.items())]
)


def _frame(*bars: dict[int, list[int]]) -> pl.DataFrame:
    """Bars a minute apart, each price with its six sums."""
    return levels_frame((START_MS + at * MINUTE_MS, Footprint(levels)) for at, levels in enumerate(bars))


def _bought(**volumes: int) -> dict[int, list[int]]:
    """`p100=5`: five lots bought at 100 in one trade."""
    return {int(price[1:]): [lots, 0, 0, 1, 0, 0] for price, lots in volumes.items()}


def _read(rows: pl.DataFrame, instrument: Instrument = INSTRUMENT, *, is_final: bool = True) -> list[dict[str, Any]]:
    flagged = rows.with_columns(is_final=pl.lit(is_final), partial=pl.lit(False))
    return [json.loads(text, parse_float=Fraction) for text in footprints_json(flagged, instrument)]


@LAW
@given(trades("unique"), MINUTE_TIMEFRAMES, ROW_TICKS)
def test_regroup_is_the_merge_and_the_rebin_of_the_core(whole: Trades, timeframe: Timeframe, row_ticks: int) -> None:
    _, minutes = built(whole)
    spans: dict[int, Footprint] = {}
    for open_ms, footprint in minutes:
        opened = timeframe.open_of(open_ms)
        spans[opened] = spans.get(opened, Footprint()).merge(footprint)
    expected = [(open_ms, footprint.rebin(row_ticks)) for open_ms, footprint in sorted(spans.items())]
    regrouped = regroup(levels_frame(minutes), timeframe, row_ticks)
    assert regrouped.schema == LEVELS
    assert regrouped.equals(levels_frame(expected))


def test_a_sum_of_lots_beyond_63_bits_is_an_error_and_not_a_negative_number() -> None:
    frame = _frame(_bought(p100=1 << 62), _bought(p100=1 << 62))
    with pytest.raises(BadInput, match="shorter timeframe"):
        regroup(frame, Timeframe(1, "h"), 1)


@pytest.mark.parametrize(
    ("bar", "expected"),
    [
        (_bought(p100=1, p101=9, p102=2), 101),
        # Two rows of most volume: 103 is nearer to the middle, 105, than 109.
        (_bought(p100=1, p103=9, p109=9, p110=1), 103),
        (_bought(p100=1, p101=9, p106=9, p110=1), 106),
        # Equally near: the lower.
        (_bought(p100=1, p103=9, p107=9, p110=1), 103),
        (_bought(p100=9, p110=9), 100),
        (_bought(p10=20, p11=30, p12=30, p13=20, p14=10), 12),
    ],
)
def test_the_point_of_control_has_most_volume_then_is_nearest_the_middle_then_lowest(
    bar: dict[int, list[int]], expected: int
) -> None:
    assert poc(_frame(bar))["poc_ticks"].to_list() == [expected]


def test_the_middle_is_that_of_the_rows_and_not_of_the_prices_in_them() -> None:
    # Rows 100 to 130: 110 and 120 are equally near to 115. Of the prices the middle would be 119, and 120 nearer.
    rows = regroup(_frame(_bought(p104=1, p110=9, p120=9, p134=1)), Timeframe(1, "m"), 10)
    assert (rows["price_ticks"].to_list(), poc(rows)["poc_ticks"].to_list()) == ([100, 110, 120, 130], [110])


def test_a_bar_without_volume_has_no_point_of_control() -> None:
    bars = _frame(_bought(p100=0, p110=0), _bought(p100=0, p110=1))
    assert poc(bars)["poc_ticks"].to_list() == [None, 110]
    assert [bar["poc"] for bar in _read(bars)] == [None, Fraction("1.1")]


def test_volume_of_all_sides_counts_for_the_point_of_control() -> None:
    assert poc(_frame({100: [5, 0, 0, 1, 0, 0], 101: [2, 2, 2, 1, 1, 1]}))["poc_ticks"].to_list() == [101]
    huge = (1 << 63) - 1
    assert poc(_frame({100: [huge, 0, 0, 1, 0, 0], 101: [huge, huge, huge, 1, 1, 1]}))["poc_ticks"].to_list() == [101]


def test_a_footprint_reads_as_documented() -> None:
    frame = _frame({10010: [1500, 250, 0, 2, 1, 0], 10005: [0, 2000, 7, 0, 3, 1]}, _bought(p9000=1))
    first = pl.col("open_ms") == START_MS
    assert footprints_json(frame.with_columns(is_final=first, partial=~first), INSTRUMENT) == [
        f'{{"t":{START_MS},"isFinal":true,"delta":-0.75,"poc":100.05,"rows":['
        '{"p":100.05,"bv":0,"sv":2,"uv":0.007,"bn":0,"sn":3,"un":1},'
        '{"p":100.1,"bv":1.5,"sv":0.25,"bn":2,"sn":1}]}'.encode(),
        f'{{"t":{START_MS + MINUTE_MS},"isFinal":false,"delta":0.001,"poc":90,"rows":['
        '{"p":90,"bv":0.001,"sv":0,"bn":1,"sn":0}],"partial":true}'.encode(),
    ]


def test_trades_of_unknown_side_and_size_zero_still_show() -> None:
    row = _read(_frame({100: [0, 0, 0, 0, 0, 2]}))[0]["rows"][0]
    assert row == {"p": 1, "bv": 0, "sv": 0, "bn": 0, "sn": 0, "un": 2}


@LAW
@given(MANY, instruments(), st.booleans())
def test_every_number_in_the_json_is_exact(
    bars: list[tuple[int, Footprint]], instrument: Instrument, final: bool
) -> None:
    price, size = 10**instrument.price_decimals, 10**instrument.size_decimals
    expected = []
    for open_ms, footprint in bars:
        rows = list(footprint.rows())
        delta = sum(row.buy_lots - row.sell_lots for row in rows)
        middle = rows[0].price_ticks + rows[-1].price_ticks
        best = min(rows, key=lambda r, m=middle: (-sum(r[1:4]), abs(2 * r.price_ticks - m), r.price_ticks))  # type: ignore[misc]
        levels = []
        for row in rows:
            level = {"p": Fraction(row.price_ticks, price), "bn": row.buy_trades, "sn": row.sell_trades}
            level |= {"bv": Fraction(row.buy_lots, size), "sv": Fraction(row.sell_lots, size)}
            level |= {"uv": Fraction(row.unknown_lots, size)} if row.unknown_lots else {}
            level |= {"un": row.unknown_trades} if row.unknown_trades else {}
            levels.append(level)
        bar = {"t": open_ms, "isFinal": final, "delta": Fraction(delta, size), "rows": levels}
        expected.append(bar | {"poc": Fraction(best.price_ticks, price) if any(best[1:4]) else None})
    assert _read(levels_frame(bars), instrument, is_final=final) == expected
