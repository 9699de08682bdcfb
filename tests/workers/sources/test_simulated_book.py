"""The order book of a simulated market: it agrees with the trades, is never crossed, and large orders live in it."""

import random

import pytest
from redis.asyncio import Redis

from common.clock import SystemClock
from common.market.depth.chunk import DepthChunk
from common.market.depth.history import BookHistory
from common.market.depth.runs import DepthLimits
from common.market.instrument import Instrument
from common.market.simulation.book import ASK, BID, BookLog
from common.market.simulation.walls import MAX_WALLS, Wall, Walls
from common.market.trade import BUY, SELL, Trades
from common.store.book import BookReader
from common.store.depth import DepthReader
from common.store.keys import SymbolKeys
from common.store.registry import Market
from tests.kit.clocks import FakeClock
from tests.kit.fakes import NOTHING_APPLIED
from tests.kit.waiting import wait_until_async
from workers.sources import SOURCES, SourceContext
from workers.sources.simulated_book import CHANGE_MS, SimulatedBook
from workers.sources.simulator import Simulator
from workers.sources.venue.book import book_stores
from workers.venues.coinbase.book_rule import CoinbaseRule

SYMBOL, TOKEN = "SIM:A", "a" * 32
INSTRUMENT = Instrument(SYMBOL, 2, 4, "contiguous")
APPLIED = NOTHING_APPLIED._replace(token=TOKEN)
MARKET = Market(INSTRUMENT, {"kind": "simulator", "price": "640", "seed": 7})


def _book(client: Redis, clock: FakeClock) -> SimulatedBook:
    """Without what writes it."""
    book = SimulatedBook.of(INSTRUMENT, 7, book_stores(client, INSTRUMENT, 10), clock, APPLIED)
    book.keeper._history = BookHistory.new(CoinbaseRule(), DepthLimits())
    return book


async def _followed(client: Redis, looks: int) -> tuple[SimulatedBook, list[DepthChunk]]:
    clock = FakeClock()
    market, book = Simulator.of(MARKET, clock), _book(client, clock)
    await market.open("", APPLIED)
    while (await market.read(10_000, 0)).backlog:
        pass
    for _ in range(looks):
        clock.advance(CHANGE_MS)
        trades = (await market.read(10_000, 0)).trades
        assert market._walk is not None
        book.follow(trades, market._walk.price_ticks, clock.now_ms())
        _check(book, trades)
    history = book.keeper._history
    assert history is not None and not history.sync.breaks and not history.sync.needs_snapshot
    current = history.recorder.current()
    assert current is not None
    return book, [*book.keeper._closed, current]


def _check(book: SimulatedBook, trades: Trades) -> None:
    """Never crossed, and what is told of it is what it is."""
    bid, ask = book.log.best(BID), book.log.best(ASK)
    assert bid is not None and ask is not None and bid < ask
    history = book.keeper._history
    assert history is not None
    for side, told in ((BID, history.sync.book.bids), (ASK, history.sync.book.asks)):
        assert told.sizes == book.log.sides[side].lots


async def test_what_is_told_is_the_book_and_it_is_recorded_without_a_break(client: Redis) -> None:
    _, chunks = await _followed(client, 1_300)
    assert len(chunks) == 3
    spans = [span for chunk in chunks for span in chunk.spans]
    assert all(span.until_ms == after.from_ms for span, after in zip(spans, spans[1:], strict=False))
    runs = sum(len(chunk.bids) + len(chunk.asks) for chunk in chunks)
    assert runs > 10_000


async def test_the_same_seed_is_the_same_book(client: Redis) -> None:
    (one, _), (other, _) = await _followed(client, 50), await _followed(client, 50)
    assert [side.lots for side in one.log.sides] == [side.lots for side in other.log.sides]


