"""What the store says of itself, and whether it can be relied upon.

Two things refuse the start of a process, for data would be lost in silence: a server that lacks commands, and one that
evicts keys. All other troubles come and go while it runs: the fleet works as well as it can, and health says `store`.
"""

import asyncio
import logging
import random
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from redis.asyncio import Redis
from redis.exceptions import ResponseError

from common.errors import OperatorError, StoreUnavailable
from common.store.client import translated
from common.store.format import store_format
from common.store.move_mark import refuse_half_moved

log = logging.getLogger(__name__)

# EVAL, streams, hashes and sorted sets as they are since 6.2.
MIN_VERSION = (6, 2)
# It may keep everything, or it is no store.
SAFE_POLICY = "noeviction"
UNKNOWN = "unknown"
# How often a watch looks, in seconds. A server that was started again so many times within this time keeps falling.
LOOK_EVERY_S = 5.0
MANY_STARTS, STARTS_WITHIN_S = 3, 60.0


class Trouble(NamedTuple):
    """`what`: a word for programs. `sentence`: what was found, and what to do. `is_fatal`: refuses a start."""

    what: str
    sentence: str
    is_fatal: bool = False


@dataclass(frozen=True, slots=True)
class ServerInfo:
    """`persistence`: `always`, `everysec`, `no`; `off` without an append-only file, `unknown` if it won't say.

    `eviction`: its policy. `writable`: it takes writes, as far as it knows. `run`: another one after each start.
    """

    version: str
    persistence: str
    eviction: str
    writable: bool
    run: str
    troubles: tuple[Trouble, ...]


async def ping(client: Redis) -> None:
    """Return if the store answers commands, or raise StoreUnavailable."""
    with translated("ping of the store"):
        await client.ping()


async def server_info(client: Redis) -> ServerInfo:
    with translated("look at the store"):
        # Whole: sections by name, several at once, are newer than the oldest server that will do.
        info: Mapping[str, Any] = await client.info()
        appendfsync = await _config(client, "appendfsync")
        snapshots = await _config(client, "save") if _has_failed_snapshot(info) else ""
    return judged(info, appendfsync, snapshots)


def judged(info: Mapping[str, Any], appendfsync: str, snapshots: str = "") -> ServerInfo:
    """`info`: what INFO answers. `appendfsync`, `snapshots`: the settings `appendfsync` and `save`, or UNKNOWN."""
    persistence = appendfsync if info.get("aof_enabled") else "off"
    unwritable = list(_unwritable(info, snapshots))
    found = [*_unfit(info), *_forgetful(info, persistence), *unwritable]
    return ServerInfo(
        version=" ".join(version_of(info)),
        persistence=persistence,
        eviction=str(info.get("maxmemory_policy", UNKNOWN)),
        writable=not unwritable,
        run=str(info.get("run_id", "")),
        troubles=tuple(found),
    )


def version_of(info: Mapping[str, Any]) -> tuple[str, str]:
    """Name and version. Valkey's redis_version is a number for old clients' sake, not its own."""
    name = "Valkey" if "valkey_version" in info else "Redis"
    return name, str(info.get("valkey_version") or info.get("redis_version", "0"))


def is_old(version: str) -> bool:
    return tuple(int(part) for part in version.split(".")[:2] if part.isdigit()) < MIN_VERSION


def _unfit(info: Mapping[str, Any]) -> Iterator[Trouble]:
    name, version = version_of(info)
    if is_old(version):
        least = ".".join(map(str, MIN_VERSION))
        yield Trouble("version", f"the store is {name} {version}, expected Redis {least} or newer, or any Valkey", True)
    policy = info.get("maxmemory_policy", SAFE_POLICY)
    if policy != SAFE_POLICY:
        yield Trouble("eviction", f"the store may evict keys (maxmemory-policy {policy}), expected {SAFE_POLICY}", True)


