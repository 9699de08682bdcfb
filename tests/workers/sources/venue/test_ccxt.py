"""An exchange of ccxt as a source in a term: ids say nothing of what is missing, and yet the truth comes out."""

import pytest

from common.market.candle import BACKFILL, LIVE
from common.market.coding.codec import unpack_candle
from common.market.timeframes.timeframe import MINUTE_MS
from infra.exchange import Reset
from tests.kit.ccxt_line import ccxt_line, come_to_rest
from tests.kit.venue_line import exchange_of, pass_market_time
from tests.kit.waiting import wait_until_async

pytestmark = pytest.mark.process


async def test_a_new_market_is_live_and_has_its_history(redis_url: str) -> None:
    async with ccxt_line(exchange_of(history_ms=40 * MINUTE_MS), redis_url, history_ms=30 * MINUTE_MS) as made:
        begun_ms = made.exchange.now_ms
        await made.start()
        await wait_until_async(lambda: made.span, timeout_s=20)
        await pass_market_time(made, 2 * MINUTE_MS)
        await come_to_rest(made)
        made.assert_candles_are_true()
        assert made.span and made.span.from_ms < begun_ms - 25 * MINUTE_MS
        sources = {unpack_candle(packed).sources for packed in made.model.tables.candles.values()}
        assert BACKFILL in sources and LIVE in sources


async def test_a_lost_connection_costs_no_trade(redis_url: str) -> None:
    async with ccxt_line(exchange_of(), redis_url) as made:
        await made.start()
        await wait_until_async(lambda: made.span, timeout_s=20)
        for _ in range(3):
            await pass_market_time(made, MINUTE_MS)
            made.exchange.inject(Reset())
        await pass_market_time(made, 2 * MINUTE_MS)
        await come_to_rest(made)
        made.assert_candles_are_true()


async def test_a_restart_fills_what_was_traded_meanwhile(redis_url: str) -> None:
    async with ccxt_line(exchange_of(), redis_url) as made:
        await made.start()
        await wait_until_async(lambda: made.span, timeout_s=20)
        await pass_market_time(made, MINUTE_MS)
        await made.stop()
        await pass_market_time(made, 4 * MINUTE_MS)
        await made.start()
        await pass_market_time(made, MINUTE_MS)
        await come_to_rest(made)
        made.assert_candles_are_true()
