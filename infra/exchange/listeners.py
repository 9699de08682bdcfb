"""Who listens to which stream."""

from collections.abc import Iterable

from infra.exchange.connection import ExchangeConnection
from infra.exchange.streams import Stream, parse


class Listeners:
    def __init__(self) -> None:
        self._by_stream: dict[str, set[ExchangeConnection]] = {}
        # Of each symbol the streams with a listener, so that a market knows what to tell.
        self._streams: dict[str, dict[str, Stream]] = {}

    def __contains__(self, stream: str) -> bool:
        return stream in self._by_stream

    def of(self, stream: str) -> set[ExchangeConnection]:
        return self._by_stream.get(stream) or set()

    def streams_of(self, symbol: str) -> list[Stream]:
        return list(self._streams.get(symbol, {}).values())

    def add(self, connection: ExchangeConnection, names: Iterable[str]) -> None:
        """The venue takes any name; one that is no stream of ours is remembered, and nothing comes."""
        for name in names:
            connection.streams[name] = None
            self._by_stream.setdefault(name, set()).add(connection)
            stream = parse(name)
            if stream:
                self._streams.setdefault(stream.symbol, {})[name] = stream

    def remove(self, connection: ExchangeConnection, names: Iterable[str]) -> None:
        for name in names:
            listeners = self._by_stream.get(name)
            if listeners is None or connection not in listeners:
                continue
            listeners.remove(connection)
            connection.streams.pop(name, None)
            if not listeners:
                self._forget(name)

    def _forget(self, name: str) -> None:
        del self._by_stream[name]
        stream = parse(name)
        if stream:
            streams = self._streams[stream.symbol]
            del streams[name]
            if not streams:
                del self._streams[stream.symbol]
