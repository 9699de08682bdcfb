"""Footprints of any timeframe and row height, as JSON."""

import polars as pl

from common.frames import bulk
from common.frames.footprint import footprints_json, regroup
from common.frames.schema import TRADES
from common.market.instrument import Instrument
from common.market.timeframe import Timeframe
from common.store.reads import State, View
from common.store.registry import Market
from feed.answers import PARTIAL, Page
from feed.bars import flagged, spoken
from feed.cover import EMPTY, Cover
from feed.history import History
from feed.minutes import Bounds, Kind, cut, read_closed, with_open
from feed.params import FootprintQuery
from feed.tape import Tapes


async def read(reader: History, tapes: Tapes, market: Market, query: FootprintQuery) -> tuple[Page, View, Cover]:
    bounds = Bounds.of(query.window, query.timeframe)
    if query.timeframe.of_minutes:
        kind = Kind.footprints(query.timeframe, query.row_ticks)
        closed = await read_closed(reader, kind, query.timeframe, bounds)
        rows, view = with_open(closed, kind, bounds), closed.view
        cover = _cover_of(market, view.state)
    else:
        taped = await tapes.read(reader)
        trades = taped.trades_of(query.timeframe, bounds)
        levels = bulk.footprints(trades.select(list(TRADES)), query.timeframe)
        rows, view = cut(regroup(levels, query.timeframe, query.row_ticks), bounds), taped.view
        cover = _cover_of(market, view.state).since(taped.from_ms + 1)
    return _page(market.instrument, query.timeframe, rows, bounds, cover, view.state), view, cover


def _cover_of(market: Market, state: State | None) -> Cover:
    if state is None:
        return EMPTY
    return Cover.load(state.coverage_json, market.instrument.ids, state.footprint_floor_ms)


def _page(
    instrument: Instrument, timeframe: Timeframe, rows: pl.DataFrame, bounds: Bounds, cover: Cover, state: State | None
) -> Page:
    opens = rows["open_ms"].unique(maintain_order=True).to_list()
    if not opens:
        return Page(b"[]", bounds.start_ms, bounds.end_ms)
    array = footprints_json(flagged(rows, timeframe, cover, state), instrument)
    return Page(_marked(array, cover.partial_among(opens, timeframe)), *spoken(opens, timeframe, bounds))


def _marked(array: bytes, partial: set[int]) -> bytes:
    """Mark the partial ones: a footprint ends with its rows, and no row ends with a bracket."""
    if not partial:
        return array
    bars = array[2:-3].split(b"]},{")
    return b"[{" + b"},{".join(bar + b"]" + PARTIAL * (at in partial) for at, bar in enumerate(bars)) + b"}]"
