"""Sealed blocks: every member comes back as it was, and nothing else ever comes back."""

import contextlib
import itertools
import random
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from common.frames import bulk, decode, encode
from common.market.candle import LIVE, Candle
from common.market.coding import blocks, candle_blocks, codec, footprint_blocks
from common.market.coding.named import CorruptBlock
from common.market.coding.packed import PACKED_CANDLE, candles_of
from common.market.footprint import Footprint
from common.market.scale import Scale, Scales
from common.market.timeframes.timeframe import DAY_MS, MINUTE_MS
from tests.golden import recordings
from tests.kit.frames import trades_frame
from tests.kit.strategies import LAW, SOURCES, START_MS, candles, footprints

# What a candle of a whole day and a level of BTC may take at most (issue 4).
CANDLE_BYTES, LEVEL_BYTES = 26, 8

MINUTES = st.lists(st.integers(0, 1439), min_size=1, max_size=8, unique=True).map(sorted)
I64 = st.one_of(st.integers(-3, 3), st.integers(-(1 << 63), (1 << 63) - 1))
U64 = st.one_of(st.integers(0, 3), st.integers(0, (1 << 64) - 1))
U32 = st.one_of(st.integers(0, 3), st.integers(0, (1 << 32) - 1))
I128 = st.one_of(I64, st.integers(-(1 << 127), (1 << 127) - 1))


# None: as they are stored; else with two decimals more of prices.
SCALES = st.sampled_from([None, Scales(Scale(4, 2), Scale(2, 2))])


@st.composite
def days(draw: st.DrawFn) -> list[bytes]:
    """Candles of some minutes, as a builder could have made them."""
    drawn = [draw(candles(START_MS + minute * MINUTE_MS)) for minute in draw(MINUTES)]
    return [codec.pack_candle(candle) for candle in drawn]


@st.composite
def freaks(draw: st.DrawFn) -> list[bytes]:
    """Anything the packed candle can hold, now and then all of its prices and lots in steps."""
    opens = sorted(draw(st.lists(I64, min_size=1, max_size=5, unique=True)))
    step = draw(st.sampled_from([1, 1, 10**5]))
    members = []
    for open_ms in opens:
        prices = [_whole(draw(I64), step) for _ in range(4)]
        lots = [_whole(draw(U64), step) for _ in range(3)]
        turnover = _whole(draw(I128), step * step)
        limbs = turnover & ((1 << 64) - 1), turnover >> 64
        ids, counts = [draw(I64), draw(I64)], [draw(U32) for _ in range(4)]
        members.append(codec.CANDLE.pack(open_ms, *prices, *lots, *limbs, *ids, *counts, draw(SOURCES)))
    return members


def _whole(value: int, step: int) -> int:
    """The multiple of `step` next to the value, towards 0."""
    return value - abs(value) % step if value > 0 else value + abs(value) % step


@st.composite
def days_of_footprints(draw: st.DrawFn) -> list[bytes]:
    opens = [START_MS + minute * MINUTE_MS for minute in draw(MINUTES)]
    return [codec.pack_footprint(open_ms, draw(footprints(min_size=1))) for open_ms in opens]


def ordinary_day(seed: int = 1) -> list[bytes]:
    """A random walk with contiguous ids, sizes in steps of 1000 lots."""
    rng, close, number, members = random.Random(seed), 6_000_000, 1, []
    for minute in range(1440):
        open_ = close + rng.randint(-50, 50)
        close = open_ + rng.randint(-5_000, 5_000)
        high, low = max(open_, close) + rng.randint(0, 900), min(open_, close) - rng.randint(0, 900)
        buy, sell, trades = rng.randint(0, 10**6) * 1_000, rng.randint(0, 10**6) * 1_000, rng.randint(1, 900)
        open_ms = START_MS // DAY_MS * DAY_MS + minute * MINUTE_MS
        keys = (open_ms + rng.randint(0, 900), number, open_ms + 59_000 + rng.randint(0, 999), number + trades - 1)
        turnover = (buy + sell) * (high + low) // 2_000 * 1_000
        ohlc = (open_, high, low, close)
        members.append(codec.pack_candle(Candle(open_ms, *ohlc, buy + sell, buy, sell, turnover, trades, *keys)))
        number += trades
    return members


@LAW
@given(st.one_of(days(), freaks()))
@example(ordinary_day())
def test_candles_come_back_byte_for_byte(members: list[bytes]) -> None:
    block = candle_blocks.pack(members)
    assert candle_blocks.members(block) == members
    assert candle_blocks.pack(candle_blocks.members(block)) == block


