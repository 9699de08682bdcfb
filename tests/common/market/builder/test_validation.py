"""What is wrong with closed minutes, and what is not."""

from collections.abc import Callable
from dataclasses import fields, replace
from itertools import groupby

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from common.market.builder.builder import Builder, Minute, candle_of
from common.market.builder.validation import (
    COMPARABLE,
    DUPLICATE,
    FOOTPRINT_PRICES,
    FOOTPRINT_TRADES,
    FOOTPRINT_TURNOVER,
    FOOTPRINT_VOLUME,
    HIGH,
    KEYS,
    LOW,
    NO_TRADES,
    NOT_ASCENDING,
    VOLUME,
    differences,
    faults,
    order_faults,
)
from common.market.candle import LIVE, Candle
from common.market.footprint import Footprint
from common.market.instrument import Instrument
from common.market.timeframes.timeframe import MINUTE_MS, minute_of
from common.market.trade import BUY, SELL, UNKNOWN, Trade, Trades
from tests.kit import strategies
from tests.kit.strategies import LAW, START_MS

RUN = Trades.of(
    [
        Trade(START_MS + 5, 1, 100, 3, BUY),
        Trade(START_MS + 6, 2, 104, 2, SELL),
        Trade(START_MS + 6, 3, 98, 4, UNKNOWN),
        Trade(START_MS + 59_999, 4, 101, 1, SELL),
    ]
)
GOOD = candle_of(START_MS, RUN, LIVE)
# As a venue states it: without keys, and without the number of trades where it gives none.
VENUES_OWN = replace(
    GOOD, trades=0, first_ts_ms=START_MS, first_id=0, last_ts_ms=START_MS + MINUTE_MS - 1, last_id=0, buy_lots=0
)


def footprint_of(run: Trades) -> Footprint:
    made = Footprint()
    made.add(run.price_ticks, run.size_lots, run.sides)
    return made


@LAW
@given(strategies.trades(min_size=1), st.data())
def test_what_the_builder_makes_has_no_fault(trades: Trades, data: st.DataObject) -> None:
    """In any order of the trades, so with many amendments."""
    builder = Builder.new(Instrument("TEST:A", 2, 3, "contiguous"), grace_ms=0)
    mixed = data.draw(strategies.mixed(trades))
    stored = dict[int, Minute]()
    for batch in data.draw(strategies.batches(mixed)):
        changes = builder.step(batch, 1 << 43, stored)
        stored |= changes.closed | changes.amended
        assert order_faults(changes.closed) == []
    for minute in stored.values():
        assert faults(minute.candle, minute.footprint) == []


@LAW
@given(strategies.candles())
def test_any_candle_of_trades_has_no_fault(candle: Candle) -> None:
    assert faults(candle) == []


@pytest.mark.parametrize(
    ("name", "changed"),
    [
        (HIGH, {"high_ticks": 100}),
        (HIGH, {"open_ticks": 105}),
        (LOW, {"low_ticks": 101}),
        (LOW, {"close_ticks": 97}),
        (VOLUME, {"volume_lots": 5}),
        (VOLUME, {"buy_lots": 8}),
        (VOLUME, {"buy_lots": -1}),
        (VOLUME, {"sell_lots": -1}),
        (NO_TRADES, {"trades": 0}),
        (KEYS, {"last_ts_ms": START_MS + 4}),
        (KEYS, {"last_ts_ms": START_MS + 5, "last_id": 0}),
        (KEYS, {"last_ts_ms": START_MS + MINUTE_MS}),
        (KEYS, {"first_ts_ms": START_MS - 1}),
        (KEYS, {"open_ms": START_MS + 1}),
    ],
)
def test_each_fault_of_a_candle_has_its_name(name: str, changed: dict[str, int]) -> None:
    assert faults(GOOD) == []
    assert faults(replace(GOOD, **changed)) == [name]


@pytest.mark.parametrize(
    ("names", "change"),
    [
        ([FOOTPRINT_VOLUME, FOOTPRINT_TURNOVER], lambda levels: levels[100].__setitem__(BUY, 4)),
        ([FOOTPRINT_VOLUME], lambda levels: levels[100].__setitem__(slice(0, 2), [2, 1])),
        ([FOOTPRINT_TRADES], lambda levels: levels[100].__setitem__(3, 2)),
        ([FOOTPRINT_TURNOVER], lambda levels: levels.update({99: levels.pop(100)})),
        ([FOOTPRINT_TURNOVER, FOOTPRINT_PRICES], lambda levels: levels.update({105: levels.pop(104)})),
        ([FOOTPRINT_TRADES], lambda levels: levels.clear()),
    ],
)
def test_each_fault_of_a_footprint_has_its_name(
    names: list[str], change: Callable[[dict[int, list[int]]], object]
) -> None:
    footprint = footprint_of(RUN)
    assert faults(GOOD, footprint) == []
    change(footprint.levels)
    assert faults(GOOD, footprint) == names
    assert faults(GOOD) == []


