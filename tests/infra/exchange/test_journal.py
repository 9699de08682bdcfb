"""An exchange that is started again goes on: the same trades with the same ids, and what came meanwhile."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import orjson
import pytest

from common.errors import OperatorError
from common.market.simulation.book import ASK, BID
from infra.exchange import Exchange, ExchangeMarket, Halt, Retick, Simulation
from infra.exchange.journal import SPAN_MS, Journal
from infra.paths import ROOT
from tests.kit.clocks import FakeClock
from tests.kit.exchange import START_MS, SYMBOL, simulated

MINUTE_MS = 60_000
HISTORY_MS = 15 * MINUTE_MS
DAY_MS = 24 * 60 * MINUTE_MS

# Time, price, size, side.
Row = tuple[int, int, int, int]


@pytest.fixture
def clock() -> FakeClock:
    # Not on a minute: nobody starts on one.
    return FakeClock(START_MS + 12_345)


def started(folder: Path, clock: FakeClock, *symbols: str) -> Exchange:
    markets = simulated(*(symbols or (SYMBOL,)), orders_per_s=1.0)
    return Exchange(markets, clock=clock, journal=Journal(folder, HISTORY_MS))


def live(exchange: Exchange, clock: FakeClock, span_ms: int) -> None:
    exchange.advance(span_ms)
    clock.advance(span_ms)


def truth(exchange: Exchange) -> dict[int, Row]:
    """All trades by id."""
    t = exchange.market(SYMBOL).trades()
    return dict(zip(t.ids, zip(t.ts_ms, t.price_ticks, t.size_lots, t.sides, strict=True), strict=True))


def assert_contiguous(ids: dict[int, Any]) -> None:
    assert len(ids) == max(ids) - min(ids) + 1


def book(market: ExchangeMarket) -> tuple[int, dict[int, int], dict[int, int]]:
    return market.book.last_id, market.book.sides[BID].lots, market.book.sides[ASK].lots


@pytest.mark.parametrize("ran_ms", [7, 3 * MINUTE_MS + 1, SPAN_MS, 2 * HISTORY_MS])
def test_what_was_told_happens_again_and_what_came_meanwhile_follows(
    tmp_path: Path, clock: FakeClock, ran_ms: int
) -> None:
    first = started(tmp_path, clock)
    live(first, clock, ran_ms)
    told = truth(first)
    clock.advance(2 * MINUTE_MS)
    second = started(tmp_path, clock)
    again = truth(second)
    assert second.now_ms == clock.now_ms()
    first_id = min(again)
    assert all(trade_id < first_id or again[trade_id] == row for trade_id, row in told.items())
    assert max(again) > max(told) in again
    assert_contiguous(again)
    assert min(ts_ms for ts_ms, *_ in again.values()) <= clock.now_ms() - HISTORY_MS + MINUTE_MS


def test_a_market_left_and_taken_up_is_the_market_that_was_never_left(tmp_path: Path, clock: FakeClock) -> None:
    never_left = started(tmp_path / "one", clock)
    left = started(tmp_path / "two", clock)
    live(left, clock, 4 * MINUTE_MS)
    never_left.advance(4 * MINUTE_MS)
    clock.advance(MINUTE_MS)
    never_left.advance(MINUTE_MS)
    taken_up = started(tmp_path / "two", clock)
    for exchange in (never_left, taken_up):
        exchange.advance(SPAN_MS)
    mine, theirs = taken_up.market(SYMBOL), never_left.market(SYMBOL)
    assert book(mine) == book(theirs)
    assert truth(taken_up).items() <= truth(never_left).items()
    newest = mine.tape.aggregate(mine.tape.aggregates - 1)
    assert newest == theirs.tape.aggregate(theirs.tape.aggregates - 1)


def test_one_that_was_away_for_long_was_halted_and_costs_no_more_than_its_history(
    tmp_path: Path, clock: FakeClock
) -> None:
    first = started(tmp_path, clock)
    live(first, clock, 4 * MINUTE_MS)
    told = truth(first)
    clock.advance(30 * DAY_MS)
    second = started(tmp_path, clock)
    again = truth(second)
    assert second.now_ms == clock.now_ms()
    assert_contiguous(again)
    # What was missed of the first run is there, and between the runs there is nothing.
    assert again[max(told)] == told[max(told)]
    left_ms, back_ms = first.now_ms + SPAN_MS, clock.now_ms() - HISTORY_MS - MINUTE_MS
    assert not [ts_ms for ts_ms, *_ in again.values() if left_ms < ts_ms < back_ms]
    clock.advance(5_000)
    third = truth(started(tmp_path, clock))
    assert {**again, **third}.keys() == set(range(min(again), max(third) + 1))
    assert all(third[trade_id] == again[trade_id] for trade_id in third.keys() & again.keys())


def test_a_halt_is_remembered(tmp_path: Path, clock: FakeClock) -> None:
    first = started(tmp_path, clock)
    first.inject(Halt(SYMBOL, ms=MINUTE_MS))
    live(first, clock, 2 * SPAN_MS)
    again = truth(started(tmp_path, clock))
    assert all(again[trade_id] == row for trade_id, row in truth(first).items() if trade_id in again)


def test_a_finer_tick_is_remembered(tmp_path: Path, clock: FakeClock) -> None:
    first = started(tmp_path, clock)
    live(first, clock, 4 * MINUTE_MS)
    first.inject(Retick(SYMBOL, 3))
    live(first, clock, MINUTE_MS)
    told = truth(first)
    clock.advance(MINUTE_MS)
    second = started(tmp_path, clock)
    assert second.market(SYMBOL).listing == first.market(SYMBOL).listing
    again = truth(second)
    assert again and all(again[trade_id] == told[trade_id] for trade_id in again.keys() & told.keys())
    assert max(again) > max(told)


def test_a_new_market_begins_beside_one_that_is_known(tmp_path: Path, clock: FakeClock) -> None:
    live(started(tmp_path, clock), clock, MINUTE_MS)
    both = started(tmp_path, clock, SYMBOL, "ETHUSDT")
    assert len(both.market("ETHUSDT").trades()) > 100
    assert_contiguous(truth(both))


def test_only_what_the_next_start_needs_is_kept(tmp_path: Path, clock: FakeClock) -> None:
    exchange = started(tmp_path, clock)
    live(exchange, clock, 10 * SPAN_MS)
    times = sorted(int(path.name.split(".")[1]) for path in tmp_path.iterdir())
    assert times[0] >= exchange.now_ms - HISTORY_MS - 3 * SPAN_MS
    assert len(times) <= 5


def test_a_spoilt_file_is_named(tmp_path: Path, clock: FakeClock) -> None:
    started(tmp_path, clock)
    for path in tmp_path.iterdir():
        path.write_text("{}")
    with pytest.raises(OperatorError, match=r"BTCUSDT\.\d+\.json is not a market's state, remove it"):
        started(tmp_path, clock)


def test_a_folder_that_is_none_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OperatorError, match="can't be used as the exchange's journal"):
        Journal(tmp_path / "file", HISTORY_MS)


@contextmanager
def command(folder: Path) -> Iterator[tuple["subprocess.Popen[str]", str]]:
    line = [sys.executable, "-m", "infra.exchange", "--port", "0", "--symbols", SYMBOL]
    line += ["--history-hours", "0.02", "--journal", str(folder)]
    with subprocess.Popen(line, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process, process.stdout.readline().split()[1]
        finally:
            process.kill()


@pytest.mark.process
def test_ids_go_on_after_a_kill(tmp_path: Path) -> None:
    asked = f"/api/v3/historicalTrades?symbol={SYMBOL}&limit=1000"
    with command(tmp_path) as (process, rest):
        told = {trade["id"]: trade for trade in httpx2.get(rest + asked).json()}
        process.send_signal(signal.SIGKILL)
        process.wait(5)
    with command(tmp_path) as (_, rest):
        again = {trade["id"]: trade for trade in httpx2.get(f"{rest}{asked}&fromId={min(told)}").json()}
    assert all(again[trade_id] == trade for trade_id, trade in told.items() if trade_id in again)
    assert max(told) in again


@pytest.mark.process
def test_the_journal_is_of_simulated_markets(tmp_path: Path) -> None:
    recording = tmp_path / "t.csv"
    recording.write_text("ts_ms,price,size,side,id\n1000,64000.00,0.5,buy,11\n")
    line = [sys.executable, "-m", "infra.exchange", "--recording", str(recording), "--journal", str(tmp_path / "j")]
    done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 2
    assert done.stderr == "exchange: --journal keeps simulated markets: leave it out with --recording\n"


def test_large_orders_that_stand_are_part_of_what_goes_on(tmp_path: Path, clock: FakeClock) -> None:
    first = started(tmp_path, clock)
    live(first, clock, 2 * SPAN_MS)
    driver = first.market(SYMBOL).driver
    assert isinstance(driver, Simulation) and driver.state()["walls"]
    other = Simulation(driver.listing, seed=99)
    other.resume(orjson.loads(orjson.dumps(driver.state())))
    assert other.state() == driver.state()
    # A state of a release that had none.
    other.resume({name: value for name, value in driver.state().items() if name != "walls"})
    assert other.state()["walls"] == []
