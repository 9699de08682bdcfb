"""The fleet's budget at a venue: taken atomically, never more than the limit in any window."""

import asyncio

import pytest
from redis.asyncio import Redis

from common.store.budget import BudgetStore, Limit, read_throttles

pytestmark = pytest.mark.anyio

MINUTE = Limit(100, 60_000)


async def test_fifty_processes_at_once_get_the_limit_and_not_one_more(client: Redis) -> None:
    stores = [BudgetStore(client, "VENUE", [MINUTE]) for _ in range(50)]
    waits = await asyncio.gather(*(store.spend(3) for store in stores for _ in range(2)))
    assert waits.count(0) == 33
    assert all(0 < wait <= 62_000 for wait in waits if wait)


async def test_a_heavy_request_waits_for_more_room_than_a_light_one(client: Redis) -> None:
    store = BudgetStore(client, "VENUE", [MINUTE])
    assert await store.spend(90) == 0
    assert await store.spend(20) > 0
    assert await store.spend(10) == 0


async def test_what_can_wait_may_take_half_of_it_and_a_look_takes_nothing(client: Redis) -> None:
    store = BudgetStore(client, "VENUE", [MINUTE])
    assert await store.spend(50) == 0
    assert await store.is_half_free()
    assert await store.spend(1) == 0
    assert not await store.is_half_free()
    assert await store.spend(49) == 0


async def test_several_limits_hold_side_by_side_and_a_refusal_takes_from_none(client: Redis) -> None:
    store = BudgetStore(client, "VENUE", [Limit(2, 30_000), MINUTE])
    assert [await store.spend(1) for _ in range(2)] == [0, 0]
    assert 0 < await store.spend(1) <= 31_000
    assert await BudgetStore(client, "VENUE", [MINUTE]).spend(98) == 0


async def test_weight_comes_back_when_its_window_has_passed(client: Redis) -> None:
    store = BudgetStore(client, "VENUE", [Limit(1, 200)])
    # On a busy machine a window may pass between two requests.
    while not (wait_ms := await store.spend(1)):
        pass
    await asyncio.sleep(wait_ms / 1_000)
    assert await store.spend(1) == 0
    assert await client.hlen("{VENUE}:budget") == 1


async def test_a_cooldown_holds_everybody_and_is_never_shortened(client: Redis) -> None:
    store = BudgetStore(client, "VENUE", [MINUTE])
    assert await store.cool_down(60_000, "depth", {"endpoint": "depth"}) == 60_000
    assert await store.cool_down(100, "depth", {"endpoint": "depth", "market": "X"}) > 30_000
    assert 30_000 < await BudgetStore(client, "VENUE", [MINUTE]).spend(1) <= 60_000
    assert 30_000 < await store.cooldown_ms() <= 60_000
    assert await BudgetStore(client, "OTHER", [MINUTE]).spend(1) == 0
    found = await read_throttles(client, "VENUE")
    assert (found.times, found.last) == ({"depth": 2}, {"endpoint": "depth", "market": "X"})
    assert 30_000 < found.left_ms <= 60_000
    assert await read_throttles(client, "OTHER") == ({}, {}, 0)


async def test_what_others_spend_from_the_same_address_counts(client: Redis) -> None:
    store = BudgetStore(client, "VENUE", [MINUTE])
    assert await store.spend(10) == 0
    await store.witness(60_000, 60)
    assert await store.spend(41) > 0
    assert await store.spend(40) == 0
    await store.witness(60_000, 50)
    assert await store.spend(1) > 0
