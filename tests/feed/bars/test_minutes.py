"""What minutes are read as, and kept as, never shows in the bars that are made of them."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from common.frames import decode
from common.frames.footprint import regroup
from common.frames.resample import fill_flat, resample
from common.frames.schema import SHOWN
from common.frames.sealed import SealedCandles
from common.market.candle import Candle
from common.market.coding import candle_blocks, codec
from common.market.timeframes.timeframe import MINUTE_MS, Timeframe
from common.market.trade import Trades
from feed.bars.closed import joined
from feed.bars.recipe import BarRecipe
from feed.reading.frame_cache import FrameCache
from tests.kit.frames import built, candles_frame, levels_frame
from tests.kit.strategies import LAW, MINUTE_TIMEFRAMES, SESSION_MINUTE_TIMEFRAMES, START_MS, candles, trades
from tests.scale import scaled

SHORT_TIMEFRAMES = st.sampled_from([Timeframe.parse(text) for text in ("1m", "3m", "7m", "15m", "1h", "1d")])
ANY_TIMEFRAME = st.one_of(SHORT_TIMEFRAMES, MINUTE_TIMEFRAMES, SESSION_MINUTE_TIMEFRAMES)
# Where minutes are cut into parts: several times in one place as well.
CUTS = st.lists(st.integers(0, 59), max_size=6)
KIB = 1 << 10


@st.composite
def hours(draw: st.DrawFn) -> list[Candle]:
    """Some minutes of an hour, whose lots can be summed."""
    numbers = draw(st.lists(st.integers(0, 59), max_size=10, unique=True))
    drawn = [draw(candles(START_MS + number * MINUTE_MS)) for number in sorted(numbers)]
    lots = ("volume_lots", "buy_lots", "sell_lots")
    return [replace(candle, **{name: getattr(candle, name) >> 4 for name in lots}) for candle in drawn]


def _parts(frame: pl.DataFrame, cuts: list[int]) -> list[pl.DataFrame]:
    """The frame cut at these minutes of the hour."""
    bounds = [0, *(START_MS + at * MINUTE_MS for at in sorted(cuts)), START_MS * 2]
    return [
        frame.filter(pl.col("open_ms").is_between(start, end, closed="left"))
        for start, end in zip(bounds, bounds[1:], strict=False)
    ]


@settings(LAW, max_examples=scaled(50))
@given(st.one_of(hours(), trades("unique").map(lambda whole: built(whole)[0])), ANY_TIMEFRAME, CUTS)
def test_bars_of_minutes_without_their_order_keys_are_those_of_whole_minutes(
    minutes: list[Candle], timeframe: Timeframe, cuts: list[int]
) -> None:
    """However the minutes are cut, sealed or not: nothing shown of a bar hangs on a key of a minute."""
    recipe = BarRecipe.candles(timeframe)
    sealed = [candle_blocks.pack([codec.pack_candle(minute)]) for minute in minutes]
    expected = resample(candles_frame(minutes), timeframe).select(list(SHOWN))
    for shown in (recipe.minutes.decode(list(map(codec.pack_candle, minutes))), recipe.minutes.unseal(sealed)):
        assert joined(recipe, map(recipe.merge, _parts(shown, cuts))).equals(expected)
    flat = [fill_flat(bars, timeframe, START_MS, START_MS + 90 * MINUTE_MS) for bars in (expected, recipe.merge(shown))]
    assert flat[0].equals(flat[1])


@LAW
@given(trades("unique"), ANY_TIMEFRAME, st.integers(1, 50), CUTS)
def test_footprints_of_minutes_in_parts_are_those_of_all(
    whole: Trades, timeframe: Timeframe, row_ticks: int, cuts: list[int]
) -> None:
    _, minutes = built(whole)
    recipe, levels = BarRecipe.footprints(timeframe, row_ticks), levels_frame(minutes)
    assert joined(recipe, map(recipe.merge, _parts(levels, cuts))).equals(regroup(levels, timeframe, row_ticks))


def _minutes(first: int, count: int) -> pl.DataFrame:
    opens = [START_MS + (first + at) * MINUTE_MS for at in range(count)]
    ones = {name: pl.Series([1] * count, dtype=dtype) for name, dtype in SHOWN.items()}
    return pl.DataFrame({**ones, "open_ms": opens})


class _Merge:
    """Counts how often bars of an hour were made."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, frame: pl.DataFrame) -> pl.DataFrame:
        self.count += 1
        return resample(frame, Timeframe(1, "h"))


