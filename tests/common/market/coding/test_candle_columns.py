"""Columns of candles merge as candles do."""

from hypothesis import given
from hypothesis import strategies as st

from common.market.candle import Candle, merge_all
from common.market.coding import candle_blocks, codec
from common.market.coding.candle_columns import merged, opened
from common.market.timeframes.timeframe import MINUTE_MS
from tests.kit.strategies import LAW, START_MS, candles

OPENS = st.integers(0, 20).map(lambda minute: START_MS + minute * MINUTE_MS)


@st.composite
def minutes(draw: st.DrawFn) -> dict[int, Candle]:
    opens = draw(st.lists(OPENS, max_size=8, unique=True))
    return {open_ms: draw(candles(open_ms)) for open_ms in sorted(opens)}


@LAW
@given(minutes(), minutes(), OPENS, OPENS)
def test_columns_merge_to_what_their_candles_do(
    sealed: dict[int, Candle], fresh: dict[int, Candle], from_ms: int, end_ms: int
) -> None:
    packed = [codec.pack_candle(candle) for candle in sealed.values()]
    block = [candle_blocks.pack(packed)] if packed else []
    columns = opened(block, [codec.pack_candle(candle) for candle in fresh.values()])
    # Of a minute in both the open one counts.
    inside = [candle for at, candle in sorted({**sealed, **fresh}.items()) if from_ms <= at < end_ms]
    assert merged(columns, from_ms, end_ms) == (merge_all(inside).rename(from_ms) if inside else None)


def test_sums_and_equal_keys_beyond_what_one_column_holds() -> None:
    most, then_ms = (1 << 63) - 1, START_MS + MINUTE_MS
    one = Candle(START_MS, 7, 9, 5, 8, most, most, 0, (1 << 126) - 1, 1, START_MS, 3, START_MS, 3)
    other = Candle(then_ms, 6, 6, 6, 6, most, 0, most, 1 << 126, 2, then_ms, 3, then_ms, 3)
    both = [one, other]
    columns = opened([], [codec.pack_candle(candle) for candle in both])
    assert merged(columns, START_MS, START_MS + 2 * MINUTE_MS) == merge_all(both)
