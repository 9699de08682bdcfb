"""Time and sales: the newest trades of a range, read back from the end of the stream and no further than they reach.

The stream has trades in the order they were applied, so a late one stands behind newer ones, however late it is. How
far to read is known all the same: no trade of an entry, or of one before it, is newer than that entry's watermark. Once
that lies before the range, or before the oldest trade of a full answer, what is left unread has nothing to add.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from common.errors import StoreUnavailable
from common.frames import decode
from common.frames.schema import TRADES
from common.store.reads import Entry, SymbolReader, View
from feed.cover import Cover
from feed.minutes import ATTEMPTS, FOREVER_MS
from feed.params import TradesQuery

# Entries fetched by the first command; each further one fetches twice as many as the one before, up to the most.
FIRST_PAGE = 64
MOST_PAGE = 4_096


@dataclass(frozen=True, slots=True)
class Sales:
    """A TRADES frame ascending by (ts_ms, id), and the view it is true of.

    `floor_ms`: trades up to that time may have been cut off the stream, later ones were not.
    """

    trades: pl.DataFrame
    view: View
    floor_ms: int

    def complete(self, query: TradesQuery, cover: Cover) -> bool:
        """Whether all trades are kept and covered since the start; without one, since the first trade of a full answer,
        or else since coverage began."""
        start_ms = query.start_ms
        if start_ms is None:
            start_ms = self.trades["ts_ms"][0] if len(self.trades) == query.limit else cover.from_ms
        end_ms = FOREVER_MS if query.end_ms is None else query.end_ms
        return not cover.since(self.floor_ms + 1).partial(start_ms, end_ms)


async def read(reader: SymbolReader, query: TradesQuery) -> Sales:
    for _ in range(ATTEMPTS):
        sales = await _read(reader, query)
        if sales:
            return sales
    raise StoreUnavailable(f"{reader.keys.symbol} changed under every attempt to read it")


async def _read(reader: SymbolReader, query: TradesQuery) -> Sales | None:
    """Read page by page, each from the oldest entry known, which it must find again. None if it does not: the store
    went back in time."""
    view = await reader.view()
    found = TRADES.to_frame()
    if view.state is None:
        return Sales(found, view, -1)
    # `token`, `seq`, `watermark_ms`: of the entry to go on with, which is still to be read.
    token, seq, watermark_ms = view.state.token, view.state.seq, view.state.watermark_ms
    floor_ms, count = watermark_ms, FIRST_PAGE
    while watermark_ms >= _wanted_ms(found, query):
        page, oldest = await reader.entries_back(seq, count)
        if oldest is None:
            return None
        floor_ms = oldest.watermark_ms if oldest.seq > 1 else -1
        if oldest.seq > seq:
            # Meanwhile the stream was cut up to where we are.
            break
        if not page or (page[0].token, page[0].seq) != (token, seq):
            return None
        *newer, last = page
        if last.seq == oldest.seq:
            found = _newest(found, page, query)
            break
        found = _newest(found, newer, query)
        token, seq, watermark_ms = last.token, last.seq, last.watermark_ms
        count = min(2 * count, MOST_PAGE)
    return Sales(found, view, floor_ms)


def _wanted_ms(found: pl.DataFrame, query: TradesQuery) -> int:
    """No trade before this time is wanted any more."""
    # Of a full answer's oldest ms one with a greater id may still come.
    return int(found["ts_ms"][0]) if len(found) == query.limit else query.start_ms or 0


def _newest(found: pl.DataFrame, entries: Sequence[Entry], query: TradesQuery) -> pl.DataFrame:
    """The newest `query.limit` of the trades found and of those of the entries that are in the range."""
    end_ms = FOREVER_MS if query.end_ms is None else query.end_ms
    more = decode.trades([entry.trades for entry in entries])
    more = more.filter(pl.col("ts_ms").is_between(query.start_ms or 0, end_ms, closed="left"))
    return pl.concat([more, found]).sort("ts_ms", "id").tail(query.limit)
