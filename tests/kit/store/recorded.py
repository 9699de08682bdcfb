"""Stores as earlier releases left them, one of every format: all keys of it, and messages that were published.

Each was written by that release's own replay, of two recordings: contiguous ids with three holes and a duplicate, and
unique ids. Format 2: of four days and two, rolled up and sealed, one of them corrected since; without events.
"""

import json
from base64 import b64decode
from pathlib import Path
from typing import Any

from redis.asyncio import Redis

CONTIGUOUS, UNIQUE = "OLD:CONTIGUOUS", "OLD:UNIQUE"


async def restore(client: Redis, form: int) -> dict[str, bytes]:
    """Put a store back; return its last message of each channel."""
    found = json.loads(Path(__file__).with_name(f"format_{form}.json").read_text("ascii"))
    for key, (kind, value) in found["keys"].items():
        if kind == "hash":
            await client.hset(key, mapping=_pairs(value))
        elif kind == "zset":
            await client.zadd(key, {b64decode(member): score for member, score in value})
        elif kind == "string":
            await client.set(key, b64decode(value))
        elif kind == "stream":
            for entry_id, fields in value:
                await client.xadd(key, _pairs(fields), entry_id)
    return {channel: b64decode(message) for channel, message in found["messages"]}


def _pairs(rows: list[list[str]]) -> dict[Any, Any]:
    return {b64decode(name): b64decode(value) for name, value in rows}
