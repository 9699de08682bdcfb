"""The venue source in a term, against the local exchange over real sockets: whatever happens, the truth comes out."""

from urllib.parse import parse_qs

import orjson
import pytest

from common.market.builder.gaps import DISCONNECT, ID_JUMP, REPAIRED, START, UNFILLABLE
from common.market.builder.spans import Hole
from common.market.builder.validity import BELOW_FLOOR
from common.market.candle import BACKFILL, LIVE
from common.market.coding.codec import unpack_candle
from common.market.timeframes.timeframe import MINUTE_MS, minute_of
from infra.exchange import Ban, Drop, Duplicate, Fault, Garbage, Halt, Reorder, Reset, Throttle
from infra.exchange import StreamGap as GapFault
from tests.kit.fakes import START_MS
from tests.kit.venue_line import NAME, Line, bare, come_to_rest, exchange_of, line, pass_market_time
from tests.kit.waiting import wait_until_async

pytestmark = pytest.mark.process


async def test_a_new_market_is_live_at_once_and_its_history_comes_behind(redis_url: str) -> None:
    async with line(exchange_of(history_ms=15 * MINUTE_MS), redis_url, history_ms=10 * MINUTE_MS) as made:
        begun_ms = made.exchange.now_ms
        await made.start()
        await pass_market_time(made, 3 * MINUTE_MS)
        await come_to_rest(made)
        made.assert_true()
        (span,) = made.coverage.spans()
        # A busy machine may lose its socket besides.
        (gap,) = (gap for gap in made.gaps if gap.cause == START)
        assert (gap.state, gap.missing, gap.replaced) == (REPAIRED, 0, 0)
        # From the first trade of the time that was asked for, which was after the start and before the gap was seen.
        assert begun_ms <= span.from_ms + 10 * MINUTE_MS < gap.seen_ms + 10_000
        assert gap.recovered == gap.last - gap.first + 1
        sources = {minute.candle.sources for minute in made.closed().values()}
        assert BACKFILL in sources and LIVE in sources


async def test_a_restart_fills_what_was_traded_meanwhile(redis_url: str) -> None:
    async with line(exchange_of(), redis_url) as made:
        await made.start()
        await pass_market_time(made, MINUTE_MS)
        await made.stop()
        await pass_market_time(made, 3 * MINUTE_MS)
        await made.start()
        await pass_market_time(made, MINUTE_MS)
        await come_to_rest(made)
        made.assert_true()
        assert START in {gap.cause for gap in made.gaps} and {gap.state for gap in made.gaps} == {REPAIRED}


@pytest.mark.parametrize(
    ("fault", "cause"),
    [
        (Drop(NAME, count=5), ID_JUMP),
        (GapFault(NAME, count=5), ID_JUMP),
        (Reset(), DISCONNECT),
        (Garbage(NAME, form="mutated", count=3, replace=True), ID_JUMP),
    ],
    ids=["drop", "gap", "reset", "garbage"],
)
async def test_what_a_fault_takes_is_a_gap_with_its_cause_and_comes_back(
    fault: Fault, cause: str, redis_url: str
) -> None:
    async with line(exchange_of(orders_per_s=20), redis_url) as made:
        await made.start()
        await pass_market_time(made, MINUTE_MS)
        before = len(made.gaps)
        made.exchange.inject(fault)
        await pass_market_time(made, 2 * MINUTE_MS)
        await come_to_rest(made)
        made.assert_true()
        new = made.gaps[before:]
        # A busy machine may lose its socket besides.
        assert cause in {gap.cause for gap in new} and {gap.state for gap in new} == {REPAIRED}


@pytest.mark.parametrize(
    "fault", [Duplicate(NAME, count=20), Reorder(NAME, count=20, distance=2)], ids=["twice", "late"]
)
async def test_trades_that_come_twice_or_late_change_nothing(fault: Fault, redis_url: str) -> None:
    async with line(exchange_of(), redis_url) as made:
        await made.start()
        await pass_market_time(made, MINUTE_MS)
        made.exchange.inject(fault)
        await pass_market_time(made, 2 * MINUTE_MS)
        await come_to_rest(made)
        made.assert_true()


async def test_a_halt_is_no_gap_and_its_minutes_are_closed_by_the_clock(redis_url: str) -> None:
    async with line(exchange_of(), redis_url) as made:
        await made.start()
        await pass_market_time(made, MINUTE_MS)
        made.exchange.inject(Halt(NAME, ms=10_000_000))
        last_ms = made.market.trades().ts_ms[-1]
        await wait_until_async(lambda: minute_of(last_ms) in made.closed())
        assert made.is_whole and {gap.state for gap in made.gaps} <= {REPAIRED}


