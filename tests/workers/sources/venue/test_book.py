"""The keeper of a book, where the venue sends a whole one only with a subscription."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from redis.asyncio import Redis

from common.clock import SystemClock
from common.market.instrument import Instrument
from common.market.scale import Scales
from common.store.keys import SymbolKeys
from tests.kit.waiting import wait_until_async
from workers.sources.venue.book import BookKeeper
from workers.sources.venue.source import book_stores
from workers.venues.coinbase.book_rule import CoinbaseRule
from workers.venues.shared.base import DepthEvent

SYMBOL, TOKEN = "V:A", "a" * 32
NOW_MS = SystemClock().now_ms()
WHOLE = DepthEvent("A", NOW_MS, -1, -1, -1, [(100, 5)], [(101, 5)], snapshot=True)
CHANGE = DepthEvent("A", NOW_MS, -1, -1, -1, [(100, 7)], [])
CROSSING = DepthEvent("A", NOW_MS, -1, -1, -1, [(102, 1)], [])


@asynccontextmanager
async def keeping(client: Redis) -> AsyncIterator[BookKeeper]:
    await client.hset(SymbolKeys(SYMBOL).owner, "token", TOKEN)
    instrument = Instrument(SYMBOL, 2, 3)
    stores, scales = book_stores(client, instrument, 10), Scales.unchanged(instrument.scale)
    keeper = BookKeeper(CoinbaseRule(), stores, asyncio.Future, SystemClock(), TOKEN, SYMBOL, scales)
    task = asyncio.create_task(keeper.run())
    await wait_until_async(lambda: keeper._history)
    keeper.connected()
    try:
        yield keeper
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_a_whole_book_and_its_changes_need_no_other(client: Redis) -> None:
    async with keeping(client) as keeper:
        for event in (WHOLE, CHANGE):
            keeper.take(event)
            assert not keeper.needs_resubscription
        book = keeper.stores.book.keys.book
        await wait_until_async(lambda: client.exists(book))


async def test_a_change_without_a_book_needs_a_new_subscription(client: Redis) -> None:
    """The whole one came while the stored history was still being read."""
    async with keeping(client) as keeper:
        keeper.take(CHANGE)
        assert keeper.needs_resubscription
        keeper.lost()
        assert not keeper.needs_resubscription


async def test_a_broken_book_needs_a_new_subscription(client: Redis) -> None:
    async with keeping(client) as keeper:
        keeper.take(WHOLE)
        keeper.take(CROSSING)
        assert keeper.needs_resubscription
