"""Symbols on demand, and those beyond the cap of streams: nobody streams whom nobody asks for, or who has no place."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

from redis.asyncio import Redis

from common.clock import JudgedClock
from common.store.client import commit_client
from common.store.commit import StreamBounds
from common.store.demand import Caps, Demand
from common.store.keys import SymbolKeys
from common.store.owners import Owners
from common.store.registry import Market as Wanted
from common.store.registry import Registry
from common.store.symbol import SymbolStore
from common.store.wanted import WantedFleet
from infra.exchange import Exchange, ExchangeMarket, MarketClock, Simulation, listing_of, serving
from tests.kit.clocks import AttentiveClock
from tests.kit.served import say, served
from tests.kit.venue_line import EASY, SETTINGS, SPEED, Line
from tests.kit.waiting import wait_until_async
from workers.sources import SOURCES, SourceContext
from workers.sources.venue.following import REST, WS
from workers.symbol.claims import Claimer, WorkerContext

NAMES = ["BTCUSDT", "ETHUSDT"]
ONE = Caps(of_venue=1, in_all=1)


def exchange_of() -> Exchange:
    markets = [ExchangeMarket(Simulation(listing_of(name), 7, 3.0), EASY) for name in NAMES]
    return Exchange(markets, rules=EASY, clock=AttentiveClock())


async def test_beyond_the_cap_a_symbol_is_read_by_rest_and_takes_the_first_place_that_is_free(redis_url: str) -> None:
    exchange, client = exchange_of(), commit_client(redis_url)
    async with serving(exchange) as address:
        exchange.speed = SPEED
        first, second = (
            Line(exchange, address, MarketClock(exchange), client, 0, name=name, keeps_book=False, slots=ONE)
            for name in NAMES
        )
        try:
            await first.start()
            await wait_until_async(lambda: first.coverage.spans(), timeout_s=20)
            await second.start()
            # Whole pages of trades, and never a gap between them.
            await wait_until_async(lambda: second.coverage.spans() and len(second.closed()) >= 3, timeout_s=20)
            assert (first.source.name, second.source.name) == (WS, REST)
            assert len(exchange.hub.open) == 1 and second.gaps == []
            second.assert_true()
            await first.stop()
            await wait_until_async(lambda: second.source.name == WS, timeout_s=20)
            await wait_until_async(lambda: len(exchange.hub.open) == 1, timeout_s=20)
        finally:
            await first.stop()
            await second.stop()
            await client.aclose()


@asynccontextmanager
async def working(exchange: Exchange, client: Redis, caps: Caps, symbols: int) -> AsyncIterator[None]:
    """A worker of so many symbols, and the two markets on demand."""
    async with serving(exchange) as address:
        exchange.speed = 1.0
        await _register(client, address.rest, address.ws)
        clock = MarketClock(exchange)
        context = SourceContext(client, client, clock, caps=caps)
        place = WorkerContext(
            holder="tests",
            clock=JudgedClock(clock),
            settings=replace(SETTINGS, lease_ttl_ms=6_000),
            owners=Owners(client).look,
            stores=lambda symbol: SymbolStore(client, symbol, StreamBounds(1_000, 1_000)),
            sources=lambda market: SOURCES[market.kind](market, context),
        )
        claimer = Claimer(WantedFleet(client), place, frozenset(SOURCES), symbols)
        running = asyncio.create_task(claimer.run())
        try:
            yield
        finally:
            claimer.stop()
            await running


def streamed(exchange: Exchange) -> list[str]:
    return sorted(stream for each in exchange.hub.open for stream in each.streams)


async def test_a_symbol_on_demand_is_streamed_only_while_somebody_asks_for_it(client: Redis) -> None:
    exchange, demand = exchange_of(), Demand(client)
    async with working(exchange, client, Caps(9, 9), symbols=1):
        for name in [*NAMES, NAMES[0]]:
            # What switching charts does.
            await demand.ask([f"LOCAL:{name}"])
            await wait_until_async(lambda: streamed(exchange) == [f"{name.lower()}@trade"], timeout_s=20)  # noqa: B023 - waited for here
            await demand.release([f"LOCAL:{name}"], 0)
            await wait_until_async(lambda: streamed(exchange) == [] and not exchange.hub.open, timeout_s=20)


async def test_of_two_charts_the_one_in_focus_has_the_only_stream_of_its_kind(redis_url: str, client: Redis) -> None:
    """Both stay open, each with a client of its own. And at no moment are there two streams."""
    exchange, most = exchange_of(), 0

    async def count() -> None:
        nonlocal most
        while True:
            most = max(most, len(exchange.hub.open))
            await asyncio.sleep(0.005)

    caps = Caps(9, 9, {"crypto": 1})
    async with working(exchange, client, caps, symbols=2), served(redis_url) as feed, feed.connect() as one:
        counting = asyncio.create_task(count())
        async with feed.connect() as other:
            clients = dict(zip(NAMES, (one, other), strict=True))
            for name in NAMES:
                await say(clients[name], action="subscribe", symbol=f"LOCAL:{name}", timeframe="1m")
            await wait_until_async(lambda: _sources(client, {"ws", "rest"}), timeout_s=20)
            for name in [*NAMES, NAMES[0]]:
                await say(clients[name], action="focus", symbol=f"LOCAL:{name}", timeframe="1m")
                await wait_until_async(lambda: streamed(exchange) == [f"{name.lower()}@trade"], timeout_s=20)  # noqa: B023 - as above
            await wait_until_async(lambda: _sources(client, {"ws", "rest"}), timeout_s=20)
        counting.cancel()
    assert most == 1


async def _sources(client: Redis, expected: set[str]) -> bool:
    found: list[Any] = [await client.hget(SymbolKeys(f"LOCAL:{name}").health, "source") for name in NAMES]
    return {(each or b"").decode() for each in found} == expected


async def _register(client: Redis, rest_url: str, socket_url: str) -> None:
    for name in NAMES:
        source = {"kind": "venue", "venue": "LOCAL", "name": name, "price_step_ticks": 1, "size_step_lots": 1}
        urls = {"rest_url": rest_url, "socket_url": socket_url, "demand": "on_demand"}
        instrument = replace(listing_of(name).instrument, symbol=f"LOCAL:{name}", size_decimals=8)
        await Registry(client).add_symbol(Wanted(instrument, source | urls, instrument_kind="crypto"))
