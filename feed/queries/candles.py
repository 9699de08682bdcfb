"""`GET /v1/candles/{symbol}`: bars of any timeframe, in the form asked for."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from common.errors import BadInput
from common.frames.bars import dated_bars_json
from common.market.builder.gaps import Ledger
from common.market.manifest import Fault
from common.market.timeframes.timeframe import Timeframe
from common.store.registry import Market
from feed.bars.frames import page_of, read_frame
from feed.bars.page import More
from feed.bars.source import PageRead
from feed.queries.endpoint import Endpoint
from feed.queries.parameters import END, FORMAT, LIMIT, START, TIMEFRAME, Switch, window_of
from feed.queries.queries import SymbolQueries
from feed.queries.validator import bars_range
from feed.reading.archived import Faulty
from feed.reading.bounds import Window
from feed.reading.budget import QueryBudget
from feed.wire import shapes
from feed.wire.answers import BAR_WRITERS, Answer, BarsAnswer, Form, TableAnswer, Written
from feed.wire.parameter_types import OneOf
from feed.wire.params import Given, Parameter, Parameters

Fill = Literal["none", "flat"]

FILL: Parameter[Fill] = Parameter(
    "fill", OneOf(get_args(Fill)), "none", "flat: also bars without trades, at the close before them."
)
UPDATED: Parameter[Switch] = Parameter(
    "updated", OneOf(get_args(Switch)), "0", "1: each bar with the time of its last trade; as JSON."
)


@dataclass(frozen=True, slots=True)
class CandleQuery:
    timeframe: Timeframe
    window: Window
    fill: Fill = "none"
    form: Form = "json"
    # Whether bars are told with the time of their last trade.
    is_dated: bool = False

    @classmethod
    def of(cls, given: Given) -> "CandleQuery":
        is_dated, form = given[UPDATED] == "1", given[FORMAT]
        if is_dated and form != "json":
            raise BadInput(f"updated is 1 and format is {form}, expected format=json with it")
        return cls(given[TIMEFRAME], window_of(given), given[FILL], form, is_dated)


async def answer(symbol: SymbolQueries, query: CandleQuery) -> Answer:
    if query.form == "json" and query.fill == "none" and not query.is_dated:
        return await bars_answer(symbol, query.timeframe, await read_page(symbol, query.timeframe, query.window))
    return await symbol.queries.weighed(lambda budget: _of_frame(symbol, query, budget))


async def read_page(symbol: SymbolQueries, timeframe: Timeframe, window: Window) -> PageRead:
    """Return bars as JSON, none filled in. Those of identical questions are read once, for all clients."""
    anchored = symbol.market.instrument.anchored(timeframe)
    return await symbol.queries.pages.run(
        (symbol.market.instrument, anchored, window),
        lambda: symbol.queries.weighed(lambda budget: symbol.source(anchored, budget).page(window)),
    )


async def bars_answer(symbol: SymbolQueries, timeframe: Timeframe, read: PageRead) -> BarsAnswer:
    """What an answer or a snapshot says of bars that were read; with the ledger only if a hole is among them."""
    page, view, cover = read
    _, holes = cover.within(page.from_ms, page.to_ms)
    ledger = await symbol.reader.gaps() if holes else Ledger()
    return BarsAnswer(symbol.market, timeframe.text, page, view, cover, ledger, symbol.queries.rules)


async def _of_frame(symbol: SymbolQueries, query: CandleQuery, budget: QueryBudget) -> Answer:
    """Bars that no tail serves, read as a frame."""
    source = symbol.source(query.timeframe, budget)
    read = await read_frame(source, query.window, flat=query.fill == "flat", keyed=query.is_dated)
    if query.form == "json":
        page = await page_of(source.data, read, dated_bars_json if query.is_dated else None)
        return await bars_answer(symbol, query.timeframe, (page, read.view, read.cover))
    check_whole(symbol.market, read.more, read.cover.faults)
    table = TableAnswer(BAR_WRITERS, read.frame, symbol.market.instrument, query.form)
    return Written(table.media_type, await budget.run(len(read.frame), table.body))


def check_whole(market: Market, more: More | None, faults: Sequence[Fault]) -> None:
    """A table has no place to say that it goes on, or that something is missing."""
    for fault in faults:
        raise Faulty(market.symbol, fault)
    for name, ms in (more or {}).items():
        narrower = "end" if name == "start" else "start"
        raise BadInput(f"that is more than one table may take, expected {narrower}={ms} and the rest apart")


ENDPOINT = Endpoint(
    "/v1/candles/{symbol}",
    "Bars of any timeframe, the growing one included.",
    Parameters((TIMEFRAME, START, END, LIMIT, FILL, FORMAT, UPDATED), CandleQuery.of),
    answer,
    shapes.CANDLES,
    lambda symbol, query: bars_range(symbol, query.timeframe, query.window),
)
