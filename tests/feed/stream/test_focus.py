"""`focus`: one chart is looked at, and the others of that client are let go of."""

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
from redis.asyncio import Redis
from websockets.asyncio.client import ClientConnection

from common.store.keys import SymbolKeys
from common.store.registry import Market, Registry
from tests.kit.served import Served, hear, say, served
from tests.kit.waiting import wait_until_async
from tests.kit.writer import INSTRUMENT, Writer

A, B = "V:A", "V:B"


@pytest.fixture
async def on_demand(client: Redis) -> AsyncIterator[Redis]:
    for symbol in (A, B):
        market = Market(replace(INSTRUMENT, symbol=symbol), {"kind": "venue", "demand": "on_demand"})
        await Registry(client).add_symbol(market)
    yield client


async def listed(socket: ClientConnection) -> list[dict[str, Any]]:
    await say(socket, action="list")
    found: list[dict[str, Any]] = (await hear(socket, "list"))["subscriptions"]
    return found


@pytest.mark.usefixtures("on_demand")
async def test_a_focus_is_a_subscription_in_place_of_all_others(feed: Served) -> None:
    async with feed.connect() as socket:
        for symbol, timeframe in ((A, "1m"), (A, "5m"), (B, "1m")):
            await say(socket, action="subscribe", symbol=symbol, timeframe=timeframe)
            await hear(socket, "snapshot")
        await say(socket, action="focus", symbol=B, timeframe="5min", limit=3, id=9)
        snapshot = await hear(socket)
        assert (snapshot["type"], snapshot["id"], snapshot["symbol"], snapshot["timeframe"]) == ("snapshot", 9, B, "5m")
        assert await listed(socket) == [{"symbol": B, "timeframe": "5m"}]
        # What is in focus may be looked at once more, and another way.
        await say(socket, action="focus", symbol=B, timeframe="5m")
        await hear(socket, "snapshot")
        await say(socket, action="subscribe", symbol=B, channel="trades")
        await hear(socket, "snapshot")
        assert len(await listed(socket)) == 2
        await say(socket, action="focus", symbol=A, channel="trades")
        await hear(socket, "snapshot")
        assert await listed(socket) == [{"symbol": A, "channel": "trades"}]


@pytest.mark.usefixtures("on_demand")
@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        ({}, "symbol"),
        ({"symbol": 7, "timeframe": "1m"}, "symbol is 7"),
        ({"symbol": "V:C", "timeframe": "1m"}, "symbol V:C is not registered"),
        ({"symbol": B}, "timeframe"),
        ({"symbol": B, "timeframe": "1x"}, "'1x'"),
        ({"symbol": B, "timeframe": "1m", "limit": 0}, "limit is 0"),
        ({"symbol": B, "timeframe": "1m", "channel": "news"}, 'channel is "news"'),
        ({"symbol": B, "timeframe": "1m", "now": True}, "'now' is not known"),
    ],
)
async def test_what_is_no_focus_leaves_a_client_what_it_has(feed: Served, asked: dict[str, Any], sentence: str) -> None:
    async with feed.connect() as socket:
        await say(socket, action="subscribe", symbol=A, timeframe="1m")
        await hear(socket, "snapshot")
        await say(socket, action="focus", id=1, **asked)
        error = await hear(socket)
        assert (error["type"], error["id"]) == ("error", 1) and sentence in error["message"], error
        assert await listed(socket) == [{"symbol": A, "timeframe": "1m"}]


async def test_a_symbol_is_in_focus_until_its_client_turns_to_another(feed: Served, on_demand: Redis) -> None:
    async def since(symbol: str) -> int:
        return int(await on_demand.get(SymbolKeys(symbol).focus) or 0)

    async with feed.connect() as socket, feed.connect() as other:
        await say(other, action="subscribe", symbol=B, timeframe="1m")
        await wait_until_async(lambda: on_demand.exists(SymbolKeys(B).demand))
        assert await since(B) == 0
        await say(socket, action="focus", symbol=A, timeframe="1m")
        await wait_until_async(lambda: on_demand.exists(SymbolKeys(A).focus))
        first = await since(A)
        await say(socket, action="focus", symbol=B, timeframe="1m")
        await wait_until_async(lambda: on_demand.exists(SymbolKeys(B).focus))
        assert await since(B) >= first == await since(A)
        (in_focus,) = (each for each in feed.services.hub.feeds if each.focused_by)
        assert in_focus.market.symbol == B
    await wait_until_async(lambda: not feed.services.hub.feeds)


async def test_a_symbol_that_is_always_served_may_be_in_focus(feed: Served, client: Redis, writer: Writer) -> None:
    async with feed.connect() as socket:
        await say(socket, action="focus", symbol=INSTRUMENT.symbol, timeframe="1m")
        await wait_until_async(lambda: client.exists(SymbolKeys(INSTRUMENT.symbol).focus))


async def test_how_long_a_symbol_is_asked_for_after_its_last_client_is_a_setting(
    redis_url: str, on_demand: Redis
) -> None:
    async def asking(symbol: str) -> int:
        return int(await on_demand.zcard(SymbolKeys(symbol).demand))

    async with served(redis_url, demand_ms=0) as feed, served(redis_url) as other:
        async with other.connect() as kept:
            async with feed.connect() as socket:
                for each in (socket, kept):
                    await say(each, action="subscribe", symbol=A, timeframe="1m")
                await wait_until_async(lambda: _is(asking(A), 2))
                await say(socket, action="subscribe", symbol=B, timeframe="1m")
                await wait_until_async(lambda: _is(asking(B), 1))
            # Nobody is left at the one feed: at once nobody asks for it there. At the other one somebody does.
            await wait_until_async(lambda: _is(asking(B), 0))
            assert await asking(A) == 1
        await wait_until_async(lambda: not other.services.hub.feeds)
        # It may be looked at again.
        assert await asking(A) == 1


async def _is(found: Any, expected: int) -> bool:
    return bool(await found == expected)
