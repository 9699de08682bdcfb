"""Importing trades into one symbol: files to days, and days written in atomic steps under a claim.

Days that are over are sealed at once, small ones several in a step; the newest one lies open, with its newest minute in
the checkpoint, as after a replay. What a kill interrupts is read again from the file of the oldest day that was not
written: the days before it are in the checkpoint, so nothing is lost and nothing counts twice.
"""

import asyncio
import logging
from contextlib import suppress
from dataclasses import dataclass, replace

from redis.asyncio import Redis

from common.errors import BadInput, RetryableError, StoreUnavailable
from common.store.client import commit_client
from common.store.format import store_format
from common.store.instrument import check_instrument
from common.store.lease import LeaseObservation, Observer, new_token
from common.store.presence import IMPORT, present
from common.store.registry import Registry
from common.store.symbol import SymbolStore
from workers.imports.order import FileOrder, in_order
from workers.imports.target import is_fed, target
from workers.imports.tenure import Tenure
from workers.imports.term import begun
from workers.imports.work import Done, ImportWork
from workers.recordings.base import TooFineLine
from workers.symbol.claims import LOOKS_PER_LEASE
from workers.withdrawal import has_data, withdraw

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Importer(ImportWork):
    """`run` returns what was done. Interrupted by `stop`, it returns early with `ended` False."""

    async def run(self) -> Done:
        client = commit_client(self.url)
        try:
            was_empty, is_unfit = not await has_data(client, self.market.symbol), False
            market, is_new = await target(Registry(client), self.market, self.files)
            self.use(market)
            try:
                self.format = await store_format(client)
                async with present(client, IMPORT):
                    await self._work(client)
            except TooFineLine:
                is_unfit = was_empty
                raise
            finally:
                if is_new and not self.ended:
                    await withdraw(client, self.market.symbol, self.bounds, self.clock, self.holder, with_data=is_unfit)
        finally:
            await client.aclose()
        return self.done

    async def _work(self, client: Redis) -> None:
        order = await asyncio.to_thread(in_order, self.files)
        if self.within_retention:
            # Of the same files another import: without it, or by other days, it begins again.
            order = replace(order, recording=f"{order.recording}-within-{self.settings.retention.candle_days}")
        observer, told = Observer(self.settings.lease_ttl_ms), ""
        while not self.ended and not self.is_stopping:
            try:
                await self._serve(client, order, observer)
            except RetryableError as error:
                # It is tried again four times a second.
                if str(error) != told:
                    log.warning("lost", extra={"symbol": self.market.symbol, "error": str(error)})
                told = str(error)
                await self._pause()

    async def _serve(self, client: Redis, order: FileOrder, observer: Observer) -> None:
        symbol, token = self.market.symbol, new_token()
        store = SymbolStore(client, symbol, self.bounds, self.clock)
        stale = observer.stale(symbol, self.clock.monotonic_ms())
        # The worker that feeds the symbol never stands still: it finds itself fenced, and comes back when we are done.
        claim = await store.claim(token, stale, self.holder, force=is_fed(self.market))
        if isinstance(claim, LeaseObservation):
            observer.note(symbol, claim, self.clock.monotonic_ms())
            await self._pause()
            return
        try:
            check_instrument(claim.data, self.market.instrument)
            if is_fed(self.market) and not claim.position:
                raise BadInput(f"symbol {symbol} has not begun: let its worker run first, so that history has an end")
            tenure = Tenure(store, token, claim.seq, self.settings.lease_ttl_ms)
            term = await begun(self, client, tenure, claim, order)
            self.ended = await term.run()
        finally:
            with suppress(StoreUnavailable):
                await store.release(token)

    async def _pause(self) -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), self.settings.lease_ttl_ms / LOOKS_PER_LEASE / 1_000)
