"""What waits between the stream of a market and the term that reads it."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.market.builder.gaps import DISCONNECT, ID_JUMP, START, UNKNOWN
from common.market.trade import Trade, TradeRow, Trades
from tests.kit.strategies import LAW
from workers.sources.venue import live_trades
from workers.sources.venue.live_trades import LiveTrades
from workers.venues.shared.live import LOST

PATIENCE_S = 30


def row(number: int) -> TradeRow:
    return Trade(1_000 + number, number, 100 + number, 5, number % 3)


def rows(*numbers: int) -> list[TradeRow]:
    return [row(number) for number in numbers]


def test_a_batch_is_made_of_all_that_waits_in_the_order_it_came() -> None:
    live = LiveTrades(cause=ID_JUMP)
    live.put(rows(1))
    live.put(rows(2, 3))
    assert live.arrived.is_set()
    batch = live.take(10)
    assert batch.trades == Trades.of(rows(1, 2, 3)) and batch.cause == ID_JUMP
    assert live.is_empty and not live.take(10).trades


def test_no_more_is_taken_than_asked_for_and_the_rest_waits() -> None:
    live = LiveTrades(cause=ID_JUMP)
    live.put(rows(*range(7)))
    live.put(rows(7, 8))
    assert [live.take(4).trades.ids for _ in range(4)] == [[0, 1, 2, 3], [4, 5, 6, 7], [8], []]


def test_the_first_after_a_break_has_its_cause_alone() -> None:
    live = LiveTrades()
    live.put(rows(1))
    live.disconnected(LOST)
    live.put(rows(5))
    live.put(rows(6))
    taken = [live.take(10) for _ in range(4)]
    assert [(batch.cause, batch.trades.ids) for batch in taken] == [
        (START, [1]),
        (DISCONNECT, [5]),
        (ID_JUMP, [6]),
        (UNKNOWN, []),
    ]


def test_an_id_of_none_never_comes_before_the_trades_that_came_before_it() -> None:
    """It would open a hole where nothing is missing."""
    live = LiveTrades(cause=ID_JUMP)
    live.put(rows(1, 2, 3))
    live.put_none(4, 1_004)
    live.put(rows(5))
    first, second = live.take(2), live.take(10)
    assert (first.trades.ids, first.covered) == ([1, 2], [])
    assert (second.trades.ids, [span.first for span in second.covered]) == ([3, 5], [4])


@LAW
@given(st.lists(st.one_of(st.integers(0, 3), st.just("none"), st.just("lost")), max_size=30), st.integers(1, 5))
def test_everything_comes_out_once_and_in_order(what: list[int | str], limit: int) -> None:
    live, put, number = LiveTrades(), list[int](), 0
    for each in what:
        if each == "lost":
            live.disconnected(LOST)
        elif each == "none":
            number += 1
            live.put_none(number, 1_000 + number)
        elif isinstance(each, int) and each:
            put += range(number + 1, number + 1 + each)
            live.put(rows(*range(number + 1, number + 1 + each)))
            number += each
    ids, covered = list[int](), list[int]()
    while not live.is_empty:
        batch = live.take(limit)
        assert len(batch.trades) <= limit
        ids += batch.trades.ids
        covered += [span.first for span in batch.covered]
        # What is covered by now is of ids up to the last trade taken, or of those that follow it at once.
        assert set(range(1, max([*ids, *covered]) + 1)) == {*ids, *covered}
    assert ids == put and sorted(ids + covered) == list(range(1, number + 1))


@pytest.mark.anyio
async def test_a_socket_waits_while_too_many_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_trades, "MAX_WAITING", 3)
    live = LiveTrades()
    live.put(rows(1, 2, 3, 4))
    waiting = asyncio.create_task(live.room())
    await asyncio.sleep(0)
    assert not waiting.done()
    live.take(1)
    await asyncio.wait_for(waiting, PATIENCE_S)
