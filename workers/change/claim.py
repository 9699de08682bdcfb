"""The claim under which a symbol is changed: taken by force from a worker that lives, and given back at the end."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

from common.clock import Clock, SystemClock
from common.errors import StoreUnavailable
from common.store.lease import NOTHING_SEEN, LeaseObservation
from common.store.symbol import Claim, SymbolStore

# Between two attempts to claim a symbol that an import has.
LOOK_S = 0.1


@dataclass(frozen=True, slots=True)
class Claimant:
    """Who changes symbols. `say` is told what is being done."""

    holder: str
    lease_ttl_ms: int
    say: Callable[[str], None] = lambda text: None
    clock: Clock = field(default_factory=SystemClock)

    @asynccontextmanager
    async def claimed(self, store: SymbolStore, token: str) -> AsyncIterator[Claim]:
        """Have the symbol, under `token`: its worker finds itself fenced, and takes it up again afterwards."""
        claim = await self._claim(store, token)
        try:
            yield claim
        finally:
            with suppress(StoreUnavailable):
                await store.release(token)

    async def _claim(self, store: SymbolStore, token: str) -> Claim:
        """Who has it by force, an import or another change, is waited for. So is one that died with it."""
        seen, since_ms = NOTHING_SEEN, self.clock.monotonic_ms()
        while True:
            now_ms = self.clock.monotonic_ms()
            stale = seen if now_ms - since_ms >= self.lease_ttl_ms else NOTHING_SEEN
            found = await store.claim(token, stale, self.holder, force=True)
            if not isinstance(found, LeaseObservation):
                return found
            if found != seen:
                seen, since_ms = found, now_ms
            self.say("waiting for an import")
            await asyncio.sleep(LOOK_S)