@pytest.mark.parametrize(("side", "maker", "price"), [(BUY, ASK, 64_040), (SELL, BID, 63_960)])
async def test_a_trade_prints_at_a_price_of_the_book_and_sweeps_those_before(
    client: Redis, side: int, maker: int, price: int
) -> None:
    clock = FakeClock()
    book = _book(client, clock)
    book.follow(Trades(), 64_000, clock.now_ms())
    clock.advance(1)
    trade = Trades([clock.now_ms()], [1], [price], [5], bytes([side]))
    book.follow(trade, 64_000, clock.now_ms())
    left = book.log.sides[maker].prices
    assert min(left) >= price if maker == ASK else max(left) <= price


async def test_it_goes_on_after_the_clock_was_set_back(client: Redis) -> None:
    clock = FakeClock()
    book = _book(client, clock)
    book.follow(Trades(), 64_000, clock.now_ms())
    told = book.log.last_id
    book.follow(Trades(), 64_000, clock.now_ms() + 1)
    assert book.log.last_id == told
    book.follow(Trades(), 64_000, clock.now_ms() - 7_200_000)
    assert book.log.last_id > told
    _check(book, Trades())


def _walls(shy: bool, hidden: int) -> tuple[Walls, BookLog]:
    """One wall of asks, five hundred ticks above the price; it is not the hour in which one leaves for no reason."""
    walls, book = Walls(random.Random(3), 10, [Wall(ASK, 1_000_500, 100, hidden, shy)]), BookLog(1_000)
    book.reset(1, [(999_900, 5)], [(1_000_500, 100)])
    return walls, book


def test_walls_come_and_go_far_from_the_price_and_no_more_than_so_many() -> None:
    walls, book = Walls(random.Random(1), 10), BookLog(1_000)
    book.reset(1, [(999_900, 5)], [(1_000_100, 5)])
    seen: dict[tuple[int, int], Wall] = {}
    for _ in range(20_000):
        walls.step(book, 1_000_000)
        assert len(walls.standing) <= MAX_WALLS
        seen |= {(wall.side, wall.price_ticks): wall for wall in walls.standing}
    assert len(seen) > 20 and {wall.is_shy for wall in seen.values()} == {True, False}
    assert any(wall.hidden_lots for wall in seen.values())
    assert all(100 < abs(price - 1_000_000) < 2_000 for _, price in seen)


def test_a_wall_is_pulled_as_the_price_comes_near_or_stands_to_be_eaten() -> None:
    walls, book = _walls(shy=True, hidden=0)
    walls.step(book, 1_000_450)
    assert not book.sides[ASK].lots.get(1_000_500)
    walls, book = _walls(shy=False, hidden=0)
    walls.step(book, 1_000_450)
    assert book.sides[ASK].lots[1_000_500] == 100
    book.set(ASK, 1_000_500, 0)
    walls.step(book, 1_000_450)
    assert 1_000_500 not in book.sides[ASK].lots


def test_an_order_that_hides_its_size_shows_more_as_it_is_taken() -> None:
    walls, book = _walls(shy=False, hidden=130)
    for left, shown in ((20, 100), (0, 50)):
        book.set(ASK, 1_000_500, left)
        walls.step(book, 1_000_450)
        assert book.sides[ASK].lots[1_000_500] == shown
    book.set(ASK, 1_000_500, 0)
    walls.step(book, 1_000_450)
    assert 1_000_500 not in book.sides[ASK].lots


async def test_a_simulated_market_of_the_fleet_has_a_book_and_a_history(client: Redis) -> None:
    await client.hset(SymbolKeys(SYMBOL).owner, "token", TOKEN)
    source = SOURCES["simulator"](MARKET, SourceContext(client, client, SystemClock(), depth_minutes=10))
    await source.open("", APPLIED)
    try:
        reader, history = BookReader(client, SYMBOL, INSTRUMENT.scale), DepthReader(client, SYMBOL)

        async def is_there() -> bool:
            await source.read(10_000, 50)
            return bool(await reader.book()) and bool(await history.newest())

        await wait_until_async(is_there)
        book = await reader.book()
        assert book is not None and book.live and book.bids[0][0] < book.asks[0][0]
    finally:
        await source.close()


async def test_without_a_depth_there_is_no_book(client: Redis) -> None:
    source = SOURCES["simulator"](MARKET, SourceContext(client, client, SystemClock()))
    assert isinstance(source, Simulator) and source.book_of is None
