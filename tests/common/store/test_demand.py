"""Symbols on demand and places for streams, on both servers."""

from redis.asyncio import Redis

from common.store.demand import Caps, Demand, StreamSlot
from common.store.keys import ALL_STREAMS, SymbolKeys, streams_key

CAPS = Caps(of_venue=2, in_all=3)


async def test_who_is_asked_for_is_known_until_nobody_asks_any_more(client: Redis) -> None:
    demand = Demand(client)
    await demand.ask(["V:B"])
    assert await demand.asked(["V:A", "V:B", "V:C"]) == {"V:B"}
    assert await demand.asked(["V:A"]) == await demand.asked([]) == set()
    # What nobody renews is forgotten.
    assert 0 < await client.pttl(SymbolKeys("V:B").demand) <= 30_000
    await client.delete(SymbolKeys("V:B").demand)
    assert await demand.asked(["V:A", "V:B", "V:C"]) == set()


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
