"""The rules of the builder one by one, with times an eye can follow: minute 0 opens at MINUTE_MS * 0 + OPEN_MS."""

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.market.builder.builder import MAX_VOLUME_LOTS, Builder, Changes, unpack_minute
from common.market.builder.coverage import DUPLICATE, TOO_LATE
from common.market.builder.floor import Floor, floor_of
from common.market.builder.recent import CONFLICT, Conflict
from common.market.builder.recent_coverage import RecentCoverage
from common.market.builder.validity import (
    BAD_ID,
    BAD_PRICE,
    BAD_SIDE,
    BAD_SIZE,
    BAD_TIME,
    BELOW_FLOOR,
    FUTURE,
    MAX_AHEAD_MS,
    OVERFLOW,
)
from common.market.candle import BACKFILL, SIMULATED, Candle
from common.market.instrument import Instrument
from common.market.timeframes.timeframe import DAY_MS, MINUTE_MS
from common.market.trade import BUY, MAX_ID, MAX_LOTS, MAX_TICKS, MAX_TS_MS, MIN_TS_MS, SELL, UNKNOWN, Trade, Trades
from tests.kit.shell import LATE_MS, Shell, builder_of
from tests.kit.strategies import LAW, trades

CONTIGUOUS = Instrument("BTCUSDT", 2, 8, "contiguous")
UNIQUE = Instrument("BTCUSDT", 2, 8, "unique")
OPEN_MS = 1_723_161_600_000
GRACE_MS = 2_000


def _at(second: float, trade_id: int, price: int = 100, lots: int = 1, side: int = BUY) -> Trade:
    """A trade so many seconds after minute 0 opened."""
    return Trade(OPEN_MS + int(second * 1000), trade_id, price, lots, side)


def _shell(grace_ms: int = GRACE_MS) -> Shell:
    return Shell(builder_of(CONTIGUOUS, grace_ms=grace_ms))


def _step(shell: Shell, *rows: Trade, now_s: float | None = None) -> Changes:
    """One batch, read at `now_s` seconds after minute 0 opened; without it when the last trade was made."""
    newest_ms = max((row.ts_ms for row in rows), default=0)
    return shell.step(Trades.of(rows), newest_ms if now_s is None else OPEN_MS + int(now_s * 1000))


def _minute(shell: Shell, number: int) -> Candle:
    return unpack_minute(*shell.all_minutes()[OPEN_MS + number * MINUTE_MS]).candle


def test_a_candle_is_made_of_the_trades_of_its_minute() -> None:
    shell = _shell()
    _step(shell, _at(1, 1, price=100, lots=3), _at(2, 2, price=104, lots=2, side=SELL))
    _step(shell, _at(59.999, 3, price=98, lots=5, side=UNKNOWN), _at(60, 4, price=500))
    assert _minute(shell, 0) == Candle(
        open_ms=OPEN_MS,
        open_ticks=100,
        high_ticks=104,
        low_ticks=98,
        close_ticks=98,
        volume_lots=10,
        buy_lots=3,
        sell_lots=2,
        turnover=3 * 100 + 2 * 104 + 5 * 98,
        trades=3,
        first_ts_ms=OPEN_MS + 1_000,
        first_id=1,
        last_ts_ms=OPEN_MS + 59_999,
        last_id=3,
        delta_min_lots=1,
        delta_max_lots=3,
    )
    assert _minute(shell, 1).open_ticks == 500


def test_a_print_of_size_zero_moves_the_price_and_counts_as_a_trade() -> None:
    shell = _shell()
    _step(shell, _at(1, 1, price=100, lots=3), _at(2, 2, price=120, lots=0))
    candle = _minute(shell, 0)
    assert (candle.high_ticks, candle.close_ticks, candle.volume_lots, candle.trades) == (120, 120, 3, 2)


def test_a_minute_closes_with_the_first_trade_of_a_later_one() -> None:
    shell = _shell()
    first = _step(shell, _at(1, 1))
    assert (list(first.closed), first.moved) == ([], True)
    second = _step(shell, _at(59, 2))
    assert (list(second.closed), second.moved) == ([], False)
    third = _step(shell, _at(60, 3))
    assert list(third.closed) == [OPEN_MS]
    assert third.closed[OPEN_MS].candle.rev == 0
    assert third.open is not None and third.open.candle.open_ms == OPEN_MS + MINUTE_MS


