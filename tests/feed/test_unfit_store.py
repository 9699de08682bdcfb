"""A store that cannot be relied upon is told of in health, wherever health is told."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

import pytest
from redis.asyncio import Redis

from common.store import server
from common.store.client import commit_client
from common.store.keys import SYMBOLS
from tests.kit.served import Served, hear, say, served
from tests.kit.store.own_server import own_server
from tests.kit.waiting import wait_until_async
from tests.kit.writer import INSTRUMENT, Writer

pytestmark = pytest.mark.process

S = INSTRUMENT.symbol


@asynccontextmanager
async def fleet(*flags: str, **settings: Any) -> AsyncIterator[tuple[Served, Redis]]:
    """A feed on a server of its own, with one symbol that is live."""
    with own_server(*flags) as own:
        async with commit_client(own.url) as client:
            writer = await Writer.begun(client)
            await writer.commit(writer.trade())
            async with served(own.url, **settings) as feed:
                yield feed, client


async def told(feed: Served) -> list[str]:
    return [trouble["what"] for trouble in (await feed.json("/v1/health"))["store"]["troubles"]]


@pytest.fixture(autouse=True)
def _looks_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "LOOK_EVERY_S", 0.02)


async def test_a_store_that_keeps_nothing_degrades_every_symbol() -> None:
    async with fleet() as (feed, _):
        health = await feed.json("/v1/health")
        assert (health["status"], health["store"]["persistence"]) == ("degraded", "off")
        assert [trouble["what"] for trouble in health["store"]["troubles"]] == ["persistence"]
        assert "expected appendonly yes" in health["store"]["troubles"][0]["message"]
        for found in (health["symbols"][S], await feed.json(f"/v1/health/{S}")):
            assert (found["mode"], found["reason"]) == ("DEGRADED", "store")
        assert (await feed.json(f"/v1/candles/{S}"))["health"]["reason"] == "store"
        assert f'fleet_health_reason{{reason="store",symbol="{S}"}} 1.0' in (await feed.get("/metrics")).text


async def test_who_streams_is_told_when_it_begins_and_when_it_is_over() -> None:
    async with fleet("--appendonly", "yes") as (feed, client), feed.connect() as socket:
        await say(socket, action="subscribe", symbol=S, timeframe="1m")
        assert (await hear(socket, "snapshot"))["health"]["mode"] == "LIVE"
        await client.config_set("appendonly", "no")
        health = (await hear(socket, "health"))["health"]
        assert (health["mode"], health["reason"]) == ("DEGRADED", "store")
        await client.config_set("appendonly", "yes")
        assert (await hear(socket, "health"))["health"]["reason"] is None


async def test_an_evicted_registry_is_not_a_fleet_without_symbols() -> None:
    async with fleet("--appendonly", "yes") as (feed, client):
        assert (await feed.json("/v1/health"))["status"] == "ok"
        # Somebody takes the server for a cache, while it is in use.
        await client.config_set("maxmemory-policy", "allkeys-random")
        assert await told(feed) == ["eviction"]
        await client.config_set("maxmemory", (await client.info("memory"))["used_memory"] + 500_000)
        await wait_until_async(lambda: _is_gone(client))
        health = await feed.json("/v1/health")
        assert (health["symbols"], health["status"]) == ({}, "degraded")
        await client.config_set("maxmemory", "0")
        await client.config_set("maxmemory-policy", "noeviction")
        assert await told(feed) == ["evicted"]


async def _is_gone(client: Redis) -> bool:
    await client.set(f"filler {uuid4()}", b"x" * 100_000)
    return not await client.exists(SYMBOLS)


async def test_a_store_that_is_used_though_it_is_unsafe_says_so() -> None:
    flags = ("--appendonly", "yes", "--maxmemory", "100mb", "--maxmemory-policy", "volatile-lru")
    async with fleet(*flags, unsafe_store=True) as (feed, _):
        health = await feed.json("/v1/health")
        assert (health["status"], health["store"]["eviction"]) == ("degraded", "volatile-lru")
        assert health["symbols"][S]["reason"] == "store"


async def test_a_store_that_takes_no_writes_is_told() -> None:
    async with fleet("--appendonly", "yes") as (feed, client):
        await client.replicaof("127.0.0.1", "1")
        assert await told(feed) == ["replica"]
        assert (await feed.json("/v1/health"))["store"]["writable"] is False
        await client.replicaof("NO", "ONE")
        assert await told(feed) == []
        await client.config_set("maxmemory", "1")
        assert await told(feed) == ["memory"]
