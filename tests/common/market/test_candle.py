from dataclasses import replace
from functools import reduce
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.market.builder.builder import candle_of
from common.market.candle import BACKFILL, IMPORT, LIVE, SIMULATED, Candle, merge_all
from common.market.trade import Trades
from tests.kit.delta_oracle import brute_delta
from tests.kit.shell import unordered
from tests.kit.strategies import LAW, START_MS, candles, trades


def _candle(first: tuple[int, int], last: tuple[int, int], price: int = 100) -> Candle:
    return Candle(START_MS, price, price, price, price, 5, 2, 2, 5 * price, 3, *first, *last)


def _distinct_keys(parts: list[Candle]) -> bool:
    keys = [key for c in parts for key in {(c.first_ts_ms, c.first_id), (c.last_ts_ms, c.last_id)}]
    return len(keys) == len(set(keys))


PARTS = st.lists(candles(), min_size=1, max_size=5).filter(_distinct_keys)


@LAW
@given(candles(), candles(), candles())
def test_merge_is_associative(a: Candle, b: Candle, c: Candle) -> None:
    assert unordered(a.merge(b).merge(c)) == unordered(a.merge(b.merge(c)))


@LAW
@given(PARTS, st.data())
def test_merge_does_not_depend_on_the_order(parts: list[Candle], data: st.DataObject) -> None:
    assert unordered(merge_all(data.draw(st.permutations(parts)))) == unordered(merge_all(parts))


@LAW
@given(trades("unique"), st.data())
def test_the_running_delta_of_parts_that_follow_each_other_is_that_of_their_trades(
    whole: Trades, data: st.DataObject
) -> None:
    ordered = whole.in_order()
    if ordered:
        cuts = sorted(data.draw(st.sets(st.integers(1, len(ordered)))) | {0, len(ordered)})
        parts = [candle_of(START_MS, ordered[start:end], LIVE) for start, end in pairwise(cuts)]
        middle = data.draw(st.integers(0, len(parts) - 1))
        halves = [merge_all(half) for half in (parts[:middle], parts[middle:]) if half]
        for merged in (merge_all(parts), merge_all(halves), merge_all(halves[::-1])):
            assert merged.delta == brute_delta(ordered.rows())


def test_of_parts_that_overlap_it_is_not_known_how_the_delta_ran() -> None:
    early, late = ((START_MS + 1, 1), (START_MS + 5, 5)), ((START_MS + 5, 5), (START_MS + 9, 9))
    one, other = (replace(_candle(*keys), delta_min_lots=0, delta_max_lots=2) for keys in (early, late))
    after = replace(other, first_id=6)
    assert one.merge(other).delta is None is other.merge(one).delta
    assert one.merge(after).delta == (0, 0, 2) == after.merge(one).delta
    assert one.merge(replace(after, delta_min_lots=None, delta_max_lots=None)).delta is None


@LAW
@given(PARTS)
def test_a_merged_candle_is_the_sum_of_its_parts(parts: list[Candle]) -> None:
    whole = reduce(Candle.merge, parts)
    first = min(parts, key=lambda c: (c.first_ts_ms, c.first_id))
    last = max(parts, key=lambda c: (c.last_ts_ms, c.last_id))
    assert (whole.open_ticks, whole.close_ticks) == (first.open_ticks, last.close_ticks)
    assert (whole.first_ts_ms, whole.first_id) == (first.first_ts_ms, first.first_id)
    assert (whole.last_ts_ms, whole.last_id) == (last.last_ts_ms, last.last_id)
    assert (whole.high_ticks, whole.low_ticks) == (max(c.high_ticks for c in parts), min(c.low_ticks for c in parts))
    for name in ("volume_lots", "buy_lots", "sell_lots", "unknown_lots", "turnover", "trades", "rev"):
        assert getattr(whole, name) == sum(getattr(c, name) for c in parts)


def test_trades_of_one_millisecond_are_ordered_by_their_id() -> None:
    early, late = _candle((START_MS, 1), (START_MS, 1), price=100), _candle((START_MS, 2), (START_MS, 2), price=200)
    for whole in (early.merge(late), late.merge(early)):
        assert (whole.open_ticks, whole.close_ticks) == (100, 200)


@pytest.mark.parametrize(
    ("sources", "name"),
    [
        (LIVE, "live"),
        (BACKFILL, "backfill"),
        (LIVE | BACKFILL, "backfill"),
        (IMPORT | BACKFILL, "import"),
        (LIVE | SIMULATED, "simulated"),
        (LIVE | BACKFILL | IMPORT | SIMULATED, "simulated"),
    ],
)
def test_the_source_shown_is_that_of_the_least_trustworthy_part(sources: int, name: str) -> None:
    candle = _candle((START_MS, 1), (START_MS, 1))
    parts = [replace(candle, sources=bit) for bit in (LIVE, BACKFILL, IMPORT, SIMULATED) if sources & bit]
    assert merge_all(parts).source == name
