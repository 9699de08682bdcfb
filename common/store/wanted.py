"""The part of the registered fleet that wants a worker now, as a process that looks again and again keeps it."""

import time
from collections.abc import Callable, Collection, Mapping

from redis.asyncio import Redis

from common.store.demand import Demand
from common.store.format import store_format
from common.store.registry import Market, Registry

# The registry is read whole that often even if its version stands still: one who wrote to the hash by hand, or died
# between the two writes of a change, is met then.
FULL_READ_S = 30.0


class WantedFleet:
    """Symbols that are always served, and those on demand that a client asks for.

    A look costs one GET, and one EXISTS for each symbol on demand; the registry itself is read when it has changed.
    """

    def __init__(self, client: Redis, monotonic_s: Callable[[], float] = time.monotonic) -> None:
        self._registry, self._demand = Registry(client), Demand(client)
        self._monotonic_s = monotonic_s
        self._client = client
        self._format = 1
        self._version: bytes | None = None
        self._read_at_s = 0.0
        self._always: dict[str, Market] = {}
        self._on_demand: dict[str, Market] = {}

    async def symbols(self, only: Collection[str] | None = None) -> Mapping[str, Market]:
        """Return them by symbol. `only`: it is enough to answer for these, which saves looks at demand.

        Raises NewerFormat where the store has become one of a later release.
        """
        await self._keep_up()
        on_demand = [symbol for symbol in self._on_demand if only is None or symbol in only]
        if not on_demand:
            return self._always
        asked = await self._demand.asked(on_demand)
        return self._always | {symbol: self._on_demand[symbol] for symbol in on_demand if symbol in asked}

    @property
    def format(self) -> int:
        """How far writers may go in the form of the store, as of the last look at the registry."""
        return self._format

    async def _keep_up(self) -> None:
        # First the version: a change that comes between the two reads is then found at the next look.
        version, now_s = await self._registry.version(), self._monotonic_s()
        if version == self._version and now_s - self._read_at_s < FULL_READ_S:
            return
        markets, self._format = await self._registry.symbols(), await store_format(self._client)
        self._always = {symbol: market for symbol, market in markets.items() if not market.on_demand}
        self._on_demand = {symbol: market for symbol, market in markets.items() if market.on_demand}
        self._version, self._read_at_s = version, now_s
