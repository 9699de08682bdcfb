"""What all that works on a store must agree on: written by the fleet when it starts, read by every command.

{}:agreed    hash    archive_url, archive_s3_endpoint, archive_trades, as settings have them
"""

from dataclasses import dataclass
from typing import Any

from redis.asyncio import Redis

from common.store.client import translated
from common.store.keys import AGREED


@dataclass(frozen=True, slots=True)
class Agreed:
    """Where the fleet of a store archives; None: nowhere."""

    archive_url: str | None
    archive_s3_endpoint: str | None
    archive_trades: bool


async def agreed(client: Redis) -> Agreed | None:
    """None: no fleet of this release has run on the store."""
    with translated("read of what the fleet agrees on"):
        stored: dict[Any, Any] = await client.hgetall(AGREED)
    found = {name.decode(): value.decode() for name, value in stored.items()}
    if not found:
        return None
    return Agreed(
        found.get("archive_url") or None,
        found.get("archive_s3_endpoint") or None,
        found.get("archive_trades", "1") != "0",
    )


async def agree(client: Redis, ours: Agreed) -> Agreed | None:
    """Have all agree on this; return what it was before. Written only where it is another."""
    before = await agreed(client)
    if before != ours:
        fields = {
            "archive_url": ours.archive_url or "",
            "archive_s3_endpoint": ours.archive_s3_endpoint or "",
            "archive_trades": str(int(ours.archive_trades)),
        }
        with translated("write of what the fleet agrees on"):
            await client.hset(AGREED, mapping=fields)  # type: ignore[arg-type]
    return before