def _merged(
    decoded: FrameCache, frame: pl.DataFrame, how: str, merge: Callable[[pl.DataFrame], pl.DataFrame]
) -> pl.DataFrame:
    """As a query does."""
    bars = decoded.merged(frame, how)
    if bars is None:
        bars = merge(frame)
        decoded.keep_merged(frame, how, bars)
    return bars


def test_bars_of_a_kept_stretch_are_made_once_and_those_of_a_piece_of_it_each_time() -> None:
    decoded, merge, minutes = FrameCache(), _Merge(), _minutes(0, 600)
    decoded.keep("stretch", minutes)
    first, second = (_merged(decoded, minutes, "1h", merge) for _ in range(2))
    assert first.equals(resample(minutes, Timeframe(1, "h"))) and second is first
    assert merge.count == 1
    for _ in range(2):
        piece = minutes.slice(0, 300)
        assert _merged(decoded, piece, "1h", merge).equals(resample(piece, Timeframe(1, "h")))
    assert merge.count == 3
    # Another stretch, and other bars of the same one.
    decoded.keep("other", _minutes(600, 600))
    assert _merged(decoded, minutes, "2h", merge) is not first
    assert merge.count == 4


def test_bars_that_are_hardly_fewer_than_their_minutes_and_those_of_nothing_are_not_kept() -> None:
    decoded = FrameCache(max_bytes=100 * KIB)
    for number, minutes in enumerate((_minutes(0, 60), _minutes(0, 0))):
        decoded.keep(number, minutes)
        before = decoded.bytes
        _merged(decoded, minutes, "1m", lambda frame: resample(frame, Timeframe(1, "m")))
        assert decoded.bytes == before
    decoded.keep("more than there is room for", _minutes(0, 2_000))
    assert decoded.bytes == 0


@LAW
@given(st.lists(st.tuples(st.integers(0, 9), st.sampled_from(["1h", "2h", "4h"])), max_size=60))
def test_what_is_kept_never_takes_more_than_it_may(asked: list[tuple[int, str]]) -> None:
    """Stretches that are dropped and decoded again, with bars of all of them: the sum stays right and below the cap."""
    decoded = FrameCache(max_bytes=150 * KIB)
    for number, text in asked:
        timeframe = Timeframe.parse(text)
        minutes = decoded.get(number)
        assert not isinstance(minutes, SealedCandles)
        if minutes is None:
            # Some 40 KiB, so that three of them have room.
            minutes = _minutes(number * 480, 400)
            decoded.keep(number, minutes)
        bars = _merged(decoded, minutes, text, partial(resample, timeframe=timeframe))
        assert bars.equals(resample(_minutes(number * 480, 400), timeframe))
        # A new frame, perhaps where one that was dropped had been.
        assert len(_merged(decoded, minutes.slice(0, 1), text, lambda piece: piece)) == 1
        kept = {
            key: decoded.get(key) for key in [*range(10), *((n, how) for n in range(10) for how in ("1h", "2h", "4h"))]
        }
        assert decoded.bytes == sum(frame.estimated_size() for frame in kept.values() if frame is not None)
        assert decoded.bytes <= 150 * KIB


@LAW
@given(trades("unique"), st.sets(st.sampled_from(list(SHOWN) + ["first_ts_ms", "first_id", "last_ts_ms", "last_id"])))
def test_any_columns_of_sealed_candles_are_those_of_all(whole: Trades, names: set[str]) -> None:
    members = [codec.pack_candle(minute) for minute in built(whole)[0]]
    sealed = [candle_blocks.pack(members)] if members else []
    every = decode.candles(members)
    schema = pl.Schema({name: dtype for name, dtype in every.schema.items() if name in names})
    assert decode.sealed_candles(sealed, schema).equals(every.select(list(schema)))
