"""Symbols on demand, and those beyond the cap of streams: nobody streams whom nobody asks for, or who has no place."""

import asyncio
from dataclasses import replace

from redis.asyncio import Redis

from common.clock import JudgedClock
from common.store.client import commit_client
from common.store.commit import StreamBounds
from common.store.demand import Caps
from common.store.keys import SymbolKeys
from common.store.owners import Owners
from common.store.registry import Market as Wanted
from common.store.registry import Registry
from common.store.symbol import SymbolStore
from common.store.wanted import WantedFleet
from infra.exchange import Exchange, ExchangeMarket, MarketClock, Simulation, listing_of, serving
from tests.kit.clocks import AttentiveClock
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


async def test_a_symbol_on_demand_is_streamed_only_while_somebody_asks_for_it(redis_url: str) -> None:
    exchange, client = exchange_of(), commit_client(redis_url)
    async with serving(exchange) as address:
        exchange.speed = 1.0
        await _register(client, address.rest, address.ws)
        clock = MarketClock(exchange)
        place = WorkerContext(
            holder="tests",
            clock=JudgedClock(clock),
            settings=replace(SETTINGS, lease_ttl_ms=6_000),
            owners=Owners(client).look,
            stores=lambda symbol: SymbolStore(client, symbol, StreamBounds(1_000, 1_000)),
            sources=lambda market: SOURCES[market.kind](market, SourceContext(client, client, clock, caps=Caps(9, 9))),
        )
        claimer = Claimer(WantedFleet(client), place, frozenset(SOURCES), max_symbols=1)
        running = asyncio.create_task(claimer.run())

        def streamed() -> list[str]:
            return sorted(stream for each in exchange.hub.open for stream in each.streams)

        try:
            for name in [*NAMES, NAMES[0]]:
                # What switching charts does.
                await client.set(SymbolKeys(f"LOCAL:{name}").demand, b"1")
                expected = [f"{name.lower()}@trade"]
                await wait_until_async(lambda: streamed() == expected, timeout_s=20)  # noqa: B023 - waited for here
                await client.delete(SymbolKeys(f"LOCAL:{name}").demand)
                await wait_until_async(lambda: streamed() == [] and not exchange.hub.open, timeout_s=20)
        finally:
            claimer.stop()
            await running
            await client.aclose()


async def _register(client: Redis, rest_url: str, socket_url: str) -> None:
    for name in NAMES:
        source = {"kind": "venue", "venue": "LOCAL", "name": name, "price_step_ticks": 1, "size_step_lots": 1}
        urls = {"rest_url": rest_url, "socket_url": socket_url, "demand": "on_demand"}
        instrument = listing_of(name).instrument
        await Registry(client).add_symbol(
            Wanted(replace(instrument, symbol=f"LOCAL:{name}", size_decimals=8), source | urls)
        )
