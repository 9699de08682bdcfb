"""What a term says of itself in figures."""

import json
from collections import deque

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.market.builder.gaps import Gap, Ledger
from common.market.candle import BACKFILL
from common.market.trade import Trades
from tests.kit.fakes import START_MS, Bench, trades
from workers.sources.base import Batch
from workers.symbol.live_window import SLOT_MS, TOLD_EVERY_MS, WINDOW_MS, LiveWindow
from workers.symbol.vitals import Vitals


def percents(*missing: int) -> list[str]:
    vitals = Vitals(LiveWindow(0))
    gaps = [Gap(1, 9, 0, 1, "start", 0, missing=count) for count in missing]
    ledgers = [Ledger({gap.id: gap} if gap.missing else {}) for gap in gaps]
    return [vitals.said(ledger, is_fetching=True)["backfill_percent"] for ledger in ledgers]


def test_a_backfill_goes_from_nothing_to_all() -> None:
    assert percents(200, 150, 1, 0) == ["0", "25", "99", "100"]
    assert percents(0) == [""]


def test_the_next_backfill_begins_anew() -> None:
    vitals, gaps = Vitals(LiveWindow(0)), Ledger({"1-9": Gap(1, 9, 0, 1, "start", 0, missing=5)})
    told = [vitals.said(gaps, is_fetching=is_fetching)["backfill_percent"] for is_fetching in (True, False, True)]
    assert told == ["0", "", "0"]


@given(st.lists(st.integers(0, 1 << 40)))
def test_it_is_a_percentage_and_never_falls_unless_more_is_missing(counts: list[int]) -> None:
    before, was = 0, 1 << 50
    for told, missing in zip(percents(*counts), counts, strict=True):
        if told:
            assert 0 <= int(told) <= 100 and (int(told) >= before or missing > was)
            before, was = int(told), missing


NOW_MS = 1_700_000_000_000


@given(st.lists(st.integers(0, WINDOW_MS), min_size=1, max_size=60))
def test_percentiles_are_nearest_ranks_to_two_digits(lags: list[int]) -> None:
    window = LiveWindow(0)
    window.note([NOW_MS - lag for lag in lags], NOW_MS, 1)
    told = window.told(1)
    for name, share in (("lag_p50_ms", 0.5), ("lag_p99_ms", 0.99)):
        exact = sorted(lags)[-(-int(share * 100) * len(lags) // 100) - 1]
        assert int(told[name]) <= exact <= int(told[name]) * 1.11 + 1


def test_a_trade_of_the_future_has_no_lag_and_one_of_long_ago_that_of_the_window() -> None:
    window = LiveWindow(0)
    window.note([NOW_MS + 5_000, NOW_MS - 10 * WINDOW_MS], NOW_MS, 0)
    assert (window.told(0)["lag_p50_ms"], window.told(0)["lag_p99_ms"]) == ("0", str(WINDOW_MS))


def test_the_rate_is_of_the_window_or_of_the_term_if_that_is_younger() -> None:
    window = LiveWindow(0)
    for at_ms in range(0, 10_000, 100):
        window.note([NOW_MS], NOW_MS, at_ms)
    assert window.told(10_000)["trades_per_s"] == "10.00"
    assert window.told(WINDOW_MS - 1)["trades_per_s"] == "0.33"
    # All of it has left the window.
    over = window.told(WINDOW_MS + SLOT_MS)
    assert (over["trades_per_s"], over["lag_p50_ms"], over["lag_p99_ms"]) == ("0.00", "", "")


def test_figures_are_worked_out_once_a_second() -> None:
    window = LiveWindow(0)
    first = window.told(1_000)
    window.note([NOW_MS], NOW_MS, 1_500)
    assert window.told(1_000 + TOLD_EVERY_MS - 1) is first
    assert window.told(1_000 + TOLD_EVERY_MS)["trades_per_s"] == "0.50"


def test_of_a_large_commit_some_trades_stand_for_all() -> None:
    window = LiveWindow(0)
    window.note([NOW_MS - 7] * 100_000, NOW_MS, 0)
    assert (window.told(1_000)["trades_per_s"], window.told(1_000)["lag_p99_ms"]) == ("100000.00", "7")


FIRST = trades((1, 0))


@pytest.mark.parametrize(
    ("batch", "lag"),
    [(Batch(FIRST, "1"), "20"), (Batch(FIRST, "1", backlog=True), ""), (Batch(FIRST, "1", sources=BACKFILL), "")],
)
async def test_live_trades_are_measured_and_no_others(batch: Batch, lag: str) -> None:
    bench = Bench()
    bench.clock.jump(START_MS + 20 - TOLD_EVERY_MS - bench.clock.now_ms())

    def later() -> Batch:
        bench.clock.advance(TOLD_EVERY_MS)
        return batch

    await bench.serve(later, Batch(Trades(), "1", ended=True))
    assert bench.model.tables.health["lag_p50_ms"] == lag


async def test_a_quiet_symbol_says_with_its_signs_of_life_that_nothing_comes_any_more() -> None:
    bench = Bench()
    rest = [bench.idle("1") for _ in range(2 * WINDOW_MS // 1_500)]
    await bench.serve(Batch(trades((1, 0)), "1"), *rest)
    health = bench.model.tables.health
    assert (health["trades_per_s"], health["lag_p99_ms"]) == ("0.00", "")
    # A commit, and no more signs of life than without figures.
    beats = bench.store.times("beat")
    assert min(after - before for before, after in zip(beats, beats[1:], strict=False)) >= 1_500


async def test_amended_minutes_are_counted_over_all_terms() -> None:
    bench = Bench()
    minute = deque([Batch(trades((1, 0), (3, 70_000)), "1"), Batch(trades((2, 30_000)), "2"), Batch(Trades(), "2")])
    await bench.serve(*minute)
    assert [json.loads(event)["type"] for _, event in bench.model.tables.events].count("amend") == 1
    assert bench.model.tables.health["amended"] == "1"
    await bench.serve(Batch(Trades(), "2", ended=True), token="b" * 32)
    assert bench.model.tables.health["amended"] == "1"
