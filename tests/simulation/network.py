"""Between the workers and the store: latency, lost requests, lost replies, requests that arrive long after, rewinds."""

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from functools import partial
from types import MappingProxyType
from typing import Any

from common.clock import JudgedClock
from common.errors import FleetError, StoreUnavailable
from common.market.builder.builder import Minute
from common.market.builder.gaps import Ledger
from common.market.trade import MAX_TS_MS, Trades
from common.store.commit import Commit
from common.store.lease import LeaseObservation
from common.store.registry import Market
from common.store.symbol import Claim
from tests.kit.store.model import StoreModel, Tables
from tests.simulation.scheduler import Task, World, suspend

# A client gives up after this; common.store.client waits longer, and so do leases outside of tests.
TIMEOUT_MS = 150
MAX_LATENCY_MS = 4
MAX_OVERDUE_MS = 900

Command = Callable[[], Any]


class Fate(Enum):
    """What becomes of one command."""

    FINE = auto()
    REQUEST_LOST = auto()
    REPLY_LOST = auto()
    # It reaches the store after its sender has given up on it.
    OVERDUE = auto()
    # Its reply was lost and the client sent it again: what redis-py does unless told otherwise.
    SENT_TWICE = auto()


FAULTS = (Fate.REQUEST_LOST, Fate.REPLY_LOST, Fate.OVERDUE, Fate.SENT_TWICE)


@dataclass(slots=True)
class Server:
    """The store with its past: every state it ever was in, up to the present one."""

    model: StoreModel
    past: list[Tables] = field(default_factory=list)
    # How far writers may go in the form of the store.
    format: int = 1

    def write(self, command: Command) -> Any:
        result = command()
        self.past.append(self.model.tables.copy())
        return result

    def rewind(self, steps: int) -> None:
        """Lose the last writes, all of them acknowledged: a failover, or a disk that lied."""
        del self.past[max(1, len(self.past) - steps) :]
        if self.past:
            self.model.tables = self.past[-1].copy()


@dataclass(slots=True)
class Network:
    """`fault_ratio` of the commands meet one of FAULTS. `happened` counts those, and the store's refusals."""

    world: World
    fault_ratio: float
    happened: Counter[str]

    async def call(self, command: Command) -> Any:
        return await suspend(partial(self._send, command))

    def _send(self, command: Command, task: Task) -> None:
        random, now_ms = self.world.random, self.world.now_ms
        fate = random.choice(FAULTS) if random.random() < self.fault_ratio else Fate.FINE
        if fate is not Fate.FINE:
            self.happened[fate.name.lower()] += 1
        arrives_ms = now_ms + random.randint(0, MAX_LATENCY_MS)
        if fate is Fate.FINE:
            self.world.at(arrives_ms, lambda: self._answer(command, task))
            return
        if fate is Fate.SENT_TWICE:
            self.world.at(arrives_ms, lambda: _apply(command))
            self.world.at(arrives_ms + MAX_LATENCY_MS, lambda: self._answer(command, task))
            return
        if fate is Fate.REPLY_LOST:
            self.world.at(arrives_ms, lambda: _apply(command))
        if fate is Fate.OVERDUE:
            self.world.at(now_ms + TIMEOUT_MS + random.randint(0, MAX_OVERDUE_MS), lambda: _apply(command))
        self.world.at(now_ms + TIMEOUT_MS, lambda: task.wake(error=StoreUnavailable(fate.name)))

    def _answer(self, command: Command, task: Task) -> None:
        result = _apply(command)
        error = result if isinstance(result, Exception) else None
        value = None if error else result
        self.world.at(self.world.now_ms + self.world.random.randint(0, MAX_LATENCY_MS), lambda: task.wake(value, error))


@dataclass(slots=True)
class RemoteStore:
    """workers.symbol.term.Store of one process, over the network. `wall_ms`: of the store's clock, at the beginning."""

    name: str
    network: Network
    server: Server
    clock: JudgedClock
    wall_ms: int

    async def claim(self, token: str, stale: LeaseObservation, holder: str) -> Claim | LeaseObservation:
        found: Claim | LeaseObservation = await self._write(
            "claim", lambda: self.server.model.claim(token, stale, holder)
        )
        return found

    async def commit(self, commit: Commit) -> int:
        listeners: int = await self._write(f"commit {commit.seq + 1}", lambda: self.server.model.commit(commit))
        return listeners

    async def beat(self, token: str, seq: int, health: dict[str, str]) -> None:
        await self._write("beat", lambda: self.server.model.beat(token, seq, health))

    async def release(self, token: str, health: Mapping[str, str] = MappingProxyType({})) -> None:
        await self._write("release", lambda: self.server.model.release(token, health))

    async def minutes(self, opens: list[int]) -> dict[int, Minute]:
        found: dict[int, Minute] = await self.network.call(lambda: self.server.model.minutes(opens))
        return found

    async def gaps(self) -> Ledger:
        found: Ledger = await self.network.call(lambda: self.server.model.gaps())
        return found

    async def health(self) -> dict[str, str]:
        found: dict[str, str] = await self.network.call(lambda: self.server.model.health())
        return found

    async def recent_trades(self, count: int) -> Trades | None:
        found: Trades | None = await self.network.call(lambda: self.server.model.recent_trades(count))
        return found

    async def recent_batches(self, count: int) -> list[bytes]:
        found: list[bytes] = await self.network.call(lambda: self.server.model.recent_batches(count))
        return found

    async def taken_from_ms(self) -> int:
        return MAX_TS_MS

    async def _write(self, what: str, command: Command) -> Any:
        asked_ms = self.clock.boot_ms()
        try:
            result = await self.network.call(lambda: self.server.write(command))
        except FleetError as error:
            self.network.happened[type(error).__name__.lower()] += 1
            self._trace(f"{what}: {type(error).__name__} {error}")
            raise
        self.clock.heard(self.wall_ms + self.network.world.now_ms, asked_ms)
        self._trace(f"{what}: {result}" if what == "claim" else what)
        return result

    def _trace(self, text: str) -> None:
        self.network.world.trace(f"{self.name} {text}")


@dataclass(slots=True)
class RemoteRegistry:
    """workers.symbol.claims.Wanted: one market."""

    network: Network
    market: Market
    server: Server

    @property
    def format(self) -> int:
        """As of now: a worker learns of it at some look, and any time will do."""
        allowed: int = self.server.format
        return allowed

    async def symbols(self, only: Collection[str] | None = None) -> dict[str, Market]:
        found: dict[str, Market] = await self.network.call(lambda: {self.market.symbol: self.market})
        return found


@dataclass(slots=True)
class RemoteOwners:
    """workers.symbol.claims.Workplace.owners: of the one market."""

    network: Network
    server: Server

    async def look(self, symbols: Sequence[str]) -> dict[str, LeaseObservation | None]:
        found: dict[str, LeaseObservation | None] = await self.network.call(
            lambda: dict.fromkeys(symbols, self.server.model.holder())
        )
        return found


def _apply(command: Command) -> Any:
    """Run it at the store. A refusal is a reply, too."""
    try:
        return command()
    except FleetError as refusal:
        return refusal