@LAW
@given(st.lists(st.one_of(days(), freaks()), max_size=4))
def test_columns_of_many_blocks_are_the_fields_of_their_candles(drawn: list[list[bytes]]) -> None:
    columns = candle_blocks.columns([candle_blocks.pack(members) for members in drawn])
    whole = [member for members in drawn for member in members]
    packed = candles_of(whole)
    for name in columns.keys() & set(PACKED_CANDLE.names or ()):
        assert columns[name].tolist() == packed[name].astype(columns[name].dtype).tolist(), name
    for name in ("first", "last"):
        assert np.array_equal(columns[f"{name}_ts_ms"], packed["open_ms"] + packed[f"{name}_after_ms"])
    assert all(len(column) == len(whole) for column in columns.values())


def test_more_blocks_than_are_decoded_at_once() -> None:
    """Of different steps, widths and sizes: what is shared by the blocks of a batch is not mixed up."""
    drawn = [ordinary_day(seed)[seed::seed] for seed in range(1, 25)]
    coarse = [[codec.pack_candle(replace(codec.unpack_candle(m), rev=at)) for m in d] for at, d in enumerate(drawn)]
    columns = candle_blocks.columns([candle_blocks.pack(members) for members in coarse])
    packed = candles_of([member for members in coarse for member in members])
    for name in columns.keys() & set(PACKED_CANDLE.names or ()):
        assert np.array_equal(columns[name], packed[name].astype(columns[name].dtype)), name


@LAW
@given(days_of_footprints())
def test_footprints_come_back_byte_for_byte(members: list[bytes]) -> None:
    block = footprint_blocks.pack(members)
    assert footprint_blocks.members(block) == members
    assert footprint_blocks.pack(footprint_blocks.members(block)) == block


@LAW
@given(st.lists(days_of_footprints(), max_size=2))
def test_levels_of_many_blocks_are_those_of_their_footprints(drawn: list[list[bytes]]) -> None:
    sealed = [footprint_blocks.pack(members) for members in drawn]
    expected = decode.footprints([member for members in drawn for member in members])
    assert decode.sealed_footprints(sealed).equals(expected)


@LAW
@given(days_of_footprints(), st.integers(1, 12), st.booleans(), SCALES)
def test_levels_decoded_some_minutes_at_a_time_are_those_of_the_whole_block(
    members: list[bytes], max_rows: int, oldest_first: bool, scales: Scales | None
) -> None:
    sealed = footprint_blocks.pack(members)
    block, whole = footprint_blocks.LevelBlock(sealed, scales), footprint_blocks.levels([sealed], scales)
    stretches: list[slice] = []
    from_ms, to_ms = int(block.opens[0]), int(block.opens[-1]) + 1
    while (some := block.within(from_ms, to_ms, max_rows, oldest_first=oldest_first)).start < some.stop:
        stretches = [*stretches, some] if oldest_first else [some, *stretches]
        if oldest_first:
            from_ms = int(block.opens[some.stop - 1]) + 1
        else:
            to_ms = int(block.opens[some.start])
    assert [stretch.start for stretch in stretches] + [len(members)] == [0, *(stretch.stop for stretch in stretches)]
    assert all(each.stop - each.start == 1 or block.count(each) <= max_rows for each in stretches)
    # As many as fit: none of them would have taken the next one's minute nearest to it, too.
    counts = list(map(block.count, stretches))
    for before, after in itertools.pairwise(stretches):
        grown = slice(before.start, before.stop + 1) if oldest_first else slice(after.start - 1, after.stop)
        assert block.count(grown) > max_rows
    # From the newest on: nothing of one is needed for another.
    parts = [block.levels(stretch) for stretch in reversed(stretches)][::-1]
    assert [len(part["open_ms"]) for part in parts] == counts
    assert footprint_blocks.level_count(sealed) == len(whole["open_ms"])
    for name, column in whole.items():
        assert np.array_equal(np.concatenate([part[name] for part in parts]), column), name


@LAW
@given(st.lists(days(), max_size=4))
def test_a_frame_of_sealed_candles_is_that_of_their_members(drawn: list[list[bytes]]) -> None:
    sealed = decode.sealed_candles([candle_blocks.pack(members) for members in drawn])
    expected = decode.candles([member for members in drawn for member in members])
    assert sealed.schema == expected.schema
    assert sealed.equals(expected)