def test_a_minute_without_trades_has_no_candle() -> None:
    shell = _shell()
    changes = _step(shell, _at(1, 1), _at(301, 2))
    assert list(changes.closed) == [OPEN_MS]
    assert list(shell.all_minutes()) == [OPEN_MS, OPEN_MS + 5 * MINUTE_MS]


def test_the_clock_closes_a_quiet_minute_once_its_grace_is_over() -> None:
    shell = _shell()
    _step(shell, _at(1, 1))
    assert shell.builder.next_close_ms() == OPEN_MS + MINUTE_MS + GRACE_MS
    early = _step(shell, now_s=61.999)
    assert not early.any and not early.closed
    assert early.open is not None
    due = _step(shell, now_s=62)
    assert due.any and due.moved
    assert list(due.closed) == [OPEN_MS]
    assert due.open is None
    assert shell.builder.watermark_ms == OPEN_MS + MINUTE_MS
    again = _step(shell, now_s=63)
    assert not again.any


def test_the_clock_moves_on_through_minutes_nobody_trades_in() -> None:
    shell = _shell()
    _step(shell, _at(1, 1))
    _step(shell, now_s=62)
    assert shell.builder.next_close_ms() == OPEN_MS + 2 * MINUTE_MS + GRACE_MS
    later = _step(shell, now_s=122)
    assert later.moved and not later.closed and not later.trades


def test_before_the_first_trade_the_clock_closes_nothing() -> None:
    shell = _shell()
    assert shell.builder.next_close_ms() is None
    assert not _step(shell, now_s=1_000).any


def test_the_watermark_never_goes_back() -> None:
    shell = _shell()
    _step(shell, _at(130, 1))
    for changes in (_step(shell, _at(5, 2)), _step(shell, now_s=1), _step(shell, _at(125, 3))):
        assert not changes.moved
        assert shell.builder.watermark_ms == OPEN_MS + 130_000


def test_a_late_trade_amends_its_minute_and_counts_in_rev() -> None:
    shell = _shell()
    _step(shell, _at(10, 1, price=100), _at(65, 4, price=100))
    changes = _step(shell, _at(5, 0, price=90), _at(20, 2, price=110))
    assert (list(changes.closed), list(changes.amended)) == ([], [OPEN_MS])
    candle = changes.amended[OPEN_MS].candle
    assert (candle.open_ticks, candle.high_ticks, candle.close_ticks, candle.trades) == (90, 110, 110, 3)
    assert candle.rev == 2
    _step(shell, _at(21, 3))
    assert _minute(shell, 0).rev == 3


def test_a_late_trade_of_a_minute_without_trades_makes_its_candle() -> None:
    shell = _shell()
    _step(shell, _at(10, 1), _at(130, 3))
    changes = _step(shell, _at(70, 2))
    assert list(changes.amended) == [OPEN_MS + MINUTE_MS]
    assert changes.amended[OPEN_MS + MINUTE_MS].candle.rev == 1


def test_a_trade_late_for_a_minute_closed_by_the_same_batch_is_part_of_what_is_closed() -> None:
    shell = _shell()
    changes = _step(shell, _at(10, 1), _at(65, 3), _at(20, 2))
    assert (list(changes.closed), list(changes.amended)) == ([OPEN_MS], [])
    assert (changes.closed[OPEN_MS].candle.trades, changes.closed[OPEN_MS].candle.rev) == (2, 1)


def test_a_trade_in_the_grace_of_a_minute_the_clock_has_not_closed_is_not_late() -> None:
    shell = _shell()
    _step(shell, _at(10, 1))
    changes = _step(shell, _at(59.9, 2), now_s=61.9)
    assert not changes.amended
    assert _minute(shell, 0).rev == 0


