"""`GET /api/multi-timeframe/ohlcv/{symbol}` and `.../current`: bars of several timeframes, all of one commit."""

from collections.abc import Sequence
from dataclasses import dataclass

import orjson

from common.market.coding.bar_json import open_ended
from common.store.reads import View
from feed.faces.multi_timeframe.parameters import LOOKBACK, TIMEFRAMES, Spelled
from feed.faces.multi_timeframe.rows import CURRENT_ROW, ROW
from feed.queries.endpoint import Endpoint
from feed.queries.queries import SymbolQueries
from feed.queries.several import read_newest
from feed.wire import shapes
from feed.wire.answers import SymbolAnswer, cursor_of
from feed.wire.params import Given, Parameters


@dataclass(frozen=True, slots=True)
class OhlcvQuery:
    timeframes: tuple[Spelled, ...]
    lookback: int

    @classmethod
    def of(cls, given: Given) -> "OhlcvQuery":
        return cls(given[TIMEFRAMES], given[LOOKBACK])


async def answer(symbol: SymbolQueries, query: OhlcvQuery) -> SymbolAnswer:
    found = await read_newest(symbol, [each.timeframe for each in query.timeframes], query.lookback, ROW)
    rows = [orjson.Fragment(b"[%s]" % run) for run in found.runs]
    return _told(symbol, "timeframes", query.timeframes, rows, found.view)


async def current(symbol: SymbolQueries, timeframes: tuple[Spelled, ...]) -> SymbolAnswer:
    """The bar that grows, or between two of them the last one."""
    found = await read_newest(symbol, [each.timeframe for each in timeframes], 1, CURRENT_ROW)
    rows = [_named(run, spelled) for run, spelled in zip(found.runs, timeframes, strict=True)]
    return _told(symbol, "current", timeframes, rows, found.view)


def _named(bar: bytes, spelled: Spelled) -> orjson.Fragment | None:
    """A bar with its timeframe as the client calls it."""
    return orjson.Fragment(b'%s,"timeframe":%s}' % (open_ended(bar), orjson.dumps(spelled.text))) if bar else None


def _told(
    symbol: SymbolQueries, name: str, timeframes: Sequence[Spelled], rows: Sequence[object], view: View
) -> SymbolAnswer:
    """By timeframe as it was spelled, and what is true of all of them."""
    by_name = {spelled.text: row for spelled, row in zip(timeframes, rows, strict=True)}
    return SymbolAnswer(symbol.market, {name: by_name, "cursor": cursor_of(view.state), "health": symbol.health(view)})


OHLCV = Endpoint(
    "/api/multi-timeframe/ohlcv/{symbol}",
    "The newest bars of several timeframes, all of one commit.",
    Parameters((TIMEFRAMES, LOOKBACK), OhlcvQuery.of),
    answer,
    shapes.SEVERAL,
    takes_bare_names=True,
)
CURRENT = Endpoint(
    "/api/multi-timeframe/ohlcv/{symbol}/current",
    "The newest bar of several timeframes, growing or complete.",
    Parameters((TIMEFRAMES,), lambda given: given[TIMEFRAMES]),
    current,
    shapes.SEVERAL_CURRENT,
    takes_bare_names=True,
)
