"""Trades of arrays are those of lists: whatever is asked of them, and whatever a builder makes of them, to the byte."""

import random
from operator import attrgetter
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.market import trade_arrays
from common.market.builder.builder import MAX_VOLUME_LOTS, Builder, candle_of, pack_minute
from common.market.builder.recent_coverage import RecentCoverage
from common.market.candle import IMPORT
from common.market.coding import codec, packed
from common.market.footprint import Footprint
from common.market.instrument import Ids, Instrument
from common.market.timeframes.timeframe import MINUTE_MS
from common.market.trade import MAX_LOTS, MAX_TICKS, Trade, Trades
from common.market.trade_arrays import MAX_PLACES, MIN_TRADES, TradeArrays
from tests.kit.arrays import as_arrays, fits_arrays
from tests.kit.oracle import differences, single_pass
from tests.kit.shell import LATE_MS, Shell, builder_of
from tests.kit.strategies import LAW, SIZES, START_MS, batches, footprints, mixed, trades, wild_trades

CONTIGUOUS, UNIQUE = (Instrument("BTCUSDT", 2, 8, ids) for ids in ("contiguous", "unique"))
# Both kinds of coverage; and one that forgets so soon that trades come too late.
KINDS: list[tuple[Ids, int | None]] = [("contiguous", None), ("unique", None), ("unique", 3)]


# Arrays stay arrays, where lists are quicker, too.
HOWEVER_FEW = patch.object(trade_arrays, "MIN_TRADES", 0)


@HOWEVER_FEW
@LAW
@given(trades("unique", min_size=1), st.data())
def test_all_that_is_asked_of_a_batch_is_answered_as_by_lists(ascending: Trades, data: st.DataObject) -> None:
    whole = data.draw(mixed(ascending))
    same = as_arrays(whole)
    for ask in ("oldest_ms", "newest_ms", "bounds", "counts_on", "sums", "in_order"):
        assert getattr(same, ask)() == getattr(whole, ask)(), ask
    assert list(same.by_minute()) == list(whole.by_minute())
    assert all(type(run) is TradeArrays for _, run in same.by_minute())
    assert codec.pack_trades(same) == codec.pack_trades(whole)
    assert same == whole and whole == same and len(same) == len(whole)
    assert list(same.rows()) == list(whole.rows())
    assert [same.row(at) for at in (0, -1)] == [whole.row(at) for at in (0, -1)]
    cut = data.draw(st.slices(len(whole)))
    assert same[cut] == whole[cut]
    assert same + same[cut] == whole + whole[cut]


@HOWEVER_FEW
@LAW
@given(trades("unique", min_size=1), trades("unique"))
def test_a_footprint_grows_by_them_as_by_lists(whole: Trades, more: Trades) -> None:
    expected, found = Footprint(), Footprint()
    for some in (whole, more):
        for _, run in some.by_minute():
            run.add_to(expected)
        for _, run in as_arrays(some).by_minute():
            run.add_to(found)
    assert found == expected
    assert codec.pack_footprint(START_MS, found) == codec.pack_footprint(START_MS, expected)


@LAW
@given(footprints(min_size=1))
def test_a_footprint_is_packed_by_columns_to_the_same_bytes(footprint: Footprint) -> None:
    assert packed.pack_footprint(START_MS, footprint) == codec.pack_footprint(START_MS, footprint)


@HOWEVER_FEW
@pytest.mark.parametrize(("ids", "window"), KINDS)
@LAW
@given(data=st.data())
def test_a_builder_makes_the_same_of_them(ids: Ids, window: int | None, data: st.DataObject) -> None:
    """Late, twice, out of order and with holes, in batches of either kind."""
    parts = data.draw(batches(data.draw(mixed(data.draw(trades(ids))))))
    _same_steps(ids, window, parts, LATE_MS, data)


@HOWEVER_FEW
@LAW
@given(wild_trades().filter(fits_arrays), st.data())
def test_it_refuses_the_same_for_the_same_reasons(sequence: Trades, data: st.DataObject) -> None:
    now_ms = data.draw(st.sampled_from([START_MS + 2 * MINUTE_MS, LATE_MS]))
    _same_steps("contiguous", None, data.draw(batches(sequence)), now_ms, data)


def _same_steps(ids: Ids, window: int | None, parts: list[Trades], now_ms: int, data: st.DataObject) -> None:
    by_lists, by_arrays = (
        Shell(builder_of(CONTIGUOUS if ids == "contiguous" else UNIQUE, RecentCoverage(window) if window else None))
        for _ in range(2)
    )
    for part in parts:
        expected = by_lists.step(part, now_ms)
        # A checkpoint of one kind is gone on from by the other.
        found = by_arrays.step(as_arrays(part) if data.draw(st.booleans()) else part, now_ms)
        assert found.packed == expected.packed
        assert (found.closed, found.amended, found.open, found.moved) == (
            *(expected.closed, expected.amended, expected.open, expected.moved),
        )
        assert by_arrays.outcome() == by_lists.outcome()
        assert by_arrays.builder.take_conflicts() == by_lists.builder.take_conflicts()
        assert by_arrays.builder.newest_ms == by_lists.builder.newest_ms