def test_late_minutes_are_exactly_the_closed_ones_a_batch_touches() -> None:
    shell = _shell()
    assert shell.builder.late_minutes(Trades.of([_at(1, 1)])) == []
    _step(shell, _at(10, 1), _at(70, 5), _at(130, 9))
    batch = Trades.of([_at(125, 8), _at(75, 6), _at(11, 2), _at(12, 3), _at(200, 10)])
    assert shell.builder.late_minutes(batch) == [OPEN_MS, OPEN_MS + MINUTE_MS]
    # The last moment of a closed minute, and the first of the open one.
    assert shell.builder.late_minutes(Trades.of([_at(119.999, 7)])) == [OPEN_MS + MINUTE_MS]
    assert shell.builder.late_minutes(Trades.of([_at(120, 7)])) == []
    assert shell.builder.late_minutes(Trades.of([_at(11, 2), _at(120, 7)])) == [OPEN_MS]
    assert shell.builder.late_minutes(Trades()) == []


REFUSALS = {
    BAD_TIME: [_at(0, 1)._replace(ts_ms=ts_ms) for ts_ms in (-1, 0, 1, 1_700_000_000, MIN_TS_MS - 1, MAX_TS_MS)],
    BAD_ID: [_at(0, -1), _at(0, MAX_ID + 1)],
    BAD_PRICE: [_at(0, 1, price=0), _at(0, 1, price=-5), _at(0, 1, price=MAX_TICKS)],
    BAD_SIZE: [_at(0, 1, lots=-1), _at(0, 1, lots=MAX_LOTS)],
    BAD_SIDE: [_at(0, 1, side=3), _at(0, 1, side=255)],
}


@pytest.mark.parametrize(("reason", "trade"), [(reason, trade) for reason, rows in REFUSALS.items() for trade in rows])
def test_a_trade_out_of_bounds_is_refused_with_its_reason_and_its_neighbours_are_not(reason: str, trade: Trade) -> None:
    shell = _shell()
    good = [_at(0, 7), _at(1, 8)]
    changes = _step(shell, good[0], trade, good[1], now_s=1)
    assert list(changes.trades.rows()) == good
    assert shell.builder.refused == {reason: 1}


@pytest.mark.parametrize(("reason", "trade"), [(reason, trade) for reason, rows in REFUSALS.items() for trade in rows])
def test_a_trade_out_of_bounds_is_refused_also_where_it_is_the_whole_batch(reason: str, trade: Trade) -> None:
    """A batch in order takes a faster way, with the same rules written a second time."""
    shell = _shell()
    assert not _step(shell, trade, now_s=1).trades
    assert shell.builder.refused == {reason: 1}
    assert shell.builder.coverage.spans() == []


def test_the_greatest_values_within_bounds_are_taken() -> None:
    shell = Shell(builder_of(CONTIGUOUS))
    greatest = Trade(MAX_TS_MS - 1, MAX_ID, MAX_TICKS - 1, MAX_LOTS - 1, UNKNOWN)
    least = Trade(MIN_TS_MS, 0, 1, 0, BUY)
    shell.step(Trades.of([greatest]), LATE_MS)
    shell.step(Trades.of([least]), LATE_MS)
    assert not shell.builder.refused
    assert list(shell.applied.rows()) == [greatest, least]


def test_a_trade_from_the_future_is_refused() -> None:
    shell = _shell()
    changes = _step(shell, _at(0, 1), _at(MAX_AHEAD_MS / 1000 - 0.001, 2), _at(MAX_AHEAD_MS / 1000, 3), now_s=0)
    assert changes.trades.ids == [1, 2]
    assert shell.builder.refused == {FUTURE: 1}


def test_a_refused_trade_may_come_again_once_it_is_valid() -> None:
    shell = _shell()
    _step(shell, _at(90, 1), now_s=0)
    _step(shell, _at(90, 1), now_s=60)
    assert shell.applied.ids == [1]


def test_a_trade_that_comes_twice_is_applied_once() -> None:
    shell = _shell()
    _step(shell, _at(0, 1), _at(1, 2), _at(1, 2))
    _step(shell, _at(0, 1), _at(2, 3))
    assert shell.applied.ids == [1, 2, 3]
    assert shell.builder.refused == {DUPLICATE: 2}
    assert _minute(shell, 0).trades == 3


