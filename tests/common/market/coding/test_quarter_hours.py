"""15m candles of sealed days are what merging their minutes one by one gives."""

from itertools import groupby

from hypothesis import given
from hypothesis import strategies as st

from common.market.candle import Candle, merge_all
from common.market.coding import candle_blocks, codec
from common.market.coding.quarter_hours import NAMES, QUARTER_HOUR_MS, merged_days
from common.market.timeframes.timeframe import MINUTE_MS
from tests.kit.strategies import LAW, START_MS, candles

FIRST_MS = START_MS // QUARTER_HOUR_MS * QUARTER_HOUR_MS


@LAW
@given(st.data())
def test_rows_are_the_merged_minutes(data: st.DataObject) -> None:
    numbers = sorted(data.draw(st.sets(st.integers(0, 40), min_size=1, max_size=12)))
    drawn = [data.draw(candles(FIRST_MS + number * MINUTE_MS)) for number in numbers]
    small = [minute for minute in drawn if minute.turnover < 1 << 58]
    if small:
        rows = merged_days([candle_blocks.pack(list(map(codec.pack_candle, small)))], None)
        assert rows is not None
        columns = {name: rows[name].tolist() for name in NAMES}
        found = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
        assert found == [_row(list(run)) for _, run in groupby(small, lambda one: one.open_ms // QUARTER_HOUR_MS)]


def _row(minutes: list[Candle]) -> dict[str, int]:
    whole = merge_all(minutes)
    special = {
        "open_ms": minutes[0].open_ms // QUARTER_HOUR_MS * QUARTER_HOUR_MS,
        "turnover_low": whole.turnover & ((1 << 64) - 1),
        "turnover_high": whole.turnover >> 64,
    }
    row = {name: special[name] if name in special else getattr(whole, name) for name in NAMES}
    return {name: codec.UNKNOWN_LOTS if value is None else value for name, value in row.items()}
