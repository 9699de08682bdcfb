"""Raising the store's format: once no process of an older release is known to run, for it would not know the new one.

Every process says that it is there, and which format it knows (common.store.presence). What holds a symbol and says
nothing is of a release that did not know how.
"""

import asyncio
from collections.abc import Mapping
from typing import Any

from redis.asyncio import Redis

from common.errors import OperatorError
from common.store import format
from common.store.client import translated
from common.store.format import FORMAT
from common.store.keys import SYMBOLS, SymbolKeys
from common.store.presence import processes

LOOK_EVERY_S = 0.1
# Named in a refusal; all count.
MAX_NAMED = 5

# Who holds each symbol that is held, and the holder's beats.
Holders = Mapping[str, tuple[str, bytes]]


async def upgrade(client: Redis, lease_ttl_ms: int) -> int:
    """Let writers write the newest form that this release knows; return how far they might go until now.

    Raises OperatorError while a process of an older release runs.
    """
    before = await format.store_format(client)
    if before < FORMAT:
        older = await older_processes(client, lease_ttl_ms)
        if older:
            named = ", ".join(older[:MAX_NAMED]) + (f" and {len(older) - MAX_NAMED} more" if older[MAX_NAMED:] else "")
            sentence = f"the store stays in format {before}, for processes of an older release run: {named}"
            raise OperatorError(f"{sentence}; replace them first, feeds, roll-up, workers and clock in this order")
        await format.allow(client)
    return before


async def older_processes(client: Redis, lease_ttl_ms: int) -> list[str]:
    """Those that don't know this release's format."""
    known = await processes(client)
    older = [f"{process.kind} {process.name} (format {process.format})" for process in known if process.format < FORMAT]
    names = {process.name for process in known}
    return older + [f"worker {holder}" for holder in await living_holders(client, names, lease_ttl_ms)]


async def living_holders(client: Redis, known: set[str], lease_ttl_ms: int) -> list[str]:
    """Holders of symbols that are not known, and give a sign of life within a lease."""
    first = now = _unknown(await _holders(client), known)
    loop = asyncio.get_running_loop()
    deadline_s = loop.time() + lease_ttl_ms / 1_000
    while any(now.get(symbol) == seen for symbol, seen in first.items()) and loop.time() < deadline_s:
        await asyncio.sleep(LOOK_EVERY_S)
        now = _unknown(await _holders(client), known)
    return sorted({now[symbol][0] for symbol, seen in first.items() if symbol in now and now[symbol] != seen})


def _unknown(holders: Holders, known: set[str]) -> Holders:
    return {symbol: seen for symbol, seen in holders.items() if seen[0] not in known}


async def _holders(client: Redis) -> Holders:
    with translated("look at the owners of symbols"):
        names: Any = await client.hkeys(SYMBOLS)
        symbols = [name.decode() for name in names]
        pipe = client.pipeline(transaction=False)
        for symbol in symbols:
            pipe.hmget(SymbolKeys(symbol).owner, "token", "holder", "beats")
        rows = zip(symbols, await pipe.execute(), strict=True)
    return {symbol: ((holder or b"?").decode(), beats) for symbol, (token, holder, beats) in rows if token}