def test_a_trade_older_than_the_ids_remembered_is_too_late() -> None:
    shell = Shell(builder_of(UNIQUE, RecentCoverage(window=2)))
    shell.feed([Trades.of([_at(0, 50), _at(1, 40), _at(2, 30), _at(0.5, 20), _at(0, 10), _at(2, 30)])])
    assert shell.applied.ids == [50, 40, 30, 20]
    assert shell.builder.refused == {TOO_LATE: 1, DUPLICATE: 1}


@pytest.mark.parametrize("instrument", [CONTIGUOUS, UNIQUE])
@pytest.mark.parametrize("cut", [1, 2, 9])
def test_a_trade_under_the_id_of_another_one_is_a_conflict_and_the_same_one_again_a_duplicate(
    instrument: Instrument, cut: int
) -> None:
    first, second, third = _at(1, 1), _at(2, 2), _at(3, 3)
    others = [second._replace(price_ticks=101), first._replace(size_lots=2), third._replace(side=SELL), _at(4, 3)]
    shell = Shell(builder_of(instrument))
    rows = [first, second, others[0], third, *others[1:], second, _at(3.4, 3)]
    for at in range(0, len(rows), cut):
        _step(shell, *rows[at : at + cut])
    assert list(shell.applied.rows()) == [first, second, third]
    assert shell.builder.refused == {CONFLICT: 4, DUPLICATE: 2}
    applied = [second, first, third, third]
    assert shell.builder.take_conflicts() == [Conflict(*pair) for pair in zip(applied, others, strict=True)]
    assert shell.builder.take_conflicts() == []


def test_a_trade_that_is_refused_for_itself_is_compared_with_none() -> None:
    shell = _shell()
    _step(shell, _at(1, 1), _at(1, 1, price=0), _at(1, 1, lots=-1))
    assert shell.builder.refused == {BAD_PRICE: 1, BAD_SIZE: 1}
    assert shell.builder.take_conflicts() == []


def test_a_trade_of_a_minute_that_retention_does_not_keep_is_refused_and_may_come_again() -> None:
    shell = _shell()
    shell.builder.floor = Floor(days=2)
    day_s = DAY_MS / 1000
    # Whole days back from the day of the newest trade, which is minute 0's and begins with it.
    _step(shell, _at(2 * day_s, 5), _at(0, 1), _at(-0.001, 2), _at(3 * day_s, 6), _at(1, 3), _at(day_s, 4))
    assert shell.applied.ids == [5, 1, 6, 4]
    assert shell.builder.refused == {BELOW_FLOOR: 2}
    shell.builder.floor.days = 3
    _step(shell, _at(1, 3), now_s=3 * day_s)
    assert shell.applied.ids == [5, 1, 6, 4, 3]


def test_no_clock_moves_the_floor() -> None:
    shell = _shell()
    shell.builder.floor = Floor(days=1)
    _step(shell, _at(0, 2))
    _step(shell, now_s=500 * DAY_MS / 1000)
    assert shell.builder.watermark_ms == OPEN_MS + 500 * DAY_MS - MINUTE_MS
    assert shell.builder.newest_ms == OPEN_MS
    _step(shell, _at(-DAY_MS / 1000, 1))
    assert shell.applied.ids == [2, 1] and not shell.builder.refused


def test_what_was_dropped_already_is_below_the_floor_too() -> None:
    shell = _shell()
    shell.builder.floor = Floor(dropped_ms=OPEN_MS)
    _step(shell, _at(-0.001, 1), _at(0, 2))
    assert (shell.applied.ids, shell.builder.refused) == ([2], {BELOW_FLOOR: 1})


def test_below_the_floor_what_an_archive_takes_is_applied() -> None:
    shell = _shell()
    shell.builder.floor = Floor(days=1, taken_from_ms=OPEN_MS - 5 * DAY_MS)
    day_s = DAY_MS / 1000
    _step(shell, _at(0, 9), _at(-5 * day_s, 2), _at(-5 * day_s - 0.001, 1))
    assert (shell.applied.ids, shell.builder.refused) == ([9, 2], {BELOW_FLOOR: 1})


def test_without_a_trade_or_a_bound_there_is_no_floor() -> None:
    assert floor_of(-1, 5) == floor_of(OPEN_MS, 0) == floor_of(OPEN_MS, 1_000_000) == -1
    assert floor_of(OPEN_MS + 5, 3) == OPEN_MS - 3 * DAY_MS


