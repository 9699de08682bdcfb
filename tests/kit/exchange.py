"""What the tests of the exchange share: one that stands still until it is told, and raw clients of it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx2
import orjson
from websockets.asyncio.client import ClientConnection, connect

from common.clock import Clock
from infra.exchange import Address, Exchange, ExchangeMarket, Rules, Simulation, listing_of, serving

# Noon of a day, so that no test begins beside a boundary by chance.
START_MS = 1_722_513_600_000
SYMBOL = "BTCUSDT"
# A drain is a control message; no test but those of the limits cares how many it sends.
EASY = Rules(message_limit=1_000_000, weight_limit=1_000_000)


def simulated(*symbols: str, seed: int = 7, rules: Rules = EASY, orders_per_s: float = 10.0) -> list[ExchangeMarket]:
    return [ExchangeMarket(Simulation(listing_of(symbol), seed, orders_per_s), rules) for symbol in symbols]


def still(
    *symbols: str, history_ms: int = 0, rules: Rules = EASY, clock: Clock | None = None, seed: int = 7
) -> Exchange:
    """An exchange whose market time moves only by `advance`."""
    markets = simulated(*(symbols or (SYMBOL,)), seed=seed, rules=rules)
    return Exchange(markets, start_ms=START_MS, history_ms=history_ms, rules=rules, clock=clock)


@dataclass(frozen=True)
class Feed:
    """A raw WebSocket client."""

    socket: ClientConnection

    async def ask(self, method: str, *params: object, request_id: object = 1) -> dict[str, Any]:
        """Send a control message; return the answer, which must be the next message."""
        await self.socket.send(orjson.dumps({"method": method, "params": params, "id": request_id}).decode())
        found: dict[str, Any] = orjson.loads(await self.socket.recv())
        return found

    async def frames(self) -> list[str | bytes]:
        """All that was sent up to now: an answer comes after it."""
        await self.socket.send('{"method":"LIST_SUBSCRIPTIONS","id":"end-of-frames"}')
        found: list[str | bytes] = []
        while True:
            frame = await self.socket.recv()
            if isinstance(frame, str) and '"end-of-frames"' in frame:
                return found
            found.append(frame)

    async def messages(self) -> list[Any]:
        return [orjson.loads(frame) for frame in await self.frames()]

    async def trade_ids(self) -> list[int]:
        """Of a raw `@trade` stream."""
        return [message["t"] for message in await self.messages()]


@dataclass(frozen=True)
class Served:
    exchange: Exchange
    address: Address
    http: httpx2.AsyncClient

    async def get(self, path: str, **params: str | int) -> Any:
        """The JSON of a good answer."""
        answer = await self.http.get(f"/api/v3/{path}", params=params)
        assert answer.status_code == 200, answer.text
        return orjson.loads(answer.content)

    async def refused(self, path: str, **params: str | int) -> tuple[int, int]:
        """Status and code of a bad answer."""
        answer = await self.http.get(f"/api/v3/{path}", params=params)
        return answer.status_code, answer.json()["code"]

    @asynccontextmanager
    async def feed(self, path: str = "/ws", **options: Any) -> AsyncIterator[Feed]:
        async with connect(self.address.ws + path, max_queue=None, **options) as socket:
            yield Feed(socket)

    def admin(self) -> httpx2.AsyncClient:
        headers = {"Authorization": f"Bearer {self.address.token}"}
        return httpx2.AsyncClient(base_url=self.address.admin, headers=headers, verify=False)


@asynccontextmanager
async def served(exchange: Exchange, port: int = 0) -> AsyncIterator[Served]:
    async with serving(exchange, port) as address, httpx2.AsyncClient(base_url=address.rest, verify=False) as http:
        yield Served(exchange, address, http)
