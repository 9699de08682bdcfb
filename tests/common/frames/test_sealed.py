"""Bars straight from sealed days are those of the decoded minutes, whatever these are; what does not fit is decoded."""

import random
from dataclasses import replace

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.errors import BadInput
from common.frames import decode
from common.frames.minutes import SHOWN_FRAMES
from common.frames.resample import resample
from common.frames.schema import SHOWN
from common.frames.sealed import SealedCandles
from common.market.candle import Candle
from common.market.coding import candle_blocks, codec
from common.market.coding.limbs import Scratch
from common.market.scale import Scale, Scales
from common.market.timeframes.timeframe import DAY_MS, MINUTE_MS, Timeframe, day_of
from tests.kit.markets import day_of_market
from tests.kit.strategies import LAW, MINUTE_TIMEFRAMES, SESSION_MINUTE_TIMEFRAMES, START_MS, candles
from tests.scale import scaled

FIRST_MS = day_of(START_MS)
TIMEFRAMES = st.one_of(
    st.sampled_from([Timeframe.parse(text) for text in ("1m", "15m", "16m", "1h", "6h", "12h", "1d", "1w")]),
    MINUTE_TIMEFRAMES,
    SESSION_MINUTE_TIMEFRAMES,
)


def stretch_of_market(seed: int) -> list[list[Candle]]:
    """Some days of a month, most of them like those before."""
    rng = random.Random(seed)
    numbers, of_day = sorted(rng.sample(range(12), rng.randint(1, 5))), rng.randrange(1 << 30)
    return [
        day_of_market(random.Random(of_day if rng.random() < 0.7 else seed + number), number, FIRST_MS)
        for number in numbers
    ]


def sealed(*drawn: list[Candle]) -> list[bytes]:
    return [candle_blocks.pack(list(map(codec.pack_candle, day))) for day in drawn if day]


SEEDS = st.integers(0, 1 << 30)
# Anything that a builder could have made, one to a day: mostly beyond what is opened.
EXTREMES = st.lists(candles(), min_size=1, max_size=3).map(
    lambda drawn: [[_moved(candle, at * DAY_MS)] for at, candle in enumerate(drawn)]
)


def _moved(candle: Candle, by_ms: int) -> Candle:
    times = {name: getattr(candle, name) + by_ms for name in ("open_ms", "first_ts_ms", "last_ts_ms")}
    return replace(candle, **times)


def bars_or_error(minutes: SealedCandles | pl.DataFrame, timeframe: Timeframe) -> pl.DataFrame | str:
    try:
        return (
            minutes.bars(timeframe, Scratch()) if isinstance(minutes, SealedCandles) else resample(minutes, timeframe)
        )
    except BadInput as error:
        return str(error)


def same(found: pl.DataFrame | str, expected: pl.DataFrame | str) -> bool:
    if isinstance(found, str) or isinstance(expected, str):
        return isinstance(found, str) and isinstance(expected, str) and found == expected
    return found.schema == expected.schema and found.equals(expected)


def check(drawn: list[list[Candle]], timeframe: Timeframe, rng: random.Random) -> None:
    made, scratch = sealed(*drawn), Scratch()
    frame = decode.sealed_candles(made, SHOWN)
    minutes = SHOWN_FRAMES.opened(made, Scales.unchanged(Scale(2, 2)), scratch)
    assert len(minutes) == len(frame)
    assert same(bars_or_error(minutes, timeframe), bars_or_error(frame, timeframe))
    if not isinstance(minutes, SealedCandles):
        return
    assert minutes.frame(scratch).equals(frame)
    opens = frame["open_ms"].to_list()
    for _ in range(2):
        # Cut, and what was cut cut again.
        from_ms, to_ms = sorted(rng.choice(opens) + rng.randrange(2) for _ in range(2))
        frame = frame.filter(pl.col("open_ms").is_between(from_ms, to_ms, closed="left"))
        cut = minutes.within(from_ms, to_ms)
        assert (cut is None) == frame.is_empty()
        if cut is None:
            return
        minutes = cut
        assert [len(minutes), minutes.first_ms, minutes.last_ms] == [len(frame), *frame["open_ms"].gather([0, -1])]
        assert minutes.frame(scratch).equals(frame)
        assert same(bars_or_error(minutes, timeframe), bars_or_error(frame, timeframe))


@settings(LAW, max_examples=scaled(500))
@given(SEEDS, TIMEFRAMES)
def test_bars_of_sealed_days_are_those_of_their_minutes(seed: int, timeframe: Timeframe) -> None:
    check(stretch_of_market(seed), timeframe, random.Random(seed))


@LAW
@given(EXTREMES, TIMEFRAMES, SEEDS)
def test_whatever_a_builder_could_have_made_gives_the_same_bars(
    drawn: list[list[Candle]], timeframe: Timeframe, seed: int
) -> None:
    check(drawn, timeframe, random.Random(seed))


