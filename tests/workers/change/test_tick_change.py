"""A venue changes its tick while a symbol is live: a real worker notices, changes the symbol, and nothing is lost."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import httpx2
import orjson
import pytest
from redis.asyncio import Redis

from common.market.instrument import Instrument
from common.store.client import commit_client
from common.store.instrument import stored_instrument
from common.store.keys import SymbolKeys
from common.store.registry import Market, Registry
from infra.exchange import Address, Exchange, Simulation, listing_of, serving
from infra.exchange import ExchangeMarket as ExchangeMarket
from tests.kit.processes.worker import start
from tests.kit.served import Served, served
from tests.kit.waiting import wait_until_async

pytestmark = pytest.mark.process

NAME = "BTCUSDT"
S = f"LOCAL:{NAME}"
KEYS = SymbolKeys(S)
BEFORE, AFTER = Instrument(S, 2, 8, "contiguous"), Instrument(S, 3, 8, "contiguous")
HISTORY_MS = 3 * 60_000


@dataclass
class Live:
    """A symbol of the local exchange, served by a worker process."""

    exchange: Exchange
    address: Address
    client: Redis
    feed: Served
    # Modes and reasons as they were told, one after the other.
    health: list[tuple[str, str]] = field(default_factory=list)

    async def admin(self, path: str, data: Any = None, **params: Any) -> Any:
        headers = {"Authorization": f"Bearer {self.address.token}"}
        async with httpx2.AsyncClient(base_url=self.address.admin, headers=headers) as http:
            answer = await (http.post(path, json=data) if data else http.get(path, params=params))
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def look(self) -> None:
        """Follow its health."""
        while True:
            found: Any = await self.client.hmget(KEYS.health, "mode", "reason")
            pair = tuple((value or b"").decode() for value in found)
            if self.health[-1:] != [pair]:
                self.health.append((pair[0], pair[1]))
            await asyncio.sleep(0.005)

    async def told(self, path: str, **params: Any) -> Any:
        return orjson.loads((await self.feed.get(path, **params)).content)

    async def applied(self) -> int:
        """The last trade's id."""
        found: Any = await self.client.hget(KEYS.state, "newest_span")
        rows = orjson.loads(found or b"[]")
        return int(rows[-1][1]) if len(rows) > 1 else -1

    async def standing(self) -> str:
        """What there is, as a failure tells it."""
        gaps = [gap for gap in await self.client.hvals(KEYS.gaps) if orjson.loads(gap)["state"] != "repaired"]
        return f"{await self.client.hgetall(KEYS.state)}, open {gaps}, health {self.health}"

    async def is_whole(self) -> bool:
        if await self.client.hlen(KEYS.coverage):
            return False
        gaps = await self.client.hvals(KEYS.gaps)
        return all(orjson.loads(gap)["state"] == "repaired" for gap in gaps)


@asynccontextmanager
async def live(redis_url: str, **environment: str) -> AsyncIterator[Live]:
    market = ExchangeMarket(Simulation(listing_of(NAME), 7, 40.0))
    exchange = Exchange([market], history_ms=HISTORY_MS, speed=1.0)
    async with serving(exchange) as address, commit_client(redis_url) as client, served(redis_url) as feed:
        exchange.advance(max(0, exchange.clock.now_ms() - exchange.now_ms))
        source = {"kind": "venue", "venue": "LOCAL", "name": NAME, "price_step_ticks": 1, "size_step_lots": 1_000}
        urls = {"rest_url": address.rest, "socket_url": address.ws, "simulated": True}
        await Registry(client).add_symbol(Market(BEFORE, source | urls))
        worker = await asyncio.to_thread(start, REDIS_URL=redis_url, FLEET_BACKFILL_HOURS="1", **environment)
        made = Live(exchange, address, client, feed)
        looking = asyncio.create_task(made.look())
        try:
            yield made
        finally:
            looking.cancel()
            worker.kill()
            _, log = await asyncio.to_thread(worker.communicate)
            print(log)


