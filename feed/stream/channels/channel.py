"""A channel: what it takes, and the series it makes of that."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar

from common.market.instrument import Instrument
from feed.bars.changes import Cursor
from feed.queries.parameters import LIMIT
from feed.stream.requests import BARS, CURSOR, SYMBOL
from feed.stream.series import LiveSeries, SeriesHost
from feed.stream.topic import Topic
from feed.wire.parameter_types import ParameterType, Scope
from feed.wire.params import Given, Parameter, Parameters, read_message

Q = TypeVar("Q")


@dataclass(frozen=True, slots=True)
class SubscribeRequest:
    """`limit`: bars, or trades, of a snapshot."""

    symbol: str
    topic: Topic
    limit: int
    cursor: Cursor | None


@dataclass(frozen=True, slots=True)
class TopicName:
    symbol: str
    topic: Topic


@dataclass(frozen=True, slots=True, eq=False)
class Channel(Generic[Q]):
    """`declared`: what it takes besides a symbol, a limit and a cursor; `query`: what is made of that."""

    name: str
    declared: tuple[Parameter[Any], ...]
    query: Callable[[Given], Q]
    begin: Callable[[SeriesHost, Topic, Q], LiveSeries[Any]]
    # Of what a snapshot has as many as that; None: of nothing.
    limit: Parameter[int] | None = LIMIT

    @property
    def needs_instrument(self) -> bool:
        """Whether what it takes is understood only once the symbol is known."""
        return any(parameter.type.needs_instrument for parameter in self.declared)

    def subscribe(
        self, message: Mapping[str, Any], limit_max: int, instrument: Instrument | None = None
    ) -> SubscribeRequest:
        """What a client subscribes to, or BadInput."""

        def read(given: Given) -> SubscribeRequest:
            self.query(given)
            limit = given[self.limit] if self.limit else 0
            return SubscribeRequest(given[SYMBOL], self._topic(message, given), limit, given[CURSOR])

        declared = (SYMBOL, *self.declared, *([self.limit] if self.limit else []), CURSOR)
        return read_message(message, Parameters(declared, read), limit_max, instrument)

    def unsubscribe(self, message: Mapping[str, Any], limit_max: int) -> TopicName:
        """What a client names, or BadInput. But for the timeframe it has to be as it was given."""

        def read(given: Given) -> TopicName:
            return TopicName(given[SYMBOL], self._topic(message, given))

        as_given = (each if each is BARS else replace(each, type=AsGiven(each.type)) for each in self.declared)
        return read_message(message, Parameters((SYMBOL, *as_given), read), limit_max)

    def series(self, host: SeriesHost, topic: Topic) -> LiveSeries[Any]:
        """`topic`: one that was asked for. Raises BadInput if it makes no sense any more, since the market changed."""
        parameters = Parameters(self.declared, self.query)
        # No limit is among its parts.
        query = read_message(dict(topic.parts), parameters, 1, host.market.instrument)
        return self.begin(host, topic, query)

    def _topic(self, message: Mapping[str, Any], given: Given) -> Topic:
        named = (each for each in self.declared if each.name in message)
        return Topic(
            self.name,
            tuple((each.name, given[BARS].text if each is BARS else message[each.name]) for each in named),
        )


@dataclass(frozen=True, slots=True)
class AsGiven(ParameterType[str]):
    """A parameter's text, not looked at."""

    of: ParameterType[Any]

    def read(self, name: str, text: str, scope: Scope) -> str:
        return text

    def schema(self, limit_max: int) -> Mapping[str, Any]:
        return self.of.schema(limit_max)

    def text_of(self, name: str, value: object) -> str:
        return self.of.text_of(name, value)