@LAW
@given(strategies.trades(min_size=1, max_size=10), st.data())
def test_a_sum_that_is_changed_is_noticed_by_the_footprint(trades: Trades, data: st.DataObject) -> None:
    run = next(trades[0 : len(list(group))] for _, group in groupby(trades.ts_ms, minute_of))
    candle, footprint = candle_of(minute_of(run.ts_ms[0]), run, LIVE), footprint_of(run)
    name = data.draw(st.sampled_from(["volume_lots", "buy_lots", "sell_lots", "turnover", "trades"]))
    by = data.draw(st.integers(-5, 5).filter(bool))
    assert faults(replace(candle, **{name: getattr(candle, name) + by}), footprint)


def test_a_venues_own_candle_may_not_say_of_how_many_trades_it_is() -> None:
    assert faults(VENUES_OWN) == []
    assert faults(VENUES_OWN, Footprint()) == [FOOTPRINT_TRADES]


def test_every_fault_of_a_candle_is_named() -> None:
    assert faults(replace(GOOD, high_ticks=0, low_ticks=200, trades=0, buy_lots=99)) == [HIGH, LOW, VOLUME, NO_TRADES]


@pytest.mark.parametrize(
    ("opens", "found"),
    [
        ([], []),
        ([1, 2, 5], []),
        ([1, 1], [(1, DUPLICATE)]),
        ([1, 3, 2, 4], [(2, NOT_ASCENDING)]),
        ([1, 3, 2, 3], [(2, NOT_ASCENDING), (3, DUPLICATE)]),
        ([0, 1], [(0, NOT_ASCENDING)]),
    ],
)
def test_a_series_ascends_and_has_each_minute_once(opens: list[int], found: list[tuple[int, str]]) -> None:
    assert order_faults(opens, after_ms=0) == found


@LAW
@given(st.lists(st.integers(0, 20), max_size=10))
def test_a_series_is_in_order_exactly_if_it_is_sorted_and_unique(opens: list[int]) -> None:
    assert (order_faults(opens) == []) == (opens == sorted(set(opens)))


# differences


@LAW
@given(strategies.candles(), strategies.candles(), st.sets(st.sampled_from(COMPARABLE)))
def test_exactly_the_stated_fields_that_differ_are_told(ours: Candle, theirs: Candle, stated: set[str]) -> None:
    found = differences(ours, theirs, stated)
    for name in COMPARABLE:
        values = getattr(ours, name), getattr(theirs, name)
        assert found.get(name) == (values if name in stated and values[0] != values[1] else None)
    assert list(found) == [name for name in COMPARABLE if name in found]
    assert differences(ours, ours, COMPARABLE) == {}


def test_how_a_candle_came_to_be_is_nobody_elses_business() -> None:
    assert (
        differences(GOOD, replace(GOOD, rev=3, sources=2, first_id=9, last_ts_ms=START_MS + 59_998), COMPARABLE) == {}
    )
    assert set(COMPARABLE) < {each.name for each in fields(Candle)}


@LAW
@given(strategies.candles())
def test_a_minute_that_only_one_has_differs_if_anything_was_traded_in_it(candle: Candle) -> None:
    assume(candle.volume_lots)
    stated = ["volume_lots", "trades"]
    assert differences(None, candle, stated) == {
        "volume_lots": (None, candle.volume_lots),
        "trades": (None, candle.trades),
    }
    assert differences(candle, None, ["close_ticks"]) == {"close_ticks": (candle.close_ticks, None)}
    for empty in (None, replace(candle, volume_lots=0)):
        assert differences(None, empty, COMPARABLE) == differences(empty, None, COMPARABLE) == {}


@pytest.mark.parametrize(("apart", "differs"), [(0, False), (12, False), (-12, False), (13, True), (-13, True)])
def test_turnover_may_be_rounded_a_trade(apart: int, differs: bool) -> None:
    theirs = replace(GOOD, turnover=GOOD.turnover + apart)
    assert bool(differences(GOOD, theirs, COMPARABLE, turnover_slack=3)) is differs
    assert bool(differences(GOOD, theirs, COMPARABLE)) is bool(apart)
