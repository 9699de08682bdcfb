"""Symbols on demand and places for streams, on both servers."""

from redis.asyncio import Redis

from common.market.instrument import Instrument
from common.store.demand import Caps, Demand, StreamSlot, WantedFleet
from common.store.keys import ALL_STREAMS, SymbolKeys, streams_key
from common.store.registry import Market, Registry

CAPS = Caps(of_venue=2, in_all=3)


def market(symbol: str, **source: str) -> Market:
    return Market(Instrument(symbol, 2, 3, "contiguous"), {"kind": "venue", **source})


async def test_what_is_always_served_and_what_is_asked_for_is_wanted(client: Redis) -> None:
    registry, wanted, demand = Registry(client), WantedFleet(client), Demand(client)
    for found in (market("V:A"), market("V:B", demand="on_demand"), market("V:C", demand="on_demand")):
        await registry.add_symbol(found)
    assert set(await wanted.symbols()) == {"V:A"}
    await demand.ask(["V:B"])
    assert set(await wanted.symbols()) == {"V:A", "V:B"}
    assert await demand.asked(["V:A", "V:B", "V:C"]) == {"V:B"}
    # What nobody renews is forgotten.
    assert 0 < await client.pttl(SymbolKeys("V:B").demand) <= 30_000
    await client.delete(SymbolKeys("V:B").demand)
    assert set(await wanted.symbols()) == {"V:A"}


async def test_there_are_only_so_many_places_at_a_venue_and_in_all(client: Redis) -> None:
    slots = {name: StreamSlot(client, name[0], name, CAPS) for name in ("A1", "A2", "A3", "B1", "B2")}
    assert [await slots[name].take() for name in ("A1", "A2", "A3")] == [True, True, False]
    assert [await slots[name].take() for name in ("B1", "B2")] == [True, False]
    # Who was refused holds no half of a place.
    assert await client.zcard(streams_key("B")) == 1 and await client.zcard(ALL_STREAMS) == 3
    # A place that is kept costs nobody else's.
    assert [await slots[name].take() for name in ("A1", "A2", "B1")] == [True, True, True]
    await slots["A1"].leave()
    assert [await slots[name].take() for name in ("B2", "A3")] == [True, False]


async def test_the_place_of_one_who_gives_no_sign_of_life_is_free_again(client: Redis) -> None:
    first, second = (StreamSlot(client, "A", name, Caps(1, 1)) for name in ("A1", "A2"))
    assert await first.take() and not await second.take()
    for key in (streams_key("A"), ALL_STREAMS):
        await client.zadd(key, {"A1": 1})
    assert await second.take() and not await first.take()
