"""Bars of several timeframes in one answer: all as of one commit."""

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from common.errors import Overtaken
from common.market.timeframes.timeframe import Timeframe
from common.retry import retry_when_overtaken
from common.store.reads import View
from feed.bars.choice import source_of
from feed.bars.forms import BarForm
from feed.bars.source import PageRead
from feed.queries.queries import SymbolQueries
from feed.reading.bounds import Window
from feed.reading.budget import QueryBudget

# With bars that are kept the first attempt is enough, unless they have yet to be read.
ATTEMPTS = 16


@dataclass(frozen=True, slots=True)
class SeveralRuns:
    """The bars of each timeframe as JSON objects with commas between, empty without any; and what all are true of."""

    runs: list[bytes]
    view: View


async def read_newest(symbol: SymbolQueries, timeframes: Sequence[Timeframe], limit: int, form: BarForm) -> SeveralRuns:
    """Return the newest bars of each. A timeframe is read once, however often it is named."""
    window = Window(None, None, limit)
    wanted = list(dict.fromkeys(map(symbol.market.instrument.anchored, timeframes)))

    async def read(budget: QueryBudget) -> SeveralRuns:
        found = await retry_when_overtaken(
            lambda: _read(symbol, wanted, window, form, budget), symbol.market.symbol, attempts=ATTEMPTS
        )
        runs = {timeframe: b",".join(page.runs) for timeframe, (page, _, _) in zip(wanted, found, strict=True)}
        return SeveralRuns([runs[symbol.market.instrument.anchored(each)] for each in timeframes], found[0][1])

    return await symbol.queries.weighed(read)


async def _read(
    symbol: SymbolQueries, timeframes: Iterable[Timeframe], window: Window, form: BarForm, budget: QueryBudget
) -> list[PageRead]:
    """Raises Overtaken where a commit came between what was read of two of them."""
    store = symbol.shared_reader()
    sources = [source_of(symbol.data(budget, store, form), timeframe) for timeframe in timeframes]
    reads = [asyncio.ensure_future(source.page(window)) for source in sources]
    try:
        found = await asyncio.gather(*reads)
    except BaseException:
        for each in reads:
            each.cancel()
        raise
    if len({view.state and view.state.cursor for _, view, _ in found}) > 1:
        raise Overtaken("the timeframes were read at several commits")
    return found
