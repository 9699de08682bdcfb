"""Real trades against candles that other tools, and the exchange itself, made of them: by the builder and in bulk."""

from collections.abc import Callable
from functools import cache

import polars as pl
import pytest

from common.frames import bulk, decode
from common.frames.footprint import regroup
from common.frames.resample import resample
from common.market.coding.codec import FOOTPRINT_HEAD
from common.market.timeframes.timeframe import MINUTE, Timeframe
from common.market.trade import UNKNOWN, Trades
from tests.golden import recordings
from tests.golden.recordings import OHLCV, Recording
from tests.kit.frames import trades_frame
from tests.kit.shell import Shell, builder_of

# As trades come in: enough to a batch to cross minutes, few enough for many batches.
BATCH = 97

Minutes = tuple[pl.DataFrame, pl.DataFrame]
Recorded = Callable[[], Recording]


# Each is made once: no test changes it.


@cache
def _by_builder(recorded: Recorded) -> Minutes:
    instrument, trades = recorded()
    shell = Shell(builder_of(instrument)).feed(trades[at : at + BATCH] for at in range(0, len(trades), BATCH))
    assert not shell.builder.refused
    packed = [pair for _, pair in sorted(shell.all_minutes().items())]
    return decode.candles([candle for candle, _ in packed]), decode.footprints([footprint for _, footprint in packed])


@cache
def _in_bulk(recorded: Recorded) -> Minutes:
    return _bulk(recorded()[1])


def _bulk(trades: Trades) -> Minutes:
    return bulk.minutes(trades_frame(trades), sources=1)


BOTH_WAYS = pytest.mark.parametrize("build", [_by_builder, _in_bulk])
Build = Callable[[Recorded], Minutes]


@BOTH_WAYS
@pytest.mark.parametrize(("text", "count"), [("1m", 2_469), ("5m", 706)])
def test_xrp_eth_candles_are_those_of_freqtrade(build: Build, text: str, count: int) -> None:
    candles, _ = build(recordings.xrp_eth)
    expected = recordings.xrp_eth_candles(text)
    assert len(expected) == count
    assert resample(candles, Timeframe.parse(text)).select(OHLCV).equals(expected)


@BOTH_WAYS
def test_btc_usdt_candles_are_the_klines_of_the_exchange(build: Build) -> None:
    candles, levels = build(recordings.btc_usdt)
    expected = recordings.btc_usdt_klines()
    # What aggressive buyers paid is only in the footprint: its levels times their prices.
    paid = pl.col("price_ticks").cast(pl.Int128) * pl.col("buy_lots")
    bought = levels.group_by("open_ms").agg(paid.sum().alias("buy_turnover"))
    found = candles.join(bought, on="open_ms", maintain_order="left").join(expected, on="open_ms", how="semi")
    assert len(expected) == 5
    assert len(expected.columns) == 1 + 9
    assert found.select(expected.columns).equals(expected)


@BOTH_WAYS
def test_the_btc_usdt_footprint_adds_up_to_the_klines(build: Build) -> None:
    _, levels = build(recordings.btc_usdt)
    sums = levels.group_by("open_ms", maintain_order=True).agg(
        pl.col("price_ticks").max().alias("high_ticks"),
        pl.col("price_ticks").min().alias("low_ticks"),
        pl.sum("buy_lots"),
        (pl.sum("buy_lots") + pl.sum("sell_lots")).alias("volume_lots"),
        (pl.sum("buy_trades") + pl.sum("sell_trades")).alias("trades"),
    )
    expected = recordings.btc_usdt_klines().select(sums.columns)
    assert sums.join(expected, on="open_ms", how="semi").equals(expected)


def test_a_packed_level_of_the_btc_usdt_recording_takes_at_most_24_bytes() -> None:
    instrument, trades = recordings.btc_usdt()
    minutes = Shell(builder_of(instrument)).feed([trades]).all_minutes()
    for _, footprint in minutes.values():
        levels = len(decode.footprints([footprint]))
        assert len(footprint) - FOOTPRINT_HEAD.size <= 24 * levels


@BOTH_WAYS
def test_gold_candles_are_exact_where_prints_of_size_zero_count(build: Build) -> None:
    _, trades = recordings.gold()
    candles, _ = build(recordings.gold)
    expected = recordings.gold_candles()
    assert 0 in trades.size_lots
    assert len(expected) == 1_314
    assert candles.select(OHLCV).equals(expected)


def test_gold_candles_would_be_wrong_without_the_prints_of_size_zero() -> None:
    _, trades = recordings.gold()
    sized = trades.take([at for at, lots in enumerate(trades.size_lots) if lots])
    candles, _ = _bulk(sized)
    expected = recordings.gold_candles()
    assert candles["volume_lots"].sum() == expected["volume_lots"].sum()
    assert not candles.select(OHLCV).equals(expected)


def test_gold_trades_without_a_side_are_of_unknown_side() -> None:
    candles, levels = _by_builder(recordings.gold)
    assert set(recordings.gold()[1].sides) == {UNKNOWN}
    assert candles.select("buy_lots", "sell_lots").sum().row(0) == (0, 0)
    assert levels["unknown_lots"].sum() == candles["volume_lots"].sum()


def _eth_rows(build: Build, row: str) -> pl.DataFrame:
    """The footprint of the one 5m candle, in rows of the given height, with its delta in lots of 0.001."""
    instrument, _ = recordings.eth()
    _, levels = build(recordings.eth)
    rows = regroup(levels, Timeframe(5, "m"), instrument.price_ticks(row))
    assert rows["open_ms"].n_unique() == 1
    return rows.with_columns(delta=pl.col("buy_lots") - pl.col("sell_lots"))


@BOTH_WAYS
def test_eth_in_rows_of_5_cents_has_the_known_bins(build: Build) -> None:
    rows = _eth_rows(build, "0.05")
    columns = ("price_ticks", "sell_trades", "sell_lots", "buy_trades", "buy_lots", "delta")
    assert len(rows) == 23
    assert rows.select(columns).row(0) == (166_620, 32, 197_512, 26, 88_980, -108_532)
    assert rows.select("price_ticks", "delta").row(-1) == (166_730, 57_551)


@BOTH_WAYS
def test_eth_in_rows_of_1_has_the_known_bins(build: Build) -> None:
    """1666.50 lies between two rows and belongs to the lower."""
    rows = _eth_rows(build, "1")
    assert rows["price_ticks"].to_list() == [166_600, 166_700]
    assert rows["delta"][0] == 52_720


@BOTH_WAYS
@pytest.mark.parametrize("recording", [recordings.xrp_eth, recordings.btc_usdt, recordings.gold, recordings.eth])
def test_no_volume_of_a_recording_is_lost(build: Build, recording: Recorded) -> None:
    candles, levels = build(recording)
    trades: Trades = recording()[1]
    lots = levels.select("buy_lots", "sell_lots", "unknown_lots").sum().sum_horizontal().item()
    assert candles["volume_lots"].sum() == lots == sum(trades.size_lots)
    assert candles["trades"].sum() == len(trades)


@pytest.mark.parametrize("recording", [recordings.xrp_eth, recordings.btc_usdt, recordings.gold, recordings.eth])
def test_both_ways_make_the_same_of_a_recording(recording: Recorded) -> None:
    built, bulked = _by_builder(recording), _in_bulk(recording)
    assert built[0].equals(bulked[0])
    assert built[1].equals(bulked[1])
    assert regroup(built[1], MINUTE, 1).equals(built[1])
