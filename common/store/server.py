"""What the store says of itself."""

from dataclasses import dataclass
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import ResponseError

from common.store.client import translated


@dataclass(frozen=True, slots=True)
class ServerInfo:
    """`persistence`: `always`, `everysec`, `no`; `off` without an append-only file, `unknown` if it won't say.

    `writable`: the last write to disk went well.
    """

    version: str
    persistence: str
    writable: bool


async def ping(client: Redis) -> None:
    """Return if the store answers commands, or raise StoreUnavailable."""
    with translated("ping of the store"):
        await client.ping()


async def server_info(client: Redis) -> ServerInfo:
    with translated("look at the store"):
        info: dict[str, Any] = await client.info("server", "persistence")
        appendfsync = await _appendfsync(client)
    # Valkey's redis_version is a number for old clients' sake, not its own.
    name = "Valkey" if "valkey_version" in info else "Redis"
    version = info.get("valkey_version") or info.get("redis_version", "?")
    return ServerInfo(
        version=f"{name} {version}",
        persistence=appendfsync if info.get("aof_enabled") else "off",
        writable=info.get("aof_last_write_status", "ok") == "ok",
    )


async def _appendfsync(client: Redis) -> str:
    try:
        found = await client.config_get("appendfsync")
    except ResponseError:
        # Managed servers and read-only users may not ask.
        return "unknown"
    return found.get("appendfsync") or "unknown"
