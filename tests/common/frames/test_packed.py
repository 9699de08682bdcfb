"""Decode and encode: the packed bytes of the codec as whole columns, and back."""

import struct

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.frames import decode, encode
from common.frames.schema import CANDLES, LEVELS, TRADES
from common.market.candle import Candle
from common.market.coding import codec
from common.market.coding.packed import FOOTPRINT_HEAD, PACKED_CANDLE
from common.market.footprint import Footprint
from common.market.trade import MAX_ID, MAX_LOTS, MAX_TICKS, MAX_TS_MS, Trade, Trades
from tests.kit.frames import candles_frame, candles_of, levels_frame
from tests.kit.strategies import LAW, START_MS, candles, footprints, trades

MANY_CANDLES = st.lists(candles(), max_size=6)
# By open, ascending or not: members come in the order somebody asks for.
MANY_FOOTPRINTS = st.dictionaries(st.integers(0, 1 << 43), footprints(min_size=1), max_size=6).map(
    lambda by_open: list(by_open.items())
)


def _formats(dtype: np.dtype[np.void]) -> str:
    """The struct format of a numpy record, from the width and the sign of its fields."""
    chars = {"<i8": "q", "<u8": "Q", "<u4": "I", "|u1": "B"}
    fields = [(name, dtype[name]) for name in dtype.names or ()]
    return "".join(f"{field.itemsize}x" if name == "padding" else chars[field.str] for name, field in fields)


def _expanded(packed: struct.Struct) -> str:
    """A struct's format with one character per field: `q4q` is `qqqqq`, padding is left as it is."""
    text, count = "", ""
    for char in packed.format.removeprefix("<"):
        count, text = (count + char, text) if char.isdigit() else ("", text + _times(char, count))
    return text


def _times(char: str, count: str) -> str:
    return f"{count}x" if char == "x" else char * int(count or 1)


@pytest.mark.parametrize(
    ("dtype", "packed"),
    [(PACKED_CANDLE, codec.CANDLE_WITH_DELTA), (FOOTPRINT_HEAD, codec.FOOTPRINT_HEAD)],
)
def test_the_numpy_record_is_the_struct_of_the_codec(dtype: np.dtype[np.void], packed: struct.Struct) -> None:
    assert dtype.itemsize == packed.size
    assert _formats(dtype) == _expanded(packed)


@LAW
@given(MANY_CANDLES)
def test_candles_decode_to_what_the_codec_unpacks(drawn: list[Candle]) -> None:
    frame = decode.candles([codec.pack_candle(candle) for candle in drawn])
    assert candles_of(frame) == drawn


@LAW
@given(MANY_CANDLES)
def test_candles_encode_to_what_the_codec_packs(drawn: list[Candle]) -> None:
    assert encode.candles(candles_frame(drawn)) == [codec.pack_candle(candle) for candle in drawn]


def test_the_greatest_candle_is_decoded_and_encoded() -> None:
    volume = (1 << 63) - 1
    keys = (MAX_TS_MS - 1, MAX_ID - 1, MAX_TS_MS + 31 * 24 * 3_600_000, MAX_ID)
    ticks = MAX_TICKS - 1
    counts = ((1 << 32) - 1, *keys, (1 << 32) - 1, 15)
    greatest = Candle(MAX_TS_MS - 1, ticks, ticks, 1, ticks, volume, volume, 0, volume * ticks, *counts)
    packed = codec.pack_candle(greatest)
    assert candles_of(decode.candles([packed])) == [greatest]
    assert encode.candles(candles_frame([greatest])) == [packed]


@pytest.mark.parametrize("field", ["trades", "rev", "last_ts_ms"])
def test_a_candle_that_does_not_fit_its_packed_form_raises_and_is_not_cut_down(field: str) -> None:
    frame = candles_frame([Candle(START_MS, 1, 1, 1, 1, 1, 1, 0, 1, 1, START_MS, 1, START_MS, 1)])
    with pytest.raises(pl.exceptions.InvalidOperationError):
        encode.candles(frame.with_columns(pl.col(field) + (1 << 32)))


@LAW
@given(MANY_FOOTPRINTS)
def test_footprints_decode_to_what_the_codec_unpacks(drawn: list[tuple[int, Footprint]]) -> None:
    frame = decode.footprints([codec.pack_footprint(open_ms, footprint) for open_ms, footprint in drawn])
    assert frame.schema == LEVELS
    assert frame.equals(levels_frame(drawn))


@LAW
@given(MANY_FOOTPRINTS)
def test_footprints_encode_to_what_the_codec_packs(drawn: list[tuple[int, Footprint]]) -> None:
    packed = [codec.pack_footprint(open_ms, footprint) for open_ms, footprint in drawn]
    assert encode.footprints(levels_frame(drawn)) == packed


@LAW
@given(st.lists(trades(ids="unique"), max_size=4))
def test_trades_decode_to_what_the_codec_unpacks(drawn: list[Trades]) -> None:
    frame = decode.trades([codec.pack_trades(batch) for batch in drawn])
    assert frame.schema == TRADES
    assert frame.rows() == [tuple(row) for batch in drawn for row in batch.rows()]


def test_the_greatest_trade_is_decoded() -> None:
    greatest = Trade(MAX_TS_MS - 1, MAX_ID, MAX_TICKS - 1, MAX_LOTS - 1, 2)
    assert decode.trades([codec.pack_trades(Trades.of([greatest]))]).rows() == [tuple(greatest)]


def test_nothing_decodes_to_an_empty_frame_of_the_right_columns() -> None:
    assert decode.candles([]).equals(CANDLES.to_frame())
    assert decode.footprints([]).equals(LEVELS.to_frame())
    assert decode.trades([]).equals(TRADES.to_frame())
    assert decode.candles([]).schema == CANDLES
    assert decode.trades([codec.pack_trades(Trades())]).schema == TRADES
    assert encode.candles(CANDLES.to_frame()) == []
    assert encode.footprints(LEVELS.to_frame()) == []
