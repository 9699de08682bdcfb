"""Fifty workers on one budget, all starting again at once: the venue refuses none of them, and all catch up."""

import asyncio
from contextlib import AsyncExitStack

import pytest

from common.store.client import blocking_client
from infra.exchange import Exchange, ExchangeMarket, MarketClock, Rules, Simulation, listing_of, serving
from tests.kit.venue_line import Line
from tests.kit.waiting import wait_until_async
from workers.venues.shared.budget import OpenBudget

pytestmark = pytest.mark.chaos

WORKERS = 50
# So tight that half of a restart's requests must wait for the next window; and that is longer than all of them take.
RULES = Rules(weight_limit=25 * WORKERS // 2, weight_window_ms=4_000, connect_limit=10_000)
NAMES = [f"COIN{number:02d}USDT" for number in range(WORKERS)]
AWAY_MS = 60_000


async def restarted_together(redis_url: str, *, shares_budget: bool) -> Exchange:
    """Serve all markets for a moment, be away for a minute, and come back at once.

    Returns when nothing is missing any more, or, with a budget each, when one is refused.
    """
    markets = [
        ExchangeMarket(Simulation(listing_of(name), seed=at, orders_per_s=1.0), RULES) for at, name in enumerate(NAMES)
    ]
    exchange = Exchange(markets, rules=RULES)
    async with serving(exchange) as address, AsyncExitStack() as stack:
        lines = []
        for name in NAMES:
            # Fifty begin in this one process: where that is slow, the store is not away.
            client = blocking_client(redis_url)
            stack.push_async_callback(client.aclose)
            made = Line(exchange, address, MarketClock(exchange), client, 0, name=name, limits=RULES, keeps_book=False)
            if not shares_budget:
                made.own_budget = OpenBudget()
            lines.append(made)
        exchange.speed = 1.0
        try:
            await asyncio.gather(*(made.start() for made in lines))
            await wait_until_async(lambda: all(made.coverage.spans() for made in lines), timeout_s=60)
            await asyncio.gather(*(made.stop() for made in lines))
            exchange.advance(AWAY_MS)
            await asyncio.gather(*(made.start() for made in lines))
            if shares_budget:
                await wait_until_async(lambda: all(made.has_caught_up for made in lines), timeout_s=60)
            else:
                await wait_until_async(lambda: exchange.stats.answers[429], timeout_s=30)
        finally:
            await asyncio.gather(*(made.stop() for made in lines))
    return exchange


@pytest.mark.timeout(120)
async def test_fifty_workers_that_restart_at_once_are_not_refused_and_catch_up(redis_url: str) -> None:
    exchange = await restarted_together(redis_url, shares_budget=True)
    assert exchange.stats.requests["historicalTrades"] >= WORKERS
    assert exchange.stats.answers[429] == exchange.stats.answers[418] == 0
    assert exchange.stats.violations == {}


@pytest.mark.timeout(120)
async def test_without_a_common_budget_they_are_refused(redis_url: str) -> None:
    """The negative control: what is asked of the exchange is more than it allows."""
    await restarted_together(redis_url, shares_budget=False)
