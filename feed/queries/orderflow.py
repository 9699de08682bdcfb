"""`GET /v1/orderflow/{symbol}`: one row a bar, of what its trades say beyond its candle."""

from dataclasses import dataclass, replace
from typing import get_args

from common.frames.orderflow.table import FLOW_FIELDS, OF_ANCHORS, OF_ROWS, FlowField, flow_arrow, flow_csv
from common.market.orderflow.anchors import Anchor
from common.market.orderflow.rows import Align
from feed.bars import orderflow
from feed.bars.flow import RowGrid
from feed.bars.orderflow import FlowQuery, FlowRead
from feed.bars.page import next_page
from feed.queries.candles import bars_answer, check_whole
from feed.queries.endpoint import Endpoint
from feed.queries.flow_parameters import ROW, RULES, rules_of, stated_rows
from feed.queries.parameters import END, FORMAT, LIMIT, START, TIMEFRAME, window_of
from feed.queries.queries import SymbolQueries
from feed.queries.stated_pages import StatedPage
from feed.queries.validator import TimeRange, bars_range
from feed.reading.bounds import Window
from feed.reading.budget import QueryBudget
from feed.wire import shapes
from feed.wire.answers import Answer, BarsAnswer, Form, TableAnswer, TableForm, TableWriters, Written
from feed.wire.parameter_types import OneOf, Parsed, SomeOf
from feed.wire.params import Given, Parameter, Parameters

# What is said of rows is never told without what they lack.
WHAT_IS_MISSING: frozenset[FlowField] = frozenset({"missing"})
FLOW_WRITERS: TableWriters = {"csv": flow_csv, "arrow": flow_arrow}

HEIGHT = replace(ROW, default=None)
FLOOR: Parameter[Align] = Parameter("align", OneOf(get_args(Align)), "floor", "Which row a price is of.")
FIELDS: Parameter[frozenset[FlowField]] = Parameter(
    "fields", SomeOf(FLOW_FIELDS), frozenset(FLOW_FIELDS), "What is told of a bar, with commas between."
)
ANCHOR_TEXT = "^(session|day|week|month|start|[0-9]{1,13})$"
ANCHOR = Parameter(
    "anchor",
    Parsed(Anchor.parse, ANCHOR_TEXT),
    Anchor(),
    "Since when sums run: session, day, week, month, start or ms.",
)


@dataclass(frozen=True, slots=True)
class OrderflowQuery:
    flow: FlowQuery
    form: Form

    @classmethod
    def of(cls, given: Given) -> "OrderflowQuery":
        return cls(flow_query(given, window_of(given)), given[FORMAT])


def flow_query(given: Given, window: Window) -> FlowQuery:
    fields = given[FIELDS] if given[FIELDS].isdisjoint(OF_ROWS) else given[FIELDS] | WHAT_IS_MISSING
    grid = RowGrid(given[HEIGHT], given[FLOOR])
    return FlowQuery(given[TIMEFRAME], window, grid, fields, rules_of(given), given[ANCHOR])


async def answer(symbol: SymbolQueries, query: OrderflowQuery) -> Answer:
    form = query.form
    if form != "json":
        return await symbol.queries.weighed(lambda budget: _table(symbol, query.flow, form, budget))
    return await json_answer(symbol, query.flow)


async def json_answer(symbol: SymbolQueries, query: FlowQuery) -> BarsAnswer:
    found = await symbol.stated_page("orderflow", query, lambda budget: _page(symbol, query, budget))
    return replace(await bars_answer(symbol, query.timeframe, found.read), stated=found.stated)


async def page(symbol: SymbolQueries, query: FlowQuery) -> StatedPage:
    """The bars as they are now."""
    return await symbol.queries.weighed(lambda budget: _page(symbol, query, budget))


async def _table(symbol: SymbolQueries, query: FlowQuery, form: TableForm, budget: QueryBudget) -> Answer:
    _, read = await _read(symbol, query, budget)
    check_whole(symbol.market, next_page(read.flow.bounds, read.flow.more_ms), read.flow.cover.faults)
    table = TableAnswer(FLOW_WRITERS, read.table, symbol.market.instrument, form)
    return Written(table.media_type, await budget.run(len(read.table), table.body))


async def _page(symbol: SymbolQueries, query: FlowQuery, budget: QueryBudget) -> StatedPage:
    flow, read = await _read(symbol, query, budget)
    page = await read.page(symbol.market.instrument, flow.timeframe, budget)
    stated = _of_rows(read, flow, symbol) | _of_anchors(read, flow, page.from_ms, page.to_ms)
    return StatedPage(page, stated, read.flow.view, read.flow.cover)


async def _read(symbol: SymbolQueries, query: FlowQuery, budget: QueryBudget) -> tuple[FlowQuery, FlowRead]:
    """With the query of the timeframe as the market's sessions cut it."""
    source = symbol.source(query.timeframe, budget)
    flow = replace(query, timeframe=source.grid.timeframe)
    return flow, await orderflow.read(source, flow)


def _of_rows(read: FlowRead, flow: FlowQuery, symbol: SymbolQueries) -> dict[str, object]:
    if flow.fields.isdisjoint(OF_ROWS):
        return {}
    rows = stated_rows(read.flow.row_ticks, flow.grid.align, symbol.market.instrument)
    return rows | {"va": flow.rules.area, "share": flow.rules.share_bp}


def _of_anchors(read: FlowRead, flow: FlowQuery, from_ms: int, to_ms: int) -> dict[str, object]:
    if flow.fields.isdisjoint(OF_ANCHORS):
        return {}
    anchors = read.anchors_within(from_ms, to_ms)
    word = flow.anchor.word or flow.anchor.at_ms
    return {"anchor": word, "anchors": anchors, "reliableSince": read.reliable_since(flow.timeframe)}


def _range(symbol: SymbolQueries, query: OrderflowQuery) -> TimeRange | None:
    """Sums run since their anchor, which lies before the first bar."""
    found = bars_range(symbol, query.flow.timeframe, query.flow.window)
    return found if found is None or query.flow.wanted.anchor is None else found._replace(from_ms=0)


ENDPOINT = Endpoint(
    "/v1/orderflow/{symbol}",
    "Bars with what their trades say beyond their candles.",
    Parameters((TIMEFRAME, START, END, LIMIT, HEIGHT, FLOOR, ANCHOR, FIELDS, *RULES, FORMAT), OrderflowQuery.of),
    answer,
    shapes.ORDERFLOW,
    _range,
)
