"""The wanted fleet."""

import logging
from dataclasses import replace

import pytest
from redis.asyncio import Redis

from common.errors import OperatorError
from common.market.instrument import Instrument
from common.market.kinds import INSTRUMENT_KINDS, InstrumentKind
from common.store.instrument import DataInstrument
from common.store.keys import FORMAT_KEY, SYMBOLS, SYMBOLS_VERSION, SymbolKeys
from common.store.registry import Market, Registry
from common.store.symbol import SymbolStore
from tests.kit.store.steps import SYMBOL, claim, everything, step

MARKET = Market(Instrument(SYMBOL, 2, 8, "contiguous"), {"kind": "simulator", "seed": 3})


@pytest.fixture
def registry(client: Redis) -> Registry:
    return Registry(client)


async def test_a_market_is_read_as_it_was_added(registry: Registry) -> None:
    assert await registry.market(SYMBOL) is None
    assert await registry.add_symbol(MARKET)
    assert await registry.market(SYMBOL) == MARKET
    assert await registry.symbols() == {SYMBOL: MARKET}


async def test_a_market_remembers_when_it_trades(registry: Registry) -> None:
    stock = Market(Instrument(SYMBOL, 2, 8, calendar="XNYS", zone="America/New_York", hours="extended"))
    await registry.add_symbol(stock)
    assert await registry.market(SYMBOL) == stock


async def test_an_entry_of_an_earlier_release_trades_always(client: Redis, registry: Registry) -> None:
    await client.hset(SYMBOLS, SYMBOL, '{"price_decimals":2,"size_decimals":8,"ids":"unique","source":{}}')
    assert await registry.market(SYMBOL) == Market(Instrument(SYMBOL, 2, 8))


@pytest.mark.parametrize("kind", INSTRUMENT_KINDS)
async def test_a_market_remembers_what_it_trades_as_its_data_says_nothing_of_it(
    client: Redis, registry: Registry, kind: InstrumentKind
) -> None:
    market = replace(MARKET, instrument_kind=kind)
    await registry.add_symbol(market)
    await client.hset(SymbolKeys(SYMBOL).state, "instrument", DataInstrument.begun(MARKET.instrument).dump())
    assert await registry.market(SYMBOL) == await registry.stored(SYMBOL) == market


async def test_an_entry_of_an_unknown_kind_is_no_market(client: Redis, registry: Registry) -> None:
    entry = '{"price_decimals":2,"size_decimals":8,"ids":"unique","kind":"bond","source":{}}'
    await client.hset(SYMBOLS, SYMBOL, entry)
    with pytest.raises(OperatorError, match="kind is 'bond', expected one of crypto, equity, future, option, index"):
        await registry.market(SYMBOL)


async def test_a_symbol_is_not_added_over_another_one(registry: Registry) -> None:
    await registry.add_symbol(MARKET)
    assert not await registry.add_symbol(Market(Instrument(SYMBOL, 0, 0)))
    assert await registry.market(SYMBOL) == MARKET


async def test_symbols_come_in_order(registry: Registry) -> None:
    for symbol in ("C", "A", "B"):
        await registry.add_symbol(Market(Instrument(symbol, 0, 0)))
    assert list(await registry.symbols()) == ["A", "B", "C"]


async def test_every_change_is_a_new_version_and_nothing_else_is(registry: Registry) -> None:
    versions = [await registry.version()]
    for change in (
        registry.add_symbol(MARKET),
        registry.add_symbol(Market(Instrument("B", 0, 0))),
        registry.remove_symbol(SYMBOL),
        registry.remove_symbol("B", purge=True),
    ):
        await change
        versions.append(await registry.version())
    assert len(set(versions)) == len(versions)
    assert not await registry.remove_symbol("B")
    await registry.add_symbol(MARKET)
    await registry.add_symbol(MARKET)
    assert int(await registry.version()) == int(versions[-1]) + 1


async def test_a_removed_symbol_keeps_its_data(client: Redis, registry: Registry, store: SymbolStore) -> None:
    await registry.add_symbol(MARKET)
    await claim(store, "a" * 32)
    assert await registry.remove_symbol(SYMBOL)
    assert not await registry.remove_symbol(SYMBOL)
    assert sorted(await everything(client)) == [SymbolKeys(SYMBOL).owner, FORMAT_KEY, SYMBOLS_VERSION]


async def test_a_purge_leaves_nothing(client: Redis, registry: Registry, store: SymbolStore) -> None:
    await registry.add_symbol(MARKET)
    await claim(store, "a" * 32)
    await store.commit(step("a" * 32, 0, 1, minutes={0: (b"c", b"f")}, events=[b"x"], health={"mode": "LIVE"}))
    await registry.remove_symbol(SYMBOL, purge=True)
    assert list(await everything(client)) == [FORMAT_KEY, SYMBOLS_VERSION]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("BAD", "no JSON"),
        ("BAD", "[]"),
        ("BAD", "{}"),
        ("BAD", '{"price_decimals":2,"size_decimals":"x","ids":"unique","source":{}}'),
        ("BAD", '{"price_decimals":2,"size_decimals":2,"ids":"unique","source":3}'),
        ("BAD", '{"price_decimals":2,"size_decimals":2,"ids":"unique","hours":"late","source":{}}'),
        ("bad name", '{"price_decimals":2,"size_decimals":2,"ids":"unique","source":{}}'),
        (b"\xff", '{"price_decimals":2,"size_decimals":2,"ids":"unique","source":{}}'),
    ],
)
async def test_an_entry_that_is_no_market_stops_nobody_and_is_told_once(
    client: Redis, registry: Registry, caplog: pytest.LogCaptureFixture, name: str | bytes, text: str
) -> None:
    await registry.add_symbol(MARKET)
    await client.hset(SYMBOLS, name, text)
    with caplog.at_level(logging.ERROR):
        for _ in range(3):
            assert await registry.symbols() == {SYMBOL: MARKET}
    assert [record.message for record in caplog.records] == ["bad symbol entry"]


async def test_asked_for_by_name_it_is_an_error_that_says_what_is_wrong(client: Redis, registry: Registry) -> None:
    await client.hset(SYMBOLS, "BAD", '{"price_decimals":2}')
    with pytest.raises(OperatorError, match="entry 'BAD' of hash 'symbols' is not a market: KeyError"):
        await registry.market("BAD")