async def assert_true(made: Live) -> None:
    """Every trade there ever was, with its numbers; and every closed minute as the exchange has it."""
    last_id = await made.applied()
    found = {t["id"]: (t["t"], number(t["p"]), number(t["q"])) for t in await all_trades(made)}
    truth = await true_trades(made, last_id)
    # A worker begins with the first trade of its history, or a little later.
    first_id = min(found)
    assert first_id <= min(truth) + 200
    assert {trade_id: row for trade_id, row in found.items() if trade_id <= last_id} == {
        trade_id: row for trade_id, row in truth.items() if trade_id >= first_id
    }
    bars = (await made.told(f"/v1/candles/{S}"))["bars"]
    closed = {bar["t"]: tuple(number(bar[name]) for name in "ohlcv") for bar in bars if bar["isFinal"]}
    klines = await made.admin(f"truth/{NAME}/klines")
    stated = {kline["open_ms"]: kline for kline in klines if kline["open_ms"] in closed}
    # The first minute may have begun before the history.
    whole = list(closed)[1:]
    assert whole and {at: closed[at] for at in whole} == {at: numbers_of(stated[at]) for at in whole}


async def true_trades(made: Live, last_id: int) -> dict[int, tuple[int, Decimal, Decimal]]:
    """All trades up to that one by id, as the exchange has them now: time, price, size."""
    found: dict[int, tuple[int, Decimal, Decimal]] = {}
    from_id = 0
    while from_id <= last_id:
        rows = (await made.admin(f"truth/{NAME}/trades", from_id=from_id, to_id=last_id))["trades"]
        found |= {row[1]: (row[0], Decimal(row[2]).scaleb(-3), Decimal(row[3]).scaleb(-5)) for row in rows}
        from_id = rows[-1][1] + 1
    return found


def numbers_of(kline: dict[str, int]) -> tuple[Decimal, ...]:
    prices = (kline[f"{name}_ticks"] for name in ("open", "high", "low", "close"))
    return (*(Decimal(ticks).scaleb(-3) for ticks in prices), Decimal(kline["volume_lots"]).scaleb(-5))


def number(value: object) -> Decimal:
    return Decimal(str(value))


async def all_trades(made: Live) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    start: dict[str, Any] = {"start": 0}
    while True:
        page = (await made.told(f"/v1/trades/{S}", take="oldest", limit=10_000, **start))["trades"]
        found += page
        if len(page) < 10_000:
            return found
        start = {"start": page[-1]["t"]}


async def test_a_finer_tick_costs_no_trade_and_is_the_reason_until_the_symbol_is_changed(redis_url: str) -> None:
    """Before: nine of ten trades were refused for ever, under status `ok`."""
    async with live(redis_url) as made:
        await wait_until_async(lambda: made.client.exists(KEYS.candles), 40)
        await wait_until_async(made.is_whole, 40)
        # Long enough for health to be told.
        await made.admin("faults", {"kind": "slow", "ms": 1_500, "path": "exchangeInfo"})
        await made.admin("faults", {"kind": "retick", "symbol": NAME, "price_decimals": 3})

        async def changed() -> bool:
            market = await Registry(made.client).market(S)
            return market is not None and market.instrument == AFTER

        await wait_until_async(changed, 40)
        data = await stored_instrument(made.client, S)
        assert data and data.instrument == AFTER
        assert ("DEGRADED", "tick") in made.health
        newest = made.exchange.market(NAME).trades().ids[-1]

        async def caught_up() -> bool:
            return await made.applied() >= newest + 50 and await made.is_whole()

        try:
            await wait_until_async(caught_up, 60)
        except AssertionError:
            pytest.fail(f"{newest} and 50 more are not there and whole: {await made.standing()}")
        await wait_until_async(lambda: made.health[-1] == ("LIVE", ""), 20)
        await assert_true(made)
        source = (await Registry(made.client).market(S) or pytest.fail()).source
        assert (source["price_step_ticks"], source["size_step_lots"]) == (1, 1_000)
