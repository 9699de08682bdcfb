"""Sources by kind, as the fleet's workers open them. A replay is opened only by the command that replays."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial

from redis.asyncio import Redis

from common.clock import Clock
from common.store.demand import Caps
from common.store.registry import Market
from common.store.stream_reader import OwnReader, SharedReads, StreamReader
from workers.change.request import Request
from workers.sources.base import Source
from workers.sources.inbox import Inbox
from workers.sources.simulator import Simulator


@dataclass(frozen=True, slots=True)
class SourceContext:
    """What a source may need from the process."""

    # Answers at once.
    commands: Redis
    # May wait.
    blocking: Redis
    clock: Clock
    # How much history a new market of a venue is given.
    backfill_ms: int = 0
    # How much of the history of a venue's book is kept; 0 keeps no book.
    depth_minutes: int = 0
    # Of streams from venues.
    caps: Caps = Caps(1, 1)
    binance_key: str = field(default="", repr=False)
    # Changes what a symbol is, which ends its term; None: nothing may.
    change: Callable[[str, Request], Awaitable[object]] | None = None
    # Of a process that may have many inboxes.
    shared: SharedReads | None = None

    def reader(self, stream: str) -> StreamReader:
        """Of what is appended to a stream."""
        return self.shared.reader(stream) if self.shared else OwnReader(self.blocking, stream)


SourceFactory = Callable[[Market, SourceContext], Source]


def _venue(market: Market, means: SourceContext) -> Source:
    # Its HTTP and WebSocket clients are a third of an idle worker: only for those that need them.
    from workers.sources.venue.source import venue_source

    return venue_source(market, means)


def _simulator(market: Market, means: SourceContext) -> Source:
    source = Simulator.of(market, means.clock)
    if means.depth_minutes:
        # What keeps books, only where one is kept.
        from workers.sources.simulated_book import SimulatedBook
        from workers.sources.venue.book import book_stores

        stores = book_stores(means.commands, market.instrument, means.depth_minutes)
        source.book_of = partial(SimulatedBook.of, market.instrument, source.seed, stores, means.clock)
    return source


SOURCES: dict[str, SourceFactory] = {
    "inbox": lambda market, means: Inbox.of(market, means.commands, means.reader, means.clock),
    "simulator": lambda market, means: _simulator(market, means),
    "venue": lambda market, means: _venue(market, means),
}
