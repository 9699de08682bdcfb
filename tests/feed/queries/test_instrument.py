"""Data is read by the instrument it is of, whatever the registry says; and what is wrong is told in one sentence."""

from dataclasses import replace
from typing import Any

import orjson
import pytest
from redis.asyncio import Redis

from common.errors import BadInput
from common.market.instrument import Instrument
from common.store.instrument import instrument_fields
from common.store.keys import SYMBOLS
from common.store.registry import Market, Registry
from tests.kit.served import Served, hear, say
from tests.kit.writer import INSTRUMENT, START_MS, Writer

S = INSTRUMENT.symbol
HOUR_MS = 3_600_000

OTHERS = {
    "price_decimals": replace(INSTRUMENT, price_decimals=5),
    "size_decimals": replace(INSTRUMENT, size_decimals=0),
    "ids": replace(INSTRUMENT, ids="unique"),
    "calendar": replace(INSTRUMENT, calendar="XNYS"),
}


async def register_by_hand(client: Redis, instrument: Instrument) -> None:
    entry = {**instrument_fields(instrument), "source": {"kind": "inbox"}}
    await client.hset(SYMBOLS, instrument.symbol, orjson.dumps(entry))


async def two_days(writer: Writer) -> None:
    for _ in range(50):
        await writer.commit(writer.trade(writer.now_ms + HOUR_MS, ticks=6_400_050, lots=1_500))


async def answers(feed: Served) -> dict[str, Any]:
    """What is asked of a symbol, and its health."""
    asked = {
        "candles": (f"/v1/candles/{S}", {"timeframe": "1h"}),
        "days": (f"/v1/candles/{S}", {"timeframe": "1d"}),
        "seconds": (f"/v1/candles/{S}", {"timeframe": "1s"}),
        "footprint": (f"/v1/footprint/{S}", {"timeframe": "1h"}),
        "trades": (f"/v1/trades/{S}", {}),
        "csv": (f"/v1/candles/{S}", {"format": "csv"}),
    }
    found = {name: await feed.get(path, **params) for name, (path, params) in asked.items()}
    assert {name: answer.status_code for name, answer in found.items()} == dict.fromkeys(asked, 200)
    told = {name: answer.json() for name, answer in found.items() if name != "csv"}
    values = {name: answer.get("bars", answer.get("trades")) for name, answer in told.items()}
    return {**values, "csv": found["csv"].text}


@pytest.mark.parametrize("name", OTHERS)
async def test_data_is_read_as_it_is_where_the_registry_says_something_else(
    feed: Served, writer: Writer, client: Redis, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Today: another price (64000.5 read as 64.0005), a 500, or other days."""
    monkeypatch.setattr("feed.queries.queries.MARKET_TTL_S", 0)
    await two_days(writer)
    before = await answers(feed)
    assert before["candles"][-1]["c"] == 64000.5
    await register_by_hand(client, OTHERS[name])
    assert await answers(feed) == before
    health = await feed.json(f"/v1/health/{S}")
    assert (health["mode"], health["reason"]) == ("FAILED", "instrument")
    theirs, ours = getattr(OTHERS[name], name), getattr(INSTRUMENT, name)
    option = f"--{name.replace('_', '-')}"
    assert health["detail"] == (
        f"symbol {S} is registered with {name} {theirs!r} (its data: {ours!r}): "
        f"`fleet symbols change {S} {option} {theirs}` changes the data, "
        f"`fleet symbols change {S} {option} {ours}` the registry"
    )
    assert (await feed.json("/v1/health"))["symbols"][S]["reason"] == "instrument"
    await register_by_hand(client, INSTRUMENT)
    assert "detail" not in await feed.json(f"/v1/health/{S}")


async def test_who_listens_goes_on_where_the_registry_says_something_else(
    feed: Served, writer: Writer, client: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("feed.queries.queries.MARKET_TTL_S", 0)
    monkeypatch.setattr("feed.stream.hub.HEALTH_EVERY_S", 0.02)
    await writer.commit(writer.trade(START_MS, ticks=6_400_050))
    async with feed.connect() as socket:
        await say(socket, action="subscribe", symbol=S, timeframe="1m")
        assert (await hear(socket, "snapshot"))["bars"][-1]["c"] == 64000.5
        await register_by_hand(client, OTHERS["price_decimals"])
        assert (await hear(socket, "health"))["health"]["reason"] == "instrument"
        await writer.commit(writer.trade(START_MS + 1, ticks=6_400_075))
        assert (await hear(socket, "candle"))["bar"]["c"] == 64000.75


async def test_a_symbol_is_not_registered_where_data_of_another_instrument_was_left(
    writer: Writer, client: Redis
) -> None:
    registry = Registry(client)
    await writer.commit(writer.trade())
    await registry.remove_symbol(S)
    with pytest.raises(BadInput) as refused:
        await registry.add_symbol(Market(OTHERS["price_decimals"], {"kind": "inbox"}))
    assert str(refused.value) == (
        f"symbol {S} has data, and would be registered with price_decimals 5 (its data: 2): `fleet symbols remove {S} "
        f"--purge` deletes the data; or add it as the data has it, and `fleet symbols change {S} --price-decimals 5`"
    )
    assert await registry.add_symbol(Market(INSTRUMENT, {"kind": "inbox"}))
    await registry.remove_symbol(S, purge=True)
    assert await registry.add_symbol(Market(OTHERS["price_decimals"], {"kind": "inbox"}))


async def test_data_of_a_release_that_did_not_say_is_of_what_is_registered(
    feed: Served, writer: Writer, client: Redis
) -> None:
    writer.said = True
    await writer.commit(writer.trade(ticks=6_400_050))
    assert (await feed.json(f"/v1/candles/{S}"))["bars"][-1]["c"] == 64000.5
    assert await client.hget(writer.store.keys.state, "instrument") is None
