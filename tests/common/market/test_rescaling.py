"""Scales: the same numbers in more decimals, or in fewer where all of them fit, or a sentence and no number."""

from dataclasses import replace
from decimal import Decimal

import polars as pl
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from common.frames import decode
from common.frames.rescale import rescaled
from common.market import units
from common.market.candle import Candle
from common.market.coding import candle_blocks, codec, footprint_blocks
from common.market.coding.named import CorruptBlock
from common.market.footprint import TRADES_AT, Footprint, Level
from common.market.rescaling import MAX_INT_64, MAX_TURNOVER, Rescaling, Unfit
from common.market.scale import Scale, Scales
from common.market.timeframes.timeframe import MINUTE_MS
from common.market.trade import MAX_LOTS, MAX_TICKS, Trades
from tests.kit.strategies import LAW, START_MS, candles, footprints, trades

SCALES = st.builds(Scale, st.integers(0, 8), st.integers(0, 8))
TICKS, LOTS = ("open_ticks", "high_ticks", "low_ticks", "close_ticks"), ("volume_lots", "buy_lots", "sell_lots")


def numbers(candle: Candle, scale: Scale) -> list[Decimal]:
    """Its prices, volumes and turnover as decimals."""
    prices = (units.render(getattr(candle, name), scale.price_decimals) for name in TICKS)
    sizes = (units.render(getattr(candle, name), scale.size_decimals) for name in LOTS)
    return [Decimal(text) for text in (*prices, *sizes, units.render(candle.turnover, sum(scale)))]


def levels(footprint: Footprint, scale: Scale) -> dict[Decimal, list[Decimal]]:
    return {
        Decimal(units.render(price, scale.price_decimals)): [
            *(Decimal(units.render(lots, scale.size_decimals)) for lots in sums[:3]),
            *map(Decimal, sums[3:]),
        ]
        for price, sums in footprint.levels.items()
    }


def small(candle: Candle) -> Candle:
    """The same kind of candle, with numbers that fit many more decimals."""
    lots = {name: getattr(candle, name) % 1_000 for name in LOTS}
    ticks = {name: getattr(candle, name) % 100_000 + 1 for name in TICKS}
    delta = dict.fromkeys(("delta_min_lots", "delta_max_lots"), lots["buy_lots"] - lots["sell_lots"])
    return replace(candle, **lots, **ticks, **(delta if candle.delta else {}), turnover=candle.turnover % 10**8)


def opening_at(open_ms: int, candle: Candle) -> Candle:
    return replace(candle, open_ms=open_ms, first_ts_ms=open_ms, last_ts_ms=open_ms)


@LAW
@given(candles().map(small), SCALES, SCALES)
def test_a_candle_means_the_same_in_another_scale_or_does_not_fit(candle: Candle, old: Scale, new: Scale) -> None:
    there, back = Rescaling(old, new), Rescaling(new, old)
    try:
        packed = there.candle(codec.pack_candle(candle))
    except Unfit:
        assert there.price_shift < 0 or there.size_shift < 0
        return
    assert numbers(codec.unpack_candle(packed), new) == numbers(candle, old)
    assert codec.unpack_candle(back.candle(packed)) == candle


def _few(level: Level) -> Level:
    """Fewer lots, of as many trades: those of a side that has none are not kept."""
    return [lots % 10**6 for lots in level[:TRADES_AT]] + level[TRADES_AT:]


@LAW
@example(Footprint({100: [0, 0, 0, 1, 0, 0]}), Scale(2, 3), Scale(2, 4))
@given(footprints(min_size=1), SCALES, SCALES)
def test_a_footprint_means_the_same_in_another_scale(drawn: Footprint, old: Scale, new: Scale) -> None:
    footprint = Footprint({price % 10**6 + 1: _few(sums) for price, sums in drawn.levels.items()})
    packed = codec.pack_footprint(START_MS, footprint)
    try:
        moved = Rescaling(old, new).footprint(packed)
    except Unfit:
        return
    open_ms, found = codec.unpack_footprint(moved)
    assert open_ms == START_MS and levels(found, new) == levels(footprint, old)
    # As it is packed by whoever has it in that scale: a sealed day is read back and compared byte by byte.
    assert moved == codec.pack_footprint(START_MS, found)
    assert codec.unpack_footprint(Rescaling(new, old).footprint(moved)) == (START_MS, footprint)


@LAW
@given(trades(), st.integers(0, 6), st.integers(0, 6))
def test_trades_come_back_from_a_finer_scale(drawn: Trades, price: int, size: int) -> None:
    old, new = Scale(2, 3), Scale(2 + price, 3 + size)
    packed = codec.pack_trades(drawn)
    fits = all(ticks * 10**price < MAX_TICKS for ticks in drawn.price_ticks)
    fits = fits and all(lots * 10**size < MAX_LOTS for lots in drawn.size_lots)
    if not fits:
        with pytest.raises(Unfit, match="is too great for"):
            Rescaling(old, new).trades(packed)
        return
    moved = Rescaling(old, new).trades(packed)
    found = codec.unpack_trades(moved)
    assert found.price_ticks == [ticks * 10**price for ticks in drawn.price_ticks]
    assert found.size_lots == [lots * 10**size for lots in drawn.size_lots]
    assert (found.ts_ms, found.ids, found.sides) == (drawn.ts_ms, drawn.ids, drawn.sides)
    assert Rescaling(new, old).trades(moved) == packed