def test_most_of_what_a_market_has_is_opened() -> None:
    """Or the law above would hold of what is decoded, too."""
    opened = [SealedCandles.of(sealed(*stretch_of_market(seed)), None, Scratch()) for seed in range(200)]
    assert 100 < sum(each is not None for each in opened) < 200


MINUTE = Candle(FIRST_MS, 500, 510, 490, 505, 30, 10, 20, 15_000, 4, FIRST_MS, 1, FIRST_MS + 9, 4, 0, 1)
MOST = (1 << 63) - 1


def _day(number: int, **changed: int) -> list[Candle]:
    """A thousand minutes; the last one is another."""
    minutes = [_moved(MINUTE, number * DAY_MS + minute * MINUTE_MS) for minute in range(1_000)]
    return [*minutes[:-1], replace(minutes[-1], **changed)]


@pytest.mark.parametrize(
    ("changed", "is_opened"),
    [
        ({}, True),
        # What is sold is not what is left of a volume: of an unknown side.
        ({"volume_lots": 37}, True),
        # Two prices, added, beyond 32 bits and beyond 64.
        ({"high_ticks": (1 << 30) - 1}, True),
        ({"high_ticks": 1 << 31, "turnover": 1 << 36}, True),
        ({"high_ticks": 1 << 48, "turnover": 1 << 52}, True),
        ({"high_ticks": 1 << 62, "turnover": 1 << 62}, False),
        # Volumes whose sum is beyond 64 bits, of 64 themselves.
        ({"volume_lots": 1 << 52, "turnover": 1 << 61}, True),
        ({"volume_lots": MOST, "turnover": 1 << 70}, False),
        # Turnovers that are far from volume x price, of 64 bits and of more.
        ({"turnover": 1 << 61}, True),
        ({"turnover": 1 << 66}, False),
        ({"turnover": (1 << 127) - 1}, False),
        ({"trades": (1 << 32) - 1, "rev": (1 << 32) - 1}, True),
    ],
)
def test_what_is_within_the_bounds_is_opened_and_what_is_beyond_them_is_decoded(
    changed: dict[str, int], is_opened: bool
) -> None:
    made = sealed(_day(0), _day(1, **changed))
    opened, frame = SealedCandles.of(made, None, Scratch()), decode.sealed_candles(made, SHOWN)
    assert (opened is not None) == is_opened
    for text in ("1m", "15m", "12h", "1d", "1w"):
        timeframe = Timeframe.parse(text)
        minutes = frame if opened is None else opened
        assert same(bars_or_error(minutes, timeframe), bars_or_error(frame, timeframe))


def test_sums_beyond_64_bits_are_exact_and_of_lots_an_error() -> None:
    great = {"volume_lots": 1 << 52, "turnover": 1 << 61}
    minutes = SealedCandles.of(sealed([replace(minute, **great) for minute in _day(0)]), None, Scratch())
    assert minutes is not None
    (bar,) = minutes.bars(Timeframe.parse("1d"), Scratch()).rows(named=True)
    assert (bar["turnover"], bar["volume_lots"]) == (1_000 << 61, 1_000 << 52)
    much = [replace(minute, volume_lots=1 << 53, turnover=1 << 61) for minute in _day(0)]
    two = SealedCandles.of(sealed(much, [_moved(minute, DAY_MS) for minute in much]), None, Scratch())
    assert two is not None
    assert two.bars(Timeframe.parse("1d"), Scratch())["volume_lots"].to_list() == [1_000 << 53] * 2
    with pytest.raises(BadInput, match="shorter timeframe"):
        two.bars(Timeframe.parse("1w"), Scratch())


def test_blocks_of_another_scale_and_days_that_do_not_ascend_are_decoded() -> None:
    packed = [codec.pack_candle(minute) for minute in _day(0)]
    named, scales = candle_blocks.pack(packed, Scale(2, 3)), Scales(Scale(4, 3), Scale(2, 3))
    assert SealedCandles.of([named], scales, Scratch()) is None
    frame = SHOWN_FRAMES.opened([named], scales, Scratch())
    assert isinstance(frame, pl.DataFrame) and frame["close_ticks"].to_list() == [50_500] * 1_000
    assert SealedCandles.of([named], Scales.unchanged(Scale(2, 3)), Scratch()) is not None
    assert SealedCandles.of(sealed(_day(1), _day(0)), None, Scratch()) is None
    assert SealedCandles.of([], None, Scratch()) is None


def test_what_is_kept_is_less_than_a_third_of_a_frame_and_is_not_written_over() -> None:
    made = sealed(*(_day(number, volume_lots=31 + number, turnover=15_500) for number in range(9)))
    scratch = Scratch()
    minutes = SealedCandles.of(made, None, scratch)
    assert minutes is not None
    assert 3.5 * minutes.estimated_size() < decode.sealed_candles(made, SHOWN).estimated_size()
    quarters, days = (Timeframe.parse(text) for text in ("15m", "1d"))
    bars = [minutes.bars(timeframe, scratch) for timeframe in (quarters, days, quarters)]
    assert bars[0].equals(bars[2]) and bars[0].equals(minutes.bars(quarters, Scratch()))
