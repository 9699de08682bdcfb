"""Replaying files into one symbol: one process, one claim at a time, until the last trade is committed."""

import asyncio
from collections.abc import Awaitable, Callable, Collection
from contextlib import suppress
from dataclasses import dataclass, field

from redis.asyncio import Redis

from common.clock import JudgedClock, SystemClock
from common.errors import BadInput, StoreUnavailable
from common.market.builder.recent import CONFLICT, Conflict
from common.store.client import commit_client
from common.store.commit import Commit, StreamBounds
from common.store.format import store_format
from common.store.instrument import exists_otherwise
from common.store.owners import Owners
from common.store.presence import REPLAY, present
from common.store.reads import SymbolReader
from common.store.registry import Market, Registry
from common.store.symbol import SymbolStore
from workers.recordings.base import TooFineLine
from workers.sources.base import Batch
from workers.sources.replay import Replay
from workers.symbol.claims import Claimer, WorkerContext
from workers.symbol.heartbeat import BEATS_PER_LEASE, beating
from workers.symbol.term import Progress, TermSettings
from workers.withdrawal import has_data, withdraw

KIND = "replay"
# Trades that may wait for the archive, as a multiple of those that are kept: ten times as many are held (commit.lua).
MAX_WAITING = 4


@dataclass(slots=True)
class Replayer:
    """`run` returns what the last term did. Interrupted by `stop`, it returns early with `ended` False.

    `archive`: archives the trades that wait; None if trades are not archived.
    """

    url: str
    market: Market
    replay: Replay
    settings: TermSettings
    bounds: StreamBounds
    holder: str
    archive: Callable[[Redis, Market], Awaitable[object]] | None = None
    on_progress: Callable[[Progress, Batch], None] = lambda progress, batch: None
    ended: bool = False
    clock: JudgedClock = field(default_factory=lambda: JudgedClock(SystemClock()))
    # How many trades it refused because others had been applied under their ids; and the first ones, each once.
    conflict_count: int = 0
    conflicts: dict[Conflict, None] = field(default_factory=dict)
    _claimer: Claimer | None = None
    _failure: Exception | None = None
    _progress: Progress = field(default_factory=Progress)
    # How far writers may go in the form of the store, as it was when this began.
    format: int = 1

    async def run(self) -> Progress:
        client = commit_client(self.url)
        place = WorkerContext(
            holder=self.holder,
            clock=self.clock,
            settings=self.settings,
            owners=Owners(client).look,
            stores=lambda symbol: self._store(client),
            sources=lambda market: self.replay,
            on_progress=self._note,
            on_end=self._end,
        )
        try:
            was_empty = not await has_data(client, self.market.symbol)
            self.market, is_new = await register(Registry(client), self.market)
            try:
                self.format = await store_format(client)
                known = await self._conflicts_counted(client)
                self._claimer = Claimer(self, place, frozenset([KIND]), max_symbols=1)
                async with present(client, REPLAY):
                    await self._claimer.run()
            finally:
                if is_new and not self.ended:
                    is_unfit = was_empty and isinstance(self._failure, TooFineLine)
                    await withdraw(client, self.market.symbol, self.bounds, self.clock, self.holder, with_data=is_unfit)
            with suppress(StoreUnavailable):
                self.conflict_count = await self._conflicts_counted(client) - known
        finally:
            await client.aclose()
        if self._failure:
            raise self._failure
        return self._progress

    def _store(self, client: Redis) -> SymbolStore:
        symbol, archive = self.market.symbol, self.archive
        if archive is None:
            return SymbolStore(client, symbol, self.bounds, self.clock)
        beat_s = self.settings.lease_ttl_ms / BEATS_PER_LEASE / 1_000
        return ArchivingStore(client, symbol, self.bounds, self.clock, lambda: archive(client, self.market), beat_s)

    async def symbols(self, only: Collection[str] | None = None) -> dict[str, Market]:
        """The fleet this process serves: the one symbol."""
        return {self.market.symbol: self.market}

    def stop(self) -> None:
        if self._claimer:
            self._claimer.stop()

    async def _conflicts_counted(self, client: Redis) -> int:
        """As committed: a term that lost the store does not know all that it has."""
        state = (await SymbolReader(client, self.market.symbol).view()).state
        return state.refused.get(CONFLICT, 0) if state else 0

    def _note(self, progress: Progress, batch: Batch) -> None:
        self._progress = progress
        self.conflicts |= dict.fromkeys(progress.conflicts)
        self.on_progress(progress, batch)

    def _end(self, symbol: str, error: Exception | None) -> None:
        self._failure, self.ended = error, error is None
        self.stop()


class ArchivingStore(SymbolStore):
    """Has trades archived as they come: a replay is faster than the queue, and the stream holds only so many."""

    def __init__(
        self,
        client: Redis,
        symbol: str,
        bounds: StreamBounds,
        clock: JudgedClock,
        archive: Callable[[], Awaitable[object]],
        beat_s: float,
    ) -> None:
        super().__init__(client, symbol, bounds, clock)
        self._archive, self._beat_s = archive, beat_s
        # Whatever waits by now goes first, so that a replay stands still while the archive is away.
        self._max_waiting = self._waiting = MAX_WAITING * bounds.trades

    async def commit(self, commit: Commit) -> int:
        if self._waiting >= self._max_waiting:
            await self._archive_and_beat(commit.token, commit.seq)
            self._waiting = 0
        self._waiting += commit.trade_count
        return await super().commit(commit)

    async def _archive_and_beat(self, token: str, seq: int) -> None:
        task = asyncio.ensure_future(self._archive())
        try:
            await beating(task, lambda: self.beat(token, seq, {}), self._beat_s)
        finally:
            # A replay that does not hold the symbol any more has nothing to archive, and tells no error of it.
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def register(registry: Registry, market: Market) -> tuple[Market, bool]:
    """Add the symbol, or return the one there is, if files may be replayed into it, in the same units.

    Also return whether it was added.
    """
    if await registry.add_symbol(market):
        return market, True
    found = await registry.market(market.symbol)
    if found is None or found.kind != KIND:
        kind = found.kind if found else "nothing"
        raise BadInput(f"symbol {market.symbol} is fed by {kind}: a replay needs a symbol of its own")
    if found.instrument != market.instrument:
        raise BadInput(exists_otherwise(found.instrument, market.instrument))
    return await registry.keep_as_long(found, market), False
