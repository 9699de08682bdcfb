"""Looks at who listens in Redis, and publishes what nobody else does: of each symbol one feed, which has a right to it.

Nothing here is of any importance to the feed itself: what fails is logged, and tried again with the next look.
"""

import asyncio
import logging
import time
from collections.abc import Collection, Iterable
from contextlib import suppress
from dataclasses import dataclass

from common.errors import BadInput, FleetError, StoreUnavailable
from common.store.demand import Demand
from common.store.lease import new_token
from common.store.publishing import Publishing, RightLost
from common.store.registry import Market
from feed.metrics import Metrics
from feed.publishing.symbol import SymbolPublisher
from feed.publishing.wishes import Wish, wish_of
from feed.queries.queries import Queries
from feed.stream.hub import Hub
from feed.wire.errors import UnknownSymbol

log = logging.getLogger(__name__)

# A channel is published this long after its first subscriber at the latest, and not much longer after its last one.
LOOK_S = 2.0
# Channels that are published, of all feeds together; of more the first by name.
MAX_CHANNELS = 2_000
# How long a symbol's entry is believed; whoever listens to its series hears of changes at once.
MARKET_TTL_S = 30.0
# A feed that ends gives its rights up, if that is quickly done; else they expire.
RELEASE_S = 1.0


@dataclass(frozen=True, slots=True)
class HeldRight:
    """A symbol to which this feed has the right."""

    symbol: str
    token: str
    publisher: SymbolPublisher
    task: "asyncio.Task[None]"

    async def stop(self) -> None:
        self.publisher.leave()
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)


class DerivedPublisher:
    def __init__(self, queries: Queries, hub: Hub, metrics: Metrics) -> None:
        self._queries = queries
        self._hub = hub
        self._counts = metrics.published
        self._store = Publishing(queries.client)
        self._demand = Demand(queries.client)
        self._held: dict[str, HeldRight] = {}
        self._markets: dict[str, tuple[float, Market]] = {}
        # By the names of channels there are; None: it is none of ours. And symbols that nobody knows.
        self._wishes: dict[str, Wish | None] = {}
        self._unknown: set[str] = set()
        self._is_crowded = False

    @property
    def symbols(self) -> frozenset[str]:
        """Those that this feed publishes."""
        return frozenset(self._held)

    async def run(self) -> None:
        """Run until cancelled."""
        try:
            while True:
                try:
                    await self.look()
                except StoreUnavailable as error:
                    log.warning("subscribers of Redis not known", extra={"error": str(error)})
                except Exception:
                    log.exception("look at the subscribers of Redis failed")
                await asyncio.sleep(LOOK_S)
        finally:
            await self.close()

    async def close(self) -> None:
        """Give up all rights: another feed goes on at its next look."""
        with suppress(TimeoutError, FleetError):
            async with asyncio.timeout(RELEASE_S):
                for held in list(self._held.values()):
                    await self._stop(held)
                    await self._store.release(held.symbol, held.token)

    async def look(self) -> None:
        """Find out what is listened to, and do what follows from that."""
        wishes = self._understood(await self._store.channels())
        told: dict[str, list[Wish]] = {}
        for wish in wishes:
            if wish.topic:
                told.setdefault(wish.symbol, []).append(wish)
        self._unknown &= {wish.symbol for wish in wishes}
        for held in list(self._held.values()):
            if held.symbol not in told:
                await self._give_up(held)
            elif held.task.done():
                await self._take_up_again(held)
        await asyncio.gather(*(self._keep(symbol, some) for symbol, some in told.items()))
        await self._ask_for({wish.symbol for wish in wishes} - told.keys())

    def _understood(self, channels: Collection[str]) -> list[Wish]:
        known = self._wishes
        self._wishes = {channel: known[channel] if channel in known else _understood(channel) for channel in channels}
        found = sorted((wish for wish in self._wishes.values() if wish), key=lambda wish: wish.channel)
        if len(found) > MAX_CHANNELS and not self._is_crowded:
            log.warning("too many channels", extra={"channels": len(found), "most": MAX_CHANNELS})
        self._is_crowded = len(found) > MAX_CHANNELS
        return found[:MAX_CHANNELS]

    async def _keep(self, symbol: str, wishes: Collection[Wish]) -> None:
        """Publish these channels of the symbol, if the right to it is ours or nobody's."""
        try:
            held = self._held.get(symbol)
            if held and not await self._store.keep(symbol, held.token):
                await self._lose(held)
                held = None
            held = held or await self._taken(symbol)
            if held:
                held.publisher.want(wishes)
        except StoreUnavailable as error:
            log.warning("right to publish not known", extra={"symbol": symbol, "error": str(error)})
        except Exception:
            log.exception("publication failed", extra={"symbol": symbol})

    async def _taken(self, symbol: str) -> HeldRight | None:
        market, token = await self._market(symbol), new_token()
        if market is None or not await self._store.take(symbol, token):
            return None
        store = self._store.of(symbol, token)
        publisher = SymbolPublisher(store, self._hub, self._counts, market, await store.progress())
        held = self._held[symbol] = HeldRight(symbol, token, publisher, asyncio.create_task(publisher.run()))
        return held

    async def _market(self, symbol: str) -> Market | None:
        read_at_s, market = self._markets.get(symbol, (0.0, None))
        if market is None or time.monotonic() - read_at_s > MARKET_TTL_S:
            try:
                market = await self._queries.market(symbol)
            except (UnknownSymbol, BadInput) as error:
                self._markets.pop(symbol, None)
                if symbol not in self._unknown:
                    log.warning("subscribers of Redis wait in vain", extra={"symbol": symbol, "error": str(error)})
                self._unknown.add(symbol)
                return None
            self._markets[symbol] = (time.monotonic(), market)
        return market

    async def _ask_for(self, symbols: Iterable[str]) -> None:
        """Those on demand whose worker publishes what is listened to. All others are asked for by the hub."""
        found = [await self._market(symbol) for symbol in symbols]
        asked = [market.symbol for market in found if market and market.on_demand]
        if asked:
            await self._demand.ask(asked)

    async def _give_up(self, held: HeldRight) -> None:
        """Nobody listens any more."""
        await self._stop(held)
        with suppress(StoreUnavailable, RightLost):
            await held.publisher.forget()
            await self._store.release(held.symbol, held.token)

    async def _take_up_again(self, held: HeldRight) -> None:
        """What it knew counts no more: under another right, whoever gets it, it goes on from what has been told."""
        error = held.task.exception()
        known = isinstance(error, FleetError)
        what = {"symbol": held.symbol, "error": str(error)}
        log.warning("publication begins again", extra=what, exc_info=None if known else error)
        self._markets.pop(held.symbol, None)
        await self._stop(held)
        with suppress(StoreUnavailable):
            await self._store.release(held.symbol, held.token)

    async def _lose(self, held: HeldRight) -> None:
        log.warning("right to publish lost", extra={"symbol": held.symbol})
        await self._stop(held)

    async def _stop(self, held: HeldRight) -> None:
        self._held.pop(held.symbol, None)
        await held.stop()


def _understood(channel: str) -> Wish | None:
    try:
        return wish_of(channel)
    except BadInput as error:
        log.warning("channel not understood", extra={"error": str(error)})
        return None