def test_what_does_not_fit_is_named_with_the_decimals_it_was_to_have() -> None:
    fewer = Rescaling(Scale(2, 3), Scale(1, 3))
    assert fewer.price(64_000_50) == 64_000_5
    with pytest.raises(Unfit, match=r"price 64000.55 has more than 1 decimals"):
        fewer.price(64_000_55)
    more = Rescaling(Scale(0, 0), Scale(1, 1))
    with pytest.raises(Unfit, match=r"size 9223372036854775807 is too great for 1 decimals"):
        more.size(MAX_INT_64)
    with pytest.raises(Unfit, match="turnover"):
        more.turnover(MAX_TURNOVER)


# In a size without decimals.
FITTING = Candle(0, 7, 7, 7, 7, 20, 20, 0, 140, 1, 0, 1, 0, 1, 0, 1)


@LAW
@given(st.lists(candles().map(small), min_size=1, max_size=4), st.lists(SCALES, min_size=1, max_size=3), SCALES)
def test_blocks_of_several_scales_are_read_as_one(drawn: list[Candle], scales: list[Scale], unnamed: Scale) -> None:
    """Each block of its own scale, one of them without a name."""
    opens = range(START_MS, START_MS + len(drawn) * MINUTE_MS, MINUTE_MS)
    members = [codec.pack_candle(opening_at(at, candle)) for at, candle in zip(opens, drawn, strict=True)]
    now = Scale(max(s.price_decimals for s in [*scales, unnamed]), max(s.size_decimals for s in [*scales, unnamed]))
    wanted = Scales(now, unnamed)
    made = [candle_blocks.pack(members), *(candle_blocks.pack(members, scale) for scale in scales)]
    expected = [Rescaling(scale, now).candle(member) for scale in (unnamed, *scales) for member in members]
    assert [member for block in made for member in candle_blocks.members(block, wanted)] == expected
    assert decode.sealed_candles(made, scales=wanted).equals(decode.candles(expected))
    for block, scale in zip(made[1:], scales, strict=True):
        with pytest.raises(CorruptBlock, match=f"names the scale {scale}"):
            candle_blocks.columns([block])


@LAW
@given(st.lists(footprints(min_size=1), min_size=1, max_size=3), SCALES)
def test_sealed_footprints_name_their_scale_as_well(drawn: list[Footprint], scale: Scale) -> None:
    made = [
        Footprint({price % 10**6: [lots % 10**6 for lots in sums] for price, sums in each.levels.items()})
        for each in drawn
    ]
    members = [codec.pack_footprint(START_MS + at * MINUTE_MS, each) for at, each in enumerate(made)]
    now = Scale(9, 9)
    block = footprint_blocks.pack(members, scale)
    expected = [codec.unpack_footprint(Rescaling(scale, now).footprint(member)) for member in members]
    read = footprint_blocks.members(block, Scales(now, Scale(0, 0)))
    assert list(map(codec.unpack_footprint, read)) == expected
    at = footprint_blocks.at(block, START_MS, Scales(now, Scale(0, 0)))
    assert at is not None and codec.unpack_footprint(at) == expected[0]


def test_a_flipped_bit_in_a_name_is_noticed() -> None:
    block = candle_blocks.pack([codec.pack_candle(Candle(0, 1, 1, 1, 1, 1, 1, 0, 1, 1, 0, 1, 0, 1))], Scale(2, 3))
    for at in range(4, 12):
        flipped = block[:at] + bytes([block[at] ^ 4]) + block[at + 1 :]
        with pytest.raises(CorruptBlock, match="whose checksum is another"):
            candle_blocks.columns([flipped], scales=Scales.unchanged(Scale(2, 3)))


# In a size without decimals.
FITTING = Candle(0, 7, 7, 7, 7, 20, 20, 0, 140, 1, 0, 1, 0, 1, 0, 1)


@LAW
@given(st.lists(candles().map(small), min_size=1, max_size=5), SCALES, SCALES)
@example([FITTING], Scale(0, 1), Scale(0, 0))
def test_frames_move_as_their_candles_do(drawn: list[Candle], old: Scale, new: Scale) -> None:
    members = [codec.pack_candle(candle) for candle in drawn]
    frame, there = decode.candles(members), Rescaling(old, new)
    try:
        expected = decode.candles([there.candle(member) for member in members])
    except Unfit:
        with pytest.raises(Unfit):
            rescaled(frame, there)
        return
    assert rescaled(frame, there).equals(expected)


def test_a_column_that_would_wrap_is_refused() -> None:
    frame = pl.DataFrame({"volume_lots": [1, 1 << 61]})
    with pytest.raises(Unfit, match="is too great for 4 decimals"):
        rescaled(frame, Rescaling(Scale(0, 3), Scale(0, 4)))
