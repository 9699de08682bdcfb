"""An inbox: to push into it, and what its worker remembers besides its place, committed with the trades."""

from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any, NamedTuple

from redis.asyncio import Redis

from common.store.client import translated
from common.store.keys import SymbolKeys

# What a stream may grow to while no worker reads it.
MAX_LENGTH = 1_000_000


class Remembered(NamedTuple):
    """What the worker who goes on reads. `note`: the source's own, "" if there is none; `text_ids`: oldest first."""

    note: str
    text_ids: list[str]


async def remembered(client: Redis, symbol: str) -> Remembered:
    keys = SymbolKeys(symbol)
    pipe = client.pipeline(transaction=True)
    pipe.hget(keys.state, "source_note")
    pipe.zrange(keys.text_ids, 0, -1)
    with translated(f"read of what the inbox of {symbol} remembers"):
        note, text_ids = await pipe.execute()
    found: list[Any] = text_ids
    return Remembered((note or b"").decode(), [text.decode() for text in found])


async def push(client: Redis, stream: str, entries: Sequence[Mapping[str, str]]) -> None:
    """Add entries (docs/protocol.md, "Inbox") to a stream, which may grow to MAX_LENGTH while no worker reads it.

    Raises StoreUnavailable: then any number of them may be there; with an id each counts once, pushed again.
    """
    pipe = client.pipeline(transaction=False)
    for entry in entries:
        pipe.execute_command("XADD", stream, "MAXLEN", "~", MAX_LENGTH, "*", *chain(*entry.items()))
    with translated(f"push to {stream}"):
        await pipe.execute()
