"""Footprints of any timeframe and row height, as JSON."""

import polars as pl

from common.frames.footprint import footprints_json
from common.market.instrument import Instrument
from common.market.timeframe import Timeframe
from common.store.reads import State, View
from common.store.registry import Market
from feed.answers import Page
from feed.bars import flagged, onward, spoken
from feed.cover import EMPTY, Cover
from feed.history import History
from feed.minutes import Bounds, Kind, read_closed, with_open
from feed.params import FootprintQuery
from feed.past import Past, steady
from feed.tape import Tapes
from feed.traded import Making, read_traded


async def read(
    reader: History, tapes: Tapes, past: Past, market: Market, query: FootprintQuery
) -> tuple[Page, View, Cover]:
    bounds = Bounds.of(query.window, query.timeframe)
    if not query.timeframe.of_minutes:
        return await steady(lambda: _of_trades(reader, tapes, past, market, query, bounds))
    kind = Kind.footprints(query.timeframe, query.row_ticks)
    closed = await read_closed(reader, kind, query.timeframe, bounds)
    rows, view = with_open(closed, kind, bounds), closed.view
    cover = _cover_of(market, view)
    return _page(market.instrument, query.timeframe, rows, bounds, cover, view.state), view, cover


async def _of_trades(
    reader: History, tapes: Tapes, past: Past, market: Market, query: FootprintQuery, bounds: Bounds
) -> tuple[Page, View, Cover]:
    taped = await tapes.read(reader)
    making = Making.footprints(query.timeframe, query.row_ticks)
    found, view = await read_traded(past, taped, making, bounds), taped.view
    cover = found.kept.cover(view, market.instrument)
    page = _page(market.instrument, query.timeframe, found.bars, bounds, cover, view.state, found.more_ms)
    return page, view, cover


def _cover_of(market: Market, view: View) -> Cover:
    if view.state is None:
        return EMPTY
    cover = Cover.of(view.state, market.instrument.ids, view.state.footprint_floor_ms)
    return cover.lacking(view.lost("footprints"))


def _page(
    instrument: Instrument,
    timeframe: Timeframe,
    rows: pl.DataFrame,
    bounds: Bounds,
    cover: Cover,
    state: State | None,
    more_ms: int | None = None,
) -> Page:
    opens = rows["open_ms"].unique(maintain_order=True).to_list()
    spans, more = spoken(opens, timeframe, bounds, more_ms), onward(bounds, more_ms)
    if not opens:
        return Page(b"[]", *spans, more)
    array = b"[" + b",".join(footprints_json(flagged(rows, timeframe, cover, state), instrument)) + b"]"
    return Page(array, *spans, more)
