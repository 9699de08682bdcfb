"""A live value is that of history, of the same bars from the same start."""

import numpy as np
import polars as pl

from common.indicators.bars import IndicatorBars
from common.indicators.ids import parse
from common.indicators.live import LiveIndicators
from common.indicators.table import KINDS
from common.indicators.values import values_of
from common.market.scale import Scale
from tests.kit.indicators import random_frame

SCALE = Scale(2, 3)
EACH = [parse(name) for name in KINDS]
FIRST, COUNT, STEP = 400, 5_000, 400


def test_live_is_history_bit_for_bit() -> None:
    """Of bars that grew and were closed one by one, as if they had been there from the start."""
    frame, other = random_frame(7, COUNT), random_frame(8, COUNT)
    expected = [values_of(IndicatorBars.of(frame, SCALE), each) for each in EACH]
    live = LiveIndicators(frame[:FIRST], SCALE)
    for at in range(FIRST, COUNT):
        if at % STEP:
            live.update(frame[at : at + 1])
            continue
        live.peek(other[at : at + 1], EACH)
        growing = live.peek(frame[at : at + 1], EACH)
        live.update(frame[at : at + 1])
        for each, *found in zip(EACH, growing, live.newest(EACH), strict=True):
            for name, values in expected[EACH.index(each)].items():
                told = [one[name] for one in found]
                assert np.array_equal(told, [values[at]] * 2, equal_nan=True), (each.asked, name)


def test_an_amended_bar_is_a_series_opened_again() -> None:
    frame = random_frame(9, 800)
    amended = frame.with_columns(close_ticks=frame["high_ticks"], rev=frame["rev"] + (frame["rev"].cum_count() == 500))
    amended = pl.concat([frame[:499], amended[499:500], frame[500:]])
    found = LiveIndicators(amended, SCALE).newest(EACH)
    for each, told in zip(EACH, found, strict=True):
        fresh = values_of(IndicatorBars.of(amended, SCALE), each)
        assert np.array_equal(list(told.values()), [values[-1] for values in fresh.values()], equal_nan=True)
