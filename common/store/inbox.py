"""What the worker of an inbox remembers besides its place: committed with the trades, read when another goes on."""

from typing import Any, NamedTuple

from redis.asyncio import Redis

from common.store.client import translated
from common.store.keys import SymbolKeys


class Remembered(NamedTuple):
    """`note`: the source's own, "" if there is none; `text_ids`: oldest first."""

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
