"""The fleet as a whole: what is asked about all symbols at once, and of the store and its queue."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TypeVar

from common.errors import BadInput, StoreUnavailable
from common.settings import Settings
from common.store.budget import Throttles, read_throttles
from common.store.health import IDLE, UNASSIGNED, mode_of
from common.store.jobs import Jobs, JobsView
from common.store.presence import WORKER, processes, workers_wanted
from common.store.reads import SymbolReader, View
from common.store.registry import Market, Registry
from common.store.server import StoreWatch
from common.store.upkeep import Upkeep, upkeep_of
from common.store.wanted import WantedFleet
from feed.metrics import WorkerCounts
from feed.queries.overview_reads import OverviewReads
from feed.queries.queries import Queries

# Symbols looked at side by side: a fleet of hundreds must not open hundreds of connections.
AT_ONCE = 16

Look = tuple[Market, View]
Asked = TypeVar("Asked")
Found = TypeVar("Found")


@dataclass(frozen=True, slots=True)
class Fleet:
    settings: Settings
    queries: Queries
    # Of the roll-up queue.
    jobs: Jobs
    # Looks at the store, and knows what is wrong with it.
    watch: StoreWatch
    # What all of it can be asked for, by name (feed.queries.features).
    features: Sequence[str]
    overview: OverviewReads

    async def look(self) -> list[Look]:
        """Return every registered symbol with a view of it, of whatever instrument its data is."""
        client, older = self.queries.client, self.queries.older
        markets = list((await Registry(client).symbols()).values())

        async def view(market: Market) -> Look:
            found = await SymbolReader(client, market.symbol, older=older).view()
            market = market.as_stored(found.state.data if found.state else None)
            # Its health tells whether it is closed.
            with suppress(BadInput):
                await self.queries.work_out_sessions(market)
            return market, found

        return await _some_at_once(view, markets)

    async def queue(self) -> JobsView | None:
        """None while its Redis, which may be another than the store's, does not answer."""
        try:
            return await self.jobs.view()
        except StoreUnavailable:
            return None

    async def upkeep(self, looks: Iterable[Look]) -> dict[str, Upkeep]:
        """Return what is kept of the past of each of these symbols."""
        symbols = [market.symbol for market, _ in looks]
        found = await _some_at_once(lambda symbol: upkeep_of(self.queries.client, symbol), symbols)
        return dict(zip(symbols, found, strict=True))

    async def workers(self, looks: Sequence[Look]) -> WorkerCounts:
        """How many worker processes the symbols want, of those on demand the ones asked for; and how many there are."""
        settings, client = self.settings, self.queries.client
        wanted = {symbol for symbol, market in (await WantedFleet(client).symbols()).items() if market.is_fed}
        modes = {market.symbol: mode_of(view, market, settings.lease_ttl_ms) for market, view in looks}
        unassigned = sum(modes.get(symbol) in (UNASSIGNED, IDLE) for symbol in wanted)
        alive = sum(process.kind == WORKER for process in await processes(client))
        return WorkerCounts(
            workers_wanted(len(wanted), settings.symbols_per_worker, settings.spares), alive, unassigned
        )

    async def throttles(self, looks: Iterable[Look]) -> dict[str, Throttles]:
        """What the venues of these symbols have refused."""
        names = sorted({str(market.source["venue"]) for market, _ in looks if "venue" in market.source})
        found = await asyncio.gather(*(read_throttles(self.queries.client, name) for name in names))
        return dict(zip(names, found, strict=True))


async def _some_at_once(ask: Callable[[Asked], Awaitable[Found]], all_of: Iterable[Asked]) -> list[Found]:
    free = asyncio.Semaphore(AT_ONCE)

    async def one(asked: Asked) -> Found:
        async with free:
            return await ask(asked)

    return list(await asyncio.gather(*map(one, all_of)))
