from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.errors import BadInput
from common.frames import bulk, encode
from common.frames.footprint import regroup
from common.frames.resample import resample
from common.frames.schema import CANDLES, LEVELS, TRADES
from common.market.timeframes.timeframe import MINUTE, Timeframe
from common.market.trade import MAX_LOTS, Trade, Trades
from tests.kit.frames import UNIQUE, built, candles_of, levels_frame, trades_frame
from tests.kit.shell import Shell, builder_of, without_order
from tests.kit.strategies import LAW, MINUTE_TIMEFRAMES, SOURCES, START_MS, TIMEFRAMES, mixed, trades


@LAW
@given(st.one_of(trades("contiguous"), trades("unique")), SOURCES, st.data())
def test_bulk_is_the_incremental_builder(whole: Trades, sources: int, data: st.DataObject) -> None:
    in_any_order = whole.take(data.draw(st.permutations(range(len(whole)))))
    candles, levels = bulk.minutes(trades_frame(in_any_order), sources)
    minutes, footprints = built(whole)
    assert candles_of(candles) == [replace(candle, sources=sources) for candle in minutes]
    assert levels.equals(levels_frame(footprints))


@LAW
@given(trades("unique"), st.data())
def test_bulk_packs_to_the_bytes_the_builder_stores(whole: Trades, data: st.DataObject) -> None:
    builder = builder_of(UNIQUE)
    candles, levels = bulk.minutes(trades_frame(whole), builder.sources)
    pairs = dict(
        zip(candles["open_ms"], zip(encode.candles(candles), encode.footprints(levels), strict=True), strict=True)
    )
    assert pairs == Shell(builder_of(UNIQUE)).feed([whole.in_order()]).all_minutes()
    mixed_up = Shell(builder).feed([data.draw(mixed(whole))]).all_minutes()
    assert without_order(pairs) == without_order(mixed_up)


@LAW
@given(trades("unique"), MINUTE_TIMEFRAMES)
def test_trades_to_a_timeframe_are_trades_to_minutes_to_it(whole: Trades, timeframe: Timeframe) -> None:
    frame = trades_frame(whole)
    candles, levels = bulk.minutes(frame, 1)
    assert bulk.candles(frame, timeframe, 1).equals(resample(candles, timeframe))
    assert bulk.footprints(frame, timeframe).equals(regroup(levels, timeframe, 1))


@LAW
@given(trades("unique"), TIMEFRAMES)
def test_no_volume_is_lost_in_any_timeframe(whole: Trades, timeframe: Timeframe) -> None:
    frame = trades_frame(whole)
    candles, levels = bulk.candles(frame, timeframe, 1), bulk.footprints(frame, timeframe)
    opens = sorted({timeframe.open_of(ts_ms) for ts_ms in whole.ts_ms})
    assert candles["open_ms"].to_list() == opens
    assert sorted(set(levels["open_ms"])) == opens
    assert candles["volume_lots"].sum() == sum(whole.size_lots)
    assert levels.select("buy_lots", "sell_lots", "unknown_lots").sum().sum_horizontal().item() == sum(whole.size_lots)
    assert candles["trades"].sum() == len(whole)


@pytest.mark.parametrize(
    ("ticks", "lots", "is_summed"),
    [
        ((1 << 31) - 1, 1 << 32, True),
        (1 << 31, 1 << 32, False),
        (1 << 40, (1 << 23) - 1, True),
        (1, ((1 << 63) - 1) // 3_000, True),
        (1, ((1 << 63) - 1) // 3_000 + 1, False),
    ],
)
def test_sums_of_runs_are_exact_up_to_where_they_are_made_by_groups(ticks: int, lots: int, is_summed: bool) -> None:
    """3,000 trades of one minute, whose turnover together is far beyond 64 bits."""
    frame = trades_frame(Trades.of([Trade(START_MS, at, ticks, lots - at % 2, at % 3) for at in range(3_000)]))
    summed, grouped = bulk._summed(frame, MINUTE, 1), bulk._grouped_candles(frame, MINUTE, 1)
    assert (summed is not None) == is_summed
    assert bulk.candles(frame, MINUTE, 1).equals(grouped)
    assert grouped["turnover"].item() == sum(ticks * (lots - at % 2) for at in range(3_000))


def test_volume_beyond_63_bits_is_an_error_and_not_a_negative_number() -> None:
    frame = trades_frame(Trades.of([Trade(START_MS, at, 1, MAX_LOTS - 1, 0) for at in range(1_025)]))
    with pytest.raises(BadInput, match="shorter timeframe"):
        bulk.candles(frame, MINUTE, 1)
    with pytest.raises(BadInput, match="shorter timeframe"):
        bulk.footprints(frame)


def test_no_trades_make_no_candles() -> None:
    candles, levels = bulk.minutes(TRADES.to_frame(), 1)
    assert (candles.schema, levels.schema) == (CANDLES, LEVELS)
    assert candles.is_empty() and levels.is_empty()
