"""What happens in a market, as messages on its streams. Written only where it has listeners."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol

from common.market.simulation.book import ASK, BID, Level
from infra.exchange import wire
from infra.exchange.history import KlineGrid, kline_at
from infra.exchange.klines import INTERVALS
from infra.exchange.market import ExchangeMarket, Happening
from infra.exchange.streams import Kind, Message, Stream

# The time of the streams that speak now and then is cut into these.
TICK_MS = 100


class Audience(Protocol):
    """Who listens, and the way to them."""

    def wants(self, stream: str) -> bool: ...

    def streams_of(self, symbol: str) -> list[Stream]:
        """Streams of the market that have listeners."""

    def publish(self, message: Message) -> None: ...


@dataclass(slots=True)
class _Sent:
    """How far a diff stream has told the book. One for each cadence, the same for everybody: U follows u."""

    position: int = 0
    last_id: int = 0


@dataclass(slots=True)
class Publisher:
    market: ExchangeMarket
    audience: Audience
    _prefix: str = ""
    _quote: tuple[Level, Level] | None = None
    _epoch: int = 0
    _diffs: dict[int, _Sent] = field(default_factory=lambda: {TICK_MS: _Sent(), 1_000: _Sent()})
    # By stream name: the update id last sent; and open and number of trades of the kline last sent.
    _partials: dict[str, int] = field(default_factory=dict)
    _klines: dict[str, tuple[int, int]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._prefix = f"{self.market.symbol.lower()}@"

    def happened(self, happening: Happening, event_ms: int) -> None:
        """Tell the streams that speak at once."""
        listing = self.market.listing
        if happening.trades and self.audience.wants(self._prefix + "trade"):
            for trade in happening.trades:
                build = partial(wire.trade_event, listing, trade, event_ms)
                self._publish("trade", "trade", build, trade.id, trade.id)
        if happening.aggregates and self.audience.wants(self._prefix + "aggTrade"):
            for aggregate in happening.aggregates:
                build = partial(wire.aggregate_event, listing, aggregate, event_ms)
                self._publish("aggTrade", "aggTrade", build, aggregate.first_id, aggregate.last_id)
        self._tell_quote()

    def tick(self, now_ms: int, event_ms: int) -> None:
        """Tell the streams that speak at multiples of 100 ms, of which `now_ms` is one."""
        self._follow_book()
        for every_ms, sent in self._diffs.items():
            if now_ms % every_ms == 0:
                self._tell_diff(every_ms, sent, event_ms)
        streams = self.audience.streams_of(self.market.symbol)
        self._forget_others(streams)
        for stream in streams:
            if stream.every_ms and now_ms % stream.every_ms == 0:
                if stream.kind == "partial":
                    self._tell_partial(stream)
                elif stream.kind == "kline":
                    self._tell_kline(stream, now_ms, event_ms)

    def _forget_others(self, streams: list[Stream]) -> None:
        """A stream that is listened to once more begins again."""
        if len(self._klines) + len(self._partials) > len(streams):
            names = {stream.name for stream in streams}
            self._klines = {name: sent for name, sent in self._klines.items() if name in names}
            self._partials = {name: sent for name, sent in self._partials.items() if name in names}

    def _tell_quote(self) -> None:
        if not self.audience.wants(self._prefix + "bookTicker"):
            return
        book = self.market.book
        bids, asks = book.top(BID, 1), book.top(ASK, 1)
        quote = (bids[0], asks[0]) if bids and asks else None
        if quote is not None and quote != self._quote:
            self._quote = quote
            text = wire.quote_event(self.market.listing, book.last_id, *quote)
            self._publish("bookTicker", "bookTicker", lambda _: text)

    def _follow_book(self) -> None:
        """A book that began again has nothing to tell of before."""
        if self._epoch != self.market.book.epoch:
            self._epoch = self.market.book.epoch
            for sent in self._diffs.values():
                sent.position, sent.last_id = self.market.book.position, self.market.book.last_id

    def _tell_diff(self, every_ms: int, sent: _Sent, event_ms: int) -> None:
        book = self.market.book
        if book.last_id == sent.last_id:
            return
        name = "depth@100ms" if every_ms == TICK_MS else "depth"
        if self.audience.wants(self._prefix + name):
            bids, asks = book.changes_since(sent.position)
            ids = (sent.last_id + 1, book.last_id)
            build = partial(wire.depth_event, self.market.listing, *ids, bids, asks, event_ms)
            self._publish(name, "depth", build)
        sent.position, sent.last_id = book.position, book.last_id

    def _tell_partial(self, stream: Stream) -> None:
        book = self.market.book
        if self._partials.get(stream.name) != book.last_id:
            self._partials[stream.name] = book.last_id
            bids, asks = book.top(BID, stream.levels), book.top(ASK, stream.levels)
            text = wire.depth_snapshot(self.market.listing, book.last_id, bids, asks)
            self.audience.publish(Message(stream.name, "partial", stream.symbol, lambda _: text))

    def _tell_kline(self, stream: Stream, now_ms: int, event_ms: int) -> None:
        grid = KlineGrid(INTERVALS[stream.interval], stream.offset_ms)
        open_ms = grid.open_of(now_ms)
        last_open_ms, last_trades = self._klines.get(stream.name, (open_ms, -1))
        if last_open_ms < open_ms:
            self._publish_kline(stream, grid, last_open_ms, True, event_ms)
            last_trades = -1
        kline = kline_at(self.market, grid, open_ms)
        trades = kline.trades if kline else -1
        if trades != last_trades:
            self._publish_kline(stream, grid, open_ms, False, event_ms)
        self._klines[stream.name] = (open_ms, trades)

    def _publish_kline(self, stream: Stream, grid: KlineGrid, open_ms: int, closed: bool, event_ms: int) -> None:
        kline = kline_at(self.market, grid, open_ms)
        if kline is None:
            return
        next_ms = grid.next_open(open_ms)
        build = partial(wire.kline_event, self.market.listing, stream.interval, kline, next_ms, closed, event_ms)
        self.audience.publish(Message(stream.name, "kline", stream.symbol, build))

    def _publish(self, name: str, kind: Kind, build: Callable[[int], str], first_id: int = 0, last_id: int = 0) -> None:
        self.audience.publish(Message(self._prefix + name, kind, self.market.symbol, build, first_id, last_id))
