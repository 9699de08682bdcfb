"""`GET /v1/trades/{symbol}`, time and sales: the trades of a range, the newest or the oldest of them.

The newest are read back from the end of the stream, and no further than they reach.

The stream has trades in the order they were applied, so a late one stands behind newer ones, however late it is. How
far to read is known all the same: no trade of an entry, or of one before it, is newer than that entry's watermark. Once
that lies before the range, or before the oldest trade of a full answer, what is left unread has nothing to add.

Where the stream ends first, or all of it is newer than the range, the rest is in the archive
(feed.reading.trade_archive).
"""

from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import TypeVar, get_args

import polars as pl

from common.errors import Overtaken
from common.frames import decode
from common.frames.schema import TRADES
from common.retry import retry_when_overtaken
from common.store.parts import TradeEntry
from common.store.reads import View
from feed.bars.data import SymbolData
from feed.bars.page import More
from feed.queries.candles import check_whole
from feed.queries.endpoint import Endpoint
from feed.queries.joined_trades import JOIN_MS, MIN, Joining, ShownTrades, Take, shown_trades
from feed.queries.parameters import END, FORMAT, LIMIT, START
from feed.queries.queries import SymbolQueries
from feed.reading.bounds import ATTEMPTS, FOREVER_MS
from feed.reading.coverage import KnownCoverage
from feed.reading.trade_archive import TradeRetention
from feed.wire import shapes
from feed.wire.answers import (
    Answer,
    Form,
    TableAnswer,
    TradesAnswer,
    cursor_of,
    told_faults,
)
from feed.wire.parameter_types import OneOf, Whole
from feed.wire.params import Given, Parameter, Parameters

T = TypeVar("T")

# Entries fetched by the first command; each further one fetches twice as many as the one before, up to the most.
FIRST_PAGE = 64
MAX_PAGE = 4_096
# Of one answer: some 700 kB of JSON.
MAX_TRADES = 10_000
_WENT_BACK = "the store went back in time while its trades were read"

TRADES_LIMIT = replace(LIMIT, type=Whole(MAX_TRADES))
TAKE: Parameter[Take] = Parameter("take", OneOf(get_args(Take)), "newest", "Which ones, where there are more.")


@dataclass(frozen=True, slots=True)
class TradesQuery:
    """Trades of `[start_ms, end_ms)`, None without bound; of more than `limit` those that `take` says."""

    start_ms: int | None
    end_ms: int | None
    limit: int
    form: Form
    take: Take = "newest"
    # None: trades as they are.
    joining: Joining | None = None

    @classmethod
    def of(cls, given: Given) -> "TradesQuery":
        return cls(given[START], given[END], given[TRADES_LIMIT], given[FORMAT], given[TAKE], Joining.of(given))


@dataclass(frozen=True, slots=True)
class TradesRead:
    """A TRADES frame ascending by (ts_ms, id), the view it is true of, and of which time all trades are kept.

    `more_ms`: where to go on: before the answer was full, as much had been read as a request may.
    """

    trades: pl.DataFrame
    view: View
    retention: TradeRetention
    more_ms: int | None = None

    def complete(self, query: TradesQuery, cover: KnownCoverage) -> bool:
        """Whether all trades are kept and covered from the start to the end, or to where the limit or `more_ms` cuts.

        Without a start: from where coverage begins.
        """
        start_ms, end_ms = query.start_ms, _end_ms(query)
        full = len(self.trades) == query.limit
        if query.take == "oldest":
            end_ms = int(self.trades["ts_ms"][-1]) + 1 if full else self.more_ms or end_ms
        elif self.more_ms is not None:
            start_ms = self.more_ms
        elif start_ms is None and full:
            start_ms = int(self.trades["ts_ms"][0])
        return not cover.partial(cover.from_ms if start_ms is None else start_ms, end_ms)

    def more(self, query: TradesQuery) -> More | None:
        return None if self.more_ms is None else {"start" if query.take == "oldest" else "end": self.more_ms}


