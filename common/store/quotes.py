"""What quotes of many symbols are made of, in one round trip."""

from collections.abc import Collection, Iterator, Sequence
from typing import Any, NamedTuple

from redis.asyncio import Redis

from common.errors import FleetError
from common.store.book import BookSnapshot, ask_book, told_book
from common.store.client import translated
from common.store.keys import SymbolKeys
from common.store.parts import Part
from common.store.reads import ALWAYS, View
from common.store.registry import Market
from common.store.state import StatePart


class QuoteRead(NamedTuple):
    """The market as its data has it, a view of it with the part asked for, and its book."""

    market: Market
    view: View
    book: BookSnapshot | None


async def read_quotes(client: Redis, markets: Collection[Market], part: Part) -> list[QuoteRead | FleetError]:
    """Of each in its order. What one can't be read for is its own."""
    pipe = client.pipeline(transaction=False)
    ends = []
    for market in markets:
        keys = SymbolKeys(market.symbol)
        for each in _parts(market.symbol, part):
            each.ask(pipe, keys)
        ask_book(pipe, keys)
        ends.append(len(pipe))
    with translated(f"read of quotes of {len(markets)} symbols"):
        answers: Sequence[Any] = await pipe.execute()
    starts = [0, *ends]
    spans = zip(markets, starts, ends, strict=False)
    return [_one(market, part, iter(answers[start:end])) for market, start, end in spans]


def _parts(symbol: str, part: Part) -> list[Part]:
    return [StatePart(symbol), *ALWAYS, part]


def _one(market: Market, part: Part, answers: Iterator[Any]) -> QuoteRead | FleetError:
    try:
        view = View(**{each.field: each.read(answers) for each in _parts(market.symbol, part)})
        market = market.as_stored(view.state.data if view.state else None)
        found = told_book(answers, market.instrument.scale)
    except FleetError as error:
        return error
    return QuoteRead(market, view, found.book if found else None)