@LAW
@given(trades(min_size=2), st.randoms(use_true_random=False))
def test_which_trades_are_below_the_floor_does_not_depend_on_the_batches(whole: Trades, random: Random) -> None:
    """Nor on a restart in between."""
    shuffled = whole.take(random.sample(range(len(whole)), len(whole)))
    at_once, cut = Shell(builder_of(CONTIGUOUS)), Shell(builder_of(CONTIGUOUS))
    at_once.builder.floor = cut.builder.floor = Floor(days=7)
    at_once.step(shuffled, LATE_MS)
    at = 0
    while at < len(shuffled):
        end = at + random.randint(1, 4)
        cut.step(shuffled[at:end], LATE_MS)
        if random.random() < 0.5:
            cut.restart()
            cut.builder.floor = Floor(days=7)
        at = end
    assert at_once.applied == cut.applied
    assert at_once.builder.refused == cut.builder.refused
    assert at_once.builder.newest_ms == cut.builder.newest_ms


def test_volume_beyond_63_bits_is_refused_and_counted() -> None:
    shell = Shell(builder_of(CONTIGUOUS))
    fits = MAX_VOLUME_LOTS // (MAX_LOTS - 1)
    whole = Trades.of([_at(0, at, lots=MAX_LOTS - 1) for at in range(fits + 3)])
    shell.step(whole, LATE_MS)
    candle = _minute(shell, 0)
    assert (candle.trades, candle.volume_lots) == (fits, fits * (MAX_LOTS - 1))
    assert shell.builder.refused == {OVERFLOW: 3}
    shell.step(Trades.of([_at(1, fits + 3, lots=5)]), LATE_MS)
    assert _minute(shell, 0).trades == fits + 1


def test_late_volume_beyond_63_bits_is_refused_and_not_counted_in_rev() -> None:
    shell = Shell(builder_of(CONTIGUOUS))
    fits = MAX_VOLUME_LOTS // (MAX_LOTS - 1)
    shell.step(Trades.of([_at(0, at, lots=MAX_LOTS - 1) for at in range(fits - 1)] + [_at(60, fits)]), LATE_MS)
    shell.step(Trades.of([_at(1, fits + at, lots=MAX_LOTS - 1) for at in range(1, 4)]), LATE_MS)
    candle = _minute(shell, 0)
    assert (candle.trades, candle.rev, shell.builder.refused) == (fits, 1, {OVERFLOW: 2})


def test_where_volume_overflows_does_not_depend_on_the_batches() -> None:
    whole = Trades.of([_at(at % 90, at, lots=MAX_LOTS - 1 - at % 7) for at in range(2_500)])
    at_once = Shell(builder_of(CONTIGUOUS)).feed([whole])
    one_by_one = Shell(builder_of(CONTIGUOUS)).feed(whole[at : at + 1] for at in range(len(whole)))
    assert at_once.builder.refused[OVERFLOW] > 0
    assert at_once.outcome() == one_by_one.outcome()


@LAW
@given(trades(min_size=1))
def test_low_is_lowest_and_high_is_highest_in_every_candle(whole: Trades) -> None:
    for pair in Shell(builder_of(CONTIGUOUS)).feed([whole]).all_minutes().values():
        candle = unpack_minute(*pair).candle
        assert candle.low_ticks <= min(candle.open_ticks, candle.close_ticks)
        assert max(candle.open_ticks, candle.close_ticks) <= candle.high_ticks
        assert candle.low_ticks * candle.volume_lots <= candle.turnover <= candle.high_ticks * candle.volume_lots


@pytest.mark.parametrize(("sources", "name"), [(SIMULATED, "simulated"), (BACKFILL, "backfill")])
def test_a_candle_says_where_its_trades_came_from(sources: int, name: str) -> None:
    builder = Builder.new(CONTIGUOUS, sources)
    changes = builder.step(Trades.of([_at(0, 1)]), OPEN_MS, {})
    assert changes.open is not None and changes.open.candle.source == name


def test_an_empty_batch_is_nothing() -> None:
    changes = _step(_shell())
    assert not changes.any
    assert changes.open is None