async def answer(symbol: SymbolQueries, query: TradesQuery) -> Answer:
    market = symbol.market
    found = await symbol.queries.weighed(lambda budget: read(symbol.data(budget), query))
    is_full = len(found.trades) == query.limit
    shown = shown_trades(found.trades, query.joining, market.instrument, is_full=is_full, take=query.take)
    more = shown.more or found.more(query)
    if query.form != "json":
        check_whole(market, more, found.retention.faults)
        return TableAnswer(shown.tables, shown.rows, market.instrument, query.form)
    return _told(symbol, query, found, shown, more)


async def newest(symbol: SymbolQueries, limit: int) -> tuple[TradesAnswer, View]:
    """The newest trades there are, and the view they are true of."""
    query = TradesQuery(None, None, limit, "json")
    found = await symbol.queries.weighed(lambda budget: read(symbol.data(budget), query))
    shown = shown_trades(found.trades, None, symbol.market.instrument, is_full=False, take=query.take)
    return _told(symbol, query, found, shown, found.more(query)), found.view


def _told(
    symbol: SymbolQueries, query: TradesQuery, found: TradesRead, shown: ShownTrades, more: More | None
) -> TradesAnswer:
    faults = found.retention.faults
    complete = found.complete(query, found.retention.cover(found.view, symbol.market.instrument))
    fields: dict[str, object] = {"complete": complete, "cursor": cursor_of(found.view.state)}
    fields |= {"faults": told_faults(faults)} if faults else {}
    fields |= {"next": more} if more else {}
    return TradesAnswer(symbol.market, shown.rows, {**fields, "health": symbol.health(found.view)}, shown.json)


async def read(data: SymbolData, query: TradesQuery) -> TradesRead:
    if query.take == "oldest":
        return await _retried(_oldest, data, query)
    found, cut_ms = await _retried(_of_stream, data, query)
    if data.trade_archive.has(found.view) and cut_ms >= _wanted_ms(found.trades, query):
        return await _retried(_with_archived, data, query)
    return found


async def _retried(read: Callable[[SymbolData, TradesQuery], Awaitable[T]], data: SymbolData, query: TradesQuery) -> T:
    return await retry_when_overtaken(lambda: read(data, query), data.instrument.symbol, attempts=ATTEMPTS)


async def _oldest(data: SymbolData, query: TradesQuery) -> TradesRead:
    end_ms = _end_ms(query)
    found, to_ms = await read_on(data, query.start_ms or 0, end_ms, query.limit)
    whole = len(found.trades) >= query.limit or to_ms == end_ms
    return replace(found, trades=found.trades.head(query.limit), more_ms=None if whole else to_ms)


async def _with_archived(data: SymbolData, query: TradesQuery) -> TradesRead:
    """Read back from the end, of the tape what is after the cut, and before it piece by piece."""
    archive, taped = data.trade_archive, await data.tapes.read(data.store, data.store.view)
    end_ms = _end_ms(query)
    cut_ms = min(taped.from_ms + 1, end_ms)
    retention = archive.retention(taped.view, taped.from_ms)
    found = _newest([taped.between(max(cut_ms, query.start_ms or 0), end_ms)], query)
    if len(found) == query.limit or not archive.has(taped.view):
        return TradesRead(found, taped.view, retention)
    async with aclosing(archive.pieces(taped, query.start_ms or 0, cut_ms, oldest_first=False)) as pieces:
        async for piece in pieces:
            retention = retention.without(piece)
            older = piece.trades.select(list(TRADES)).tail(query.limit - len(found))
            found = pl.concat([older, found])
            if len(found) == query.limit:
                break
            if piece.spent and piece.from_ms > (query.start_ms or 0):
                return TradesRead(found, taped.view, retention, piece.from_ms)
    return TradesRead(found, taped.view, retention)


