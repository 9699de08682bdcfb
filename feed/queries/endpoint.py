"""What an endpoint is: its path, its parameters, and the one function that answers."""

from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from feed.queries.queries import SymbolQueries
from feed.queries.validator import RangeOf
from feed.wire.answers import Answer, Written
from feed.wire.params import Parameters
from feed.wire.shapes import Shape

Q = TypeVar("Q")
S = TypeVar("S")
Source = TypeVar("Source", contravariant=True)
Query = TypeVar("Query", contravariant=True)


class AnswerQuery(Protocol[Source, Query]):
    """Answer this query. All that the feed can be asked is one of these.

    `source` is what is asked: one symbol (SymbolQueries) or all of them (Fleet). The answer is a value, true of one
    commit, which feed.wire writes. What the client must act on is raised, as an error that feed.wire.errors knows.
    """

    async def __call__(self, source: Source, query: Query, /) -> Answer: ...


@dataclass(frozen=True, slots=True)
class Endpoint(Generic[S, Q]):
    path: str
    # What it answers, in a sentence.
    about: str
    parameters: Parameters[Q]
    answer: AnswerQuery[S, Q]
    # What its answer looks like, as JSON.
    says: Shape
    # None: no answer can be told to be still what it was.
    range_of: RangeOf[Q] | None = None
    # Whether its symbol may be named without the venue.
    takes_bare_names: bool = False


async def ask(endpoint: Endpoint[SymbolQueries, Q], symbol: SymbolQueries, query: Q) -> Written:
    """Answer in bytes. Identical questions asked at the same time are answered, and written, once."""
    instrument = symbol.market.instrument
    # Of two instruments that differ in the exceptions of their calendar the sessions tell them apart.
    key = endpoint.path, instrument, instrument.sessions, query

    async def written() -> Written:
        return Written.of(await endpoint.answer(symbol, query))

    return await symbol.queries.flights.run(key, written)
