"""What a replay or an import that failed takes back: the symbol it added, if nothing of it was written.

Or with all that was, where the symbol was given fewer decimals than its trades have: it is to be added with more.
"""

from contextlib import suppress

from redis.asyncio import Redis

from common.clock import JudgedClock
from common.errors import StoreUnavailable
from common.store.commit import StreamBounds
from common.store.lease import NOTHING_SEEN, LeaseObservation, new_token
from common.store.reads import SymbolReader
from common.store.registry import Registry
from common.store.symbol import SymbolStore


async def has_data(client: Redis, symbol: str) -> bool:
    """Whether anything of the symbol is there, also of one that was removed without its data."""
    return (await SymbolReader(client, symbol).view()).state is not None


async def withdraw(
    client: Redis,
    symbol: str,
    bounds: StreamBounds,
    clock: JudgedClock,
    holder: str,
    *,
    with_data: bool = False,
    force: bool = False,
) -> None:
    """Remove a symbol without a commit, unless another process has it by now.

    `with_data`: also with what was written, all of it by this run. `force`: its holder has died.

    It is claimed first: who wants to write it meanwhile waits, and registers it again.
    """
    store, token = SymbolStore(client, symbol, bounds, clock), new_token()
    with suppress(StoreUnavailable):
        claim = await store.claim(token, NOTHING_SEEN, holder, force=force)
        if isinstance(claim, LeaseObservation):
            return
        if claim.checkpoint is None or with_data:
            await Registry(client).remove_symbol(symbol, purge=True)
        else:
            await store.release(token)
