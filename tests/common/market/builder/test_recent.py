"""The last trades applied, and what is told of one that comes again."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.market.builder.recent import SEGMENTS, TIME_PRECISION_MS, Conflict, RecentTrades, differ
from common.market.coding import codec
from common.market.instrument import Instrument
from common.market.trade import BUY, SELL, Trade, Trades
from tests.kit.strategies import LAW

TRADE = Trade(1_700_000_000_000, 7, 100, 3, BUY)
MAX_BATCH = 6
ROWS = st.builds(Trade, st.integers(0, 9), st.integers(0, 12), st.integers(1, 3), st.integers(0, 3), st.integers(0, 2))


@LAW
@given(st.lists(st.lists(ROWS, max_size=MAX_BATCH), max_size=12), st.integers(1, 20), st.data())
def test_of_the_last_ones_each_is_found_and_of_two_of_one_id_the_newer(
    batches: list[list[Trade]], count: int, data: st.DataObject
) -> None:
    recent, added = RecentTrades(count), list[Trade]()
    for batch in batches:
        recent.add(codec.pack_trades(Trades.of(batch)))
        added += batch
        assert min(count, len(added)) <= len(recent) < count + count // SEGMENTS + 1 + MAX_BATCH
        if data.draw(st.booleans()):
            kept = {trade.id: trade for trade in added[-len(recent) :]} if len(recent) else {}
            assert [recent.find(trade_id) for trade_id in range(13)] == [kept.get(trade_id) for trade_id in range(13)]


@pytest.mark.parametrize(
    ("other", "expected"),
    [
        (TRADE, False),
        (TRADE._replace(price_ticks=101), True),
        (TRADE._replace(size_lots=4), True),
        (TRADE._replace(side=SELL), True),
        # Told less exactly by another source.
        (TRADE._replace(ts_ms=TRADE.ts_ms - TIME_PRECISION_MS + 1), False),
        (TRADE._replace(ts_ms=TRADE.ts_ms + TIME_PRECISION_MS), True),
    ],
)
def test_trades_of_one_id_differ_by_price_size_side_and_by_a_second(other: Trade, expected: bool) -> None:
    assert differ(TRADE, other) is differ(other, TRADE) is expected


def test_a_conflict_is_told_in_decimals() -> None:
    conflict = Conflict(TRADE, TRADE._replace(price_ticks=12_345, side=SELL))
    assert conflict.texts(Instrument("T:A", 2, 1)) == {
        "applied": "1700000000000 buy 0.3 at 1",
        "refused": "1700000000000 sell 0.3 at 123.45",
    }