@pytest.mark.parametrize("seed", range(4))
def test_a_recording_of_busy_and_quiet_minutes_is_the_same_to_the_byte(seed: int) -> None:
    """As a replay applies it, where runs are arrays if they are long: against one pass over lists."""
    whole = _recording(random.Random(seed), 20_000)
    now_ms = max(whole.ts_ms)
    expected = single_pass(CONTIGUOUS, IMPORT, 0, whole, now_ms, 0)
    arrays, builder, minutes = as_arrays(whole), Builder.new(CONTIGUOUS, IMPORT, 0), dict[int, tuple[bytes, bytes]]()
    assert differences(single_pass(CONTIGUOUS, IMPORT, 0, arrays, now_ms, 0), expected) == {}
    for at in range(0, len(whole), 3_000):
        changes = builder.apply(builder.accept(arrays[at : at + 3_000], now_ms), 0, {})
        minutes |= {open_ms: pack_minute(minute) for open_ms, minute in changes.closed.items()}
    assert minutes == {open_ms: (candle, expected.footprints[open_ms]) for open_ms, candle in expected.candles.items()}
    assert builder.checkpoint() == expected.checkpoint


def _recording(rng: random.Random, count: int) -> Trades:
    ts_ms, price, rows = START_MS, 100_000, list[Trade]()
    for number in range(1, count + 1):
        ts_ms += rng.choice((0, 1, 20, 200)) if number % 5_000 > 200 else rng.randrange(20_000)
        price = max(1, price + rng.randint(-3, 3))
        rows.append(Trade(ts_ms, number, price, rng.choice((0, 1, 7, rng.randrange(1, 10**9))), rng.randrange(3)))
    return Trades.of(rows)


@pytest.mark.parametrize("count", [MIN_TRADES, 3_000])
@pytest.mark.parametrize(
    ("ticks", "lots"),
    [
        (MAX_TICKS - 1, MAX_LOTS - 1),
        (1, MAX_LOTS - 1),
        (MAX_TICKS - 1, 1),
        (1 << 31, (1 << 32) - 1),
        (1 << 31, 1 << 32),
        (1, 0),
    ],
    ids=["greatest", "lots", "ticks", "within 64 bits", "beyond 64 bits", "nothing"],
)
def test_sums_are_exact_at_the_edges(ticks: int, lots: int, count: int) -> None:
    """Turnover beyond 64 bits, and lots beyond what is exact in a float. 3,000 of the greatest leave 64 bits, too."""
    whole = Trades.of(Trade(START_MS + at % 50_000, at, ticks, max(0, lots - at), at % 3) for at in range(count))
    assert as_arrays(whole).sums() == whole.sums()
    assert candle_of(START_MS, as_arrays(whole), 1) == candle_of(START_MS, whole, 1)
    if whole.sums().volume_lots <= MAX_VOLUME_LOTS:
        _same_footprint(whole)


@pytest.mark.parametrize("width", [1, 3, MAX_PLACES * MIN_TRADES, MAX_PLACES * MIN_TRADES + 1, MAX_TICKS - 1])
@pytest.mark.parametrize("total", [(1 << 53) - 1, 1 << 53, MAX_VOLUME_LOTS])
def test_levels_are_exact_on_either_side_of_what_they_are_summed_by(width: int, total: int) -> None:
    prices = [1, *(1 + at * (width - 1) // (MIN_TRADES - 2) for at in range(MIN_TRADES - 2)), width]
    sizes = [total // MIN_TRADES] * (MIN_TRADES - 1) + [total - total // MIN_TRADES * (MIN_TRADES - 1)]
    whole = Trades.of(
        Trade(START_MS, at, price, size, 2) for at, (price, size) in enumerate(zip(prices, sizes, strict=True))
    )
    assert sum(whole.size_lots) == total
    _same_footprint(whole)


def _same_footprint(whole: Trades) -> None:
    expected, found = Footprint(), Footprint()
    whole.add_to(expected)
    as_arrays(whole).add_to(found)
    assert found == expected
    assert codec.pack_footprint(0, found) == codec.pack_footprint(0, expected)


@given(st.lists(SIZES, min_size=1, max_size=5), st.integers(0, 20))
@LAW
def test_what_would_overflow_a_minute_is_left_out_one_by_one(sizes: list[int], more: int) -> None:
    count = MIN_TRADES + more
    whole = Trades.of(
        Trade(START_MS, at, 1, (*sizes, MAX_LOTS - 1)[at % (len(sizes) + 1)], 0) for at in range(5 * count)
    )
    by_lists, by_arrays = (Builder.new(CONTIGUOUS, IMPORT, 0) for _ in range(2))
    expected, found = (
        builder.step(batch, START_MS, {}) for builder, batch in ((by_lists, whole), (by_arrays, as_arrays(whole)))
    )
    assert (found.open, found.packed) == (expected.open, expected.packed)
    assert by_arrays.checkpoint() == by_lists.checkpoint()


def test_few_trades_are_lists() -> None:
    arrays = as_arrays(_recording(random.Random(1), 2 * MIN_TRADES))
    assert type(arrays[:MIN_TRADES]) is TradeArrays
    assert type(arrays[: MIN_TRADES - 1]) is Trades
    assert [type(column) for column in (arrays[:3].ts_ms, arrays[:3].ids)] == [list, list]


def test_a_file_without_a_trade_is_an_empty_batch() -> None:
    empty = TradeArrays([np.zeros(0, np.int64)] * 4, b"")
    assert not empty and list(empty.by_minute()) == [] == list(empty.rows())
    assert codec.pack_trades(empty) == codec.NO_TRADES
    builder = Builder.new(CONTIGUOUS, IMPORT, 0)
    assert not builder.step(empty, START_MS, {}).any


def test_what_trades_have_not_is_no_column() -> None:
    arrays = as_arrays(_recording(random.Random(1), MIN_TRADES))
    with pytest.raises(AttributeError, match="trades have no 'prices'"):
        attrgetter("prices")(arrays)