# Seconds of the minute in which the market opens. At its ends the first minute, of which the beginning is missing, has
# the last trade before the gap.
@pytest.mark.parametrize("opens_s", [0, 30, 54, 59])
async def test_trades_that_are_not_served_are_replaced_by_the_venues_candles(redis_url: str, opens_s: int) -> None:
    async with line(exchange_of(start_ms=START_MS + opens_s * 1_000), redis_url) as made:
        await made.start()
        await pass_market_time(made, MINUTE_MS)
        injection = made.exchange.inject(GapFault(NAME, count=10, rest="klines"))
        await wait_until_async(lambda: injection.done)
        await wait_until_async(lambda: [gap for gap in made.gaps if gap.over and gap.replaced], timeout_s=30)
        (gap,) = (gap for gap in made.gaps if gap.replaced)
        assert (gap.state, gap.replaced, gap.recovered) == (REPAIRED, gap.last - gap.first + 1, 0)
        tables = made.model.tables
        replaced = {minute_of(gap.from_ms), minute_of(gap.to_ms)}
        for open_ms in replaced:
            assert open_ms not in tables.footprints
            ours = unpack_candle(tables.candles[open_ms])
            assert bare(ours) == bare(made.whole(open_ms))
            assert ours.source == "backfill" and ours.rev > 0


async def test_what_the_venue_does_not_have_at_all_stays_a_gap_that_can_not_be_filled(redis_url: str) -> None:
    async with line(exchange_of(), redis_url) as made:
        await made.start()
        await pass_market_time(made, MINUTE_MS)
        made.exchange.inject(GapFault(NAME, count=10, rest="nothing"))
        await wait_until_async(lambda: [gap for gap in made.gaps if gap.state == UNFILLABLE], timeout_s=30)
        (gap,) = (gap for gap in made.gaps if gap.state == UNFILLABLE)
        assert gap.missing == gap.last - gap.first + 1
        assert Hole(gap.first, gap.last, gap.from_ms, gap.to_ms) in made.coverage.holes()
        # It is not asked for again; what is traded now may be, by a busy machine that has lost its socket.
        asked = len(ids_asked_for(made))
        await pass_market_time(made, 2 * MINUTE_MS)
        assert gap in made.gaps
        assert not [first for first in ids_asked_for(made)[asked:] if first <= gap.last]


def ids_asked_for(made: Line) -> list[int]:
    """The first id of each request of trades by their ids."""
    asked = (parse_qs(each.query) for each in made.exchange.stats.request_log if each.path == "historicalTrades")
    return [int(query["fromId"][0]) for query in asked]


def drop_before(made: Line, floor_ms: int) -> int:
    """Retention has dropped minutes before that; the first id that is kept."""
    made.model.tables.candle_floor_ms = floor_ms
    return next(row.id for row in made.market.trades().rows() if row.ts_ms >= floor_ms)


async def test_what_retention_does_not_keep_is_given_up_and_not_asked_for_again(redis_url: str) -> None:
    """Trades of dropped minutes are refused: a hole of them can't be filled, however often it is asked for."""
    async with line(exchange_of(), redis_url) as made:
        await made.start()
        await wait_until_async(lambda: made.coverage.spans())
        await made.stop()
        made.exchange.advance(30 * MINUTE_MS)
        first = drop_before(made, minute_of(made.exchange.now_ms) - 10 * MINUTE_MS)
        await made.start()
        await wait_until_async(lambda: UNFILLABLE in [gap.state for gap in made.gaps], timeout_s=30)
        await wait_until_async(lambda: all(gap.over for gap in made.gaps), timeout_s=30)
        # All that is kept is there.
        assert made.coverage.spans()[1].first == first
        asked = len(ids_asked_for(made))
        await pass_market_time(made, 5 * MINUTE_MS)
        # What is traded now may be asked for, by a busy machine that has lost its socket.
        assert not [each for each in ids_asked_for(made)[asked:] if each < first]
        checkpoint = made.model.tables.checkpoint
        assert checkpoint and BELOW_FLOOR in orjson.loads(checkpoint.refused)


async def test_the_history_of_a_new_market_begins_where_retention_does(redis_url: str) -> None:
    async with line(exchange_of(history_ms=30 * MINUTE_MS), redis_url) as made:
        # A trade of now comes first: before it nothing says how far back minutes are kept.
        await made.start()
        await wait_until_async(lambda: made.coverage.spans())
        await made.stop()
        first = drop_before(made, minute_of(made.exchange.now_ms) - 10 * MINUTE_MS)
        made.model.tables.position, made.history_ms = "", 30 * MINUTE_MS
        await made.start()
        await wait_until_async(lambda: made.coverage.spans()[0].first == first, timeout_s=30)
        checkpoint = made.model.tables.checkpoint
        assert checkpoint and orjson.loads(checkpoint.refused) == {}


@pytest.mark.parametrize("fault", [Throttle(retry_after_s=1), Ban(retry_after_s=1)], ids=["429", "418"])
async def test_while_throttled_the_symbol_is_degraded_and_recovers(fault: Fault, redis_url: str) -> None:
    async with line(exchange_of(), redis_url) as made:
        await made.start()
        await pass_market_time(made, MINUTE_MS)
        made.exchange.inject(fault)
        made.exchange.inject(Drop(NAME, count=3))
        degraded = {"throttled": "true", "mode": "DEGRADED", "reason": "throttled"}
        await wait_until_async(lambda: [told for told in made.health if degraded.items() <= told.items()], timeout_s=20)
        (until, *_) = [told["throttled_until_ms"] for told in made.health if degraded.items() <= told.items()]
        assert until.isdigit()
        await come_to_rest(made)
        made.assert_true()
        await wait_until_async(lambda: made.health[-1]["throttled"] == "false", timeout_s=20)
        assert made.health[-1]["throttled_until_ms"] == ""
