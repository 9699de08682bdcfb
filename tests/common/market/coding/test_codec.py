import random

from hypothesis import given
from hypothesis import strategies as st

from common.market.candle import Candle
from common.market.coding.codec import (
    CANDLE,
    CANDLE_WITH_DELTA,
    FOOTPRINT_HEAD,
    pack_candle,
    pack_footprint,
    pack_trades,
    row_format,
    sides_of,
    unpack_candle,
    unpack_footprint,
    unpack_trades,
    widened_candle,
)
from common.market.footprint import Footprint
from common.market.trade import MAX_ID, MAX_LOTS, MAX_TICKS, MAX_TS_MS, Trade, Trades
from tests.kit.strategies import LAW, START_MS, candles, footprints, trades

# What a level may take at most in a footprint whose counts and prices are not freaks (issue 2).
LEVEL_BYTES = 24


@LAW
@given(candles())
def test_a_candle_survives_packing(candle: Candle) -> None:
    packed = pack_candle(candle)
    assert unpack_candle(packed) == candle
    assert (CANDLE.size, CANDLE_WITH_DELTA.size) == (120, 136)
    assert len(packed) == (136 if candle.delta else 120)
    assert len(widened_candle(packed)) == 136 and unpack_candle(widened_candle(packed)) == candle


def test_the_greatest_candle_survives_packing() -> None:
    volume = (1 << 63) - 1
    greatest = Candle(
        open_ms=MAX_TS_MS - 1,
        open_ticks=MAX_TICKS - 1,
        high_ticks=MAX_TICKS - 1,
        low_ticks=1,
        close_ticks=MAX_TICKS - 1,
        volume_lots=volume,
        buy_lots=volume,
        sell_lots=0,
        turnover=volume * (MAX_TICKS - 1),
        trades=(1 << 32) - 1,
        first_ts_ms=MAX_TS_MS - 1,
        first_id=0,
        last_ts_ms=MAX_TS_MS - 1 + 31 * 24 * 3_600_000,
        last_id=MAX_ID,
        rev=(1 << 32) - 1,
        sources=15,
    )
    assert unpack_candle(pack_candle(greatest)) == greatest


@LAW
@given(trades(ids="unique"))
def test_trades_survive_packing(whole: Trades) -> None:
    packed = pack_trades(whole)
    assert unpack_trades(packed) == whole
    assert len(packed) == 8 + 33 * len(whole)


def test_the_greatest_trade_survives_packing() -> None:
    greatest = Trades.of([Trade(MAX_TS_MS - 1, MAX_ID, MAX_TICKS - 1, MAX_LOTS - 1, 2), Trade(0, 0, 1, 0, 0)])
    assert unpack_trades(pack_trades(greatest)) == greatest


@LAW
@given(footprints(min_size=1))
def test_a_footprint_survives_packing(footprint: Footprint) -> None:
    assert unpack_footprint(pack_footprint(START_MS, footprint)) == (START_MS, footprint)


@LAW
@given(
    st.integers(1, 7),
    *[st.sampled_from([1, 0xFF, 0x100, 0xFFFF, 0x1_0000, 0xFFFF_FFFF, 0x1_0000_0000])] * 3,
)
def test_every_shape_survives_packing_at_the_edges_of_its_widths(sides: int, price: int, lots: int, count: int) -> None:
    level = [lots * (sides >> side & 1) for side in range(3)] + [count * (sides >> side & 1) for side in range(3)]
    one = [value and 1 for value in level]
    footprint = Footprint({1_000: one, 1_001: one.copy(), 1_000 + price + 1: level})
    packed = pack_footprint(START_MS, footprint)
    assert unpack_footprint(packed) == (START_MS, footprint)
    (shape, *_) = FOOTPRINT_HEAD.unpack_from(packed)
    assert sides_of(shape) == [side for side in range(3) if sides >> side & 1]


def test_a_footprint_of_zero_sizes_keeps_its_trade_counts() -> None:
    footprint = Footprint({100: [0, 0, 0, 3, 0, 1]})
    assert unpack_footprint(pack_footprint(START_MS, footprint)) == (START_MS, footprint)


@LAW
@given(trades(min_size=1))
def test_packing_does_not_depend_on_the_order_of_the_levels(whole: Trades) -> None:
    forward, backward = Footprint(), Footprint()
    forward.add(whole.price_ticks, whole.size_lots, whole.sides)
    backward.add(whole.price_ticks[::-1], whole.size_lots[::-1], whole.sides[::-1])
    assert pack_footprint(START_MS, forward) == pack_footprint(START_MS, backward)


def test_a_level_of_a_busy_minute_with_heavy_tails_takes_at_most_24_bytes() -> None:
    """Like the simulator's: a random walk, sizes of a Pareto law in lots of 8 decimals, all three sides."""
    draw = random.Random(7)
    footprint, price = Footprint(), 6_180_000
    for _ in range(20_000):
        price += draw.randint(-20, 20)
        footprint.add([price], [int(draw.paretovariate(1.3) * 1e5)], bytes([draw.choice([0, 0, 1, 1, 2])]))
    packed = pack_footprint(START_MS, footprint)
    assert max(max(level[:3]) for level in footprint.levels.values()) > 1 << 24
    assert len(packed) - FOOTPRINT_HEAD.size <= LEVEL_BYTES * len(footprint.levels)


def test_only_counts_beyond_16_bits_lots_beyond_32_or_prices_beyond_32_take_more_than_24_bytes() -> None:
    """Three sides: 4 bytes of price, 12 of lots and 6 of counts are 22."""
    busiest = Footprint({1: [1] * 6, 1 + 0xFFFF_FFFF: [0xFFFF_FFFF] * 3 + [0xFFFF] * 3, 2: [1] * 6})
    (shape, *_) = FOOTPRINT_HEAD.unpack_from(pack_footprint(START_MS, busiest))
    assert row_format(shape) == "I" + 3 * "I" + 3 * "H"


def test_a_step_shared_by_all_prices_or_all_lots_makes_the_columns_narrow() -> None:
    """Whole coins of 10**8 lots, at prices 1000 ticks apart: one byte a value, as without the common factors."""
    whole_coins = Footprint({5_000 + 1_000 * at: [(at + 1) * 10**8, 0, 0, 1, 0, 0] for at in range(200)})
    packed = pack_footprint(START_MS, whole_coins)
    assert len(packed) - FOOTPRINT_HEAD.size == 3 * 200
    assert unpack_footprint(packed) == (START_MS, whole_coins)
