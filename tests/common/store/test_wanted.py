"""What a look at the wanted fleet costs, and what it may not miss."""

from collections.abc import Iterator

import pytest
from redis.asyncio import Redis

from common.market.instrument import Instrument
from common.store.demand import Demand
from common.store.keys import SYMBOLS, SymbolKeys
from common.store.registry import Market, Registry
from common.store.wanted import FULL_READ_S, WantedFleet

ENTRY = '{"price_decimals":2,"size_decimals":2,"ids":"unique","source":{"kind":"inbox"}}'


def market(symbol: str, **source: str) -> Market:
    return Market(Instrument(symbol, 2, 3, "contiguous"), {"kind": "venue", **source})


class Moment:
    """A clock of seconds that stands still until it is moved."""

    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def registry(client: Redis) -> Registry:
    return Registry(client)


@pytest.fixture
def full_reads(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """Grows with each reading of the whole registry."""
    found: list[int] = []
    symbols = Registry.symbols

    async def counted(registry: Registry) -> dict[str, Market]:
        markets = await symbols(registry)
        found.append(len(markets))
        return markets

    monkeypatch.setattr(Registry, "symbols", counted)
    yield found


async def test_what_is_always_served_and_what_is_asked_for_is_wanted(client: Redis, registry: Registry) -> None:
    wanted, demand = WantedFleet(client), Demand(client)
    for found in (market("V:A"), market("V:B", demand="on_demand"), market("V:C", demand="on_demand")):
        await registry.add_symbol(found)
    assert set(await wanted.symbols()) == {"V:A"}
    await demand.ask(["V:B"])
    assert set(await wanted.symbols()) == {"V:A", "V:B"}
    await client.delete(SymbolKeys("V:B").demand)
    assert set(await wanted.symbols()) == {"V:A"}


async def test_whoever_asks_about_some_symbols_looks_at_the_demand_of_these_alone(
    client: Redis, registry: Registry
) -> None:
    wanted, demand = WantedFleet(client), Demand(client)
    for found in (market("V:A"), market("V:B", demand="on_demand"), market("V:C", demand="on_demand")):
        await registry.add_symbol(found)
    await demand.ask(["V:B", "V:C"])
    assert {"V:A", "V:B"} == set(await wanted.symbols(only=["V:A", "V:B"]))


async def test_the_registry_is_read_whole_when_it_has_changed_and_only_then(
    client: Redis, registry: Registry, full_reads: list[int]
) -> None:
    wanted = WantedFleet(client, Moment())
    for symbol in ("V:A", "V:B"):
        await registry.add_symbol(market(symbol))
        for _ in range(3):
            assert symbol in await wanted.symbols()
    await registry.remove_symbol("V:A")
    for _ in range(3):
        assert set(await wanted.symbols()) == {"V:B"}
    assert full_reads == [1, 2, 1]


async def test_what_was_written_without_a_version_is_met_after_a_while(client: Redis, full_reads: list[int]) -> None:
    """By an older release, by hand, or by one who died between the two writes."""
    moment = Moment()
    wanted = WantedFleet(client, moment)
    assert not await wanted.symbols()
    await client.hset(SYMBOLS, "X", ENTRY)
    moment.now_s = FULL_READ_S - 0.1
    assert not await wanted.symbols()
    moment.now_s = FULL_READ_S
    assert set(await wanted.symbols()) == {"X"}
    assert full_reads == [0, 1]


async def test_a_change_between_the_two_reads_of_a_look_is_seen_at_the_next(
    client: Redis, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = WantedFleet(client, Moment())
    version = Registry.version

    async def overtaken(found: Registry) -> bytes:
        before = await version(found)
        await registry.add_symbol(market("V:LATE"))
        return before

    monkeypatch.setattr(Registry, "version", overtaken)
    await wanted.symbols()
    monkeypatch.setattr(Registry, "version", version)
    await client.hdel(SYMBOLS, "V:LATE")
    # What was kept is newer than the version it is kept under, so it is read once more.
    assert not await wanted.symbols()