def _forgetful(info: Mapping[str, Any], persistence: str) -> Iterator[Trouble]:
    if evicted := int(info.get("evicted_keys", 0)):
        sentence = f"the store has evicted {evicted} keys since it was started: data may be missing (CONFIG RESETSTAT)"
        yield Trouble("evicted", sentence)
    if persistence == "off":
        yield Trouble("persistence", "the store keeps nothing on disk (appendonly no), expected appendonly yes")
    if persistence == "no":
        yield Trouble("persistence", "the store forces nothing to disk (appendfsync no), expected always")


def _unwritable(info: Mapping[str, Any], snapshots: str) -> Iterator[Trouble]:
    if info.get("role", "master") != "master":
        yield Trouble("replica", "the store is a replica and takes no writes, expected its primary")
    if info.get("aof_enabled") and info.get("aof_last_write_status", "ok") != "ok":
        yield Trouble("disk", "the store's last write to disk failed (is its disk full?): it refuses writes")
    if _has_failed_snapshot(info) and snapshots not in ("", UNKNOWN):
        yield Trouble("disk", "the store's last snapshot failed (is its disk full?): it refuses writes")
    limit = int(info.get("maxmemory", 0))
    if limit and int(info.get("used_memory", 0)) >= limit:
        yield Trouble("memory", f"the store's memory is full ({limit} bytes): it refuses writes")


def _has_failed_snapshot(info: Mapping[str, Any]) -> bool:
    return bool(info.get("rdb_last_bgsave_status", "ok") != "ok")


async def _config(client: Redis, name: str) -> str:
    try:
        found = await client.config_get(name)
    except ResponseError:
        # Managed servers and read-only users may not ask.
        return UNKNOWN
    return str(found.get(name, UNKNOWN))


async def admit(client: Redis, *, unsafe: bool) -> None:
    """Return if a process may work with this store, or raise OperatorError. To be called before anything is written.

    `unsafe`: FLEET_UNSAFE_STORE, it may whatever the store is, unless it has been written by a later release, or is
    half moved.
    """
    await store_format(client)
    await refuse_half_moved(client)
    if not unsafe:
        refuse_unfit(await server_info(client))


def refuse_unfit(info: ServerInfo) -> None:
    for trouble in info.troubles:
        if trouble.is_fatal:
            raise OperatorError(f"{trouble.sentence}; FLEET_UNSAFE_STORE=1 works with it all the same")


async def await_admission(client: Redis, *, unsafe: bool, stopping: Callable[[], bool] = lambda: False) -> None:
    """The same, once the store answers: a process may be started before it."""
    failures = 0
    while not stopping():
        try:
            return await admit(client, unsafe=unsafe)
        except StoreUnavailable as error:
            failures += 1
            if failures == 1:
                log.warning("store unavailable", extra={"error": str(error)})
            await asyncio.sleep(random.uniform(0.05, 0.25))


@dataclass(slots=True)
class StoreWatch:
    """Looks at the store again and again. `troubles`: as of the last look that it answered.

    `on_first`: told what the very first answer says, for a process that was started before the store.
    """

    client: Redis
    monotonic_s: Callable[[], float]
    on_first: Callable[[ServerInfo], None] = lambda info: None
    troubles: tuple[Trouble, ...] = ()
    _run: str | None = None
    _starts_s: deque[float] = field(default_factory=lambda: deque(maxlen=MANY_STARTS))

    async def look(self) -> ServerInfo:
        """What it says now."""
        info = await server_info(self.client)
        now_s = self.monotonic_s()
        if self._run is None:
            self.on_first(info)
        elif self._run != info.run:
            self._starts_s.append(now_s)
        self._run = info.run
        self.troubles = (*info.troubles, *self._falls(now_s))
        return info

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            try:
                await self.look()
            except StoreUnavailable:
                pass  # the next command meets that, too
            except Exception:
                log.exception("look at the store failed")
            await asyncio.sleep(LOOK_EVERY_S)

    def _falls(self, now_s: float) -> Iterator[Trouble]:
        if len(self._starts_s) == MANY_STARTS and now_s - self._starts_s[0] <= STARTS_WITHIN_S:
            yield Trouble("restarts", "the store ends and is started again and again (is its disk full?): see its log")
