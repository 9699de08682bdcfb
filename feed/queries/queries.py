"""The read side: questions in, answers out, each true of one commit.

Bars of whole minutes come from the stored minutes, with their JSON kept in tails; other timeframes from the kept
trades; footprints from the stored footprints. Every answer names the commit it is true of (`cursor`).
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

import orjson
from redis.asyncio import Redis

from common.archive.archive import Archive
from common.errors import BadInput
from common.frames.bars import bars_arrow, bars_csv
from common.frames.trades import trades_arrow, trades_csv, trades_json
from common.market.builder.gaps import Ledger
from common.market.coding import codec
from common.market.instrument import check_symbol
from common.market.manifest import Fault
from common.market.timeframes.timeframe import MINUTE, Timeframe
from common.store.book import BookReader, BookSnapshot
from common.store.health import HealthRules
from common.store.older import OlderCache
from common.store.reads import Range, SymbolReader, View
from common.store.registry import Market, Registry
from feed.bars import footprints
from feed.bars.choice import source_of
from feed.bars.data import SymbolData
from feed.bars.footprints import FootprintQuery
from feed.bars.frames import cover_of, page_of, read_frame
from feed.bars.page import More, Page
from feed.bars.source import BarSource, PageRead
from feed.bars.tail import Tails
from feed.queries import books, trades
from feed.queries.market import status
from feed.reading.archived import Faulty
from feed.reading.bounds import FOREVER_MS, Window
from feed.reading.budget import MAX_ANSWER_BYTES, QueryBudget
from feed.reading.coverage import KnownCoverage
from feed.reading.history import FrameCache, History
from feed.reading.lanes import Lanes
from feed.reading.single_flight import SingleFlight
from feed.reading.tape import Tapes
from feed.reading.trade_archive import PackedDays, TradeHistory
from feed.reading.workers import QueryThreads
from feed.wire import answers
from feed.wire.errors import NoBook, UnknownSymbol
from feed.wire.params import CandleQuery, GapsQuery, TradesQuery

# How long a symbol's entry in the registry is believed. Unknown symbols are asked for every time.
MARKET_TTL_S = 2.0

T = TypeVar("T")


@dataclass(slots=True)
class Queries:
    """All reading of the feed. `client` answers at once and never re-sends."""

    client: Redis
    lease_ttl_ms: int
    tails: Tails = field(default_factory=Tails)
    tapes: Tapes = field(default_factory=Tapes)
    decoded: FrameCache = field(default_factory=FrameCache)
    packed: PackedDays = field(default_factory=PackedDays)
    workers: QueryThreads = field(default_factory=QueryThreads)
    lanes: Lanes = field(default_factory=lambda: Lanes(large_places=2))
    answer_bytes: int = MAX_ANSWER_BYTES
    older: OlderCache = field(default_factory=OlderCache)
    archive: Archive | None = None
    is_store_troubled: Callable[[], bool] = lambda: False
    rules: HealthRules = field(init=False)
    _flights: SingleFlight[bytes] = field(default_factory=SingleFlight)
    _pages: SingleFlight[PageRead] = field(default_factory=SingleFlight)
    _markets: dict[str, tuple[float, Market]] = field(default_factory=dict)
    _calendars: asyncio.Lock = field(default_factory=asyncio.Lock)

    def __post_init__(self) -> None:
        self.rules = HealthRules(self.lease_ttl_ms, self.is_store_troubled)

    def data(self, market: Market, budget: QueryBudget | None = None) -> SymbolData:
        """Without a budget: for what is bounded otherwise."""
        reader, instrument = self.reader(market), market.instrument
        history = History(self.client, instrument, self.decoded, self.archive, older=self.older, budget=budget)
        past = TradeHistory(reader, instrument, self.packed, self.archive, budget)
        return SymbolData(instrument, reader, history, self.tails, self.tapes, past)

    def source(self, market: Market, timeframe: Timeframe, budget: QueryBudget | None = None) -> BarSource:
        """Where bars of an anchored timeframe come from."""
        return source_of(self.data(market, budget), timeframe)

    def reader(self, market: Market) -> SymbolReader:
        return SymbolReader(self.client, market.symbol, market.instrument, older=self.older)

    def reader_of(self, symbol: str) -> SymbolReader:
        """Of whatever instrument its data is."""
        return SymbolReader(self.client, symbol, older=self.older)

    async def market(self, symbol: str) -> Market:
        """Return a registered symbol as its data has it, or raise UnknownSymbol."""
        read_at_s, market = self._markets.get(symbol, (0.0, None))
        now_s = time.monotonic()
        if market is None or now_s - read_at_s > MARKET_TTL_S:
            market = await Registry(self.client).stored(check_symbol(symbol))
            if market is None:
                self._markets.pop(symbol, None)
                raise UnknownSymbol(f"symbol {symbol} is not registered, GET /v1/symbols lists those that are")
            # The first look at a calendar takes a second: not on the event loop. Two at once would both take it.
            async with self._calendars:
                await asyncio.to_thread(market.instrument.anchored, MINUTE)
            self._markets[symbol] = (now_s, market)
        return market

    def forget(self, symbol: str) -> None:
        """Read the symbol's entry once more when it is next asked for: it has changed."""
        self._markets.pop(symbol, None)

    async def candles(self, market: Market, query: CandleQuery) -> bytes:
        """Answer `GET /v1/candles/{symbol}` in the form asked for."""
        query = replace(query, timeframe=market.instrument.anchored(query.timeframe))
        return await self._flights.run((market.instrument, query), lambda: self._candles(market, query))

    async def current(self, market: Market, timeframe: Timeframe) -> bytes:
        """Answer `GET /v1/candles/{symbol}/current`."""
        timeframe = market.instrument.anchored(timeframe)
        return await self._flights.run((market.instrument, timeframe), lambda: self._current(market, timeframe))

    async def footprint(self, market: Market, query: FootprintQuery) -> bytes:
        """Answer `GET /v1/footprint/{symbol}`."""
        query = replace(query, timeframe=market.instrument.anchored(query.timeframe))
        return await self._flights.run(
            (market.instrument, query),
            lambda: self._weighed(lambda budget: self._footprint(market, query, budget)),
        )

    async def trades(self, market: Market, query: TradesQuery) -> bytes:
        """Answer `GET /v1/trades/{symbol}` in the form asked for."""
        return await self._flights.run(
            (market.instrument, query),
            lambda: self._weighed(lambda budget: self._trades(market, query, budget)),
        )

    async def book(self, market: Market, depth: int) -> bytes:
        """Answer `GET /v1/book/{symbol}`."""
        return await self._flights.run((market.instrument, "book", depth), lambda: self._book(market, depth))

    async def quote(self, market: Market) -> bytes:
        """Answer `GET /v1/quote/{symbol}`."""
        return await self._flights.run((market.instrument, "quote"), lambda: self._quote(market))

    async def gaps(self, market: Market, query: GapsQuery) -> bytes:
        """Answer `GET /v1/gaps/{symbol}`."""
        return await self._flights.run((market.instrument, query), lambda: self._gaps(market, query))

    async def status(self, market: Market) -> bytes:
        """Answer `GET /v1/market/{symbol}`, by the store's clock."""
        view = await self.reader(market).view()
        fields = status(market.instrument, view.server_ms)
        fields["lastUpdate"] = view.state.updated_ms or None if view.state else None
        texts = {name: orjson.dumps(value) for name, value in fields.items()}
        return answers.about(market, texts | self._health(market, view))

    async def _weighed(self, ask: Callable[[QueryBudget], Awaitable[T]]) -> T:
        """Return what `ask` does with a budget, once it has a place among those that read as much. Raises Busy."""
        return await self.lanes.run(lambda place: ask(QueryBudget(self.workers, place, max_bytes=self.answer_bytes)))

    async def page(self, market: Market, timeframe: Timeframe, window: Window) -> PageRead:
        """Return bars as JSON, none filled in."""
        timeframe = market.instrument.anchored(timeframe)
        return await self._pages.run(
            (market.instrument, timeframe, window),
            lambda: self._weighed(lambda budget: self.source(market, timeframe, budget).page(window)),
        )

    async def answer(self, market: Market, page: Page, view: View, cover: KnownCoverage) -> answers.BarsAnswer:
        """Return what an answer or a snapshot says of bars that were read; the ledger only if a hole is among them."""
        _, holes = cover.within(page.from_ms, page.to_ms)
        ledger = await self.reader(market).gaps() if holes else Ledger()
        return answers.BarsAnswer(market, page, view, cover, ledger, self.rules)

    async def _candles(self, market: Market, query: CandleQuery) -> bytes:
        if query.form == "json" and query.fill == "none":
            page, view, cover = await self.page(market, query.timeframe, query.window)
            return (await self.answer(market, page, view, cover)).body(query.timeframe.text)
        return await self._weighed(lambda budget: self._table(market, query, budget))

    async def _table(self, market: Market, query: CandleQuery, budget: QueryBudget) -> bytes:
        """Bars that no tail serves, read as a frame."""
        source = self.source(market, query.timeframe, budget)
        read = await read_frame(source, query.window, flat=query.fill == "flat")
        if query.form == "json":
            page = await page_of(source.data, read)
            return (await self.answer(market, page, read.view, read.cover)).body(query.timeframe.text)
        _check_whole(market, read.more, read.cover.faults)
        write = bars_csv if query.form == "csv" else bars_arrow
        return await budget.run(len(read.frame), write, read.frame, market.instrument)

    async def _current(self, market: Market, timeframe: Timeframe) -> bytes:
        source = self.source(market, timeframe)
        live, view = await source.live()
        bar = source.grid.shown(live.growing, live.at) if live.growing else None
        return answers.current(market, timeframe.text, bar, view, live.at.cover, self.rules)

    async def _footprint(self, market: Market, query: FootprintQuery, budget: QueryBudget) -> bytes:
        page, view, cover = await footprints.read(self.source(market, query.timeframe, budget), query)
        return (await self.answer(market, page, view, cover)).body(query.timeframe.text)

    async def _trades(self, market: Market, query: TradesQuery, budget: QueryBudget) -> bytes:
        read = await trades.read(self.data(market, budget), query)
        if query.form != "json":
            _check_whole(market, read.more(query), read.kept.faults)
        if query.form == "csv":
            return trades_csv(read.trades, market.instrument)
        if query.form == "arrow":
            return trades_arrow(read.trades, market.instrument)
        cover = read.kept.cover(read.view, market.instrument)
        fields = {
            "trades": trades_json(read.trades, market.instrument),
            "complete": orjson.dumps(read.complete(query, cover)),
            "cursor": orjson.dumps(answers.cursor_of(read.view.state)),
        }
        if read.kept.faults:
            fields["faults"] = answers.faults_json(read.kept.faults)
        more = read.more(query)
        if more:
            fields["next"] = orjson.dumps(more)
        return answers.about(market, fields | self._health(market, read.view))

    async def _book(self, market: Market, depth: int) -> bytes:
        reader = self.reader(market)
        book, view = await asyncio.gather(self._last_book(market), reader.view())
        if book is None:
            raise NoBook(f"{market.symbol} has no order book: its source brings none, or has not brought one yet")
        live = books.is_live(book, view, market, self.lease_ttl_ms)
        fields = books.book_fields(book, depth, market.instrument, live=live)
        return answers.about(market, fields | self._health(market, view))

    async def _last_book(self, market: Market) -> BookSnapshot | None:
        return await BookReader(self.client, market.symbol, market.instrument.scale).book()

    async def _quote(self, market: Market) -> bytes:
        reader, newest_closed = self.data(market).reader, Range(0, FOREVER_MS, newest=1)
        book, view = await asyncio.gather(self._last_book(market), reader.view([newest_closed]))
        packed = [view.state.candle] if view.state and view.state.candle else view.candles[0]
        newest = codec.unpack_candle(packed[0]) if packed else None
        live = books.is_live(book, view, market, self.lease_ttl_ms)
        fields = books.quote_fields(book, newest, market.instrument, live=live)
        return answers.about(market, fields | self._health(market, view))

    async def _gaps(self, market: Market, query: GapsQuery) -> bytes:
        ledger = await self.reader(market).gaps()
        return answers.gap_list(market, ledger, query.state, query.limit)

    def _health(self, market: Market, view: View) -> dict[str, bytes]:
        cover = cover_of(market, view)
        return {"health": orjson.dumps(answers.health(market, view, cover, self.rules))}


def _check_whole(market: Market, more: More | None, faults: Sequence[Fault]) -> None:
    """A table has no place to say that it goes on, or that something is missing."""
    for fault in faults:
        raise Faulty(market.symbol, fault)
    for name, ms in (more or {}).items():
        narrower = "end" if name == "start" else "start"
        raise BadInput(f"that is more than one table may take, expected {narrower}={ms} and the rest apart")
