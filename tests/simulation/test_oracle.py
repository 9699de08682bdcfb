"""The checks of a run, each against a run that it must not let pass."""

from dataclasses import replace

import pytest

from common.market.candle import LIVE
from common.market.instrument import Instrument
from common.market.trade import BUY, MIN_TS_MS, Trade, Trades
from tests.kit import oracle
from tests.kit.oracle import Outcome, Step, differences, single_pass

MINUTE_MS = 60_000
TRADES = Trades.of(Trade(MIN_TS_MS + at * 20_000, at + 1, 100 + at, 5, BUY) for at in range(9))


@pytest.fixture
def expected() -> Outcome:
    return single_pass(Instrument("TEST:A", 2, 3, "contiguous"), LIVE, 0, TRADES, MIN_TS_MS + 10 * MINUTE_MS, 0)


def steps(*cuts: tuple[str, int, int]) -> list[Step]:
    return [Step(seq, token, TRADES[start:end]) for seq, (token, start, end) in enumerate(cuts, 1)]


def test_the_same_trades_in_other_steps_are_the_same_run(expected: Outcome) -> None:
    assert not differences(replace(expected, steps=steps(("a", 0, 4), ("a", 4, 4), ("b", 4, 9))), expected)


def test_a_changed_candle_is_found(expected: Outcome) -> None:
    changed = replace(expected, candles=expected.candles | {0: b"other"})
    assert differences(changed, expected).keys() == {oracle.CANDLES}


def test_a_missing_footprint_is_found(expected: Outcome) -> None:
    changed = replace(expected, footprints={})
    assert differences(changed, expected).keys() == {oracle.FOOTPRINTS}


def test_another_count_of_refusals_is_found(expected: Outcome) -> None:
    assert expected.checkpoint
    changed = replace(expected, checkpoint=replace(expected.checkpoint, refused=b'{"duplicate":1}'))
    assert differences(changed, expected).keys() == {oracle.CHECKPOINT}


def test_a_skipped_seq_is_found(expected: Outcome) -> None:
    whole = steps(("a", 0, 4), ("a", 4, 9))
    changed = replace(expected, steps=[whole[0], whole[1]._replace(seq=3)])
    assert differences(changed, expected).keys() == {oracle.SEQUENCE}


def test_a_writer_that_comes_back_after_another_one_is_found(expected: Outcome) -> None:
    changed = replace(expected, steps=steps(("a", 0, 4), ("b", 4, 5), ("a", 5, 9)))
    assert differences(changed, expected).keys() == {oracle.TOKENS}


def test_a_trade_that_is_there_twice_is_found(expected: Outcome) -> None:
    changed = replace(expected, steps=steps(("a", 0, 4), ("a", 3, 9)))
    assert oracle.TWICE in differences(changed, expected)


def test_a_trade_that_is_missing_is_found(expected: Outcome) -> None:
    changed = replace(expected, steps=steps(("a", 0, 4), ("a", 5, 9)))
    assert differences(changed, expected).keys() == {oracle.MISSING}


def test_trades_in_another_order_are_found(expected: Outcome) -> None:
    changed = replace(expected, steps=steps(("a", 4, 9), ("a", 0, 4)))
    assert differences(changed, expected).keys() == {oracle.SEQUENCE}
