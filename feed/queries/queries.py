"""What all questions share: the caches, the registry, and who may read how much at once."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Hashable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TypeVar

from redis.asyncio import Redis

from common.archive.archive import Archive
from common.market.instrument import Instrument, check_symbol
from common.market.timeframes.calendars import EXTENDED, REGULAR, has_extended, is_known, sessions_of
from common.market.timeframes.timeframe import Timeframe
from common.store.health import HealthRules
from common.store.older import OlderCache
from common.store.reads import SymbolReader, View
from common.store.registry import Market, Registry
from feed.bars.choice import source_of
from feed.bars.data import SymbolData
from feed.bars.forms import NATIVE, BarForm
from feed.bars.frames import cover_of
from feed.bars.source import BarSource, PageRead
from feed.bars.tail import Tails
from feed.queries.stated_pages import StatedPage, StatedPages
from feed.reading.budget import MAX_ANSWER_BYTES, QueryBudget
from feed.reading.depth_history import DepthHistory
from feed.reading.depth_minutes import DepthMinutes
from feed.reading.frame_cache import FrameCache
from feed.reading.history import History
from feed.reading.lanes import Lanes
from feed.reading.shared_views import SharedViews
from feed.reading.single_flight import SingleFlight
from feed.reading.tape import Tapes
from feed.reading.trade_archive import PackedDays, TradeHistory
from feed.reading.workers import QueryThreads
from feed.wire import answers
from feed.wire.answers import Written
from feed.wire.errors import UnknownSymbol

# How long a symbol's entry in the registry is believed. Unknown symbols are asked for every time.
MARKET_TTL_S = 2.0

T = TypeVar("T")


def unknown_symbol(symbol: str) -> UnknownSymbol:
    return UnknownSymbol(f"symbol {symbol} is not registered, GET /v1/symbols lists those that are")


@dataclass(slots=True)
class Queries:
    """`client` answers at once and never re-sends."""

    client: Redis
    lease_ttl_ms: int
    tails: Tails = field(default_factory=Tails)
    tapes: Tapes = field(default_factory=Tapes)
    frame_cache: FrameCache = field(default_factory=FrameCache)
    depth: DepthMinutes = field(default_factory=DepthMinutes)
    book_history: DepthHistory = field(init=False)
    packed: PackedDays = field(default_factory=PackedDays)
    workers: QueryThreads = field(default_factory=QueryThreads)
    lanes: Lanes = field(default_factory=lambda: Lanes(large_places=2))
    # Most bytes of one answer.
    answer_bytes: int = MAX_ANSWER_BYTES
    older: OlderCache = field(default_factory=OlderCache)
    archive: Archive | None = None
    is_store_troubled: Callable[[], bool] = lambda: False
    rules: HealthRules = field(init=False)
    # Answers, and pages of bars, that are being worked out.
    flights: SingleFlight[Written] = field(default_factory=SingleFlight)
    pages: SingleFlight[PageRead] = field(default_factory=SingleFlight)
    stated_pages: StatedPages = field(default_factory=StatedPages)
    _markets: dict[str, tuple[float, Market]] = field(default_factory=dict)
    _calendars: asyncio.Lock = field(default_factory=asyncio.Lock)

    def __post_init__(self) -> None:
        self.book_history = DepthHistory(self.depth)
        self.rules = HealthRules(self.lease_ttl_ms, self.is_store_troubled)

    async def market(self, symbol: str) -> Market:
        """Return a registered symbol as its data has it, or raise UnknownSymbol."""
        read_at_s, market = self._markets.get(symbol, (0.0, None))
        now_s = time.monotonic()
        if market is None or now_s - read_at_s > MARKET_TTL_S:
            market = await Registry(self.client).stored(check_symbol(symbol))
            if market is None:
                self._markets.pop(symbol, None)
                raise unknown_symbol(symbol)
            await self.work_out_sessions(market)
            self._markets[symbol] = (now_s, market)
        return market

    async def market_named(self, name: str) -> Market:
        """The same; a name without its venue is the symbol of that name, where exactly one venue has it."""
        with suppress(UnknownSymbol):
            return await self.market(name)
        found = [] if ":" in name else [s for s in await Registry(self.client).names() if s.partition(":")[2] == name]
        if len(found) > 1:
            raise UnknownSymbol(f"symbol {name} is of several venues, expected one of {', '.join(found)}")
        return await self.market(found[0] if found else name)

    async def work_out_sessions(self, market: Market) -> None:
        """Have them at hand when they are asked for: the first look at a calendar takes a second."""
        await self._work_out(market.instrument, market.instrument.hours)

    async def work_out_day(self, market: Market) -> None:
        """All hours of its calendar, whichever of them it keeps."""
        await self._work_out(market.instrument, REGULAR)
        if has_extended(market.instrument.calendar):
            await self._work_out(market.instrument, EXTENDED)

    async def _work_out(self, instrument: Instrument, hours: str) -> None:
        if is_known(instrument.calendar, instrument.zone, hours):
            return
        # Not on the event loop; and two at once would both take it.
        async with self._calendars:
            await asyncio.to_thread(sessions_of, instrument.calendar, instrument.zone, hours)

    def forget(self, symbol: str) -> None:
        """Read the symbol's entry once more when it is next asked for, also without its venue: it has changed."""
        for name in [each for each in self._markets if symbol in (each, each.partition(":")[2])]:
            del self._markets[name]

    async def weighed(self, read: Callable[[QueryBudget], Awaitable[T]]) -> T:
        """Return what `read` does with a budget, once it has a place among those that read as much. Raises Busy."""
        return await self.lanes.run(lambda place: read(QueryBudget(self.workers, place, max_bytes=self.answer_bytes)))

    def of(self, market: Market) -> "SymbolQueries":
        return SymbolQueries(self, market)


@dataclass(frozen=True, slots=True)
class SymbolQueries:
    """One symbol, as a question is asked about it."""

    queries: Queries
    market: Market

    @property
    def reader(self) -> SymbolReader:
        return SymbolReader(self.queries.client, self.market.symbol, self.market.instrument, older=self.queries.older)

    def shared_reader(self) -> SharedViews:
        """For reads side by side that are to agree."""
        shared, instrument = self.queries, self.market.instrument
        return SharedViews(shared.client, self.market.symbol, instrument, older=shared.older)

    def data(
        self, budget: QueryBudget | None = None, store: SymbolReader | None = None, form: BarForm = NATIVE
    ) -> SymbolData:
        """Without a budget: for what is bounded otherwise."""
        shared, store, instrument = self.queries, store or self.reader, self.market.instrument
        history = History(store, instrument, shared.frame_cache, shared.archive, budget)
        trade_archive = TradeHistory(store, instrument, shared.packed, shared.archive, budget)
        return SymbolData(instrument, history, shared.tails, shared.tapes, trade_archive, form)

    def source(self, timeframe: Timeframe, budget: QueryBudget | None = None) -> BarSource:
        """Where its bars of that length come from."""
        return source_of(self.data(budget), self.market.instrument.anchored(timeframe))

    async def stated_page(
        self, endpoint: str, query: Hashable, work_out: Callable[[QueryBudget], Awaitable[StatedPage]]
    ) -> StatedPage:
        """A page that is kept for as long as nothing is written, else worked out within a budget."""
        shared, instrument = self.queries, self.market.instrument
        key = endpoint, instrument, instrument.sessions, query
        return await shared.stated_pages.read(self.data().history, key, lambda: shared.weighed(work_out))

    def health(self, view: View) -> dict[str, object]:
        return answers.health(self.market, view, cover_of(self.market, view), self.queries.rules)
