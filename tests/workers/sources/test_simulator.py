"""The simulated market: contiguous ids, bursts and heavy tails, and a walk that goes on where it was left."""

from collections import Counter

import pytest

from common.errors import BadInput
from common.market.builder.builder import Builder
from common.market.candle import SIMULATED
from common.market.instrument import Instrument
from common.market.timeframes.timeframe import MINUTE_MS
from common.market.trade import Trades
from common.store.registry import Market
from tests.kit.clocks import FakeClock
from tests.kit.fakes import NOTHING_APPLIED
from workers.sources.simulator import HISTORY_MS, TICK_MS, Simulator

INSTRUMENT = Instrument("SIM:A", 2, 4, "contiguous")


def simulator(clock: FakeClock, **fields: object) -> Simulator:
    return Simulator.of(Market(INSTRUMENT, {"kind": "simulator", "price": "100", "seed": 7} | fields), clock)


async def history(market: Simulator) -> tuple[Trades, str]:
    """All trades up to now, and the position after them."""
    whole = Trades()
    while True:
        batch = await market.read(1_000, 100)
        whole += batch.trades
        if not batch.backlog:
            return whole, batch.position


@pytest.fixture
async def fresh(clock: FakeClock) -> Trades:
    market = simulator(clock)
    await market.open("", NOTHING_APPLIED)
    return (await history(market))[0]


async def test_a_fresh_market_has_some_hours_behind_it(clock: FakeClock, fresh: Trades) -> None:
    assert fresh.ts_ms == sorted(fresh.ts_ms)
    assert clock.now_ms() - HISTORY_MS <= fresh.ts_ms[0] < clock.now_ms() - HISTORY_MS + MINUTE_MS
    assert clock.now_ms() - MINUTE_MS < fresh.ts_ms[-1] <= clock.now_ms()


async def test_ids_count_up_from_one(fresh: Trades) -> None:
    assert fresh.ids == list(range(1, len(fresh) + 1))


async def test_the_same_seed_is_the_same_market(clock: FakeClock, fresh: Trades) -> None:
    same, other = simulator(FakeClock()), simulator(FakeClock(), seed=8)
    await same.open("", NOTHING_APPLIED)
    await other.open("", NOTHING_APPLIED)
    assert (await history(same))[0] == fresh
    assert (await history(other))[0] != fresh


async def test_trades_are_valid_and_of_both_sides(clock: FakeClock, fresh: Trades) -> None:
    builder = Builder.new(INSTRUMENT)
    assert len(builder.accept(fresh, clock.now_ms())) == len(fresh)
    assert set(fresh.sides) == {0, 1}


async def test_sizes_have_a_heavy_tail(fresh: Trades) -> None:
    sizes = sorted(fresh.size_lots)
    median = sizes[len(sizes) // 2]
    assert sizes[-1] > 30 * median
    # Half of all volume is in few trades.
    assert sum(sizes[-len(sizes) // 5 :]) > sum(sizes) / 2


async def test_trades_come_in_bursts(fresh: Trades) -> None:
    per_second = Counter(ts_ms // 1_000 for ts_ms in fresh.ts_ms)
    mean = len(fresh) / (HISTORY_MS / 1_000)
    assert max(per_second.values()) > 8 * mean


async def test_a_market_goes_on_where_it_was_left(clock: FakeClock) -> None:
    market = simulator(clock)
    await market.open("", NOTHING_APPLIED)
    before, position = await history(market)
    clock.advance(20_000)

    again = simulator(clock)
    await again.open(position, NOTHING_APPLIED)
    after, _ = await history(again)
    assert after.ids[0] == before.ids[-1] + 1
    assert before.ts_ms[-1] <= after.ts_ms[0]
    assert abs(after.price_ticks[0] - before.price_ticks[-1]) < 100


async def test_a_market_that_was_away_for_days_makes_up_for_hours_only(clock: FakeClock) -> None:
    market = simulator(clock)
    await market.open("", NOTHING_APPLIED)
    before, position = await history(market)
    clock.advance(10 * 24 * 3_600_000)
    again = simulator(clock)
    await again.open(position, NOTHING_APPLIED)
    after, _ = await history(again)
    assert after.ids[0] == before.ids[-1] + 1
    assert after.ts_ms[0] >= clock.now_ms() - HISTORY_MS - TICK_MS


async def test_a_backlog_is_told_and_closes_nothing_by_the_clock(clock: FakeClock) -> None:
    market = simulator(clock)
    await market.open("", NOTHING_APPLIED)
    batch = await market.read(10, 100)
    assert (len(batch.trades), batch.backlog, batch.complete_ms) == (10, True, 0)
    await history(market)
    batch = await market.read(10, 100)
    assert (batch.backlog, batch.complete_ms) == (False, clock.now_ms())


async def test_a_read_waits_for_a_moment_at_most(clock: FakeClock) -> None:
    market = simulator(clock)
    await market.open("", NOTHING_APPLIED)
    await history(market)
    for wait_ms in (1, 20, 5_000):
        before_ms = clock.monotonic_ms()
        await market.read(10_000, wait_ms)
        assert clock.monotonic_ms() - before_ms <= min(wait_ms, TICK_MS)


async def test_looking_in_vain_moves_no_position(clock: FakeClock) -> None:
    """A position that moves is a commit."""
    market = simulator(clock)
    await market.open("", NOTHING_APPLIED)
    _, position = await history(market)
    moved = 0
    for _ in range(200):
        batch = await market.read(1_000, TICK_MS)
        assert (batch.position != position) == bool(batch.trades)
        moved += batch.position != position
        position = batch.position
    assert 0 < moved < 150


async def test_a_clock_that_was_set_back_makes_no_trade_of_the_past(clock: FakeClock) -> None:
    market = simulator(clock)
    await market.open("", NOTHING_APPLIED)
    before, position = await history(market)
    clock.jump(-3_600_000)
    again = simulator(clock)
    await again.open(position, NOTHING_APPLIED)
    assert not (await again.read(1_000, 100)).trades
    clock.jump(3_600_000)
    clock.advance(60_000)
    after, _ = await history(again)
    assert after.ts_ms[0] >= before.ts_ms[-1]


async def test_bars_of_it_are_marked_simulated(clock: FakeClock) -> None:
    assert simulator(clock).sources == SIMULATED


@pytest.mark.parametrize("position", ["nonsense", "[1,2]", "7", "[]", "null", "[1,2,3,4]"])
async def test_a_position_of_another_source_is_refused_in_one_sentence(clock: FakeClock, position: str) -> None:
    with pytest.raises(BadInput, match="is not a simulator's"):
        await simulator(clock).open(position, NOTHING_APPLIED)


async def test_a_price_that_is_none_is_refused(clock: FakeClock) -> None:
    with pytest.raises(BadInput, match="cheap"):
        simulator(clock, price="cheap")
