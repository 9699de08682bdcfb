"""The form of what lies in the store: one number, so that no process takes what it does not know for what it does.

    1   as releases wrote it that knew no number: coverage whole in the state, at most 4,095 holes
    2   coverage by chunks (`{S}:coverage`), its newest span in the state; commit messages of version 2
    3   15m roll-ups of sealed days beside these (`{S}:months`, `{S}:rolled:15m`); each names its own form besides
    4   candles with the range of their running delta: packed, sealed, archived, and in commit messages of version 3
    5   tiles of what was traded (`{S}:tiles:traded:<width>`): a commit drops those of the minutes that it amends

`{}:format` says how far writers may go; a store without it is in format 1. A symbol's own, `state.format`, says how
that symbol is written by now: its next commit brings it to where writers may go, in the same step, and nothing ever
brings it back. So processes of two releases work on one store until `fleet upgrade` raises the number, which the
older ones refuse from then on.
"""

from collections import Counter
from collections.abc import Mapping
from typing import Any

from redis.asyncio import Redis

from common.errors import NewerFormat
from common.store.client import translated
from common.store.keys import FORMAT_KEY, SYMBOLS, SYMBOLS_VERSION, SymbolKeys

# What this release writes at most.
FORMAT = 5
# From which format on coverage is stored by chunks, 15m roll-ups are made of sealed days, candles have the range of
# their running delta, and tiles are made of what was traded.
CHUNKED_COVERAGE = 2
ROLLED_MONTHS = 3
DELTA_RANGES = 4
TRADED_TILES = 5


async def store_format(client: Redis) -> int:
    """How far writers may go. Raises NewerFormat if that is further than this release knows."""
    return known(await stated_format(client), "the store")


async def stated_format(client: Redis) -> int:
    """The same, whether it is known or not."""
    with translated("read of the store's format"):
        return int(await client.get(FORMAT_KEY) or 1)


async def symbols_by_format(client: Redis) -> Mapping[int, int]:
    """How many symbols are written in which format; those that have data."""
    with translated("look at the symbols' formats"):
        names: Any = await client.hkeys(SYMBOLS)
        pipe = client.pipeline(transaction=False)
        for name in names:
            pipe.hmget(SymbolKeys(name.decode()).state, "seq", "format")
        found = await pipe.execute()
    return Counter(int(form or 1) for seq, form in found if seq is not None)


def known(found: int, whose: str) -> int:
    """Return the format of `whose` data, or raise NewerFormat: it must not be half understood."""
    if found > FORMAT:
        sentence = f"{whose} is in format {found}, and this release knows none above {FORMAT}: use a newer release"
        raise NewerFormat(sentence)
    return found


def written(symbol_format: int, allowed: int) -> int:
    """The format in which a symbol is written that is in one, where the store allows another."""
    return max(symbol_format, min(FORMAT, allowed))


async def begin(client: Redis) -> None:
    """Let a store that has no symbol yet, and says nothing of its format, be in the newest one. Raises NewerFormat."""
    await store_format(client)
    with translated("look at the store's format"):
        if not await client.exists(SYMBOLS):
            await client.set(FORMAT_KEY, FORMAT, nx=True)


async def allow(client: Redis) -> None:
    """Let writers go as far as this release does (common.store.upgrading)."""
    with translated("upgrade of the store"):
        await client.set(FORMAT_KEY, FORMAT)
        # Workers look at the format when the registry has changed (common.store.wanted).
        await client.incr(SYMBOLS_VERSION)
