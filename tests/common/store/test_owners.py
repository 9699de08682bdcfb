"""Owners in bulk: what one look tells of many symbols, on both servers."""

import asyncio
import logging

import pytest
from redis.asyncio import Redis

from common.errors import StoreUnavailable
from common.store.bulk import Bulk
from common.store.client import commit_client
from common.store.commit import StreamBounds
from common.store.keys import SymbolKeys
from common.store.lease import NOTHING_SEEN, LeaseObservation
from common.store.owners import Owners
from common.store.symbol import SymbolStore

TOKEN = "a" * 32


def store_of(client: Redis, symbol: str) -> SymbolStore:
    return SymbolStore(client, symbol, StreamBounds(1_000, 1_000))


async def test_a_look_tells_of_each_symbol_what_a_claim_would_be_told(client: Redis) -> None:
    held, freed = store_of(client, "HELD"), store_of(client, "FREED")
    for store in (held, freed):
        await store.claim(TOKEN, NOTHING_SEEN, "tests")
    await freed.release(TOKEN)
    owners = Owners(client)
    busy = await held.claim("b" * 32, NOTHING_SEEN, "tests")
    assert await owners.look(["HELD", "FREED", "NEVER"]) == {"HELD": busy, "FREED": None, "NEVER": None}
    await held.beat(TOKEN, 0, {})
    assert await owners.look(["HELD", "FREED", "NEVER"]) == {
        "HELD": LeaseObservation(TOKEN, "2"),
        "FREED": None,
        "NEVER": None,
    }
    assert await owners.look(["FREED"]) == {"FREED": None}
    assert await owners.look([]) == {}


async def test_a_thousand_symbols_are_one_look(client: Redis) -> None:
    symbols = [f"S:{number}" for number in range(1_000)]
    for symbol in symbols[::100]:
        await store_of(client, symbol).claim(TOKEN, NOTHING_SEEN, "tests")
    found = await Owners(client).look(symbols)
    assert list(found) == symbols
    assert [symbol for symbol, holder in found.items() if holder] == symbols[::100]


async def test_an_owner_that_cannot_be_read_is_left_out_and_told_once(
    client: Redis, caplog: pytest.LogCaptureFixture
) -> None:
    await client.set(SymbolKeys("BAD").owner, "no hash")
    owners = Owners(client)
    with caplog.at_level(logging.ERROR):
        for _ in range(3):
            assert await owners.look(["A", "BAD", "B"]) == {"A": None, "B": None}
    assert [record.message for record in caplog.records] == ["owner can't be read"]
    assert await client.get(SymbolKeys("BAD").owner) == b"no hash"


async def test_a_store_that_has_lost_its_scripts_is_given_them_again(client: Redis) -> None:
    await store_of(client, "HELD").claim(TOKEN, NOTHING_SEEN, "tests")
    owners = Owners(client)
    before = await owners.look(["HELD", "FREE"])
    await client.script_flush()
    assert await owners.look(["HELD", "FREE"]) == before == {"HELD": LeaseObservation(TOKEN, "1"), "FREE": None}


async def test_a_look_that_is_given_up_leaves_no_reply_for_the_next_command(redis_url: str) -> None:
    async with commit_client(redis_url) as client:
        await client.set("k", "v")
        bulk = Bulk(client, "test")
        bulk.prepare([("GET", "k")] * 2_000)
        for after_s in (0, 0.0005, 0.001, 0.002):
            looking = asyncio.create_task(bulk.ask())
            await asyncio.sleep(after_s)
            looking.cancel()
            await asyncio.wait([looking])
            assert await client.ping() is True
        assert await bulk.ask() == [b"v"] * 2_000


async def test_a_store_that_is_away_is_told_as_everywhere() -> None:
    async with commit_client("unix:///tmp/there/is/no/such/socket") as client:
        with pytest.raises(StoreUnavailable, match="look at the owners of symbols failed"):
            await Owners(client).look(["A"])
