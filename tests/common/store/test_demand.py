"""Symbols on demand and places for streams, on both servers."""

from redis.asyncio import Redis

from common.store.demand import DEMAND_TTL_MS, SLOT_TTL_MS, Caps, Demand, StreamSlot
from common.store.keys import ALL, PlaceKeys, SymbolKeys

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


async def test_what_several_ask_for_is_asked_for_until_the_last_of_them_asks_no_more(client: Redis) -> None:
    one, other = Demand(client), Demand(client)
    await one.ask(["V:A"])
    await other.ask(["V:A"])
    await one.release(["V:A"], 0)
    assert await one.asked(["V:A"]) == {"V:A"}
    # It goes on for a while, if it is to.
    await other.release(["V:A"], 5_000)
    assert 0 < await client.pttl(SymbolKeys("V:A").demand) <= 5_000
    await other.release(["V:A"], 0)
    assert await one.asked(["V:A"]) == set() and await leftovers(client) == []


async def test_what_a_feed_of_an_earlier_release_asks_for_is_asked_for(client: Redis) -> None:
    demand = Demand(client)
    await client.set(SymbolKeys("V:A").demand, b"1", px=DEMAND_TTL_MS)
    assert await demand.asked(["V:A"]) == {"V:A"}
    await demand.ask(["V:A"])
    assert await demand.asked(["V:A"]) == {"V:A"}


async def test_a_focus_is_as_old_as_it_was_when_it_is_kept(client: Redis) -> None:
    demand, key = Demand(client), SymbolKeys("V:A").focus
    await demand.focus("V:A", is_new=True)
    since = await client.get(key)
    await demand.focus("V:A", is_new=False)
    assert await client.get(key) == since and 0 < await client.pttl(key) <= DEMAND_TTL_MS
    # One who has lost it, with its store, says it again.
    await client.delete(key)
    await demand.focus("V:A", is_new=False)
    again = await client.get(key)
    assert since and again and int(again) >= int(since)


async def leftovers(client: Redis) -> list[bytes]:
    return sorted([key async for key in client.scan_iter()])


async def test_there_are_only_so_many_places_at_a_venue_and_in_all(client: Redis) -> None:
    slots = {name: StreamSlot(client, name[0], name, CAPS) for name in ("A1", "A2", "A3", "B1", "B2")}
    assert [await slots[name].take() for name in ("A1", "A2", "A3")] == [True, True, False]
    assert [await slots[name].take() for name in ("B1", "B2")] == [True, False]
    # Who was refused holds no half of a place.
    assert await client.zcard(PlaceKeys("B").places) == 1 and await client.zcard(PlaceKeys(ALL).places) == 3
    # A place that is kept costs nobody else's.
    assert [await slots[name].take() for name in ("A1", "A2", "B1")] == [True, True, True]
    await slots["A1"].leave()
    assert [await slots[name].take() for name in ("B2", "A3")] == [True, False]


async def test_the_place_of_one_who_gives_no_sign_of_life_is_free_again(client: Redis) -> None:
    first, second = (StreamSlot(client, "A", name, Caps(1, 1)) for name in ("A1", "A2"))
    assert await first.take() and not await second.take()
    for key in (PlaceKeys("A").places, PlaceKeys(ALL).places):
        await client.zadd(key, {"A1": 1})
    assert await second.take() and not await first.take()


async def focus(client: Redis, symbol: str, at_ms: int) -> None:
    await client.set(SymbolKeys(symbol).focus, at_ms)


async def test_a_kind_has_its_own_places_beside_those_of_its_venue(client: Redis) -> None:
    caps = Caps(9, 9, {"equity": 1})
    apple, google = (StreamSlot(client, "V", name, caps, "equity") for name in ("V:AAPL", "V:GOOG"))
    bitcoin, ether = (StreamSlot(client, "V", name, caps, "crypto") for name in ("V:BTC", "V:ETH"))
    assert [await each.take() for each in (apple, google, bitcoin, ether)] == [True, False, True, True]
    await apple.leave()
    assert await google.take() and not await apple.take()


async def test_the_newest_focus_wins_over_the_oldest_place_once_that_one_has_left(client: Redis) -> None:
    a, b, c = (StreamSlot(client, "V", name, Caps(2, 9)) for name in ("V:A", "V:B", "V:C"))
    assert [await each.take() for each in (a, b, c)] == [True, True, False]
    assert not await c.may_be_given()
    await focus(client, "V:C", 1_000)
    # It has the place of the one that was there first, and waits until that is not used any more.
    assert await c.may_be_given() and not await c.take() and not await c.take()
    assert [await each.is_held() for each in (a, b, c)] == [False, True, True]
    assert await b.take() and not await a.take()
    await a.leave()
    assert await c.may_be_given() and await c.take()
    # An older focus takes no place of a newer one, but of one that is in no focus.
    await focus(client, "V:A", 900)
    assert not await a.take() and not await b.is_held()
    await b.leave()
    assert await a.take()
    await focus(client, "V:B", 950)
    assert not await b.take() and not await a.is_held() and await c.is_held()
    # Who was focused longest ago comes back as soon as another has left.
    await a.leave()
    assert await b.take() and not await a.take()
    await c.leave()
    assert await a.take()
    for each in (a, b, c):
        await each.leave()
    assert await leftovers(client) == sorted(SymbolKeys(f"V:{name}").focus.encode() for name in "ABC")


async def test_who_would_be_refused_elsewhere_takes_nobody_s_place(client: Redis) -> None:
    """In focus, and of a kind with room; but at its venue all are in focus since."""
    caps = Caps(1, 9, {"equity": 1})
    other = StreamSlot(client, "W", "W:A", caps, "equity")
    newer, older = StreamSlot(client, "V", "V:A", caps, "crypto"), StreamSlot(client, "V", "V:B", caps, "equity")
    await focus(client, "V:A", 2_000)
    await focus(client, "V:B", 1_000)
    assert await other.take() and await newer.take() and not await older.take()
    assert await other.is_held() and await newer.is_held()


async def test_one_that_died_is_waited_for_as_long_as_its_place_was_kept(client: Redis) -> None:
    dead, focused = (StreamSlot(client, "V", name, Caps(1, 9)) for name in ("V:A", "V:B"))
    assert await dead.take()
    await focus(client, "V:B", 1_000)
    assert not await focused.take()
    until_ms, (now_s, _) = await client.zscore(PlaceKeys("V").leaving, "V:A"), await client.time()
    assert until_ms and 0 < until_ms - now_s * 1_000 <= SLOT_TTL_MS + 1_000
    await client.zadd(PlaceKeys("V").leaving, {"V:A": 1})
    assert await focused.take()