@LAW
@given(days(), days_of_footprints())
def test_one_minute_is_found_and_one_that_is_missing_is_not(day: list[bytes], other: list[bytes]) -> None:
    by_open = {codec.unpack_candle(member).open_ms: member for member in day}
    footprint_by_open = {codec.unpack_footprint(member)[0]: member for member in other}
    block, footprint_block = candle_blocks.pack(day), footprint_blocks.pack(other)
    for open_ms in {START_MS - 1, START_MS + DAY_MS, START_MS + 1, *by_open, *footprint_by_open}:
        assert candle_blocks.at(block, open_ms) == by_open.get(open_ms)
        assert footprint_blocks.at(footprint_block, open_ms) == footprint_by_open.get(open_ms)


@pytest.mark.parametrize("recording", [recordings.btc_usdt, recordings.xrp_eth, recordings.gold, recordings.eth])
def test_recordings_come_back_byte_for_byte(recording: Callable[[], recordings.Recording]) -> None:
    candle_members, footprint_members = _minutes(recording())
    assert candle_blocks.members(candle_blocks.pack(candle_members)) == candle_members
    assert footprint_blocks.members(footprint_blocks.pack(footprint_members)) == footprint_members


def test_a_level_of_btc_takes_at_most_8_bytes() -> None:
    """3.1 were measured."""
    _, members = _minutes(recordings.btc_usdt())
    block = footprint_blocks.pack(members)
    assert len(block) <= LEVEL_BYTES * len(footprint_blocks.levels([block])["open_ms"])


def test_a_candle_of_an_ordinary_day_takes_at_most_26_bytes() -> None:
    assert len(candle_blocks.pack(ordinary_day())) <= CANDLE_BYTES * 1_440


def test_sizes_with_fewer_decimals_than_are_kept_cost_nothing() -> None:
    fine = [codec.unpack_candle(member) for member in ordinary_day()]
    coarse = [
        replace(c, volume_lots=c.volume_lots * 10**5, buy_lots=c.buy_lots * 10**5, sell_lots=c.sell_lots * 10**5,
                turnover=c.turnover * 10**5) for c in fine
    ]  # fmt: skip
    sizes = [len(candle_blocks.pack([codec.pack_candle(c) for c in some])) for some in (fine, coarse)]
    assert abs(sizes[0] - sizes[1]) < 16


def _damaged(block: bytes) -> Iterator[bytes]:
    """Every bit flipped, cut off anywhere, with something behind it."""
    for at, value in enumerate(block):
        for bit in range(8):
            yield block[:at] + bytes([value ^ 1 << bit]) + block[at + 1 :]
        yield block[:at]
    yield block + b"\0"


def test_a_damaged_block_of_candles_is_refused_or_gives_what_it_held() -> None:
    members = ordinary_day()[:12]
    refused = 0
    for damaged in _damaged(candle_blocks.pack(members)):
        try:
            assert candle_blocks.members(damaged) == members
        except CorruptBlock:
            refused += 1
    assert refused > 8 * len(candle_blocks.pack(members)) * 0.99


def test_a_damaged_block_of_footprints_is_refused_or_gives_what_it_held() -> None:
    levels = {100: [5, 0, 0, 1, 0, 0], 103: [0, 70, 2, 0, 3, 1]}
    members = [codec.pack_footprint(START_MS + at * MINUTE_MS, Footprint(levels)) for at in range(12)]
    for damaged in _damaged(footprint_blocks.pack(members)):
        with contextlib.suppress(CorruptBlock):
            assert footprint_blocks.members(damaged) == members


def test_what_is_no_block_of_the_kind_asked_for_is_refused() -> None:
    candle = candle_blocks.pack(ordinary_day()[:3])
    footprint = footprint_blocks.pack([codec.pack_footprint(START_MS, Footprint({100: [5, 0, 0, 1, 0, 0]}))])
    spliced = candle[:12] + footprint[12:]
    for foreign in (b"", b"PAR1", footprint, spliced, candle[:12], candle[12:]):
        with pytest.raises(CorruptBlock):
            candle_blocks.columns([candle, foreign])
    with pytest.raises(CorruptBlock):
        footprint_blocks.levels([candle])


def test_a_digest_names_the_bytes() -> None:
    day = ordinary_day()
    first, same, other = (candle_blocks.pack(members) for members in (day, list(day), day[1:]))
    assert blocks.digest(first) == blocks.digest(same) != blocks.digest(other)


def test_no_blocks_give_empty_columns() -> None:
    empty = candle_blocks.columns([]) | footprint_blocks.levels([])
    assert {len(column) for column in empty.values()} == {0}


def _minutes(recording: recordings.Recording) -> tuple[list[bytes], list[bytes]]:
    """The packed candles and footprints of a recording."""
    candle_frame, levels = bulk.minutes(trades_frame(recording[1]), LIVE)
    return encode.candles(candle_frame), encode.footprints(levels)
