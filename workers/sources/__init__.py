"""Sources by kind, as the fleet's workers open them. A replay is opened only by the command that replays."""

from collections.abc import Callable
from dataclasses import dataclass

from redis.asyncio import Redis

from common.clock import Clock
from common.store.registry import Market
from workers.sources.base import Source
from workers.sources.inbox import Inbox
from workers.sources.simulator import Simulator


@dataclass(frozen=True, slots=True)
class Means:
    """What a source may need from the process: `commands` answers at once, `blocking` may wait."""

    commands: Redis
    blocking: Redis
    clock: Clock


SourceFactory = Callable[[Market, Means], Source]

SOURCES: dict[str, SourceFactory] = {
    "inbox": lambda market, means: Inbox.of(market, means.commands, means.blocking, means.clock),
    "simulator": lambda market, means: Simulator.of(market, means.clock),
}