async def read_on(data: SymbolData, start_ms: int, end_ms: int, limit: int) -> tuple[TradesRead, int]:
    """Read trades of `[start_ms, end_ms)`, oldest first: all, or `limit` and some more, or as many as a request may.

    Return them, and up to where.
    """
    archive, taped = data.trade_archive, await data.tapes.read(data.store, data.store.view)
    retention = archive.retention(taped.view, taped.from_ms)
    cut_ms = min(taped.from_ms + 1, end_ms) if archive.has(taped.view) else start_ms
    parts: list[pl.DataFrame] = []
    async with aclosing(archive.pieces(taped, start_ms, max(start_ms, cut_ms), oldest_first=True)) as pieces:
        async for piece in pieces:
            parts, retention = [*parts, piece.trades.select(list(TRADES))], retention.without(piece)
            if piece.spent or sum(map(len, parts)) >= limit:
                return TradesRead(pl.concat(parts), taped.view, retention), piece.to_ms
    rest = taped.between(max(start_ms, cut_ms), end_ms).select(list(TRADES)).sort("ts_ms", "id")
    return TradesRead(pl.concat([*parts, rest]), taped.view, retention), end_ms


async def _of_stream(data: SymbolData, query: TradesQuery) -> tuple[TradesRead, int]:
    """Read page by page, each from the oldest entry known, which it must find again.

    Also return the cut: up to that time trades may have been cut off the stream.
    """
    archive, view = data.trade_archive, await data.store.view()
    found = TRADES.to_frame()
    if view.state is None:
        return TradesRead(found, view, TradeRetention(-1)), -1
    # `token`, `seq`, `watermark_ms`: of the entry to go on with, which is still to be read.
    token, seq, watermark_ms = view.state.token, view.state.seq, view.state.watermark_ms
    cut_ms, count = watermark_ms, FIRST_PAGE
    while watermark_ms >= _wanted_ms(found, query):
        page, oldest = await data.store.entries_back(seq, count)
        if oldest is None:
            raise Overtaken(_WENT_BACK)
        cut_ms = oldest.watermark_ms if oldest.seq > 1 else -1
        # Meanwhile the stream was cut up to where we are; or all of it is newer than what is wanted.
        if oldest.seq > seq or (archive.has(view) and _end_ms(query) <= cut_ms):
            break
        if not page or (page[0].token, page[0].seq) != (token, seq):
            raise Overtaken(_WENT_BACK)
        *newer, last = page
        if last.seq == oldest.seq:
            found = _newest([_trades(page), found], query)
            break
        found = _newest([_trades(newer), found], query)
        token, seq, watermark_ms = last.token, last.seq, last.watermark_ms
        count = min(2 * count, MAX_PAGE)
    return TradesRead(found, view, archive.retention(view, cut_ms)), cut_ms


def _wanted_ms(found: pl.DataFrame, query: TradesQuery) -> int:
    """No trade before this time is wanted any more."""
    # Of a full answer's oldest ms one with a greater id may still come.
    return int(found["ts_ms"][0]) if len(found) == query.limit else query.start_ms or 0


def _end_ms(query: TradesQuery) -> int:
    return FOREVER_MS if query.end_ms is None else query.end_ms


def _trades(entries: Sequence[TradeEntry]) -> pl.DataFrame:
    return decode.trades([entry.trades for entry in entries])


def _newest(parts: Sequence[pl.DataFrame], query: TradesQuery) -> pl.DataFrame:
    """The newest `query.limit` of the trades that are in the range."""
    trades = pl.concat(part.select(list(TRADES)) for part in parts)
    trades = trades.filter(pl.col("ts_ms").is_between(query.start_ms or 0, _end_ms(query), closed="left"))
    return trades.sort("ts_ms", "id").tail(query.limit)


ENDPOINT = Endpoint(
    "/v1/trades/{symbol}",
    "Trades of a range, the newest or the oldest of them.",
    Parameters((START, END, TRADES_LIMIT, FORMAT, TAKE, JOIN_MS, MIN), TradesQuery.of),
    answer,
    shapes.TRADES,
)
