"""The keeper of a book, where the venue sends a whole one only with a subscription."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from redis.asyncio import Redis

from common.clock import SystemClock
from common.market.depth.sync import Rule
from common.market.instrument import Instrument
from common.market.scale import Scales
from common.store.book import BookReader, NumberedBook
from common.store.keys import SymbolKeys
from tests.kit.book_model import FIRST_MID
from tests.kit.waiting import wait_until_async
from workers.sources.venue.book import LISTENED_MS, WRITE_MS, BookKeeper, book_stores
from workers.venues.binance.book_rule import BinanceSpotRule
from workers.venues.coinbase.book_rule import CoinbaseRule
from workers.venues.shared.base import DepthEvent

SYMBOL, TOKEN = "V:A", "a" * 32
NOW_MS = SystemClock().now_ms()
WHOLE = DepthEvent("A", NOW_MS, -1, -1, -1, [(100, 5)], [(101, 5)], snapshot=True)
CHANGE = DepthEvent("A", NOW_MS, -1, -1, -1, [(100, 7)], [])
CROSSING = DepthEvent("A", NOW_MS, -1, -1, -1, [(102, 1)], [])


async def _always() -> bool:
    return True


@asynccontextmanager
async def keeping(
    client: Redis, rule: Rule | None = None, may_widen: Callable[[], Awaitable[bool]] = _always
) -> AsyncIterator[BookKeeper]:
    await client.hset(SymbolKeys(SYMBOL).owner, "token", TOKEN)
    instrument = Instrument(SYMBOL, 2, 3)
    stores, scales = book_stores(client, instrument, 10), Scales.unchanged(instrument.scale)
    rule = rule or CoinbaseRule()
    keeper = BookKeeper(rule, stores, asyncio.Future, may_widen, SystemClock(), TOKEN, SYMBOL, scales)
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


async def test_a_book_is_written_at_the_pace_of_venues_while_somebody_listens(client: Redis) -> None:
    async with keeping(client) as keeper:
        keeper.take(WHOLE)
        await wait_until_async(lambda: client.exists(keeper.stores.book.keys.book))
        assert keeper._pace_ms == WRITE_MS
        pubsub = client.pubsub()
        await pubsub.subscribe(SymbolKeys(SYMBOL).depth)
        assert await pubsub.get_message(timeout=5)
        keeper.take(CHANGE)
        await wait_until_async(lambda: keeper._pace_ms == LISTENED_MS)
        message = await pubsub.get_message(ignore_subscribe_messages=True, timeout=5)
        scale = keeper.scales.now
        assert NumberedBook.unpack(message["data"], scale) == await BookReader(client, SYMBOL, scale).numbered()
        await pubsub.unsubscribe()
        assert await pubsub.get_message(timeout=5)
        await pubsub.aclose()  # type: ignore[no-untyped-call]
        keeper.take(CHANGE._replace(bids=[(1, 1)]))
        await wait_until_async(lambda: keeper._pace_ms == WRITE_MS)


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


def _levels(mid: int) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
    return [(mid - at, 1) for at in range(1, 11)], [(mid + at, 1) for at in range(1, 11)]


def _shown(update_id: int, mid: int) -> DepthEvent:
    return DepthEvent("A", NOW_MS, update_id, update_id, -1, *_levels(mid), snapshot=True, whole=(False, False))


def _risen(update_id: int, mid: int, by: int) -> DepthEvent:
    """The middle is higher: what was asked below is taken, and bids follow."""
    bids = [(mid + by - at, 1) for at in range(1, 11)]
    return DepthEvent(
        "A", NOW_MS, update_id, update_id, -1, bids, [(mid + at, 0) for at in range(1, by + 1)] + [(mid + by + 1, 1)]
    )


async def test_a_book_whose_middle_nears_what_its_snapshot_reached_is_asked_for_once_more(client: Redis) -> None:
    async with keeping(client, BinanceSpotRule()) as keeper:
        keeper.take(_shown(1, FIRST_MID))
        keeper.take(_risen(2, FIRST_MID, 1))
        history = keeper._history
        assert history is not None
        keeper.take(_risen(3, FIRST_MID, 9))
        await wait_until_async(lambda: history.wider is not None)
        assert keeper._fetching is not None
        keeper._fetching.set_result(_shown(3, FIRST_MID + 9)._replace(bids=_risen(3, FIRST_MID, 9).bids))
        await wait_until_async(lambda: history.sync.book.high_ticks == FIRST_MID + 19)
        keeper.take(_risen(4, FIRST_MID + 9, 9))
        # Not before a minute is over.
        assert not keeper._is_widening_due(keeper.clock.monotonic_ms() + 50_000)
        assert keeper._is_widening_due(keeper.clock.monotonic_ms() + 61_000)


async def test_a_book_in_step_is_not_asked_for_where_others_need_the_budget(client: Redis) -> None:
    asked = asyncio.Event()

    async def never() -> bool:
        asked.set()
        return False

    async with keeping(client, BinanceSpotRule(), never) as keeper:
        keeper.take(_shown(1, FIRST_MID))
        keeper.take(_risen(2, FIRST_MID, 9))
        await asyncio.wait_for(asked.wait(), 10)
        assert keeper._fetching is None
