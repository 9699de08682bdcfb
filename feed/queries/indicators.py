"""`GET /v1/indicators/{symbol}`: indicators of bars, in columns."""

from dataclasses import dataclass

from common.errors import BadInput
from common.indicators.ids import Indicator, parse
from common.indicators.table import KINDS
from common.market.builder.gaps import Ledger
from common.market.timeframes.timeframe import Timeframe
from feed.bars.choice import is_of_trades, source_of
from feed.bars.indicators import IndicatorQuery, IndicatorRead, read
from feed.queries.candles import FILL, check_whole
from feed.queries.endpoint import Endpoint
from feed.queries.parameters import END, FORMAT, LIMIT, START, TIMEFRAME, TIMEFRAME_TEXT, window_of
from feed.queries.queries import SymbolQueries
from feed.queries.validator import TimeRange, bars_range
from feed.reading.budget import QueryBudget
from feed.wire import shapes
from feed.wire.answers import Answer, Form, TableAnswer, Written
from feed.wire.indicators import INDICATOR_WRITERS, NUMBER_BYTES, IndicatorsAnswer, table_of
from feed.wire.parameter_types import ListOf, OneOf, Parsed
from feed.wire.params import Given, Parameter, Parameters

MAX_IDS = 64
# Of one id; what it may say exactly, GET /v1/indicators lists.
ID_TEXT = f"^({'|'.join(KINDS)})(_[A-Za-z0-9.-]+)*$"

ID: Parameter[tuple[Indicator, ...] | None] = Parameter(
    "id",
    ListOf(parse, MAX_IDS, ID_TEXT),
    None,
    "What to compute, such as RSI_14: several with commas between, or given several times.",
    repeats=True,
)
FINAL = Parameter("final", OneOf(("false", "true")), "false", "true: without the growing bar.")
ALIGN: Parameter[Timeframe | None] = Parameter(
    "align",
    Parsed(Timeframe.parse, TIMEFRAME_TEXT),
    None,
    "Values of these longer bars: in each row of the newest that was over by then.",
)


@dataclass(frozen=True, slots=True)
class IndicatorsQuery:
    rows: IndicatorQuery
    form: Form

    @classmethod
    def of(cls, given: Given) -> "IndicatorsQuery":
        timeframe, align = given[TIMEFRAME], given[ALIGN]
        if align and align.longest_ms < timeframe.longest_ms:
            raise BadInput(f"align is {align.text}, expected {timeframe.text} or longer")
        is_flat, is_final = given[FILL] == "flat", given[FINAL] == "true"
        if align and is_flat:
            raise BadInput("fill is flat, expected none with align")
        rows = IndicatorQuery(timeframe, window_of(given), _once(given[ID]), is_final, is_flat, align)
        return cls(rows, given[FORMAT])


def _once(indicators: tuple[Indicator, ...] | None) -> tuple[Indicator, ...]:
    """An id that is asked for twice is answered once."""
    return tuple(dict.fromkeys(indicators or ()))


async def answer(symbol: SymbolQueries, query: IndicatorsQuery) -> Answer:
    return await symbol.queries.weighed(lambda budget: _answer(symbol, query, budget))


async def _answer(symbol: SymbolQueries, query: IndicatorsQuery, budget: QueryBudget) -> Answer:
    found = await _read(symbol, query.rows, budget)
    _check_size(found, budget)
    if query.form != "json":
        check_whole(symbol.market, found.more, found.cover.faults)
        table = TableAnswer(INDICATOR_WRITERS, table_of(found), symbol.market.instrument, query.form)
        return Written(table.media_type, await budget.run(_numbers(found), table.body))
    _, holes = found.cover.within(found.from_ms, found.to_ms)
    ledger = await symbol.reader.gaps() if holes else Ledger()
    told = IndicatorsAnswer(symbol.market, _asked(query.rows), found, ledger, symbol.queries.rules)
    return Written(told.media_type, await budget.run(_numbers(found), told.body))


def _asked(query: IndicatorQuery) -> dict[str, object]:
    align = {"align": query.align.text} if query.align else {}
    return {"timeframe": query.timeframe.text, **({"fill": "flat"} if query.is_flat else {}), **align}


async def _read(symbol: SymbolQueries, query: IndicatorQuery, budget: QueryBudget) -> IndicatorRead:
    instrument = symbol.market.instrument
    data = symbol.data(budget)
    source = source_of(data, instrument.anchored(query.timeframe))
    return await read(source, query, source_of(data, instrument.anchored(query.align)) if query.align else None)


def _numbers(found: IndicatorRead) -> int:
    return len(found.opens_ms) * sum(len(each.outputs) for each in found.columns)


def _check_size(found: IndicatorRead, budget: QueryBudget) -> None:
    if _numbers(found) * NUMBER_BYTES > budget.max_bytes:
        raise BadInput(f"that takes more than {budget.max_bytes >> 20} MB, expected fewer ids or a smaller limit")


def _range(symbol: SymbolQueries, query: IndicatorsQuery) -> TimeRange | None:
    """Values remember what lies before the first bar."""
    found = bars_range(symbol, query.rows.timeframe, query.rows.window)
    is_forgotten = query.rows.align is not None and is_of_trades(query.rows.align)
    return None if found is None or is_forgotten else found._replace(from_ms=0)


ENDPOINT = Endpoint(
    "/v1/indicators/{symbol}",
    "Indicators of bars of any timeframe, in columns.",
    Parameters((TIMEFRAME, START, END, LIMIT, ID, FINAL, FILL, ALIGN, FORMAT), IndicatorsQuery.of),
    answer,
    shapes.INDICATORS,
    _range,
)
